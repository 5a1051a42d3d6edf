"""Local days and wall-clock slots, on the days when clocks change as well."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.calendar import (
    DayType,
    SiteCalendar,
    day_intervals,
    day_matrix,
    day_slots,
    day_start_ms,
    slot_of,
)

LOS_ANGELES = "America/Los_Angeles"
ZONES = [
    LOS_ANGELES,
    "Europe/London",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "Pacific/Apia",
    "UTC",
]
SPRING = date(2017, 3, 12)
AUTUMN = date(2016, 11, 6)
QUARTER_MS = 900_000


def utc_ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


def test_an_ordinary_day_starts_at_local_midnight_and_has_96_quarters() -> None:
    """2016-08-31 in Los Angeles is UTC-7, so it starts at 07:00 UTC."""
    day = date(2016, 8, 31)
    assert day_start_ms(LOS_ANGELES, day) == utc_ms("2016-08-31T07:00")
    assert [slot for _, slot in day_intervals(LOS_ANGELES, 900, day)] == list(range(96))


def test_the_spring_day_has_92_quarters_and_no_label_from_two_to_three() -> None:
    slots = [slot for _, slot in day_intervals(LOS_ANGELES, 900, SPRING)]
    assert slots == [*range(8), *range(12, 96)]


def test_the_autumn_day_has_100_quarters_with_the_labels_from_one_to_two_twice() -> None:
    slots = [slot for _, slot in day_intervals(LOS_ANGELES, 900, AUTUMN)]
    assert slots == [*range(8), *range(4, 96)]


def test_missing_spring_labels_are_none_and_the_rest_keeps_its_label() -> None:
    """Hourly, reading k = 100 + k in the order of time: 03:00 local is the day's third hour, so slot 3 holds 102."""
    readings = {start: 100 + k for k, (start, _) in enumerate(day_intervals(LOS_ANGELES, 3600, SPRING))}
    slots = day_slots(readings, LOS_ANGELES, 3600, SPRING)
    assert slots[:4] == (100, 101, None, 102)
    assert slots[23] == 122


def test_the_doubled_autumn_label_is_the_floor_of_the_mean_of_both() -> None:
    """01:00 PDT = 7 Wh, 01:00 PST = 10 Wh: (7 + 10) // 2 = 8. Exports floor downwards: (-7 + -10) // 2 = -9."""
    first, second = utc_ms("2016-11-06T08:00"), utc_ms("2016-11-06T09:00")
    assert day_slots({first: 7, second: 10}, LOS_ANGELES, 3600, AUTUMN)[1] == 8
    assert day_slots({first: -7, second: -10}, LOS_ANGELES, 3600, AUTUMN)[1] == -9


def test_a_doubled_label_with_one_reading_missing_has_no_value() -> None:
    assert day_slots({utc_ms("2016-11-06T08:00"): 7}, LOS_ANGELES, 3600, AUTUMN)[1] is None


def test_a_gap_and_readings_of_other_days_or_off_the_grid_leave_none() -> None:
    day = date(2016, 8, 31)
    start_ms = day_start_ms(LOS_ANGELES, day)
    readings = {start_ms: 5, start_ms + QUARTER_MS + 1: 6, start_ms - QUARTER_MS: 7, start_ms + 96 * QUARTER_MS: 8}
    assert day_slots(readings, LOS_ANGELES, 900, day) == (5, *[None] * 95)


def test_half_hour_zones_keep_whole_labels_for_quarters_and_start_of_interval_labels_for_hours() -> None:
    """India is UTC+5:30: the UTC hours of a day there start at 00:30, 01:30, ... and carry the slots 0, 1, ..."""
    day = date(2017, 1, 10)
    assert [slot for _, slot in day_intervals("Asia/Kolkata", 900, day)] == list(range(96))
    hours = day_intervals("Asia/Kolkata", 3600, day)
    assert hours[0] == (utc_ms("2017-01-09T19:00"), 0)
    assert [slot for _, slot in hours] == list(range(24))


def test_where_midnight_does_not_exist_the_day_starts_at_the_change() -> None:
    """Sao Paulo, 2017-10-15: 00:00 -03 became 01:00 -02, that is 03:00 UTC."""
    assert day_start_ms("America/Sao_Paulo", date(2017, 10, 15)) == utc_ms("2017-10-15T03:00")
    assert day_intervals("America/Sao_Paulo", 3600, date(2017, 10, 15))[0] == (utc_ms("2017-10-15T03:00"), 1)


def test_a_day_that_a_country_skipped_is_empty() -> None:
    """Samoa went from 2011-12-29 to 2011-12-31."""
    assert day_intervals("Pacific/Apia", 900, date(2011, 12, 30)) == ()
    assert set(day_slots({}, "Pacific/Apia", 900, date(2011, 12, 30))) == {None}


@given(st.sampled_from(ZONES), st.dates(date(2000, 1, 1), date(2035, 12, 31)), st.sampled_from([300, 900, 1800, 3600]))
def test_days_tile_time_without_overlap_and_labels_agree_with_the_wall_clock(
    zone: str, day: date, interval_s: int
) -> None:
    pairs = day_intervals(zone, interval_s, day)
    following = day_intervals(zone, interval_s, day + timedelta(days=1))
    starts = [start for start, _ in (*pairs, *following)]
    assert all(later - earlier == interval_s * 1000 for earlier, later in pairwise(starts))
    for start_ms, slot in pairs:
        local = datetime.fromtimestamp(start_ms / 1000, ZoneInfo(zone))
        assert local.date() == day
        assert slot == slot_of(zone, interval_s, start_ms) == (local.hour * 60 + local.minute) * 60 // interval_s


@given(st.sampled_from(ZONES), st.dates(date(2012, 1, 1), date(2035, 12, 31)), st.integers(-(10**6), 10**6))
def test_a_constant_load_gives_the_same_constant_in_every_label_that_exists(zone: str, day: date, value: int) -> None:
    readings = dict.fromkeys([start for start, _ in day_intervals(zone, 900, day)], value)
    assert set(day_slots(readings, zone, 900, day)) <= {value, None}
    assert day_slots(readings, zone, 900, day).count(None) in (0, 2, 4)


def test_the_matrix_has_one_row_of_slots_a_day_in_the_order_asked() -> None:
    days = [date(2016, 8, 31), date(2016, 8, 30)]
    matrix = day_matrix({day_start_ms(LOS_ANGELES, days[1]): 3}, LOS_ANGELES, 900, days)
    assert list(matrix) == days
    assert matrix[days[1]][0] == 3
    assert {len(row) for row in matrix.values()} == {96}


@pytest.mark.parametrize("interval_s", [0, -900, 7, 100_000])
def test_an_interval_that_does_not_divide_a_day_is_refused(interval_s: int) -> None:
    with pytest.raises(ValueError, match="must divide a day"):
        day_slots({}, LOS_ANGELES, interval_s, SPRING)


def test_an_unknown_zone_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="Mars/Olympus"):
        SiteCalendar("Mars/Olympus")


def test_a_holiday_on_a_weekday_is_alike_to_a_sunday_and_not_to_a_weekday() -> None:
    labor_day = date(2016, 9, 5)
    calendar = SiteCalendar(LOS_ANGELES, frozenset({labor_day}))
    assert calendar.day_type(labor_day) is DayType.HOLIDAY
    assert calendar.alike(labor_day, date(2016, 9, 4))
    assert not calendar.alike(labor_day, date(2016, 9, 6))


def test_like_days_are_the_most_recent_of_their_kind_without_the_excluded_ones() -> None:
    """Before Wednesday 2016-09-07: Tue 6; Mon 5 is a holiday; weekend 4 and 3; Fri 2 is excluded; Thu 1, Wed 31 Aug."""
    calendar = SiteCalendar(LOS_ANGELES, frozenset({date(2016, 9, 5)}))
    days = calendar.like_days(date(2016, 9, 7), 3, 45, excluded={date(2016, 9, 2)})
    assert days == (date(2016, 9, 6), date(2016, 9, 1), date(2016, 8, 31))
    assert calendar.like_days(date(2016, 9, 5), 2, 45) == (date(2016, 9, 4), date(2016, 9, 3))
    assert calendar.like_days(date(2016, 9, 7), 10, 2) == (date(2016, 9, 6),)
