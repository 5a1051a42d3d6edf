"""Many series on one grid: homes by intervals, NaN where there is no reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecasting.errors import SeriesError
from forecasting.series import IntervalSeries

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Panel:
    """Wh of `len(ids)` series in consecutive intervals from `start_ms` (UTC, on the grid of `interval_s`).

    `values` has the shape (series, intervals); NaN is a gap. Raises SeriesError for another shape, an id given twice, a
    start off the grid or an infinite value.
    """

    ids: tuple[str, ...]
    start_ms: int
    interval_s: int
    values: Floats

    def __post_init__(self) -> None:
        if self.interval_s < 1 or 86_400 % self.interval_s:
            raise SeriesError(f"interval_s is {self.interval_s}; it must divide a day")
        if self.values.ndim != 2 or len(self.values) != len(self.ids):
            raise SeriesError(f"{len(self.ids)} ids do not fit values of the shape {self.values.shape}")
        if len(set(self.ids)) != len(self.ids):
            raise SeriesError("an id is given twice")
        if self.start_ms % self.step_ms:
            raise SeriesError(f"the start {self.start_ms} does not lie on the grid of {self.interval_s} s")
        if np.isinf(self.values).any():
            raise SeriesError("a value is infinite; leave a missing reading out")

    @classmethod
    def of(cls, series: Mapping[str, IntervalSeries]) -> Panel:
        """Series of one interval length side by side, in the order given. Raises SeriesError."""
        lengths = {each.interval_s for each in series.values()}
        starts = [at_ms for each in series.values() for at_ms in each.readings]
        if len(lengths) != 1 or not starts:
            raise SeriesError(f"{len(series)} series with intervals of {sorted(lengths)} s and {len(starts)} readings")
        step_ms = lengths.pop() * 1000
        first = min(starts)
        values = np.full((len(series), (max(starts) - first) // step_ms + 1), np.nan, dtype=np.float32)
        for row, each in enumerate(series.values()):
            columns = (np.fromiter(each.readings.keys(), np.int64, len(each.readings)) - first) // step_ms
            values[row, columns] = np.fromiter(each.readings.values(), np.float64, len(each.readings))
        return cls(tuple(series), first, step_ms // 1000, values)

    @property
    def step_ms(self) -> int:
        return self.interval_s * 1000

    @property
    def end_ms(self) -> int:
        """End of the last interval, whether it has a reading or not."""
        return self.start_ms + int(self.values.shape[1]) * self.step_ms

    @property
    def starts_ms(self) -> NDArray[np.int64]:
        """Starts of the intervals."""
        return self.start_ms + self.step_ms * np.arange(self.values.shape[1], dtype=np.int64)

    def ended_by(self, at_ms: int) -> Panel:
        """The intervals that had ended at an instant."""
        return self.between(self.start_ms, at_ms)

    def between(self, first_ms: int, until_ms: int) -> Panel:
        """The intervals that lie wholly inside [first_ms, until_ms)."""
        first = max(-(-(first_ms - self.start_ms) // self.step_ms), 0)
        last = max(min((until_ms - self.start_ms) // self.step_ms, self.values.shape[1]), first)
        return Panel(self.ids, self.start_ms + first * self.step_ms, self.interval_s, self.values[:, first:last])

    def from_first_reading(self) -> Panel:
        """Without the columns before any series begins: how long a history is decides what a model learns from it."""
        there = np.flatnonzero(~np.isnan(self.values).all(axis=0))
        return self.between(self.start_ms + int(there[0]) * self.step_ms, self.end_ms) if len(there) else self

    def rows(self, positions: Sequence[int] | slice) -> Panel:
        """Some of the series."""
        chosen = range(len(self.ids))[positions] if isinstance(positions, slice) else positions
        ids = tuple(self.ids[each] for each in chosen)
        return Panel(ids, self.start_ms, self.interval_s, self.values[positions])

    def row(self, series_id: str) -> IntervalSeries:
        """One of the series as a mapping. Raises KeyError."""
        if series_id not in self.ids:
            raise KeyError(series_id)
        values = self.values[self.ids.index(series_id)]
        known = np.flatnonzero(~np.isnan(values))
        return IntervalSeries(self.interval_s, {int(self.starts_ms[at]): float(values[at]) for at in known})

    def joined(self, newer: Panel) -> Panel:
        """Both panels, with a gap between them where there is one.

        Raises SeriesError for other series, another interval, or intervals both have a reading for.
        """
        if (newer.ids, newer.interval_s) != (self.ids, self.interval_s):
            raise SeriesError("panels of other series or another interval cannot be joined")
        first, end = min(self.start_ms, newer.start_ms), max(self.end_ms, newer.end_ms)
        values = np.full((len(self.ids), (end - first) // self.step_ms), np.nan, dtype=self.values.dtype)
        values[:, self._columns(first)] = self.values
        there = values[:, newer._columns(first)]
        if (~np.isnan(there) & ~np.isnan(newer.values)).any():
            raise SeriesError("the newer panel has readings for intervals that have one already")
        values[:, newer._columns(first)] = np.where(np.isnan(newer.values), there, newer.values)
        return Panel(self.ids, first, self.interval_s, values)

    def _columns(self, first_ms: int) -> slice:
        offset = (self.start_ms - first_ms) // self.step_ms
        return slice(offset, offset + self.values.shape[1])

    def summed(self, groups: Mapping[str, Sequence[str]], present_min: float = 0.8) -> Panel:
        """One series for each group: the sum of its members, scaled by the usual size of those that lack a reading.

        An interval in which members with less than `present_min` of the group's usual energy report is a gap. Raises
        SeriesError for a member that is not in the panel or a group without members.
        """
        position = {each: row for row, each in enumerate(self.ids)}
        rows = []
        for name, members in groups.items():
            unknown = [each for each in members if each not in position]
            if unknown or not members:
                raise SeriesError(f"group {name} has no members, or unknown ones: {', '.join(unknown[:3])}")
            values = self.values[[position[each] for each in members]].astype(np.float64)
            rows.append(_group_sum(values, present_min))
        return Panel(tuple(groups), self.start_ms, self.interval_s, np.array(rows).reshape(len(groups), -1))

    def resampled(self, interval_s: int) -> Panel:
        """Longer intervals that are whole multiples; one is a gap unless every part of it is there.

        Raises SeriesError where `interval_s` is not a multiple.
        """
        if interval_s % self.interval_s:
            raise SeriesError(f"{interval_s} s is no multiple of {self.interval_s} s: energy cannot be split")
        factor = interval_s // self.interval_s
        first = -(-self.start_ms // (interval_s * 1000)) * interval_s * 1000
        skipped = (first - self.start_ms) // self.step_ms
        count = max(self.values.shape[1] - skipped, 0) // factor
        parts = self.values[:, skipped : skipped + count * factor].reshape(len(self.ids), count, factor)
        return Panel(self.ids, first, interval_s, parts.sum(axis=2))


def _group_sum(values: Floats, present_min: float) -> Floats:
    known = ~np.isnan(values)
    counts = known.sum(axis=1)
    usual = np.abs(np.where(known, values, 0.0)).sum(axis=1) / np.maximum(counts, 1)
    usual = usual if usual.sum() > 0 else np.ones_like(usual)
    present = (known * usual[:, None]).sum(axis=0) / usual.sum()
    total = np.where(known, values, 0.0).sum(axis=0)
    enough = present >= present_min
    return np.where(enough, total / np.where(enough, np.maximum(present, 1e-9), 1.0), np.nan)
