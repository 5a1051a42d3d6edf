"""Candidates as options of `vtn.dispatching`: every start of a home that cannot hold out, what comes back after it, and
the goal all of them together have. Loaded only where the libraries of the extra `intelligence` are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from vtn.aggregator.dispatch import BASIS_POINTS, Candidate
from vtn.dispatching.chance import Goal
from vtn.dispatching.fleet import Fleet, Homes, fleet_of

if TYPE_CHECKING:
    from vtn.aggregator.virtual_nodes.choosing import Policy

#: rebound is looked at for so many intervals after the end: what comes back later comes back thinly
TAIL_MAX = 16
#: homes of one part: parts answer for themselves, on threads or Dask workers
PART_HOMES = 25_000
_WH_PER_MWH = 1_000_000
#: a home whose season is used up costs its price once more
_WEARY = 1.0


def goal_of(target_wh: Sequence[int], candidates: Sequence[Candidate], policy: Policy) -> Goal:
    """The target with its probability; in the intervals after it at most a part of its mean may come back."""
    wanted = np.array(target_wh, float)
    tail = _tail(candidates, policy)
    floor = None
    if tail:
        asked = wanted[wanted > 0]
        floor = np.full(len(wanted) + tail, -np.inf)
        floor[len(wanted) :] = -policy.snapback * float(asked.mean())
    return Goal(
        np.concatenate([wanted, np.zeros(tail)]), policy.probability, policy.mode, common=policy.common, floor_wh=floor
    )


def fleets_of(able: Sequence[Candidate], policy: Policy) -> list[Fleet]:
    """The options of these candidates, in their order, in parts of PART_HOMES. Who is excluded is in it, blocked, so
    that what it would give is known."""
    reasons = ("", *sorted({each.excluded for each in able if each.excluded}))
    tail = _tail(able, policy)
    return [
        fleet_of(_homes(able[first : first + PART_HOMES], reasons, policy), tail=tail, least_wh=policy.least_wh)
        for first in range(0, len(able), PART_HOMES)
    ]


def _tail(candidates: Sequence[Candidate], policy: Policy) -> int:
    if policy.snapback < 0 or not policy.rebound:
        return 0
    longest = max((each.rebound_intervals for each in candidates if each.rebound_percent), default=0)
    return min(TAIL_MAX, longest)


def _homes(able: Sequence[Candidate], reasons: tuple[str, ...], policy: Policy) -> Homes:
    code = {reason: number for number, reason in enumerate(reasons)}
    count, intervals = len(able), len(able[0].available_wh)
    weary = np.array([each.weariness_bp for each in able], float) / BASIS_POINTS
    price = np.array([each.price_minor_per_mwh for each in able], float) / _WH_PER_MWH
    at_wh = np.array([each.at_wh or each.available_wh for each in able], float)
    energy = np.array([each.energy_wh if each.at_wh else np.inf for each in able], float)
    # What a call costs its people is known for the whole event: who holds out for a part of it feels that part.
    lasts = np.minimum(1.0, energy / np.maximum(1.0, at_wh.sum(axis=1)))
    return Homes(
        names=[each.candidate for each in able],
        available_wh=at_wh,
        price=price * (1 + _WEARY * weary),
        comfort=np.array([each.comfort_minor for each in able], float) * lasts,
        duration=np.full(count, intervals),
        rebound=np.array([each.rebound_percent if policy.rebound else 0 for each in able], float) / 100,
        rebound_over=np.array([each.rebound_intervals for each in able], np.int64),
        answers=np.array([each.reliability_bp * each.answers_bp for each in able], float) / BASIS_POINTS**2,
        spread=np.array([each.spread_bp for each in able], float) / BASIS_POINTS,
        calls_left=np.ones(count, np.int64),
        blocked=np.array([code[each.excluded] for each in able], np.int64),
        reasons=reasons,
        energy_wh=energy,
    )
