"""The cheapest plan that meets a goal with its probability, or the nearest to it, and how far from the best it can be.

z of Bonferroni --> relaxation --> z of the covariance this plan has --> relaxation again --> whole calls
                                                     (few options, or those near the margin: integer programme)
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from vtn.dispatching import exact
from vtn.dispatching.chance import Goal, joint_z, need, probability, slope
from vtn.dispatching.errors import InvalidFleet
from vtn.dispatching.fleet import Fleet, Floats, Ints
from vtn.dispatching.linear import Pool, Relaxed, Rows, Source, load, relax, sampled_prices, summed
from vtn.dispatching.pricing import Totals, nearest, respond, totals_of
from vtn.dispatching.rounding import whole

OPTIMAL, TIMED_OUT = "optimal", "timed out"
#: so few options are decided by an integer programme
EXACT_OPTIONS_MAX = 400
EXACT_LIMIT_S = 20.0
#: of more options so many, if rounding costs more than this part
NEAR_OPTIONS = 300
_WORTH_A_SEARCH = 0.02
#: at most so many whole plans, each safer than the one before, until the probability is that which was asked for
_ATTEMPTS = 3
#: the bound holds for every plan whose standard deviation is within this part of the plan's own
SPREAD_WITHIN = 0.05
_PENALTY = 50.0
_PRICE_STEPS = 60


@dataclass(frozen=True, eq=False)
class Plan:
    """Who is called.

    called: options of each fleet; cost in minor units; bound: no plan costs less (see SPREAD_WITHIN; penalties for what
    lacks count in both); gap_percent between them; mean and standard deviation [T] of what is expected; z and the
    probability of the goal, simulated from the plan's own covariance; lacking_wh [T] that no home could give;
    prices [T]: minor units one more Wh in that interval costs; status: "optimal" within the gap, or "timed out"."""

    called: list[Ints]
    cost: float
    bound: float
    gap_percent: float
    mean_wh: Floats
    deviation_wh: Floats
    z: float
    probability: float
    lacking_wh: Floats
    prices: Floats
    slopes: Floats
    status: str
    seconds: float

    @property
    def calls(self) -> int:
        """How many."""
        return sum(len(each) for each in self.called)


@dataclass(frozen=True, eq=False)
class Scale:
    """What is looked up before the first step: homes, options, intervals, a high price of a Wh (minor units), and the
    variance over mean [T] of options."""

    homes: int
    options: int
    intervals: int
    dear: float
    ratio: Floats


def optimise(
    sources: Sequence[Source],
    goal: Goal,
    *,
    seed: int = 1,
    limit_s: float | None = None,
    executor: Executor | None = None,
    search: bool = True,
) -> Plan:
    """A plan over the fleets; of few options, with `search`, by an integer programme too. The same fleets, goal and
    seed give the same plan, unless the time runs out: then it is the best one known, with its gap. Raises InvalidFleet,
    InvalidGoal."""
    began = time.monotonic()
    pool = Pool(sources, executor, None if limit_s is None else began + limit_s)
    scales = pool.map(scale_of)
    if any(each.intervals != len(goal.target_wh) for each in scales):
        raise InvalidFleet(f"a goal of {len(goal.target_wh)} intervals is not that of the fleet's options")
    penalty = _PENALTY * max((each.dear for each in scales), default=1.0)
    z = goal.first_z()
    rows = rows_at(goal, z, first_variance(goal, scales), penalty)
    homes = sum(each.homes for each in scales)
    relaxed = relax(pool, rows, sampled_prices(pool, rows, [each.homes for each in scales], seed), homes)
    if relaxed is None:
        return _by_prices(pool, goal, z, rows, scales, began)
    z = joint_z(goal, relaxed.totals.covariance, relaxed.totals.mean, seed)
    second = rows_at(goal, z, relaxed.totals.variance, penalty)
    again = relax(pool, second, relaxed.prices, homes)
    status = OPTIMAL if again is not None else TIMED_OUT
    if again is None:
        again, second, z = relaxed, rows, goal.first_z()
    bound, tried = again.bound - _spread_loss(goal, z, again, second), z
    fleet = load(sources[0]) if search and len(sources) == 1 else None
    for attempt in range(_ATTEMPTS):
        called, sums, proven = _calls(goal, tried, again, second, seed, fleet, pool.left_s)
        bound = max(bound, proven) if not attempt else bound
        if tried >= goal.first_z() or probability(goal, sums.covariance, sums.mean, seed) >= goal.probability:
            break
        if (need(goal, tried, sums.variance) - sums.mean > 1e-6).any():
            break
        # Whole calls go together less than the fractions z was found for.
        tried = min(goal.first_z(), max(1.02 * tried, joint_z(goal, sums.covariance, sums.mean, seed)))
    return _finished(goal, tried, seed, called, sums, bound, again, second, status, began)


def _calls(
    goal: Goal, z: float, relaxed: Relaxed, rows: Rows, seed: int, fleet: Fleet | None, left_s: float
) -> tuple[list[Ints], Totals, float]:
    """Whole calls, their sums, and what an integer programme has proven that they cost at least (-inf: nothing).
    `fleet`: the only one, None: without such a programme. Of many options it looks at those near the margin."""
    found = whole(goal, z, relaxed, seed)
    lacks = float(found.lacking.sum())
    objective = found.totals.cost + rows.penalty * lacks
    nothing = found.called, found.totals, -np.inf
    if fleet is None:
        return nothing
    few, options = len(fleet.home) <= EXACT_OPTIONS_MAX, np.arange(len(fleet.home))
    if not few and objective - relaxed.objective <= _WORTH_A_SEARCH * objective:
        return nothing
    if not few:
        options = np.union1d(nearest(fleet, relaxed.prices, rows.slopes, NEAR_OPTIONS), found.called[0])
    small = exact.solve(
        fleet if few else fleet.of_options(options), goal, z, relaxed.totals.variance, rows.penalty,
        min(EXACT_LIMIT_S, left_s), start=np.searchsorted(options, found.called[0]),
    )  # fmt: skip
    if small is None:
        return nothing
    proven = small.bound if few else -np.inf
    lacks_too = float(small.lacking.sum()) > 1e-6
    # A plan that lacks nothing is worth more than any that does, whatever the penalty makes of it.
    if (lacks_too and lacks <= 1e-6) or (lacks_too == (lacks > 1e-6) and small.objective > objective):
        return found.called, found.totals, proven
    called = options[small.called]
    return [called], totals_of(fleet, called), proven


def with_calls(plan: Plan, fleets: Sequence[Fleet], goal: Goal, called: list[Ints], seed: int) -> Plan:
    """The plan with other calls: what they are expected to give and with which probability; bound and prices stay."""
    sums = summed([totals_of(fleet, options) for fleet, options in zip(fleets, called, strict=True)])
    missing = need(goal, plan.z, sums.variance) - sums.mean
    return replace(
        plan,
        called=called,
        cost=sums.cost,
        mean_wh=sums.mean,
        deviation_wh=np.sqrt(sums.variance + (goal.common * np.where(goal.asked, sums.mean, 0.0)) ** 2),
        probability=probability(goal, sums.covariance, sums.mean, seed + 1),
        lacking_wh=np.where(np.isfinite(missing) & (missing > 1e-6), missing, 0.0),
    )


def scale_of(fleet: Fleet) -> Scale:
    """See Scale."""
    mean = np.maximum(0.0, fleet.mean_wh)
    energy = mean.sum(axis=1)
    useful = energy > 0
    dear = float(np.quantile(fleet.cost[useful] / energy[useful], 0.99)) if useful.any() else 0.0
    total = mean.sum(axis=0)
    ratio = (fleet.weight @ mean**2) / np.maximum(1e-9, total)
    return Scale(fleet.homes, len(fleet.home), fleet.intervals, max(dear, 1e-9), np.asarray(ratio, np.float64))


def first_variance(goal: Goal, scales: Sequence[Scale]) -> Floats:
    """[T] about the variance that calling average homes for the target would have."""
    weights = np.array([each.options for each in scales], float)
    ratio = np.average([each.ratio for each in scales], axis=0, weights=np.maximum(1e-9, weights))
    return np.asarray(goal.target_wh * ratio, np.float64)


def rows_at(goal: Goal, z: float, variance: Floats, penalty: float) -> Rows:
    """The goal around a plan of this variance [T]."""
    slopes = slope(goal, z, variance)
    return Rows(need(goal, z, variance) - slopes * variance, slopes, penalty)


def _spread_loss(goal: Goal, z: float, relaxed: Relaxed, rows: Rows) -> float:
    """By how much the tangent can ask more than the need, priced: so much lower the bound must be."""
    at = relaxed.totals.variance
    finite = np.isfinite(rows.least)
    most = np.zeros(int(finite.sum()))
    for factor in ((1 - SPREAD_WITHIN) ** 2, (1 + SPREAD_WITHIN) ** 2):
        asked = (rows.least + rows.slopes * at * factor)[finite]
        most = np.maximum(most, asked - need(goal, z, at * factor)[finite])
    return float(relaxed.prices[finite] @ most)


def _finished(
    goal: Goal,
    z: float,
    seed: int,
    called: list[Ints],
    sums: Totals,
    bound: float,
    relaxed: Relaxed,
    rows: Rows,
    status: str,
    began: float,
) -> Plan:
    missing = need(goal, z, sums.variance) - sums.mean
    lacking = np.where(np.isfinite(missing) & (missing > 1e-6), missing, 0.0)
    objective = sums.cost + rows.penalty * float(lacking.sum())
    deviation = np.sqrt(sums.variance + (goal.common * np.where(goal.asked, sums.mean, 0.0)) ** 2)
    return Plan(
        called=called,
        cost=sums.cost,
        bound=min(bound, objective),
        gap_percent=100 * max(0.0, objective - bound) / objective if objective > 0 else 0.0,
        mean_wh=sums.mean,
        deviation_wh=deviation,
        z=z,
        # not the draws that z was found with: they would flatter the plan
        probability=probability(goal, sums.covariance, sums.mean, seed + 1),
        lacking_wh=lacking,
        prices=relaxed.prices,
        slopes=rows.slopes,
        status=status,
        seconds=time.monotonic() - began,
    )


def _by_prices(pool: Pool, goal: Goal, z: float, rows: Rows, scales: Sequence[Scale], began: float) -> Plan:
    """Out of time: prices are raised where something is missing until the homes' own answers are enough."""
    finite = np.isfinite(rows.least)
    prices = np.where(goal.asked, max(each.dear for each in scales) / 5, 0.0)
    best: tuple[tuple[float, float], list[Ints], Totals, Floats] | None = None
    bound = -np.inf
    for n in range(_PRICE_STEPS):
        answers = pool.map(partial(respond, prices=prices, slopes=rows.slopes, share=0.0))
        bound = max(bound, sum(each.surplus for each in answers) + float(prices[finite] @ rows.least[finite]))
        sums = summed([each.clear for each in answers])
        asked = need(goal, z, sums.variance)
        missing = np.where(finite, asked - sums.mean, 0.0)
        merit = (float(np.maximum(0.0, missing).sum()), sums.cost)
        if best is None or merit < best[0]:
            best = (merit, [each.called for each in answers], sums, prices)
        if n < _PRICE_STEPS // 2:  # toward balance, by ever smaller steps
            part = missing / np.maximum(1.0, np.abs(np.where(finite, asked, 1.0)))
            prices = prices * np.exp(0.6 / (1 + n / 3) * np.clip(part, -1, 1))
        elif (missing > 0).any():  # then only upward until nothing is missing
            prices = np.where(missing > 0, np.maximum(prices, prices.max() / 20) * 1.04, prices)
        else:
            break
    assert best is not None
    _, called, sums, prices = best
    nothing = Relaxed(prices, np.inf, bound, [], np.zeros(0), np.zeros(0))
    return _finished(goal, z, 0, called, sums, bound, nothing, rows, TIMED_OUT, began)
