"""Every model of the catalogue knows what had ended at its issue; grown by an update it says what a fit says."""

from datetime import date, timedelta

import numpy as np
import pytest

from forecasting.errors import MissingLibrary
from forecasting.models.boosted import Boosted
from forecasting.models.recurrent import Recurrent
from forecasting.panels.panel import Panel
from forecasting.panels.weather import Weather
from forecasting.serving.catalogue import CATALOGUE, model
from forecasting.serving.daily import Daily
from forecasting.solar.clearsky import Place, clear_sky
from forecasting.solar.generation import ClearSkyScaled
from tests.forecasting.synthetic import LOS_ANGELES, some_homes

HOUR_MS = 3_600_000
HOMES = some_homes(3, 60)
NODE = HOMES.summed({"vn": HOMES.ids})
DAY = date(2026, 2, 24)
START_MS = LOS_ANGELES.start_ms(DAY)
ROOF = Place(34.09, -117.43)
SKY = clear_sky(ROOF, HOMES.start_ms, 3600, HOMES.values.shape[1])
PV = Panel(
    ("pv",), HOMES.start_ms, 3600, (4 * SKY * (HOMES.values[0] / HOMES.values[0].max())).astype(np.float32)[None]
)
SMALL = {"lightgbm": lambda: Daily(Boosted(trees=20, threads=1)), "lstm": lambda: Daily(Recurrent(hidden=8, epochs=2)),
         "pv": lambda: Daily(ClearSkyScaled(ROOF))}  # fmt: skip
"""Models that would take seconds, made smaller."""
SLOW = ("prophet", "lightgbm", "lstm")

pytestmark = pytest.mark.filterwarnings("ignore")
each_model = pytest.mark.parametrize("name", [*CATALOGUE, "pv"])


def a_model(name):
    try:
        return SMALL[name]() if name in SMALL else model(name)
    except MissingLibrary as missing:
        pytest.skip(str(missing))


def readings(name):
    return PV if name == "pv" else NODE if name == "prophet" else HOMES


def bands_of(name):
    """Bands take further trainings, made the same way for every model."""
    return () if name in SLOW else (0.1, 0.9)


def weather_of(kind, values, end_ms=HOMES.end_ms, issued_at_ms=None):
    quantities = {"temp_c": values, "ghi_wm2": np.maximum(values, 0) * 20}
    kept = {name: np.where(HOMES.starts_ms < end_ms, each, np.nan) for name, each in quantities.items()}
    return Weather("station", kind, HOMES.start_ms, 3600, kept, issued_at_ms)


def temperatures(seed=2):
    random = np.random.default_rng(seed)
    daily = np.repeat(18 + 9 * random.standard_normal(61), 24)[: HOMES.values.shape[1]]
    return daily + 6 * np.sin((np.arange(len(daily)) - 9) / 24 * 2 * np.pi)


@each_model
def test_neither_readings_nor_weather_of_after_the_issue_change_a_forecast(name):
    """Everything after the issue is turned to nonsense; issued in the evening before, with part of the day known."""
    issued_ms = START_MS - 5 * HOUR_MS
    panel = readings(name)
    known = panel.starts_ms + HOUR_MS <= issued_ms
    nonsense = Panel(panel.ids, panel.start_ms, 3600, np.where(known, panel.values, 7e4).astype(np.float32))
    weather = weather_of("observed", temperatures(), end_ms=issued_ms)
    made = [
        a_model(name).fit(each, LOS_ANGELES, (), weather).forecast(START_MS, 24, issued_ms, bands_of(name))
        for each in (panel, nonsense)
    ]
    assert np.array_equal(made[0].values, made[1].values)
    assert all(np.array_equal(rows, made[1].quantiles[level]) for level, rows in made[0].quantiles.items())
    assert made[0].known_until_ms <= issued_ms
    assert made[0].weather == "station"


@each_model
def test_grown_by_an_update_it_says_what_a_fit_on_all_says(name):
    panel = readings(name)
    until_ms = START_MS - 24 * HOUR_MS
    grown = a_model(name).fit(panel.ended_by(until_ms), LOS_ANGELES)
    grown.forecast(until_ms, 24, until_ms)
    grown = grown.update(panel.between(until_ms, panel.end_ms))
    whole = a_model(name).fit(panel, LOS_ANGELES)
    first, again = (each.forecast(START_MS, 24, START_MS, bands_of(name)) for each in (grown, whole))
    assert np.array_equal(first.values, again.values)
    assert all(np.array_equal(rows, again.quantiles[level]) for level, rows in first.quantiles.items())
    assert (first.reasons, first.basis) == (again.reasons, again.basis)


def test_weather_that_knew_what_came_is_named_in_the_forecast():
    def told(weather):
        return model("ridge").fit(HOMES, LOS_ANGELES, (), weather).forecast(START_MS, 24, START_MS).weather

    values = temperatures()
    assert told(weather_of("observed", values)) == "station, observed"
    assert told(weather_of("observed", values, end_ms=START_MS)) == "station"
    assert told(weather_of("forecast", values, issued_at_ms=START_MS)) == "station"
    assert told(weather_of("forecast", values, issued_at_ms=START_MS + 1)) == "station, issued later than the forecast"
    assert told(None) == ""


def test_weather_to_come_changes_what_follows_it():
    """The test above could pass because weather is used by nobody."""
    for name in ("ridge", "prophet", "pv", "lightgbm"):
        panel, values = readings(name), temperatures()
        hot = np.where(HOMES.starts_ms < START_MS, values, values + 15)
        made = [
            a_model(name).fit(panel, LOS_ANGELES, (), weather_of("forecast", each, issued_at_ms=START_MS))
            .forecast(START_MS, 24, START_MS).values
            for each in (values, hot)
        ]  # fmt: skip
        assert not np.array_equal(*made), name


def test_a_series_silent_for_weeks_is_refused_and_one_silent_for_days_is_forecast_with_a_word():
    values = HOMES.values.copy()
    values[1, 20 * 24 :] = np.nan
    values[2, 40 * 24 :] = np.nan
    made = model("blend").fit(Panel(HOMES.ids, HOMES.start_ms, 3600, values), LOS_ANGELES)
    found = made.forecast(START_MS, 24, START_MS, (0.1, 0.9))
    assert found.refused.keys() == {"home-00001"}
    assert "no reading for 34 days before the issue" in found.refused["home-00001"]
    assert np.isnan(found.values[1]).all()
    assert np.isnan(found.quantiles[0.9][1]).all()
    assert "no reading for 14 days: the level may be old" in found.reasons["home-00002"]
    assert np.isfinite(found.values[[0, 2]]).all()


def test_all_series_silent_for_two_days_are_forecast_from_before_with_a_word():
    issued_ms = START_MS
    panel = HOMES.ended_by(issued_ms - 48 * HOUR_MS)
    found = model("blend").fit(panel, LOS_ANGELES).forecast(START_MS, 24, issued_ms)
    assert all("no reading for 2 days" in " ".join(texts) for texts in found.reasons.values())
    assert len(found.reasons) == len(HOMES.ids)
    truth = HOMES.between(START_MS, START_MS + timedelta(days=1) // timedelta(milliseconds=1)).values
    assert np.abs(found.values - truth).mean() < 0.6 * truth.mean()
