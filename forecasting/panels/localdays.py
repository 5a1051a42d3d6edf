"""Wall-clock days of a whole panel at once: the rules of forecasting.calendar on arrays.

    values (series, intervals)  --cube-->  (series, days, slots)  --spread-->  (series, intervals)

A label that does not exist in spring is NaN in the cube; one that occurs twice in autumn holds the mean of what is
known of both, and both intervals get its forecast.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from forecasting.calendar import DAY_S, DayType, SiteCalendar
from forecasting.panels.panel import Floats

_HOUR_MS = 3_600_000
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()


@dataclass(frozen=True)
class LocalDays:
    """Local day and slot of each of `count` intervals from `start_ms`, counted from the day of the first one."""

    calendar: SiteCalendar
    start_ms: int
    interval_s: int
    count: int

    @property
    def slots(self) -> int:
        """Labels of a day: 86400 / interval_s."""
        return DAY_S // self.interval_s

    @property
    def first_day(self) -> date:
        return self._places[0]

    @property
    def day_of(self) -> NDArray[np.int64]:
        """Number of the local day of each interval, 0 for the first day."""
        return self._places[1]

    @property
    def slot_of(self) -> NDArray[np.int64]:
        """Wall-clock slot of each interval."""
        return self._places[2]

    @property
    def days(self) -> int:
        """How many local days the intervals touch."""
        return int(self.day_of[-1]) + 1 if self.count else 0

    def dates(self, count: int) -> tuple[date, ...]:
        """The first `count` local days, also beyond the last interval."""
        return tuple(self.first_day + timedelta(days=each) for each in range(count))

    def working(self, count: int) -> NDArray[np.bool_]:
        """Which of the first `count` days are working days."""
        kinds = [self.calendar.day_type(day) is DayType.WORKING for day in self.dates(count)]
        return np.array(kinds, dtype=np.bool_)

    def cube(self, values: Floats, days: int | None = None) -> Floats:
        """(series, intervals) to (series, days, slots); NaN where there is no reading, also in days beyond the last."""
        rows, columns = values.shape
        total = max(self.days, days or 0)
        places = self.day_of * self.slots + self.slot_of
        flat = np.full((rows, total * self.slots), np.nan, dtype=values.dtype)
        flat[:, places[:columns]] = values
        again = np.flatnonzero(np.bincount(places[:columns], minlength=1) > 1)
        for place in again:
            both = values[:, np.flatnonzero(places[:columns] == place)]
            known = ~np.isnan(both)
            total_known = np.where(known, both, 0).sum(axis=1)
            flat[:, place] = np.where(known.any(axis=1), total_known / np.maximum(known.sum(axis=1), 1), np.nan)
        return flat.reshape(rows, total, self.slots)

    def spread(self, cube: Floats, first: int, count: int) -> Floats:
        """(series, days, slots) to the intervals first .. first + count of this grid."""
        return cube[:, self.day_of[first : first + count], self.slot_of[first : first + count]]

    @property
    def _places(self) -> tuple[date, NDArray[np.int64], NDArray[np.int64]]:
        return _places(self.calendar.zone, self.start_ms, self.interval_s, self.count)


@lru_cache(maxsize=64)
def _places(zone: str, start_ms: int, interval_s: int, count: int) -> tuple[date, NDArray[np.int64], NDArray[np.int64]]:
    starts = start_ms + 1000 * interval_s * np.arange(count, dtype=np.int64)
    local_s = starts // 1000 + _offsets_s(zone, starts)
    ordinals = local_s // DAY_S
    first = int(ordinals[0]) if count else 0
    return date.fromordinal(_EPOCH_ORDINAL + first), ordinals - first, (local_s % DAY_S) // interval_s


def _offsets_s(zone: str, starts_ms: NDArray[np.int64]) -> NDArray[np.int64]:
    """UTC offset at each start: asked once an hour, and one by one in the hours in which it changes."""
    if not len(starts_ms):
        return starts_ms
    info = ZoneInfo(zone)
    hours = starts_ms // _HOUR_MS
    known = np.arange(hours[0], hours[-1] + 2)
    by_hour = np.array([_offset_s(info, int(hour) * _HOUR_MS) for hour in known])
    here: NDArray[np.int64] = by_hour[hours - hours[0]]
    after = by_hour[hours - hours[0] + 1]
    for at in np.flatnonzero(here != after):
        here[at] = _offset_s(info, int(starts_ms[at]))
    return here


def _offset_s(info: ZoneInfo, at_ms: int) -> int:
    offset = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(info).utcoffset()
    return int(offset.total_seconds()) if offset is not None else 0
