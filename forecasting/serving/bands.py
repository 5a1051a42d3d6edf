"""Bands of a whole panel: forecasting.conformal on arrays, an hour of neighbours on either side of each slot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from forecasting.conformal import errors_wanted
from forecasting.panels.panel import Floats

_NEIGHBOUR_S = 3600
_POOLED_BYTES_MAX = 64 * 1024 * 1024


@dataclass
class Errors:
    """Actual minus forecast of past days (series, days, slots), NaN where there was no reading."""

    values: Floats
    interval_s: int
    sorted_: tuple[Floats, NDArray[np.int64]] | None = field(default=None, repr=False)

    def ordered(self) -> tuple[Floats, NDArray[np.int64]]:
        """Errors around each slot in ascending order (series, slots, errors), NaN last, and how many there are."""
        if self.sorted_ is None:
            reach = min(_NEIGHBOUR_S // self.interval_s, (self.values.shape[2] - 1) // 2)
            around = [np.roll(self.values, -step, axis=2) for step in range(-reach, reach + 1)]
            pooled = np.sort(np.moveaxis(np.concatenate(around, axis=1), 1, 2), axis=2)
            self.sorted_ = pooled, (~np.isnan(pooled)).sum(axis=2)
        return self.sorted_


def banded(profile: Floats, errors: Errors, levels: Sequence[float]) -> tuple[dict[float, Floats], NDArray[np.bool_]]:
    """profile (series, slots) with the conformal quantile of each level added, and which series had too few errors.

    Raises ValueError for a level outside (0, 1).
    """
    wanted = max(errors_wanted(level) for level in levels)
    ordered, counts = errors.ordered()
    short = counts.min(axis=1) < wanted
    if not ordered.shape[2]:
        return {level: profile.copy() for level in levels}, np.ones(len(profile), dtype=np.bool_)
    return {level: profile + order_statistics(ordered, counts, level) for level in levels}, short


def order_statistics(ordered: Floats, counts: NDArray[np.int64], level: float) -> Floats:
    """The conformal quantile along the last axis; the extreme error where the level asks for more, 0 without errors."""
    exact = np.round((counts + 1) * level, 9)
    ranks = np.clip(np.ceil(exact) if level > 0.5 else np.floor(exact), 1, np.maximum(counts, 1)).astype(np.int64)
    found = np.take_along_axis(ordered, ranks[..., None] - 1, axis=-1)[..., 0]
    return np.where(counts > 0, found, 0.0)
