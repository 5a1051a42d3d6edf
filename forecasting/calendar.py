"""Days as a site sees them: which day is like which, and where an interval sits on the wall clock.

Energy is stored in UTC; people and baselines live by the wall clock. An interval carries the wall-clock label of its
start: slot 0 is local 00:00, slot 1 is 00:15 for 15-minute intervals, and a day always has 86400 / interval_s slots.

    ordinary day   24 h   every label once
    spring day     23 h   02:00-03:00 does not exist: those labels have no value (None), never a guess
    autumn day     25 h   01:00-02:00 happens twice: the label holds the floor of the mean of both readings

`day_slots` and `day_matrix` are the integer input of the baseline. Whoever holds the same readings gets the same
matrix: the aggregator and the device compute the baseline curve from it independently and compare.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAY_S = 86_400
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
WEEKEND = frozenset({5, 6})
"""Saturday and Sunday, as date.weekday() counts."""


class DayType(StrEnum):
    WORKING = "working"
    WEEKEND = "weekend"
    HOLIDAY = "holiday"


@dataclass(frozen=True)
class SiteCalendar:
    """The calendar of one site. `zone` is an IANA name; `holidays` are local dates, given as data; `weekend` holds the
    days of the week, Monday 0, on which people rest: {4, 5} where it is Friday and Saturday.

    Raises ValueError for an unknown zone or a weekend that is none.
    """

    zone: str
    holidays: frozenset[date] = frozenset()
    weekend: frozenset[int] = WEEKEND

    def __post_init__(self) -> None:
        _zone(self.zone)
        if not self.weekend < frozenset(range(7)):
            raise ValueError(f"the weekend is {sorted(self.weekend)}; it holds some of the days 0 (Monday) to 6")

    def day_of(self, at_ms: int) -> date:
        """Local date at an instant (UTC epoch ms)."""
        return _local(self.zone, at_ms).date()

    def start_ms(self, day: date) -> int:
        """First instant of a local day; the end of a day is the start of the next."""
        return day_start_ms(self.zone, day)

    def day_type(self, day: date) -> DayType:
        if day in self.holidays:
            return DayType.HOLIDAY
        return DayType.WEEKEND if day.weekday() in self.weekend else DayType.WORKING

    def alike(self, first: date, second: date) -> bool:
        """Whether one day can stand for the other: both working, or neither (a holiday counts as weekend)."""
        return (self.day_type(first) is DayType.WORKING) == (self.day_type(second) is DayType.WORKING)

    def like_days(
        self, day: date, count: int, look_back_days: int, excluded: Collection[date] = frozenset()
    ) -> tuple[date, ...]:
        """The last `count` days before `day` of its kind, most recent first, none older than `look_back_days`.

        `excluded` days (events answered, outages) are passed over. May return fewer than `count`.
        """
        found: list[date] = []
        for before in range(1, look_back_days + 1):
            candidate = day - timedelta(days=before)
            if len(found) < count and candidate not in excluded and self.alike(candidate, day):
                found.append(candidate)
        return tuple(found)


def day_start_ms(zone: str, day: date) -> int:
    """First instant of the local day, in UTC epoch ms.

    Where a change of the clock removes midnight itself, the day starts at the change; where midnight happens twice, at
    the first. Raises ValueError for an unknown zone.
    """
    midnight = datetime.combine(day, time.min, tzinfo=_zone(zone))  # fold=0: offset before a gap, first of two
    return (midnight.astimezone(UTC) - EPOCH) // MILLISECOND


def day_intervals(zone: str, interval_s: int, day: date) -> tuple[tuple[int, int], ...]:
    """(start in UTC ms, slot) of each interval that starts inside the local day, in the order of time.

    Intervals lie on the UTC grid of multiples of `interval_s`. 15-minute intervals: 96 pairs, 92 in spring, 100 in
    autumn. Raises ValueError for an unknown zone or an `interval_s` that does not divide a day.
    """
    if interval_s <= 0 or DAY_S % interval_s:
        raise ValueError(f"interval_s is {interval_s}; it must divide a day of {DAY_S} s")
    return _day_intervals(zone, interval_s, day)


def day_slots(readings: Mapping[int, int], zone: str, interval_s: int, day: date) -> tuple[int | None, ...]:
    """The readings of one local day by wall-clock slot: 86400 / interval_s values, None where nothing can be said.

    `readings`: interval start (UTC epoch ms, on the grid) -> Wh; readings off the grid and of other days are ignored.
    A label that occurs twice needs both readings and holds the floor of their mean; one alone gives None. Raises
    ValueError as `day_intervals`.
    """
    by_slot: list[list[int | None]] = [[] for _ in range(DAY_S // interval_s if interval_s > 0 else 0)]
    for start_ms, slot in day_intervals(zone, interval_s, day):
        by_slot[slot].append(readings.get(start_ms))
    return tuple(_floor_mean(values) for values in by_slot)


def day_matrix(
    readings: Mapping[int, int], zone: str, interval_s: int, days: Iterable[date]
) -> dict[date, tuple[int | None, ...]]:
    """`day_slots` for several local days: date -> slot values, in the order asked. Raises ValueError likewise."""
    return {day: day_slots(readings, zone, interval_s, day) for day in days}


def slot_of(zone: str, interval_s: int, at_ms: int) -> int:
    """Wall-clock slot an instant falls in: 0 .. 86400 / interval_s - 1."""
    local = _local(zone, at_ms)
    return (local.hour * 3600 + local.minute * 60 + local.second) // interval_s


@lru_cache(maxsize=4096)
def _day_intervals(zone: str, interval_s: int, day: date) -> tuple[tuple[int, int], ...]:
    step_ms = interval_s * 1000
    first_ms = -(-day_start_ms(zone, day) // step_ms) * step_ms
    starts = range(first_ms, day_start_ms(zone, day + timedelta(days=1)), step_ms)
    return tuple((start_ms, slot_of(zone, interval_s, start_ms)) for start_ms in starts)


def _floor_mean(values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) // len(known) if known and len(known) == len(values) else None


def _local(zone: str, at_ms: int) -> datetime:
    return (EPOCH + timedelta(milliseconds=at_ms)).astimezone(_zone(zone))


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is not a zone of the IANA database (is the tzdata package installed?)") from error
