"""Models that are weighted means of past days: a matrix says which day weighs how much for which."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecasting.models.days import Days
from forecasting.panels.panel import Floats


@dataclass(frozen=True)
class LastWeek:
    """The same slot a week before: what every other model has to beat (seasonal naive)."""

    name: str = "last-week"
    version: int = 1
    days_min: int = 7
    retrain_days: int = 1

    def train(self, days: Days, until: int, lead: int) -> None:
        return None

    def profiles(self, days: Days, state: None, first: int, end: int, lead: int) -> Floats:
        return weighted_days(days, first, end, lead, _every_week(1, 1.0), "last-week")


@dataclass(frozen=True)
class WeekdayMean:
    """Mean of the last `weeks` same weekdays."""

    weeks: int = 4
    version: int = 1
    days_min: int = 7
    retrain_days: int = 1

    @property
    def name(self) -> str:
        return f"weekday-mean-{self.weeks}"

    def train(self, days: Days, until: int, lead: int) -> None:
        return None

    def profiles(self, days: Days, state: None, first: int, end: int, lead: int) -> Floats:
        return weighted_days(days, first, end, lead, _every_week(self.weeks, 1.0), self.name)


@dataclass(frozen=True)
class SimilarDays:
    """Exponentially weighted mean of the last days of the same kind: working days, or weekends with holidays."""

    working_days: int = 10
    other_days: int = 6
    decay: float = 0.9
    version: int = 1
    days_min: int = 2
    retrain_days: int = 1

    @property
    def name(self) -> str:
        return f"similar-days-{self.working_days}-{self.other_days}-{self.decay:g}"

    def train(self, days: Days, until: int, lead: int) -> None:
        return None

    def profiles(self, days: Days, state: None, first: int, end: int, lead: int) -> Floats:
        def chosen(day: int, last: int, working: NDArray[np.bool_]) -> Iterator[tuple[int, float]]:
            wanted = self.working_days if working[day] else self.other_days
            like = np.flatnonzero(working[: max(last + 1, 0)] == working[day])[::-1][:wanted]
            return ((int(other), self.decay**rank) for rank, other in enumerate(like))

        return weighted_days(days, first, end, lead, chosen, self.name)


@dataclass(frozen=True)
class RecentDays:
    """Exponentially weighted mean of the last days of any kind: the level of use now, and what short history gets."""

    days_back: int = 14
    decay: float = 0.85
    version: int = 1
    days_min: int = 1
    retrain_days: int = 1

    @property
    def name(self) -> str:
        return f"recent-days-{self.days_back}-{self.decay:g}"

    def train(self, days: Days, until: int, lead: int) -> None:
        return None

    def profiles(self, days: Days, state: None, first: int, end: int, lead: int) -> Floats:
        def chosen(day: int, last: int, working: NDArray[np.bool_]) -> Iterator[tuple[int, float]]:
            return ((last - rank, self.decay**rank) for rank in range(min(self.days_back, last + 1)))

        return weighted_days(days, first, end, lead, chosen, self.name)


Chooser = Callable[[int, int, NDArray[np.bool_]], Iterator[tuple[int, float]]]
"""(target day, last day that may be used, working days) -> (day, weight) pairs."""


def weighted_days(days: Days, first: int, end: int, lead: int, choose: Chooser, key: str) -> Floats:
    """Weighted means (series, end - first, slots); a gap gives its weight to the other days. NaN where all are gaps."""
    stored = days.derived.get((key, lead))
    if stored is not None and stored[0] <= first and end <= stored[1]:
        found: Floats = stored[2][:, first - stored[0] : end - stored[0]]
        return found
    oldest, weights = _matrix(days, first, end, lead, choose, key)
    result = _weighted(weights, days.cube[:, oldest : days.known], days.complete)
    days.derived[key, lead] = (first, end, result)
    return result


_MATRICES: OrderedDict[tuple[object, ...], tuple[int, Floats]] = OrderedDict()
"""The same days serve every part of a panel: only the newest few are kept."""
_MATRICES_MAX = 64


def _matrix(days: Days, first: int, end: int, lead: int, choose: Chooser, key: str) -> tuple[int, Floats]:
    """First day that has a weight, and the weights (target days, days from that one on)."""
    name = (key, first, end, lead, days.known, days.working.tobytes())
    found = _MATRICES.get(name)
    if found is None:
        weights = np.zeros((end - first, max(days.known, 0)), dtype=np.float32)
        for day in range(first, end):
            for other, weight in choose(day, min(day - 1 - lead, days.known - 1), days.working):
                if other >= 0:
                    weights[day - first, other] = weight
        used = np.flatnonzero(weights.any(axis=0))
        oldest = int(used[0]) if len(used) else 0
        found = _MATRICES[name] = oldest, weights[:, oldest:]
        while len(_MATRICES) > _MATRICES_MAX:
            _MATRICES.popitem(last=False)  # several threads look here: what was found may be gone by now
    return found


def _weighted(weights: Floats, cube: Floats, complete: bool) -> Floats:
    total = weights.sum(axis=1)
    if complete:
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = np.where(total[:, None] > 0, weights / total[:, None], np.nan).astype(cube.dtype)
        return np.matmul(shares, cube) if cube.shape[1] else np.full((len(cube), len(weights), cube.shape[2]), np.nan)
    known = ~np.isnan(cube)
    sums = np.matmul(weights, np.where(known, cube, 0))
    reached = np.matmul(weights, known.astype(cube.dtype))
    return np.where(reached > 1e-6, sums / np.maximum(reached, 1e-6), np.nan).astype(cube.dtype)


def _every_week(weeks: int, decay: float) -> Chooser:
    def chosen(day: int, last: int, working: NDArray[np.bool_]) -> Iterator[tuple[int, float]]:
        past = [day - 7 * back for back in range(1, weeks + 8) if 0 <= day - 7 * back <= last][:weeks]
        return ((other, decay**rank) for rank, other in enumerate(past))

    return chosen
