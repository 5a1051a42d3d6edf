"""`dr-vtn forecast`, `backtest`, `cluster` and `forecasts`, on a file and on what homes reported."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pytest
from sqlalchemy import text, update
from typer.testing import CliRunner

from forecasting.calendar import SiteCalendar
from forecasting.evaluation.drift import alarms
from forecasting.panels.panel import Panel
from forecasting.serving.catalogue import model
from forecasting.solar.clearsky import Place, clear_sky
from runtime.clock import ManualClock
from runtime.keys import PrivateKey
from tests.forecasting.synthetic import LOS_ANGELES, some_homes
from tests.vtn.opened import opened
from vtn.analytics.runs import run_of
from vtn.analytics.studies import day_errors
from vtn.cli import app
from vtn.records.tables import vens
from vtn.services.programs import ProgramTerms

HOMES = some_homes(24, 75)


def run(*words, code=0):
    result = CliRunner().invoke(app, [*words])
    assert result.exit_code == code, (result.output, result.exception)
    return json.loads(result.stdout) if "--json" in words else result


@pytest.fixture
def files(tmp_path):
    """Options for a file of loads in kWh, and of sites on two feeders."""
    stamps = [datetime.fromtimestamp(at / 1000, UTC) for at in HOMES.starts_ms]
    frame = pd.DataFrame({"ts": stamps, **{home: HOMES.values[row] / 1000 for row, home in enumerate(HOMES.ids)}})
    frame.to_parquet(tmp_path / "load.parquet", index=False)
    sites = pd.DataFrame({"home_id": HOMES.ids, "feeder": ["F1"] * 12 + ["F2"] * 12})
    sites.to_csv(tmp_path / "sites.csv", index=False)
    return ["--input", str(tmp_path / "load.parquet"), "--zone", LOS_ANGELES.zone, "--country", "US-CA",
            "--sites", str(tmp_path / "sites.csv")]  # fmt: skip


def test_a_file_is_forecast_with_what_was_known_and_a_figure(files, tmp_path):
    made = run("forecast", *files, "--json", "--figure", str(tmp_path / "f.html"), "--level", "0.1", "--level", "0.9")
    assert made["series"] == ["F1", "F2"]
    assert (made["entry"], made["scope"]) == ("ridge", "virtual_nodes")
    assert made["issued_at_ms"] == made["start_ms"] == made["known_until_ms"] == HOMES.end_ms
    assert len(made["values"][0]) == 24
    assert all(low <= high for low, high in zip(made["quantiles"]["0.1"][0], made["quantiles"]["0.9"][0], strict=True))
    page = (tmp_path / "f.html").read_text()
    assert "data:image/png;base64," in page
    assert "<td>F2</td>" in page
    told = run("forecast", *files, "--scope", "homes", "--model", "similar-days", "--intraday", "--hours", "6").stdout
    assert "similar-days" in told
    assert "as asked" in told


def test_a_time_in_the_past_is_forecast_as_it_could_have_been(files):
    day = date(2026, 3, 1)
    made = run("forecast", *files, "--day", day.isoformat(), "--issued", "2026-02-28T20:00:00Z", "--json")
    assert made["start_ms"] == LOS_ANGELES.start_ms(day)
    assert made["known_until_ms"] == int(datetime(2026, 2, 28, 20, tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["--model", "oracle"], 2, "model oracle is not known"),
        (["--scope", "streets"], 2, "--scope is streets"),
        (["--figure", "f.gif"], 2, "a figure is .png or .html"),
        (["--day", "2026-01-05"], 2, "name an earlier --issued"),
        (["--issued", "2026-03-01T00:00:00"], 2, "has no offset"),
        (["--issued", "2025-03-01T00:00:00Z"], 1, "had ended"),
        (["--unit", "MWh"], 1, "a thousand times larger"),
        (["--weather", "nowhere.csv"], 1, "nowhere.csv"),
        (["--country", "XX"], 2, "no holidays are known for XX:"),
        (["--dask", "tcp://127.0.0.1:1"], 2, "cannot be used"),
        (["--zone", "Mars/Olympus"], 2, "'Mars/Olympus' is not a zone"),
        (["--naive-zone", "Foo/Bar"], 2, "'Foo/Bar' is not a zone"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(files, words, code, sentence):
    result = CliRunner().invoke(app, ["forecast", *files, *words])
    assert sentence in str(result.exception)
    assert result.exception.exit_code == code


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--choose"], "leave out --choose or --input"),
        (["--until", "2027-01-01", "--models", "last-week"], "days from 2026-12-05 to 2027-01-01 were to be tested"),
    ],
)
def test_a_test_that_cannot_be_done_is_said_in_a_sentence(files, words, sentence):
    result = CliRunner().invoke(app, ["backtest", *files, *words])
    assert sentence in str(result.exception)
    assert result.exception.exit_code == 2


def test_models_are_tested_side_by_side_and_one_is_chosen(files, tmp_path):
    figure = tmp_path / "b.png"
    words = ["--models", "similar-days,ridge", "--days", "7"]
    found = run("backtest", *files, *words, "--json", "--figure", str(figure))
    assert set(found["models"]) == {"last-week", "similar-days", "ridge"}
    assert found["choice"]["model"] in ("similar-days", "ridge")
    assert found["choice"]["skill"] > 0
    assert found["models"]["last-week"]["skill"] == 0
    assert {row["to_h"] for row in found["horizons"]} == {1, 3, 6, 12, 24}
    assert figure.read_bytes().startswith(b"\x89PNG")
    told = run("backtest", *files, *words, "--intraday-every-h", "8", "--horizon-h", "3").stdout
    assert "chosen:" in told


def test_homes_are_clustered_within_their_feeders(files, tmp_path):
    found = run("cluster", *files, "--homes-min", "12", "--segments", "--json", "--figure", str(tmp_path / "c.png"))
    assert [(each["feeder"], len(each["homes"])) for each in found["clusters"]] == [("F1", 12), ("F2", 12)]
    assert len(found["segments"]) == 24
    flagged = run("cluster", *files, "--json")
    assert all("12 homes where 20 are wanted" in each["flags"][0] for each in flagged["clusters"])
    compared = run("cluster", *files, "--homes-min", "4", "--compare", "--json")
    assert [each["way"] for each in compared["comparison"]] == ["static", "dynamic", "learned"]


@pytest.fixture
def reported(vtn_url, tmp_path, monkeypatch):
    """A VTN whose 4 homes of one virtual node reported 50 days of hours until a moment ago."""
    calendar = SiteCalendar("UTC")
    end_ms = int(time.time() * 1000) // 3_600_000 * 3_600_000
    panel = some_homes(4, 51, calendar, first=calendar.day_of(end_ms) - timedelta(days=50)).ended_by(end_ms)
    statement = text(
        "INSERT INTO telemetry (ven_id, r_id, start_ms, interval_s, energy_wh, quality, received_ms) "
        "SELECT :ven, 'meter', unnest(cast(:starts AS bigint[])), 3600, unnest(cast(:values AS bigint[])), 'ok', :at"
    )

    async def prepare():
        async with opened(vtn_url, ManualClock(end_ms), tmp_path) as found:
            await found.vtn.programs.create("hourly", ProgramTerms(interval_s=3600))
            for row in range(4):
                ven = await found.vtn.vens.add(f"home-{row}", "F1", "hourly", virtual_node="vn-F1")
                values = [int(value) for value in panel.values[row]]
                async with found.vtn.database.transaction() as connection:
                    await connection.execute(update(vens).where(vens.c.ven_id == ven.ven_id).values(meter_r_id="meter"))
                    given = {"ven": ven.ven_id, "starts": panel.starts_ms.tolist(), "values": values, "at": end_ms}
                    await connection.execute(statement, given)

    asyncio.run(prepare())
    folder = tmp_path / "commands"
    folder.mkdir()
    PrivateKey.create(folder / "aggregator.key")
    monkeypatch.setenv("GRIDPACT_VTN_DATABASE_URL", vtn_url)
    monkeypatch.setenv("GRIDPACT_VTN_DATA_DIR", str(folder))


def test_what_homes_reported_is_forecast_by_the_chosen_model_kept_clustered_and_watched(reported):
    of_program = ["--program", "hourly"]
    found = run("backtest", *of_program, "--models", "similar-days", "--days", "7", "--choose", "--json")
    made = run("forecast", *of_program, "--json")
    assert made["entry"] == found["choice"]["model"]
    assert (made["series"], made["program"]) == (["vn-F1"], "hourly")
    kept = run("forecasts", "list", *of_program, "--json")
    assert [each["run_id"] for each in kept["runs"]] == [made["run_id"]]
    (listed,) = kept["runs"]
    assert {name: listed[name] for name in ("issued_at_ms", "known_until_ms", "start_ms", "interval_s")} == {
        name: made[name] for name in ("issued_at_ms", "known_until_ms", "start_ms", "interval_s")
    }
    assert (listed["intervals"], listed["series"], listed["model"]) == (
        len(made["values"][0]), len(made["series"]), made["entry"]
    )  # fmt: skip
    assert kept["chosen"]["model"] == made["entry"]
    assert run("forecasts", "show", made["run_id"], "--json") == made
    assert "sha256" in run("forecasts", "show", made["run_id"]).stdout

    result = CliRunner().invoke(app, ["forecasts", "drift", *of_program])
    assert "0 days of reference; 14 are needed" in str(result.exception)

    first = run("cluster", *of_program, "--homes-min", "2", "--json")
    again = run("cluster", *of_program, "--homes-min", "2", "--json")
    assert [each["homes"] for each in again["clusters"]] == [each["homes"] for each in first["clusters"]]
    assert again["moves"] == []
    assert all(each["reason"] == "as assigned" for each in again["clusters"])


def test_kept_forecasts_are_compared_with_what_was_metered_later():
    node = HOMES.summed({"vn": HOMES.ids})
    doubled = node.values.copy()
    doubled[:, 24 * 65 :] *= 1.6
    runs = []
    for back in range(34, 0, -1):
        start_ms = LOS_ANGELES.start_ms(date(2026, 1, 1) + timedelta(days=75 - back))
        made = model("similar-days").fit(node, LOS_ANGELES).forecast(start_ms, 24, start_ms, (0.1, 0.9))
        runs.append(run_of(made, node, entry="similar-days", scope="virtual_nodes", program="p"))
    days = day_errors(runs, node, LOS_ANGELES)
    assert len(days) == 34
    assert 0.5 < sum(each.coverage for each in days) / 34 < 0.95
    assert alarms(days[:24], days[24:]) == []
    changed = day_errors(runs, Panel(node.ids, node.start_ms, 3600, doubled), LOS_ANGELES)
    assert {each.watch for each in alarms(changed[:24], changed[24:])} >= {"bias", "size"}
    assert day_errors([], node, LOS_ANGELES) == []


def test_generation_is_forecast_under_the_sky_of_its_place(tmp_path, monkeypatch):
    monkeypatch.setenv("GRIDPACT_VTN_SITE_LATITUDE", "-33.87")
    monkeypatch.setenv("GRIDPACT_VTN_SITE_LONGITUDE", "151.21")
    start_ms = SiteCalendar("Australia/Sydney").start_ms(date(2026, 1, 1))
    power = clear_sky(Place(-33.87, 151.21), start_ms, 3600, 24 * 40) * 0.004
    stamps = [datetime.fromtimestamp(start_ms / 1000 + 3600 * each, UTC) for each in range(len(power))]
    pd.DataFrame({"ts": stamps, "roof": power}).to_csv(tmp_path / "pv.csv", index=False)
    of_file = [
        "--input",
        str(tmp_path / "pv.csv"),
        "--zone",
        "Australia/Sydney",
        "--kind",
        "generation",
        "--scope",
        "homes",
    ]
    made = run("forecast", *of_file, "--model", "pv", "--json")
    assert sum(made["values"][0]) == pytest.approx(float(power[-24:].sum()) * 1000, rel=0.03)
    found = run("backtest", *of_file, "--days", "7", "--json")
    assert set(found["models"]) == {"last-week", "recent-days", "pv"}
    assert found["choice"]["model"] == "pv"


def test_a_forecast_becomes_proposals_and_nothing_is_called(files, tmp_path):
    made = run("forecast", *files, "--json")
    (tmp_path / "run.json").write_text(json.dumps(made))
    signals = pd.DataFrame(
        {"ts": [datetime.fromtimestamp(made["start_ms"] / 1000 + 3600 * each, UTC) for each in range(24)]}
    )
    signals["price_per_kwh"] = [0.5 if 8 <= each < 11 else 0.2 for each in range(24)]
    signals["carbon_kg_per_kwh"] = 0.4
    signals.to_csv(tmp_path / "signals.csv", index=False)
    words = [
        "forecasts",
        "propose",
        str(tmp_path / "run.json"),
        "--signals",
        str(tmp_path / "signals.csv"),
        "--series",
        "F1",
    ]
    found = run(*words, "--limit-w", "1000", "--json")
    assert [each["policy"] for each in found["proposals"]] == ["renewable", "cost", "peak", "co2"]
    cost = found["proposals"][1]
    assert cost["figures"]["cost"] < cost["without"]["cost"]
    assert (cost["start_ms"] - made["start_ms"]) // 3_600_000 in range(5, 11)
    assert {each["chance_min"] for each in found["imbalances"]} <= {0.1, 0.5, 0.9}
    assert "policy" in run(*words, "--policy", "peak").stdout
    result = CliRunner().invoke(app, [*words[:-2]])
    assert "--series" in str(result.exception)
