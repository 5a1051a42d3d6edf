"""`dr-vtn schedule`: as the docs show it, on files of meters, by forecast, and what it refuses."""

from __future__ import annotations

import json
import re
import shlex
from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner

from runtime.errors import GridpactError
from vtn.cli import app
from vtn.cli.schedule.homes import HomeEntry, TariffEntry, home_of
from vtn.cli.schedule.horizon import horizon_of

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "schedules.md"
PARIS = "Europe/Paris"


def run(*words):
    result = CliRunner().invoke(app, ["schedule", *map(str, words)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return json.loads(result.stdout) if "--json" in words else result.output


@pytest.fixture
def file(tmp_path):
    """Writes homes to a file and gives its path."""

    def written(*homes, **more):
        path = tmp_path / "homes.json"
        path.write_text(json.dumps({"homes": list(homes), **more}))
        return path

    return written


WASHER = {"name": "washer", "earliest": "08:00", "latest_end": "20:00", "profile_w": [2000, 500]}
HOME = {
    "name": "home",
    "load_wh": 100,
    "appliances": [WASHER],
    "tariff": {"import_minor_per_kwh": [30] * 12 + [10] * 12},
}


def test_the_command_of_the_guide_runs_as_written(monkeypatch, tmp_path):
    """All of its lines, in the repository's folder; figures go elsewhere."""
    monkeypatch.chdir(ROOT)
    text = re.sub(r"\\\n\s*", "", GUIDE.read_text())
    commands = [
        shlex.split(line, comments=True) for line in re.findall(r"^    dr-vtn schedule (.*)$", text, re.MULTILINE)
    ]
    assert len(commands) >= 2
    for words in commands:
        picture = [str(tmp_path / word) if word.endswith((".png", ".html")) else word for word in words]
        output = run(*picture)
        assert "When each device runs" in output
        assert "limit kept" in output or "--limit-w" not in words
    assert list(tmp_path.glob("*.html"))
    assert "<td>H001</td>" in next(tmp_path.glob("*.html")).read_text()


def test_prices_of_the_file_decide_when_a_washer_runs(file):
    found = run(file(HOME), "--day", "2026-03-19", "--zone", PARIS, "--json")
    (node,) = found["nodes"]
    (made,) = node["schedules"]
    start = made["plan"]["starts"]["washer"]
    assert 48 <= start < 80
    assert found["starts_ms"][0] == 1773874800000, "midnight in Paris"
    assert made["before"]["total_minor"] - made["after"]["total_minor"] == pytest.approx(0.625 * 20, abs=0.01)


@pytest.mark.parametrize(("day", "slots"), [("2026-03-29", 92), ("2026-10-25", 100)])
def test_a_day_of_the_clock_change_has_its_own_number_of_slots(file, day, slots):
    found = run(file({**HOME, "tariff": {"import_minor_per_kwh": 20}}), "--day", day, "--zone", PARIS, "--json")
    assert len(found["starts_ms"]) == slots


@pytest.fixture
def meters(tmp_path):
    """Three weeks of hours up to 2026-03-22 00:00 UTC: 0.5 kWh, and 2 kWh at 18 h."""
    rows = [
        f"2026-03-{day:02}T{hour:02}:00Z,{2.0 if hour == 18 else 0.5}" for day in range(1, 22) for hour in range(24)
    ]
    path = tmp_path / "load.csv"
    path.write_text("\n".join(["ts,home", *rows]))
    return path


def test_a_day_behind_the_file_is_forecast_and_says_so(file, meters):
    bare = {key: value for key, value in HOME.items() if key != "load_wh"}
    found = run(file(bare), "--input", meters, "--model", "recent-days", "--json")
    assert found["load"] == "load: forecast by recent-days, known until 2026-03-22 00:00"
    used = sum(found["nodes"][0]["schedules"][0]["wished"]["import_wh"])
    assert used == pytest.approx(13_500 + 625, abs=20)
    read = run(file(bare), "--input", meters, "--day", "2026-03-20", "--json")
    assert read["load"].startswith("load: as the file has it")
    assert sum(read["nodes"][0]["schedules"][0]["wished"]["import_wh"]) == 13_500 + 625


def test_signals_give_prices_in_currency_units(file, meters, tmp_path):
    signals = tmp_path / "signals.csv"
    rows = [f"2026-03-19T{hour:02}:00Z,{-0.05 if hour == 13 else 0.30},0.06" for hour in range(24)]
    signals.write_text("\n".join(["ts,price_per_kwh,export_price_per_kwh", *rows]))
    bare = {key: value for key, value in HOME.items() if key != "tariff"}
    found = run(file(bare), "--signals", signals, "--day", "2026-03-19", "--json")
    assert 13 * 4 <= found["nodes"][0]["schedules"][0]["plan"]["starts"]["washer"] < 14 * 4


@pytest.mark.parametrize(
    ("homes", "words", "said"),
    [
        ([{**HOME, "importlimit_w": 5}], [], "importlimit_w"),
        ([HOME, HOME], [], "names a home twice"),
        ([{"name": "home"}], [], "nothing says what home uses: give --input, or load_wh"),
        ([{"name": "home", "load_wh": 1}], [], "nothing says what home pays: give --signals"),
        ([{**HOME, "load_wh": [1, 2, 3]}], [], "load_wh has 3 values; give one number, one for each of the 96 slots"),
        ([{**HOME, "appliances": [{**WASHER, "earliest": "8 am"}]}], [], "write a local time like 18:30"),
        ([HOME], ["--limit-w", "F9=100"], "names no node of the file; there are all"),
        ([HOME], ["--limit-w", "-3"], "is no power: write 20000"),
        ([HOME], ["--zone", "Mars"], "is no time zone"),
        ([HOME], ["--interval-minutes", "7"], "it divides an hour"),
        ([HOME], ["--solver", "guess"], "it is cbc or highs"),
        ([HOME], ["--figure", "x.pdf"], "a figure is .png or .html"),
    ],
)
def test_what_cannot_be_understood_is_said(file, homes, words, said):
    with pytest.raises(GridpactError, match=said):
        run(file(*homes), "--day", "2026-03-19", *words)


def test_times_are_local_and_a_skipped_hour_is_the_one_behind_it():
    spring = horizon_of(PARIS, date(2026, 3, 29), 15)
    assert spring.slot("01:45", "x") == 7
    assert spring.slot("02:30", "x") == spring.slot("03:00", "x") == 8
    autumn = horizon_of(PARIS, date(2026, 10, 25), 15)
    assert (autumn.slot("02:00", "x"), autumn.slot("03:00", "x"), autumn.slot("24:00", "x")) == (8, 16, 100)
    night = horizon_of(PARIS, date(2026, 3, 19), 15, "12:00")
    assert night.slot("18:10", "x", up=True) == 25
    assert night.slot("07:00", "x") == 19 * 4


def test_a_profile_is_the_same_energy_in_slots_of_any_length():
    entry = HomeEntry(name="h", load_wh=0, appliances=[], tariff=TariffEntry(import_minor_per_kwh=1))
    for minutes, profile in ((5, (167, 167, 167, 42, 42, 42)), (30, (625,))):
        entry.appliances = [json_appliance()]
        home = home_of(entry, horizon_of("UTC", date(2026, 3, 19), minutes), TariffEntry(), None, None, {})
        assert home.appliances[0].profile_wh == profile


def json_appliance():
    from vtn.cli.schedule.homes import ApplianceEntry

    return ApplianceEntry(**WASHER)
