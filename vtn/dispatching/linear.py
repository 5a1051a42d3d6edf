"""The linear relaxation over any number of fleets: prices from a sample, then HiGHS over the homes near the margin.

    sample of homes --LP--> prices --> every fleet answers (pricing.py, in any process) --> clear homes | band
                              ^                                                                       |
                              '----------------------- LP over the band, clear homes as constants <---'

The value of the answers at the newest prices bounds every plan from below, so the loop knows when it is done; what it
stops at is a plan of the whole relaxation, not of a part.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import csr_matrix, hstack, identity, vstack

from vtn.dispatching.fleet import Fleet, Floats, part
from vtn.dispatching.pricing import Answer, Band, Totals, respond, totals

Source = Fleet | Callable[[], Fleet]
"""A fleet, or what loads it in the process that answers for it (a feeder)."""

SAMPLE_HOMES = 3_000
TOLERANCE = 2e-5
#: homes near the margin that enter a linear programme, in all fleets together
BAND_HOMES = 3_000
_STEPS = 24
#: prices move by at least this part a step, also where the band is narrower
_MOVE_MIN = 0.005
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Rows:
    """What a plan must reach per interval: mean - slopes * variance >= least; -inf: nothing. `penalty`: minor units for
    each Wh missing, more than any home could cost."""

    least: Floats
    slopes: Floats
    penalty: float


@dataclass(frozen=True, eq=False)
class Relaxed:
    """The relaxation solved. prices [T]; objective (penalties included) and the lower bound; answers of the fleets with
    their bands and how much [B] of each option of the bands is taken; lacking [T]."""

    prices: Floats
    objective: float
    bound: float
    answers: list[Answer]
    amount: Floats
    lacking: Floats

    @property
    def totals(self) -> Totals:
        """Sums over all that is called, fractions included."""
        found, position = self.clear, 0
        for answer in self.answers:
            band = answer.band
            used = self.amount[position : position + len(band.option)]
            found = found + totals(band.mean, band.cost, band.absent, band.noise, used)
            position += len(band.option)
        return found

    @property
    def clear(self) -> Totals:
        """Sums over homes called for certain."""
        return summed([answer.clear for answer in self.answers])


class Pool:
    """Runs a function on each fleet: in this process, or in those of an executor (processes, or a Dask client's).

    `deadline`: time.monotonic() after which no new linear programme is begun; None: none."""

    def __init__(self, sources: Sequence[Source], executor: Executor | None, deadline: float | None) -> None:
        self.sources = sources
        self.deadline = deadline
        self._executor = executor

    def map(self, work: Callable[[Fleet], T]) -> list[T]:
        """The results in the order of the fleets."""
        if self._executor is None:
            return [work(load(source)) for source in self.sources]
        return list(self._executor.map(_on_source, [work] * len(self.sources), self.sources))

    @property
    def left_s(self) -> float:
        """Seconds until the deadline."""
        return np.inf if self.deadline is None else self.deadline - time.monotonic()


def load(source: Source) -> Fleet:
    """The fleet itself."""
    return source if isinstance(source, Fleet) else source()


def relax(pool: Pool, rows: Rows, prices: Floats, homes: int) -> Relaxed | None:
    """Solves the relaxation of that many homes, from these prices on. None: out of time before the first linear
    programme was solved."""
    found: Relaxed | None = None
    bound, wider = -np.inf, 1.0
    share = min(1.0, BAND_HOMES / max(1, homes))
    centre: tuple[Floats, list[Answer]] | None = None
    for _ in range(_STEPS):
        answers = pool.map(partial(respond, prices=prices, slopes=rows.slopes, share=share))
        reached = _bound(answers, rows, prices)
        if centre is None or reached > bound:
            centre, bound = (prices, answers), reached
        else:  # too far: what lies outside the band moved
            wider /= 4
        if found is not None and found.objective - bound <= TOLERANCE * abs(found.objective):
            break
        prices, answers = centre
        box = _box(prices, max(_MOVE_MIN, min(each.width for each in answers)) * wider, rows.penalty)
        clear = summed([each.clear for each in answers])
        solved = _master([each.band for each in answers], clear, rows, box, pool.left_s)
        if solved is None:
            break
        prices = solved.prices
        if ((prices >= box[1] * (1 - 1e-9)) & (box[1] < rows.penalty)).any():
            wider *= 2
        if found is None or solved.objective < found.objective:
            found = Relaxed(prices, solved.objective, bound, answers, solved.amount, solved.lacking)
        if share >= 1:
            bound = max(bound, solved.objective)
            break
    return None if found is None else replace(found, bound=bound)


def sampled_prices(pool: Pool, rows: Rows, sizes: Sequence[int], seed: int) -> Floats:
    """Prices that the relaxation of a few thousand homes would have, drawn by `seed` from fleets of these sizes."""
    if sum(sizes) <= BAND_HOMES:
        return np.zeros(len(rows.least))
    parts, factor = sampled(pool, sizes, seed)
    scaled = replace(rows, least=rows.least / factor)
    nothing = np.zeros(len(rows.least))
    answers = [respond(each, nothing, rows.slopes, 1.0) for each in parts]
    box = (nothing, np.full(len(nothing), rows.penalty))
    clear = summed([each.clear for each in answers])
    solved = _master([each.band for each in answers], clear, scaled, box, pool.left_s)
    return nothing if solved is None else solved.prices


def sampled(pool: Pool, sizes: Sequence[int], seed: int) -> tuple[list[Fleet], float]:
    """A few thousand homes of fleets of these sizes, and how many times as many there are."""
    parts = [
        _sample(load(source), max(1, SAMPLE_HOMES * size // max(1, sum(sizes))), [seed, n])
        for n, (source, size) in enumerate(zip(pool.sources, sizes, strict=True))
        if size
    ]
    return parts, sum(sizes) / max(1, sum(each.homes for each in parts))


def homes_of(fleet: Fleet) -> int:
    """How many it has."""
    return fleet.homes


def summed(parts: Sequence[Totals]) -> Totals:
    """The sum of at least one."""
    found = parts[0]
    for each in parts[1:]:
        found = found + each
    return found


def reduced_energy(mean: Floats, absent: Floats, noise: Floats, slopes: Floats) -> Floats:
    """[B, T] what an option adds to the left side of the rows."""
    return mean - (absent + noise)[:, None] * mean**2 * slopes


def _on_source(work: Callable[[Fleet], T], source: Source) -> T:
    return work(load(source))


def _sample(fleet: Fleet, count: int, seed: list[int]) -> Fleet:
    if count >= fleet.homes:
        return fleet
    chosen = np.random.default_rng(seed).choice(fleet.homes, count, replace=False)
    return part(fleet, np.sort(chosen).astype(np.int64))


def _bound(answers: Sequence[Answer], rows: Rows, prices: Floats) -> float:
    finite = np.isfinite(rows.least)
    return sum(each.surplus for each in answers) + float(prices[finite] @ rows.least[finite])


def _box(prices: Floats, move: float, penalty: float) -> tuple[Floats, Floats]:
    """Between which prices the next ones are looked for; the whole range if nothing says otherwise."""
    if not np.isfinite(move):
        return np.zeros(len(prices)), np.full(len(prices), penalty)
    typical = float(prices[prices > 0].mean()) if (prices > 0).any() else penalty / 100
    step = move * np.maximum(prices, typical / 10)
    return np.maximum(0.0, prices - step), np.minimum(penalty, prices + step)


@dataclass(frozen=True, eq=False)
class _Solved:
    """amount [B] of each option; prices [T]; objective with penalties for what is lacking [T]."""

    amount: Floats
    prices: Floats
    objective: float
    lacking: Floats


def _master(
    bands: Sequence[Band], clear: Totals, rows: Rows, box: tuple[Floats, Floats], limit_s: float
) -> _Solved | None:
    """The programme over the bands, its prices within the box; None: not solved in time.

    What is missing costs the upper price, what is too much earns the lower one: that keeps the prices inside."""
    if limit_s <= 0:
        return None
    finite = np.flatnonzero(np.isfinite(rows.least))
    cost = np.concatenate([band.cost for band in bands])
    energy = np.concatenate(
        [reduced_energy(band.mean, band.absent, band.noise, rows.slopes)[:, finite] for band in bands]
    )
    left = rows.least[finite] - (clear.mean - rows.slopes * clear.variance)[finite]
    # Wh of a hundred thousand homes and minor units of one: rows are scaled to numbers near 1.
    scale = 1 / max(1.0, float(np.abs(energy).max(initial=0.0)))
    limits, most = _limits(bands)
    count = len(finite)
    upper = hstack([csr_matrix(-energy.T * scale), -identity(count), identity(count)])
    lower = hstack([limits, csr_matrix((limits.shape[0], 2 * count))])
    options: dict[str, Any] = {"time_limit": min(limit_s, 1e9), "presolve": True}
    result = linprog(
        np.concatenate([cost, box[1][finite] / scale, -box[0][finite] / scale]),
        A_ub=vstack([upper, lower]).tocsr(),
        b_ub=np.concatenate([-left * scale, most]),
        bounds=(0, None),
        method="highs-ds",
        options=options,
    )
    if result.status != 0:
        return None
    amount = result.x[: len(cost)]
    prices, lacking = np.zeros(len(rows.least)), np.zeros(len(rows.least))
    prices[finite] = np.clip(-result.ineqlin.marginals[:count] * scale, box[0][finite], box[1][finite])
    lacking[finite] = np.maximum(0.0, left - amount @ energy)
    objective = clear.cost + float(cost @ amount) + rows.penalty * float(lacking.sum())
    return _Solved(amount, prices, objective, lacking)


def _limits(bands: Sequence[Band]) -> tuple[csr_matrix, Floats]:
    """Rows for calls of a home and, where it has several occasions, for one option each."""
    columns = sum(len(band.option) for band in bands)
    homes, segments, allowed, offset_h, offset_s = [], [], [], 0, 0
    for band in bands:
        homes.append(band.home + offset_h)
        segments.append(band.segment + offset_s)
        allowed.append(band.allowed)
        offset_h += len(band.allowed)
        offset_s += int(band.segment.max(initial=-1)) + 1
    home, segment = np.concatenate(homes), np.concatenate(segments)
    calls = np.concatenate(allowed).astype(float)
    one_each = offset_s == offset_h
    most = np.minimum(1.0, calls) if one_each else calls
    ones = np.ones(columns)
    by_home = csr_matrix((ones, (home, np.arange(columns))), shape=(offset_h, columns))
    if one_each:
        return by_home, most
    by_segment = csr_matrix((ones, (segment, np.arange(columns))), shape=(offset_s, columns))
    return csr_matrix(vstack([by_home, by_segment])), np.concatenate([most, np.ones(offset_s)])
