"""Fleets with other habits than those the models were measured on: bands cover what they say, and skill stays."""

from datetime import date, timedelta

import numpy as np
import pytest

from forecasting.calendar import DayType, SiteCalendar
from forecasting.evaluation.rolling import BAND, day_ahead, rolling
from forecasting.panels.holidays import national_weekend
from forecasting.panels.localdays import LocalDays
from forecasting.panels.panel import Panel
from forecasting.panels.weather import Weather
from forecasting.serving.catalogue import NAIVE, model
from tests.forecasting.synthetic import some_homes

CAIRO = SiteCalendar("Africa/Cairo", weekend=frozenset({4, 5}))
FIRST = date(2026, 3, 2)
DAYS = 84
TESTED = 14


def of_zone(calendar, interval_s=3600, count=8):
    return some_homes(count, DAYS, calendar, first=FIRST, interval_s=interval_s, seed=21), calendar


def empty_for_weeks():
    """Two of eight homes stand empty for three weeks and are lived in again before the test."""
    panel, calendar = of_zone(SiteCalendar("Europe/Madrid"))
    values = panel.values.copy()
    values[:2, 30 * 24 : 51 * 24] = 3.0
    return Panel(panel.ids, panel.start_ms, 3600, values), calendar


def with_roofs():
    """Net energy: a roof that gives four times what the home takes at noon, under clouds that last a day."""
    panel, calendar = of_zone(SiteCalendar("Australia/Sydney"))
    grid = LocalDays(calendar, panel.start_ms, 3600, panel.values.shape[1])
    sun = np.maximum(np.sin((grid.slot_of - 6) / 12 * np.pi), 0)
    clouds = np.random.default_rng(5).beta(4, 1.5, grid.days)[grid.day_of]
    return Panel(panel.ids, panel.start_ms, 3600, (panel.values - 2500 * sun * clouds).astype(np.float32)), calendar


def heated_by_electricity():
    """A cold spring in Oslo, with the temperatures."""
    panel, calendar = of_zone(SiteCalendar("Europe/Oslo"))
    random = np.random.default_rng(6)
    hours = panel.values.shape[1]
    daily = np.convolve(random.normal(0, 4, hours // 24 + 12), np.ones(5) / 2.5, "valid")
    cold = 4 + np.repeat(daily, 24)[:hours] + 4 * np.sin((np.arange(hours) - 9) / 24 * 2 * np.pi)
    values = panel.values + random.uniform(60, 140, (len(panel.ids), 1)) * np.maximum(16 - cold, 0)
    weather = Weather("station", "forecast", panel.start_ms, 3600, {"temp_c": cold})
    return Panel(panel.ids, panel.start_ms, 3600, values.astype(np.float32)), calendar, weather


FLEETS = {
    "Friday and Saturday are the weekend": lambda: of_zone(CAIRO),
    "45 minutes off": lambda: of_zone(SiteCalendar("Asia/Kathmandu"), 900, 3),
    "30 minutes off, hours that straddle midnight": lambda: of_zone(SiteCalendar("Australia/Adelaide")),
    "half hours of Britain": lambda: of_zone(SiteCalendar("Europe/London"), 1800, 5),
    "five minutes": lambda: of_zone(SiteCalendar("America/Sao_Paulo"), 300, 1),
    "empty for weeks": empty_for_weeks,
    "roofs that feed in": with_roofs,
    "heated by electricity": heated_by_electricity,
}


@pytest.mark.parametrize("fleet", FLEETS)
def test_bands_and_skill_hold_for_homes_and_their_sum(fleet):
    panel, calendar, *weather = FLEETS[fleet]()
    tested = TESTED if panel.interval_s >= 900 else 5
    days = [FIRST + timedelta(days=DAYS - TESTED + each) for each in range(tested)]
    issues = day_ahead(calendar, days, panel.interval_s)
    both = [("blend", panel), ("ridge", panel.summed({"vn": panel.ids}))]
    for name, each in both[: len(panel.ids)]:
        options = {"weather": weather[0]} if weather else {}
        made = rolling(model(name), each, calendar, issues, levels=BAND, **options).skill()
        naive = rolling(model(NAIVE), each, calendar, issues, levels=()).skill()
        assert made.nrmse < 0.85 * naive.nrmse
        wide = 0.05 if name == "blend" else 0.09  # a sum is one series of two weeks: its share strays by itself
        assert 0.8 - wide <= made.coverage <= 0.8 + wide, name


def test_a_weekend_is_what_the_calendar_says_and_knowing_it_pays():
    assert CAIRO.day_type(date(2026, 3, 6)) is DayType.WEEKEND
    assert CAIRO.day_type(date(2026, 3, 8)) is DayType.WORKING
    assert national_weekend("EG") == {4, 5}
    assert national_weekend("DE") == {5, 6}
    with pytest.raises(ValueError, match="weekend"):
        SiteCalendar("Africa/Cairo", weekend=frozenset(range(7)))
    panel, calendar = of_zone(CAIRO)
    days = [FIRST + timedelta(days=DAYS - TESTED + each) for each in range(TESTED)]
    issues = day_ahead(calendar, days, 3600)

    def error(known):
        return rolling(model("similar-days"), panel, known, issues, levels=()).skill().nrmse

    assert error(CAIRO) < 0.97 * error(SiteCalendar("Africa/Cairo"))
