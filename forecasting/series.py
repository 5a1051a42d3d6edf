"""Energy by interval, with gaps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from forecasting.errors import SeriesError


@dataclass(frozen=True)
class IntervalSeries:
    """Wh by interval start (UTC epoch ms, multiples of the interval); an interval without a reading is absent.

    Any finite value is allowed: net energy of a home with PV is negative at noon. Build with `of`, which checks.
    """

    interval_s: int
    readings: Mapping[int, float]

    @classmethod
    def of(cls, readings: Iterable[tuple[int, float]], interval_s: int) -> IntervalSeries:
        """Series of (start_ms, Wh) pairs in any order.

        Raises SeriesError for an interval given twice (even with the same value: the sender counts wrongly), a start
        off the grid, a value that is not finite, or an `interval_s` below 1.
        """
        if interval_s < 1:
            raise SeriesError(f"interval_s is {interval_s}; it must be at least 1")
        found: dict[int, float] = {}
        for start_ms, value in readings:
            if start_ms % (interval_s * 1000):
                raise SeriesError(f"the reading at {start_ms} does not start on the grid of {interval_s} s")
            if not math.isfinite(value):
                raise SeriesError(f"the reading at {start_ms} is {value}; leave a missing reading out")
            if start_ms in found:
                raise SeriesError(f"the interval at {start_ms} has two readings: {found[start_ms]} and {value}")
            found[start_ms] = value
        return cls(interval_s, dict(sorted(found.items())))

    @property
    def interval_ms(self) -> int:
        return self.interval_s * 1000

    def ended_by(self, at_ms: int) -> IntervalSeries:
        """What a meter could have reported at an instant: intervals whose end is not after it."""
        return self.between(None, at_ms)

    def between(self, after_ms: int | None, until_ms: int) -> IntervalSeries:
        """Intervals that ended after `after_ms` (None: any) and not later than `until_ms`."""
        step_ms = self.interval_ms
        kept = {
            start_ms: value
            for start_ms, value in self.readings.items()
            if start_ms + step_ms <= until_ms and (after_ms is None or start_ms + step_ms > after_ms)
        }
        return IntervalSeries(self.interval_s, kept)

    def joined(self, newer: IntervalSeries) -> IntervalSeries:
        """Both series. Raises SeriesError if they overlap or have different intervals."""
        if newer.interval_s != self.interval_s:
            raise SeriesError(f"intervals of {newer.interval_s} s cannot join intervals of {self.interval_s} s")
        return IntervalSeries.of([*self.readings.items(), *newer.readings.items()], self.interval_s)
