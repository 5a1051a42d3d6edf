"""Which limit stands in the way of a goal, and by how much: each is lifted alone and the lack is worked out again.

Of many homes a few thousand drawn by the seed stand for all: the figures are then right to a few percent.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from vtn.dispatching.chance import EACH, Goal
from vtn.dispatching.fleet import Fleet
from vtn.dispatching.linear import SAMPLE_HOMES, Pool, Source, homes_of, load, relax, sampled, sampled_prices
from vtn.dispatching.optimise import first_variance, rows_at, scale_of

PROBABILITY, REBOUND, EVERYTHING = "the probability", "the bound on rebound", "all limits together"


@dataclass(frozen=True)
class Binding:
    """A limit that binds. frees_wh: so much less is lacking, of the sum over the intervals, if it alone is lifted;
    lacking_wh: what is lacking then."""

    limit: str
    frees_wh: float
    lacking_wh: float


def bindings(
    sources: Sequence[Source], goal: Goal, *, seed: int = 1, executor: Executor | None = None
) -> list[Binding]:
    """Limits that lessen what is lacking, the strongest first; the last line says what all of them together would
    leave: more than 0 means that there are too few homes for this target."""
    pool = Pool(sources, executor, None)
    sizes = pool.map(homes_of)
    if sum(sizes) > SAMPLE_HOMES:
        drawn, factor = sampled(pool, sizes, seed)
        floor = None if goal.floor_wh is None else goal.floor_wh / factor
        smaller = replace(goal, target_wh=goal.target_wh / factor, floor_wh=floor)
        found = bindings(drawn, smaller, seed=seed)
        return [Binding(each.limit, each.frees_wh * factor, each.lacking_wh * factor) for each in found]
    now = _lacking(sources, goal, seed, executor)
    names = sorted({name for each in pool.map(_reasons) for name in each})
    found = []
    for name in names:
        left = _lacking([_lifted(source, (name,)) for source in sources], goal, seed, executor)
        found.append(Binding(name, now - left, left))
    if goal.probability > 0.5:
        left = _lacking(sources, replace(goal, probability=0.5, mode=EACH, common=0.0), seed, executor)
        found.append(Binding(PROBABILITY, now - left, left))
    if goal.floor_wh is not None:
        left = _lacking(sources, replace(goal, floor_wh=None), seed, executor)
        found.append(Binding(REBOUND, now - left, left))
    none = replace(goal, probability=0.5, mode=EACH, common=0.0, floor_wh=None)
    left = _lacking([_lifted(source, tuple(names)) for source in sources], none, seed, executor)
    freeing = sorted((each for each in found if each.frees_wh > 1e-3 * max(now, 1e-9)), key=lambda b: -b.frees_wh)
    return [*freeing, Binding(EVERYTHING, now - left, left)] if now > 1e-6 else []


def _lacking(sources: Sequence[Source], goal: Goal, seed: int, executor: Executor | None) -> float:
    pool = Pool(sources, executor, None)
    scales = pool.map(scale_of)
    penalty = 50 * max(each.dear for each in scales)
    rows = rows_at(goal, goal.first_z(), first_variance(goal, scales), penalty)
    homes = sum(each.homes for each in scales)
    prices = sampled_prices(pool, rows, [each.homes for each in scales], seed)
    found = relax(pool, rows, prices, homes)
    assert found is not None
    return float(np.maximum(0.0, found.lacking).sum())


def _reasons(fleet: Fleet) -> list[str]:
    return [fleet.reasons[int(code)] for code in np.unique(fleet.blocked[fleet.blocked > 0])]


def _lifted(source: Source, names: tuple[str, ...]) -> Source:
    return partial(_load_lifted, source, names)


def _load_lifted(source: Source, names: tuple[str, ...]) -> Fleet:
    fleet = load(source)
    return fleet.without_block(*(code for code, name in enumerate(fleet.reasons) if name in names))
