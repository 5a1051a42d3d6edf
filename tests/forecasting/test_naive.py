"""Seasonal naive forecasts: the mean of like days, and what happens when there are none."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from forecasting.calendar import SiteCalendar, day_intervals
from forecasting.errors import NoHistory, SeriesError
from forecasting.naive import SeasonalNaive
from forecasting.series import IntervalSeries

CALENDAR = SiteCalendar("America/Los_Angeles", frozenset({date(2016, 9, 5)}))
HOUR_MS = 3_600_000
WEDNESDAY = date(2016, 8, 31)


def hours(values: dict[date, float], skip_slots: frozenset[int] = frozenset()) -> IntervalSeries:
    """Hourly series: on each day slot s holds value + s."""
    return IntervalSeries.of(
        [
            (start_ms, value + slot)
            for day, value in values.items()
            for start_ms, slot in day_intervals(CALENDAR.zone, 3600, day)
            if slot not in skip_slots
        ],
        3600,
    )


def test_the_forecast_is_the_mean_of_the_last_n_like_days_hour_by_hour() -> None:
    """Two working days asked for. Before Wed 31 Aug: Tue 30 = 100, Mon 29 = 200, the weekend does not count, Fri 26 =
    900 is too old. (100 + 200) / 2 = 150; slot s adds s: 150, 151, ..."""
    history = hours(
        {
            date(2016, 8, 26): 900,
            date(2016, 8, 27): 5000,
            date(2016, 8, 28): 6000,
            date(2016, 8, 29): 200,
            date(2016, 8, 30): 100,
        }
    )
    start_ms = CALENDAR.start_ms(WEDNESDAY)
    forecast = SeasonalNaive(working_days=2).fit(history, CALENDAR).forecast(start_ms, 24, start_ms)
    assert forecast.values == tuple(150.0 + slot for slot in range(24))
    assert set(forecast.basis) == {"like_days"}
    assert forecast.reasons == ()
    assert (forecast.issued_at_ms, forecast.known_until_ms) == (start_ms, start_ms)
    assert forecast.energy_wh(start_ms, start_ms + 2 * HOUR_MS) == 301.0


def test_nothing_that_ended_after_the_issue_is_used() -> None:
    start_ms = CALENDAR.start_ms(WEDNESDAY)
    past = hours({date(2016, 8, 29): 200, date(2016, 8, 30): 100})
    future = hours({WEDNESDAY: 10**6, date(2016, 9, 1): 10**6})
    model = SeasonalNaive(working_days=2)
    issued_at_ms = start_ms - 90 * 60_000
    alone = model.fit(past, CALENDAR).forecast(start_ms, 24, issued_at_ms)
    assert model.fit(past.joined(future), CALENDAR).forecast(start_ms, 24, issued_at_ms) == alone
    assert alone.known_until_ms == start_ms - 2 * HOUR_MS  # the hour from 22:00 to 23:00 had not ended at 22:30
    assert alone.basis[22:] == ("fewer_like_days", "fewer_like_days")


def test_one_day_of_history_is_enough_and_says_so() -> None:
    start_ms = CALENDAR.start_ms(WEDNESDAY)
    forecast = SeasonalNaive().fit(hours({date(2016, 8, 30): 100}), CALENDAR).forecast(start_ms, 24, start_ms)
    assert forecast.values[3] == 103
    assert set(forecast.basis) == {"fewer_like_days"}
    assert forecast.reasons[0].startswith("24 of 24 intervals: like days in the look-back hold fewer")


def test_a_weekend_forecast_from_a_weekday_alone_falls_back_to_the_other_kind() -> None:
    saturday = date(2016, 8, 27)
    start_ms = CALENDAR.start_ms(saturday)
    forecast = SeasonalNaive().fit(hours({date(2016, 8, 26): 100}), CALENDAR).forecast(start_ms, 24, start_ms)
    assert forecast.values[5] == 105
    assert set(forecast.basis) == {"other_days"}


def test_a_time_of_day_never_seen_gets_the_overall_mean() -> None:
    """Slots 0..11 known with 100 + s: their mean is 105.5, given to slots 12..23."""
    history = hours({date(2016, 8, 30): 100}, skip_slots=frozenset(range(12, 24)))
    start_ms = CALENDAR.start_ms(WEDNESDAY)
    forecast = SeasonalNaive().fit(history, CALENDAR).forecast(start_ms, 24, start_ms)
    assert forecast.values[11:13] == (111.0, 105.5)
    assert forecast.basis[11:13] == ("fewer_like_days", "overall_mean")
    assert any(reason.startswith("12 of 24") and "mean of all readings" in reason for reason in forecast.reasons)


def test_a_gap_is_filled_from_the_next_older_like_day() -> None:
    """One day asked for; Tue 30 lacks slot 4, so slot 4 comes from Mon 29: 200 + 4."""
    history = hours({date(2016, 8, 29): 200}).joined(hours({date(2016, 8, 30): 100}, skip_slots=frozenset({4})))
    start_ms = CALENDAR.start_ms(WEDNESDAY)
    forecast = SeasonalNaive(working_days=1).fit(history, CALENDAR).forecast(start_ms, 24, start_ms)
    assert forecast.values[3:6] == (103.0, 204.0, 105.0)
    assert set(forecast.basis) == {"like_days"}


def test_excluded_days_are_not_learnt_from() -> None:
    history = hours({date(2016, 8, 29): 200, date(2016, 8, 30): 100})
    start_ms = CALENDAR.start_ms(WEDNESDAY)
    fitted = SeasonalNaive(working_days=1).fit(history, CALENDAR, excluded={date(2016, 8, 30)})
    assert fitted.forecast(start_ms, 1, start_ms).values == (200.0,)


def test_negative_net_energy_and_a_constant_series_are_ordinary() -> None:
    days = [WEDNESDAY - timedelta(days=before) for before in range(1, 20)]
    start_ms = CALENDAR.start_ms(WEDNESDAY)
    flat = IntervalSeries.of([(s, -42.0) for d in days for s, _ in day_intervals(CALENDAR.zone, 3600, d)], 3600)
    assert set(SeasonalNaive().fit(flat, CALENDAR).forecast(start_ms, 24, start_ms).values) == {-42.0}


@pytest.mark.parametrize("day", [date(2017, 3, 12), date(2017, 3, 13), date(2016, 11, 6), date(2016, 11, 7)])
def test_days_around_a_change_of_the_clock_are_forecast_by_wall_clock(day: date) -> None:
    """Slot s holds 100 + s on every day before, so a forecast by wall clock gives 100 + s for each hour's own label."""
    history = hours({day - timedelta(days=before): 100 for before in range(1, 46)})
    pairs = day_intervals(CALENDAR.zone, 3600, day)
    forecast = SeasonalNaive().fit(history, CALENDAR).forecast(pairs[0][0], len(pairs), pairs[0][0])
    assert forecast.values == tuple(100.0 + slot for _, slot in pairs)


def test_an_update_is_the_same_as_having_had_everything_and_leaves_the_first_model_alone() -> None:
    first, second = hours({date(2016, 8, 29): 200}), hours({date(2016, 8, 30): 100})
    start_ms = CALENDAR.start_ms(WEDNESDAY)
    early = SeasonalNaive().fit(first, CALENDAR)
    before = early.forecast(start_ms, 24, start_ms)
    assert early.update(second) == SeasonalNaive().fit(first.joined(second), CALENDAR)
    assert early.forecast(start_ms, 24, start_ms) == before


def test_no_history_at_the_issue_is_an_error_that_says_so() -> None:
    start_ms = CALENDAR.start_ms(date(2016, 8, 29))
    with pytest.raises(NoHistory, match="no reading had ended"):
        SeasonalNaive().fit(hours({WEDNESDAY: 1}), CALENDAR).forecast(start_ms, 24, start_ms)


@pytest.mark.parametrize(("start_off_ms", "count", "issue_off_ms"), [(1, 1, 0), (0, 0, 0), (0, 1, 1)])
def test_a_forecast_off_the_grid_of_nothing_or_of_the_past_is_refused(
    start_off_ms: int, count: int, issue_off_ms: int
) -> None:
    start_ms = CALENDAR.start_ms(WEDNESDAY)
    fitted = SeasonalNaive().fit(hours({date(2016, 8, 30): 100}), CALENDAR)
    with pytest.raises(ValueError, match="cannot forecast"):
        fitted.forecast(start_ms + start_off_ms, count, start_ms + issue_off_ms)


@pytest.mark.parametrize(
    ("readings", "message"),
    [
        ([(0, 1.0), (0, 1.0)], "two readings"),
        ([(1, 1.0)], "grid"),
        ([(0, float("nan"))], "leave a missing reading out"),
    ],
)
def test_readings_that_contradict_themselves_are_refused(readings: list[tuple[int, float]], message: str) -> None:
    with pytest.raises(SeriesError, match=message):
        IntervalSeries.of(readings, 3600)


def test_series_that_overlap_or_differ_in_interval_do_not_join() -> None:
    one = IntervalSeries.of([(0, 1.0)], 3600)
    with pytest.raises(SeriesError, match="two readings"):
        one.joined(one)
    with pytest.raises(SeriesError, match="cannot join"):
        one.joined(IntervalSeries.of([(900_000, 1.0)], 900))
