"""The plan of a choice of members that the contract above them can pay.

What a virtual node holds for its homes comes out of its own contract, which is worth so many Wh of theirs. Safety and
rebound ask for more homes than are obliged to anything; where there is no money for all of it, first the probability
is lowered, then what comes back during the event is not made up for any more (no contract measures it), and the limits
say so.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from vtn.aggregator.dispatch import Candidate, Limit
from vtn.aggregator.virtual_nodes.calling.options import fleets_of, goal_of
from vtn.dispatching.chance import Goal, need
from vtn.dispatching.fleet import Fleet, Ints
from vtn.dispatching.linear import summed
from vtn.dispatching.optimise import Plan, optimise, with_calls
from vtn.dispatching.pricing import totals_of
from vtn.dispatching.shortage import bindings

if TYPE_CHECKING:
    from vtn.aggregator.virtual_nodes.choosing import Policy

SEED = 1
ESCROW = "what the contract can pay its homes"


@dataclass(frozen=True, eq=False)
class Found:
    """A plan over fleets, and the limits that stand in the way of what was asked for."""

    plan: Plan
    fleets: list[Fleet]
    limits: tuple[Limit, ...]


def payable_plan(
    target_wh: Sequence[int],
    able: Sequence[Candidate],
    policy: Policy,
    executor: Executor | None,
    most_wh: int | None,
) -> Found:
    """The plan for a target, its obligations at most `most_wh` together (None: no matter)."""
    asked: tuple[Goal, Found] | None = None
    ends = time.monotonic() + policy.limit_s
    for step in _steps(policy):
        fleets, goal = fleets_of(able, step), goal_of(target_wh, able, step)
        # Whether it can be paid is seen before the time for the last percent is spent.
        for search in (False, True) if most_wh is not None else (True,):
            left_s = max(0.0, ends - time.monotonic())
            plan = optimise(fleets, goal, seed=SEED, limit_s=left_s, executor=executor, search=search)
            payable = most_wh is None or _obliged(able, fleets, plan) <= most_wh
            if not payable:
                break
        if asked is None:
            found = Found(plan, fleets, _limits(fleets, goal, plan, policy, executor))
            asked = (goal, found)
        else:
            found = Found(plan, fleets, (_escrow(*asked, plan, len(target_wh)), *asked[1].limits))
        if payable:
            return found
    assert most_wh is not None
    kept = _cut(able, found, most_wh)
    return replace(found, plan=with_calls(found.plan, found.fleets, goal, kept, SEED))


def _steps(policy: Policy) -> Iterator[Policy]:
    yield policy
    for rebound in (True, False) if policy.rebound else (True,):
        for part in (1.0, 0.5, 0.0):
            probability = 0.5 + part * (policy.probability - 0.5)
            if part < 1 or not rebound:
                yield msgspec.structs.replace(policy, probability=probability, rebound=rebound)
    yield msgspec.structs.replace(policy, probability=0.5, mode="each", common=0.0, rebound=False)


def _limits(
    fleets: list[Fleet], goal: Goal, plan: Plan, policy: Policy, executor: Executor | None
) -> tuple[Limit, ...]:
    if not plan.lacking_wh.any() or not policy.names_limits:
        return ()
    return tuple(
        Limit(limit=each.limit, frees_wh=round(each.frees_wh), lacking_wh=round(each.lacking_wh))
        for each in bindings(fleets, goal, seed=SEED, executor=executor)
    )


def _escrow(goal: Goal, asked: Found, plan: Plan, intervals: int) -> Limit:
    """What a plan that can be paid lacks of what was asked for."""
    parts = [totals_of(fleet, called) for fleet, called in zip(asked.fleets, plan.called, strict=True)]
    sums = summed(parts)
    missing = need(goal, asked.plan.z, sums.variance) - sums.mean
    lacking = float(np.maximum(0.0, missing[:intervals][goal.asked[:intervals]]).sum())
    left = float(asked.plan.lacking_wh[:intervals].sum())
    return Limit(limit=ESCROW, frees_wh=round(max(0.0, lacking - left)), lacking_wh=round(left))


def _obliged(able: Sequence[Candidate], fleets: Sequence[Fleet], plan: Plan) -> int:
    return sum(sum(candidate.call_wh(start)) for candidate, start, _ in _calls(able, fleets, plan))


def _cut(able: Sequence[Candidate], found: Found, most_wh: int) -> list[Ints]:
    """The calls without the dearest until the others can be paid."""
    kept, total = [], 0
    for candidate, start, place in sorted(_calls(able, found.fleets, found.plan), key=lambda each: each[0].merit):
        wh = sum(candidate.call_wh(start))
        if total + wh <= most_wh:
            kept.append(place)
            total += wh
    return [
        np.array(sorted(option for part, option in kept if part == number), np.int64)
        for number in range(len(found.fleets))
    ]


def _calls(
    able: Sequence[Candidate], fleets: Sequence[Fleet], plan: Plan
) -> Iterator[tuple[Candidate, int, tuple[int, int]]]:
    """(candidate, start, (fleet, option)) of each call."""
    offset = 0
    for number, (fleet, called) in enumerate(zip(fleets, plan.called, strict=True)):
        for option in called.tolist():
            yield able[offset + int(fleet.home[option])], int(fleet.start[option]), (number, option)
        offset += fleet.homes
