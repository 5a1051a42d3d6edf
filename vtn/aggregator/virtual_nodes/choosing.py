"""Which members are called for a target: at least cost for a stated probability, or in merit order.

    "optimal"  vtn.dispatching: reliability, weariness and the probability of meeting the whole target at once
    "merit"    dispatch.choose: cheapest expected delivery first until the expectation is met
    "auto"     the first where its libraries are installed (extra `intelligence`), otherwise the second

Whatever goes wrong with the first leads to the second: a need is never left without a choice.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Literal

import msgspec

from runtime.logs import get_logger
from vtn.aggregator.dispatch import BASIS_POINTS, Candidate, Choice, Dispatch, choose
from vtn.services.programs import Program

if TYPE_CHECKING:
    from vtn.dispatching.fleet import Fleet

Method = Literal["auto", "optimal", "merit"]

SEED = 1
LIMIT_S = 10.0
_WH_PER_MWH = 1_000_000
#: a home whose season is used up costs its price once more
_WEARY = 1.0

_log = get_logger("vtn.choosing")


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How members are chosen. probability of meeting the target in all intervals at once; common: what moves all homes
    at once, standard deviation as a part of the delivery."""

    method: Method = "auto"
    probability: float = 0.8
    common: float = 0.0

    @property
    def optimal(self) -> bool:
        """Is the optimisation to be used?"""
        return self.method == "optimal" or (self.method == "auto" and _installed())


def policy_of(program: Program, method: Method = "auto") -> Policy:
    """What a programme asks for."""
    terms = program.terms
    return Policy(
        method=method,
        probability=terms.meeting_probability_percent / 100,
        common=terms.common_variation_percent / 100,
    )


def prepare(method: Method) -> None:
    """Loads the libraries before the first need: that takes seconds on a busy machine."""
    if Policy(method=method).optimal:
        importlib.import_module("vtn.dispatching.explanation")
        importlib.import_module("vtn.dispatching.shortage")
        importlib.import_module("vtn.dispatching.exact")


def choose_members(target_wh: Sequence[int], candidates: Sequence[Candidate], policy: Policy) -> Dispatch:
    """Whole homes for `target_wh` per interval; every candidate leaves with its reason. The same candidates and policy
    give the same choice."""
    usable = [each for each in candidates if not each.excluded and any(each.available_wh)]
    if policy.optimal and usable and any(target_wh):
        try:
            return _optimal(target_wh, candidates, policy)
        except Exception as error:  # whatever it is: homes must be called
            _log.error("members are chosen in merit order: the optimisation failed", error=repr(error)[:500])
    return choose(target_wh, candidates, whole=True)


@cache
def _installed() -> bool:
    return all(importlib.util.find_spec(name) is not None for name in ("numpy", "scipy", "pulp", "highspy"))


def _optimal(target_wh: Sequence[int], candidates: Sequence[Candidate], policy: Policy) -> Dispatch:
    # These libraries come with an extra, and take a second to load.
    import numpy as np

    from vtn.dispatching.chance import Goal
    from vtn.dispatching.explanation import reasons
    from vtn.dispatching.optimise import optimise
    from vtn.dispatching.shortage import bindings

    able = sorted((each for each in candidates if any(each.available_wh)), key=lambda each: each.candidate)
    fleet = _fleet(able, len(target_wh))
    goal = Goal(np.array(target_wh, float), policy.probability, common=policy.common)
    plan = optimise([fleet], goal, seed=SEED, limit_s=LIMIT_S)
    told = sorted(
        zip(able, reasons(fleet, plan.called[0], plan), strict=True),
        key=lambda pair: (bool(pair[0].excluded), not pair[1].called, pair[1].cost - pair[1].worth, pair[1].home),
    )
    reached = f"{plan.calls} calls meet the target with {plan.probability:.0%} (asked: {policy.probability:.0%})"
    choices = [
        Choice(
            candidate=candidate,
            rank=0 if candidate.excluded else rank,
            chosen=reason.called,
            obligation_wh=candidate.available_wh if reason.called else (),
            reason=f"{reason.text}; {reached}" if reason.called else reason.text,
        )
        for rank, (candidate, reason) in enumerate(told, 1)
    ]
    left_out = sorted((each for each in candidates if not any(each.available_wh)), key=lambda each: each.candidate)
    choices += [
        Choice(candidate=each, rank=0, chosen=False, obligation_wh=(), reason=each.excluded or "nothing to offer")
        for each in left_out
    ]
    limits: tuple[str, ...] = ()
    if plan.lacking_wh.any():
        limits = tuple(
            f"without {each.limit} {each.frees_wh:.0f} Wh less would be lacking, {each.lacking_wh:.0f} Wh left"
            for each in bindings([fleet], goal, seed=SEED)
        )
    return Dispatch(
        target_wh=tuple(target_wh),
        choices=tuple(choices),
        lacking_wh=_lacking(target_wh, choices),
        method="optimal" if plan.status == "optimal" else "best known when the time ran out",
        probability_bp=round(plan.probability * BASIS_POINTS),
        cost_minor=round(plan.cost),
        gap_percent=round(plan.gap_percent, 3),
        limits=limits,
    )


def _lacking(target_wh: Sequence[int], choices: Sequence[Choice]) -> tuple[int, ...]:
    """What is not expected of those who are called, as coverage is watched later."""
    chosen = [each for each in choices if each.chosen]
    return tuple(
        max(0, wanted - sum(each.obligation_wh[n] * each.candidate.reliability_bp // BASIS_POINTS for each in chosen))
        for n, wanted in enumerate(target_wh)
    )


def _fleet(able: Sequence[Candidate], intervals: int) -> Fleet:
    """Whole-event calls of these candidates; who is excluded is in it, blocked, so that what it would give is known."""
    import numpy as np

    from vtn.dispatching.fleet import Homes, fleet_of

    count = len(able)
    excluded = sorted({each.excluded for each in able if each.excluded})
    weary = np.array([each.weariness_bp for each in able], float) / BASIS_POINTS
    price = np.array([each.price_minor_per_mwh for each in able], float) / _WH_PER_MWH
    homes = Homes(
        names=[each.candidate for each in able],
        available_wh=np.array([each.available_wh for each in able], float),
        price=price * (1 + _WEARY * weary),
        comfort=np.array([each.comfort_minor for each in able], float),
        duration=np.full(count, intervals),
        rebound=np.zeros(count),
        rebound_over=np.ones(count, np.int64),
        answers=np.array([each.reliability_bp * each.answers_bp for each in able], float) / BASIS_POINTS**2,
        spread=np.array([each.spread_bp for each in able], float) / BASIS_POINTS,
        calls_left=np.ones(count, np.int64),
        blocked=np.array([1 + excluded.index(each.excluded) if each.excluded else 0 for each in able], np.int64),
        reasons=("", *excluded),
    )
    return fleet_of(homes)
