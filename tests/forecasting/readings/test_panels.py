from datetime import date

import numpy as np
import pytest

from forecasting.calendar import SiteCalendar, day_intervals
from forecasting.errors import SeriesError
from forecasting.panels.localdays import LocalDays
from forecasting.panels.panel import Panel
from forecasting.panels.weather import Weather
from forecasting.series import IntervalSeries

HOUR_MS = 3_600_000


def a_panel(values, start_ms=0, interval_s=3600):
    rows = np.array(values, dtype=np.float32)
    return Panel(tuple(f"h{row}" for row in range(len(rows))), start_ms, interval_s, rows)


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("Europe/Berlin", date(2026, 3, 29)),
        ("Europe/Berlin", date(2026, 10, 25)),
        ("Australia/Sydney", date(2026, 4, 5)),
        ("Australia/Lord_Howe", date(2026, 10, 4)),
        ("America/Sao_Paulo", date(2018, 11, 4)),
        ("Asia/Kolkata", date(2026, 6, 1)),
    ],
)
@pytest.mark.parametrize("interval_s", [900, 1800, 3600])
def test_arrays_follow_the_same_wall_clock_as_single_days(zone, day, interval_s):
    """Lord Howe moves its clock by half an hour, Sao Paulo moved it at midnight."""
    calendar = SiteCalendar(zone)
    first_ms = calendar.start_ms(date.fromordinal(day.toordinal() - 1)) // HOUR_MS * HOUR_MS
    grid = LocalDays(calendar, first_ms, interval_s, 4 * 86_400 // interval_s)
    number = day.toordinal() - grid.first_day.toordinal()
    here = [
        (first_ms + position * interval_s * 1000, int(grid.slot_of[position]))
        for position in np.flatnonzero(grid.day_of == number)
    ]
    assert here == list(day_intervals(zone, interval_s, day))


def test_a_doubled_hour_is_one_label_with_the_mean_and_both_hours_get_its_forecast():
    calendar = SiteCalendar("Europe/Berlin")
    grid = LocalDays(calendar, calendar.start_ms(date(2026, 10, 25)), 3600, 25)
    cube = grid.cube(np.arange(25, dtype=np.float32)[None])
    assert cube[0, 0, 2] == 2.5
    assert grid.spread(cube, 2, 2).tolist() == [[2.5, 2.5]]


def test_a_label_that_does_not_exist_has_no_value():
    calendar = SiteCalendar("Europe/Berlin")
    grid = LocalDays(calendar, calendar.start_ms(date(2026, 3, 29)), 3600, 23)
    assert np.flatnonzero(np.isnan(grid.cube(np.ones((1, 23)))[0, 0])).tolist() == [2]


def test_panels_join_with_a_gap_between_and_refuse_what_both_know():
    joined = a_panel([[1, 2]]).joined(a_panel([[5]], start_ms=3 * HOUR_MS))
    assert joined.values[0, [0, 1, 3]].tolist() == [1, 2, 5]
    assert np.isnan(joined.values[0, 2])
    with pytest.raises(SeriesError, match="have one already"):
        a_panel([[1, 2]]).joined(a_panel([[5]], start_ms=HOUR_MS))


def test_late_readings_fill_the_gap_they_belong_to():
    joined = a_panel([[1, np.nan, 3]]).joined(a_panel([[2]], start_ms=HOUR_MS))
    assert joined.values.tolist() == [[1, 2, 3]]


def test_a_panel_of_series_gives_the_series_back():
    series = {"a": IntervalSeries(3600, {0: 1.0, 2 * HOUR_MS: 3.0}), "b": IntervalSeries(3600, {HOUR_MS: 2.0})}
    panel = Panel.of(series)
    assert panel.row("a") == series["a"]
    assert panel.row("b") == series["b"]
    with pytest.raises(SeriesError, match="intervals of"):
        Panel.of({**series, "c": IntervalSeries(900, {0: 1.0})})


def test_a_group_is_scaled_for_who_is_missing_and_unknown_when_too_many_are():
    """Of three equal homes one is silent in the second hour (two thirds are enough here) and two in the third."""
    panel = a_panel([[6, 6, 6], [6, 6, np.nan], [6, np.nan, np.nan]])
    summed = panel.summed({"vn": ["h0", "h1", "h2"]}, present_min=0.6)
    assert summed.values[0, :2].tolist() == pytest.approx([18, 18])
    assert np.isnan(summed.values[0, 2])
    with pytest.raises(SeriesError, match="nobody"):
        panel.summed({"vn": ["nobody"]})


def test_longer_intervals_need_every_part():
    assert np.array_equal(
        a_panel([[1, 2, 3, np.nan]], interval_s=900).resampled(1800).values, [[3, np.nan]], equal_nan=True
    )
    with pytest.raises(SeriesError, match="cannot be split"):
        a_panel([[1]]).resampled(900)


def test_weather_of_half_hours_is_averaged_for_hours_and_held_for_quarters():
    weather = Weather("file", "forecast", 0, 1800, {"temp_c": np.array([10.0, 20.0, 30.0])})
    assert weather.on_grid("temp_c", 0, 3600, 1).tolist() == [15.0]
    assert weather.on_grid("temp_c", 1800_000, 900, 2).tolist() == [20.0, 20.0]
    assert np.isnan(weather.on_grid("temp_c", 0, 3600, 3)[1:]).all()
    assert weather.on_grid("ghi_wm2", 0, 3600, 1) is None
    with pytest.raises(SeriesError, match="moon"):
        Weather("file", "forecast", 0, 1800, {"moon": np.zeros(1)})
