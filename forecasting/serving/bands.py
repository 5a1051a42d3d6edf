"""Bands of a whole panel: conformal quantiles of past errors, each divided by how far off such forecasts are.

    error of a day at a slot  =  usual size of the slot ^ 0.8  x  size of errors of late  x  what conformal pools

The size of errors of late is a running mean over the days before (half of it is younger than five days), as in locally
weighted conformal prediction (Lei et al., JASA 113, 2018, section 5.2): a band is narrow in a calm spell and wide in a
rough one, and what it covers in a month strays half as far from its level as with errors as they are. The size of the
slot keeps the errors of noon out of the band of dawn, which is what bands of generation suffered from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from forecasting.conformal import errors_wanted
from forecasting.panels.panel import Floats

_NEIGHBOUR_S = 3600
_MEMORY = 0.85
"""Share of the running size of errors that a day keeps."""
SLOT_POWER = 0.8
"""Below 1: forty days say the size of a slot but roughly."""
TINY = 1e-4
FEW_DAYS = 7
"""With fewer days of errors the size of a slot is drawn towards that of the hours around it, and errors of more hours
are pooled."""
_POOLED_DAYS = 27
"""Errors that stand for a slot are so many at least, where the day has them: three hours of nine days."""


@dataclass
class Errors:
    """Actual minus forecast of past days (series, days, slots), NaN where there was no reading."""

    values: Floats
    interval_s: int

    @cached_property
    def slot_size(self) -> Floats:
        """Usual size of the errors of each slot (series, slots), Wh, drawn together; never 0 unless all are."""
        mean = _mean(np.abs(self.values), 1)
        overall = mean.mean(axis=1, keepdims=True)
        if (days := self.values.shape[1]) < FEW_DAYS:
            mean = (days * mean + (FEW_DAYS - days) * around(mean, self.interval_s)) / FEW_DAYS
        share = np.maximum(mean / np.where(overall > 0, overall, 1), TINY) ** SLOT_POWER
        return np.asarray(overall * share, dtype=self.values.dtype)

    @cached_property
    def day_size(self) -> Floats:
        """Size of the errors of the days before each day, 1 as usual, and before the day after them all (series,
        days + 1)."""
        there = ~np.isnan(self.values)
        usual = np.where(there, self.slot_size[:, None, :], 0).sum(axis=2)
        made = np.where(there, np.abs(self.values), 0).sum(axis=2)
        known = usual > 0
        ratio = np.where(known, made / np.where(known, usual, 1), np.nan)
        found = np.empty((len(ratio), ratio.shape[1] + 1), dtype=self.values.dtype)
        running = _mean(ratio, 1)
        running[running <= 0] = 1
        for day in range(ratio.shape[1]):
            found[:, day] = running
            running = np.where(known[:, day], _MEMORY * running + (1 - _MEMORY) * ratio[:, day], running)
        found[:, -1] = running
        return np.asarray(np.maximum(found, TINY))

    @cached_property
    def scaled(self) -> Floats:
        """The errors over their size (series, days, slots)."""
        size = self.slot_size[:, None, :] * self.day_size[:, :-1, None]
        return np.asarray(self.values / np.where(size > 0, size, 1))

    def size(self, slots: NDArray[np.int64]) -> Floats:
        """Size errors have on the next day (series, slots asked for), Wh."""
        return np.asarray(self.slot_size[:, slots] * self.day_size[:, -1:])

    @cached_property
    def ordered(self) -> tuple[Floats, NDArray[np.int64]]:
        """Scaled errors around each slot in ascending order (series, slots, errors), NaN last, and how many there
        are."""
        days = max(self.values.shape[1], 1)
        hours = max(1, -(-(-(-_POOLED_DAYS // days) - 1) // 2))
        reach = min(hours * _NEIGHBOUR_S // self.interval_s, (self.values.shape[2] - 1) // 2)
        around = [np.roll(self.scaled, -step, axis=2) for step in range(-reach, reach + 1)]
        pooled = np.sort(np.moveaxis(np.concatenate(around, axis=1), 1, 2), axis=2)
        return pooled, (~np.isnan(pooled)).sum(axis=2)


def banded(profile: Floats, errors: Errors, levels: Sequence[float]) -> tuple[dict[float, Floats], NDArray[np.bool_]]:
    """profile (series, slots) with the conformal quantile of each level added, and which series had too few errors.

    Raises ValueError for a level outside (0, 1).
    """
    wanted = max(errors_wanted(level) for level in levels)
    if not errors.values.shape[1]:
        return {level: profile.copy() for level in levels}, np.ones(len(profile), dtype=np.bool_)
    ordered, counts = errors.ordered
    size = errors.size(np.arange(profile.shape[1]))
    short = counts.min(axis=1) < wanted
    return {level: profile + size * order_statistics(ordered, counts, level) for level in levels}, short


def around(values: Floats, interval_s: int) -> Floats:
    """Mean of the known values of three hours either way round the clock, along the last axis (slots of a day); NaN
    where there is none."""
    reach = min(3 * _NEIGHBOUR_S // interval_s, (values.shape[-1] - 1) // 2)
    there = ~np.isnan(values)
    known, counts = np.where(there, values, 0), np.zeros(values.shape)
    total = np.zeros(values.shape)
    for step in range(-reach, reach + 1):
        total += np.roll(known, step, axis=-1)
        counts += np.roll(there, step, axis=-1)
    return np.asarray(np.where(counts > 0, total / np.maximum(counts, 1), np.nan), dtype=values.dtype)


def order_statistics(ordered: Floats, counts: NDArray[np.int64], level: float) -> Floats:
    """The conformal quantile along the last axis; the extreme error where the level asks for more, 0 without errors."""
    exact = np.round((counts + 1) * level, 9)
    ranks = np.clip(np.ceil(exact) if level > 0.5 else np.floor(exact), 1, np.maximum(counts, 1)).astype(np.int64)
    found = np.take_along_axis(ordered, ranks[..., None] - 1, axis=-1)[..., 0]
    return np.where(counts > 0, found, 0.0)


def _mean(values: Floats, axis: int) -> Floats:
    """Mean of what is known; 0 where nothing is."""
    there = ~np.isnan(values)
    return np.asarray(np.where(there, values, 0).sum(axis=axis) / np.maximum(there.sum(axis=axis), 1))
