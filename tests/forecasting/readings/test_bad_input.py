"""Readings as they should not be, from a file to a forecast: it is made with the reason said, or that home is refused.

Each fault is put into one home of three; the two others must be forecast as if nothing had happened.
"""

import json
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from forecasting.calendar import SiteCalendar
from tests.forecasting.synthetic import some_homes
from vtn.cli import app

BERLIN = SiteCalendar("Europe/Berlin")
PANEL = some_homes(3, 45, BERLIN, first=date(2026, 1, 5))
IDS = PANEL.ids
STAMPS = pd.to_datetime(PANEL.starts_ms, unit="ms", utc=True)
HOUR = timedelta(hours=1)
DAY = 24
RANDOM = np.random.default_rng(17)


def series(row=1):
    """One home in kWh by stamp."""
    return pd.Series(PANEL.values[row].astype(float) / 1000, index=STAMPS)


def file_of(tmp_path, bad):
    """A long table of the three homes, of which the second is `bad`: (stamp, value) pairs in order of arrival."""
    parts = []
    for row, home in enumerate(IDS):
        given = bad if row == 1 else list(series(row).items())
        parts.append(pd.DataFrame({"home_id": home, "ts": [str(at) for at, _ in given],
                                   "value": [value for _, value in given]}))  # fmt: skip
    pd.concat(parts).to_csv(tmp_path / "load.csv", index=False)
    return tmp_path / "load.csv"


def forecast(path, *words, code=0):
    """The forecast of a file, and what was told on stderr."""
    command = ["forecast", "--input", str(path), "--zone", BERLIN.zone, "--scope", "homes", "--model", "blend"]
    result = CliRunner().invoke(app, [*command, "--json", *words])
    assert code == (result.exception.exit_code if result.exception else 0), (result.output, result.exception)
    return (json.loads(result.stdout) if code == 0 else str(result.exception)), result.stderr


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return forecast(file_of(tmp_path_factory.mktemp("good"), list(series().items())))[0]


def without(positions):
    kept = series()
    return list(kept.drop(kept.index[positions]).items())


def changed(positions, change):
    values = series()
    values.iloc[positions] = change(values.iloc[positions])
    return list(values.items())


LAST = len(PANEL.starts_ms)
END = STAMPS[-1] + HOUR
MENDED = {
    "random gaps": (without(RANDOM.choice(LAST - 1, 200, replace=False)), ""),
    "days missing": (without(np.r_[20 * DAY : 24 * DAY]), ""),
    "the last two days missing": (without(np.r_[LAST - 48 : LAST]), ""),
    "readings twice": ([*series().items(), *list(series().items())[:50]], "given twice"),
    "contradictions": ([*series().items(), *((at, value + 1) for at, value in list(series().items())[:50])],
                       "given twice with different values"),
    "unsorted": (list(series().sample(frac=1, random_state=1).items()), "out of order"),
    "a clock that went back": ([(at - HOUR if at > STAMPS[500] else at, value) for at, value in series().items()],
                               "given twice with different values"),
    "a clock that went on": ([(at + HOUR if at > STAMPS[500] else at, value) for at, value in series().items()
                              if at < STAMPS[-1]], ""),
    "a few stamps off the grid": ([(at + timedelta(minutes=20) if at == STAMPS[7] else at, value)
                                   for at, value in series().items()], "off the grid"),
    "Wh among kWh for days": (changed(slice(10 * DAY, 13 * DAY), lambda values: values * 1000), "unit changed"),
    "a change of unit midway": (changed(slice(0, 20 * DAY), lambda values: values * 1000), "unit changed"),
    "no numbers": (changed(slice(5, 9), lambda _: np.inf), "no number"),
    "text here and there": ([(at, "meter failed" if at == STAMPS[30] else value) for at, value in series().items()],
                            "no number"),
    "a huge value": (changed(slice(40, 41), lambda _: 1e30), "spike"),
    "a register": (list((series().cumsum() + 52_000).items()), "a register"),
    "a frozen meter": (changed(slice(100, 200), lambda _: 0.777), "frozen"),
    "few negative": (changed(slice(3, 5), lambda values: -values), "negative"),
    "local time with its offset": ([(at.tz_convert("Asia/Kathmandu"), value) for at, value in series().items()], ""),
}  # fmt: skip


@pytest.mark.parametrize("fault", MENDED)
def test_what_can_be_mended_is_forecast_and_said(tmp_path, undisturbed, fault):
    bad, told = MENDED[fault]
    made, stderr = forecast(file_of(tmp_path, bad))
    assert made["series"] == list(IDS)
    assert f" {told}" in stderr if told else " left out" not in stderr
    for row in (0, 2):
        assert made["values"][row] == pytest.approx(undisturbed["values"][row], rel=0.02, abs=5)
    assert sum(made["values"][1]) == pytest.approx(sum(undisturbed["values"][1]), rel=0.35)


REFUSED = {
    "Wh said to be kWh": (changed(slice(None), lambda values: values * 1000), "a thousand times larger"),
    "MWh said to be kWh": (changed(slice(None), lambda values: values / 1000), "a thousand times smaller"),
    "huge values": (changed(slice(None), lambda values: values * 1e30), "more than any site uses"),
    "a turned sign": (changed(slice(None), lambda values: -values), "if the sign is turned, turn it"),
    "stamps of half hours": ([(at + HOUR / 2, value) for at, value in series().items()], "1800 s off the grid"),
    "a third of the day off the grid": ([(at + HOUR / 3 if at.hour < 8 else at, value)
                                         for at, value in series().items()], "off the grid"),
    "text": ([(at, "on") for at, _ in series().items()], "'on', which is no number"),
    "nothing": ([(at, None) for at, _ in series().items()], "no usable reading"),
    "every third hour": ([*series().iloc[::3].items()], "10800 s apart"),
}  # fmt: skip


@pytest.mark.parametrize("fault", REFUSED)
def test_what_cannot_be_mended_is_refused_for_that_home_alone(tmp_path, undisturbed, fault):
    bad, reason = REFUSED[fault]
    made, stderr = forecast(file_of(tmp_path, bad))
    assert made["series"] == [IDS[0], IDS[2]]
    assert f"{IDS[1]} left out: " in stderr
    assert reason in stderr
    assert made["values"] == [pytest.approx(undisturbed["values"][row], rel=0.001) for row in (0, 2)]


HONEST = {
    "always the same": (changed(slice(None), lambda _: 0.25), "constant", 250.0 * 24),
    "always zero": (changed(slice(None), lambda _: 0.0), "constant", 0.0),
    "one day": (list(series().items())[-DAY:], "", None),
    "one reading": (list(series().items())[-1:], "", None),
    "a home that begins late": (list(series().items())[-5 * DAY :], "", None),
    "an empty holiday home": (
        [(at, 0.0005 if at < END - timedelta(days=3) else value) for at, value in series().items()], "", None),
}  # fmt: skip


@pytest.mark.parametrize("case", HONEST)
def test_what_is_odd_but_true_is_forecast_as_it_is(tmp_path, case):
    given, told, energy = HONEST[case]
    made, stderr = forecast(file_of(tmp_path, given))
    assert made["series"] == list(IDS)
    assert told in stderr
    assert np.isfinite(made["values"][1]).all()
    if energy is not None:
        assert sum(made["values"][1]) == pytest.approx(energy, abs=1)
    if case in ("one day", "one reading", "a home that begins late"):
        assert "days of history" in made["reasons"][IDS[1]][0]


def test_a_home_that_ended_is_refused_and_said_so(tmp_path):
    made, _ = forecast(file_of(tmp_path, list(series().items())[: 10 * DAY]))
    assert "no reading for 35 days" in made["refused"][IDS[1]]
    assert IDS[1] not in made["series"] or np.isnan(np.array(made["values"][1], dtype=float)).all()


def test_an_export_of_a_roof_is_no_fault_if_net_energy_is_said(tmp_path):
    noon = changed(slice(None), lambda values: values - 2.0 * (values.index.hour == 11))
    made, _ = forecast(file_of(tmp_path, noon), "--kind", "net")
    hours = [at.hour for at in pd.to_datetime(made["start_ms"] + 3_600_000 * np.arange(24), unit="ms")]
    assert made["values"][1][hours.index(11)] < -500
    assert min(made["values"][0]) > 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no table"),
        ("ts,home-1\n", "one stamp alone"),
        ("ts,home-1\n2026-01-01T00:00Z,1\n", "one stamp alone"),
        ("ts,home-1\nnow,1\nthen,2\n", "write them like"),
        ("ts,home-1\n2026-01-01T00:00Z,1\n2026-01-01T01:00,2\n", "some have none"),
        ("ts,home-1\n2026-01-01T00:00,1\n2026-01-01T01:00,2\n", "--naive-zone"),
        ("a,b\n1,2\n", "no column ts"),
    ],
)
def test_a_file_nothing_can_be_made_of_is_refused_in_a_sentence(tmp_path, text, reason):
    (tmp_path / "load.csv").write_text(text)
    assert reason in forecast(tmp_path / "load.csv", code=1)[0]


@pytest.mark.parametrize("labels", ["23 and 25", "always 24"])
def test_local_days_are_read_whether_they_change_their_length_or_not(tmp_path, labels):
    """Berlin over both changes of the clock, without offsets."""
    panel = some_homes(1, 240, BERLIN, first=date(2026, 3, 9))
    stamps = pd.to_datetime(panel.starts_ms, unit="ms", utc=True).tz_convert(BERLIN.zone).tz_localize(None)
    local = pd.Series(panel.values[0] / 1000, index=stamps)
    if labels == "always 24":
        local = local[~local.index.duplicated()].asfreq("h").ffill()
    pd.DataFrame({"ts": local.index.astype(str), "home": local.to_numpy()}).to_csv(tmp_path / "load.csv", index=False)
    made, stderr = forecast(tmp_path / "load.csv", "--naive-zone", BERLIN.zone)
    assert made["start_ms"] == BERLIN.start_ms(date(2026, 11, 4))
    assert ("1 readings no time" in stderr) == (labels == "always 24")
    utc = pd.DataFrame({"ts": [str(at) for at in pd.to_datetime(panel.starts_ms, unit="ms", utc=True)],
                        "home": panel.values[0] / 1000})  # fmt: skip
    utc.to_csv(tmp_path / "utc.csv", index=False)
    assert made["values"][0] == pytest.approx(forecast(tmp_path / "utc.csv")[0]["values"][0], rel=0.01)


@pytest.mark.parametrize("way", ["a column that says so", "an option"])
def test_stamps_of_the_end_of_intervals_give_the_same_forecast(tmp_path, undisturbed, way):
    frame = pd.DataFrame({home: PANEL.values[row] / 1000 for row, home in enumerate(IDS)})
    name = "interval_end" if way == "a column that says so" else "ts"
    frame.insert(0, name, [str(at + HOUR) for at in STAMPS])
    frame.to_csv(tmp_path / "load.csv", index=False)
    made, _ = forecast(tmp_path / "load.csv", *(() if name == "interval_end" else ("--stamped", "end")))
    assert made["values"] == [pytest.approx(each, rel=1e-3, abs=1) for each in undisturbed["values"]]
    assert "it is start or end" in forecast(tmp_path / "load.csv", "--stamped", "middle", code=2)[0]


def test_ten_years_of_readings_are_looked_at_as_far_as_they_say_something(tmp_path):
    hours = pd.date_range("2016-01-04", periods=24 * 3650, freq="h", tz="UTC")
    values = 0.4 + 0.3 * np.sin(hours.hour / 24 * 2 * np.pi) + 0.05 * RANDOM.standard_normal(len(hours))
    pd.DataFrame({"ts": hours, "home": values}).to_parquet(tmp_path / "load.parquet", index=False)
    made, _ = forecast(tmp_path / "load.parquet")
    assert sum(made["values"][0]) == pytest.approx(24 * 400, rel=0.1)


def test_the_commonest_step_of_a_file_is_its_interval(tmp_path):
    panel = some_homes(2, 30, BERLIN, interval_s=1800)
    frame = pd.DataFrame({home: panel.values[row] / 1000 for row, home in enumerate(panel.ids)})
    frame.insert(0, "ts", [datetime.fromtimestamp(at / 1000, UTC).isoformat() for at in panel.starts_ms])
    frame.to_csv(tmp_path / "load.csv", index=False)
    made, _ = forecast(tmp_path / "load.csv")
    assert (made["interval_s"], len(made["values"][0])) == (1800, 48)
