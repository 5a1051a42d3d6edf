"""From fractions to whole calls: up, then off again what turns out not to be needed.

A basic optimum of the relaxation has at most as many fractional homes as it has rows per interval, so little is lost;
what is kept is checked against the need itself, not against its tangent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vtn.dispatching.chance import Goal, need
from vtn.dispatching.fleet import Floats, Ints
from vtn.dispatching.linear import Relaxed
from vtn.dispatching.pricing import Totals, totals

_ROUNDS_MAX = 5_000
_NOTHING = 1e-6
#: fleets whose rounding costs more than this part are worth a search
_WORTH = 5e-4
_EXCHANGES = 120
_LOOKED_AT = 1_000_000
#: calls' worth of energy by which rounding may have missed a goal that the relaxation meets
_HOPE = 3


@dataclass(frozen=True, eq=False)
class Whole:
    """Whole calls: options of each fleet, their sums, and what the need still lacks [T]."""

    called: list[Ints]
    totals: Totals
    lacking: Floats


class _Calls:
    """The options of all bands side by side, and which of them are taken."""

    def __init__(self, goal: Goal, z: float, relaxed: Relaxed) -> None:
        bands = [answer.band for answer in relaxed.answers]
        self.goal, self.z, self.clear = goal, z, relaxed.clear
        self.mean = np.concatenate([band.mean for band in bands])
        self.cost = np.concatenate([band.cost for band in bands])
        self.absent = np.concatenate([band.absent for band in bands])
        self.noise = np.concatenate([band.noise for band in bands])
        self.variance = (self.absent + self.noise)[:, None] * self.mean**2
        homes = np.cumsum([0, *(len(band.allowed) for band in bands)])
        segments = np.cumsum([0, *(int(band.segment.max(initial=-1)) + 1 for band in bands)])
        self.home = np.concatenate([band.home + homes[n] for n, band in enumerate(bands)])
        self.segment = np.concatenate([band.segment + segments[n] for n, band in enumerate(bands)])
        self.allowed = np.concatenate([band.allowed for band in bands])
        self.segments = int(segments[-1])
        self.taken = np.zeros(len(self.cost), bool)
        self.at_mean, self.at_variance = self.clear.mean.copy(), self.clear.variance.copy()

    def free(self) -> npt.NDArray[np.bool_]:
        """[B] whose home may still be called and has nothing else in that occasion."""
        used = np.bincount(self.home[self.taken], minlength=len(self.allowed))
        busy = np.bincount(self.segment[self.taken], minlength=self.segments)
        open_to: npt.NDArray[np.bool_] = (used < self.allowed)[self.home] & (busy == 0)[self.segment] & ~self.taken
        return open_to

    def set(self, option: int, taken: bool) -> None:
        """Take an option, or leave it."""
        sign = 1 if taken else -1
        self.taken[option] = taken
        self.at_mean += sign * self.mean[option]
        self.at_variance += sign * self.variance[option]

    def missing(self) -> Floats:
        """[T] mean that is missing, negative where there is more than enough."""
        return need(self.goal, self.z, self.at_variance) - self.at_mean

    def lacking(self) -> Floats:
        """[T] mean that is missing."""
        missing = self.missing()
        return np.where(np.isfinite(missing), np.maximum(0.0, missing), 0.0)

    @property
    def price(self) -> float:
        """Minor units of all that is taken."""
        return self.clear.cost + float(self.cost[self.taken].sum())


def whole(goal: Goal, z: float, relaxed: Relaxed, seed: int) -> Whole:
    """Rounds a relaxed plan; what it lacks is 0 where the homes of the bands can give it."""
    calls = _Calls(goal, z, relaxed)
    for option in np.argsort(-relaxed.amount, kind="stable"):
        if relaxed.amount[option] <= _NOTHING:
            break
        if calls.free()[option] if relaxed.amount[option] < 1 - _NOTHING else True:
            calls.set(int(option), True)
    _fill(calls)
    _drop(calls)
    _exchange(calls, relaxed.totals.cost, float(relaxed.lacking.sum()), np.random.default_rng(seed))
    called, position = [], 0
    for answer in relaxed.answers:
        chosen = answer.band.option[calls.taken[position : position + len(answer.band.option)]]
        called.append(np.sort(np.concatenate([answer.called, chosen])))
        position += len(answer.band.option)
    taken = calls.taken
    inside = totals(calls.mean[taken], calls.cost[taken], calls.absent[taken], calls.noise[taken])
    return Whole(called, calls.clear + inside, calls.lacking())


def _fill(calls: _Calls, rng: np.random.Generator | None = None) -> None:
    for _ in range(_ROUNDS_MAX):
        missing = calls.missing()
        lacking = float(np.maximum(0.0, missing).sum())
        if lacking <= 1e-9:
            return
        useful = lacking - np.maximum(0.0, missing - calls.mean).sum(axis=1)
        worth = np.where(calls.free() & (useful > 1e-9), useful / (calls.cost + 1e-9), 0.0)
        if rng is not None:
            worth = worth * rng.uniform(0.7, 1.0, len(worth))
        best = int(np.argmax(worth)) if len(worth) else -1
        if best < 0 or worth[best] <= 0:
            return
        calls.set(best, True)


def _drop(calls: _Calls) -> None:
    if (calls.lacking() > 1e-6).any():
        return
    for _ in range(_ROUNDS_MAX):
        taken = np.flatnonzero(calls.taken)
        variance = np.maximum(0.0, calls.at_variance - calls.variance[taken])
        enough = (calls.at_mean - calls.mean[taken] >= need(calls.goal, calls.z, variance) - 1e-9).all(axis=1)
        spare = taken[enough]
        if not len(spare):
            return
        calls.set(int(spare[np.argmax(calls.cost[spare])]), False)


def _exchange(calls: _Calls, relaxed_cost: float, relaxed_lacking: float, rng: np.random.Generator) -> None:
    """Takes a few calls back, fills up again, and keeps what has become cheaper."""
    for _ in range(min(_EXCHANGES, _LOOKED_AT // max(1, len(calls.cost)))):
        taken = np.flatnonzero(calls.taken)
        merit = float(calls.lacking().sum()), calls.price
        enough = merit[0] <= 1e-6 and merit[1] - relaxed_cost <= _WORTH * merit[1]
        if enough or not len(taken) or merit[0] > relaxed_lacking + 1e-6 + _HOPE * float(calls.mean.max()):
            return
        before = calls.taken.copy(), calls.at_mean.copy(), calls.at_variance.copy()
        for option in rng.choice(taken, min(len(taken), int(rng.integers(1, 4))), replace=False):
            calls.set(int(option), False)
        _fill(calls, rng)
        _drop(calls)
        if (max(float(calls.lacking().sum()), 1e-6), calls.price) >= (max(merit[0], 1e-6), merit[1]):
            calls.taken, calls.at_mean, calls.at_variance = before
