"""Which members are called for a target, and when: at least cost for a stated probability, or in merit order.

    "optimal"  vtn.dispatching: reliability, weariness, rebound, a start of its own for who cannot hold out, and the
               probability of meeting the whole target at once
    "merit"    dispatch.choose: cheapest expected delivery first until the expectation is met, all from the beginning
    "auto"     the first where its libraries are installed (extra `intelligence`), otherwise the second

Whatever goes wrong with the first leads to the second: a need is never left without a choice.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from concurrent.futures import Executor
from functools import cache
from typing import TYPE_CHECKING, Literal

import msgspec

from runtime.logs import get_logger
from vtn.aggregator.dispatch import BASIS_POINTS, Candidate, Choice, Dispatch, Solved, choose
from vtn.services.programs import Program, ProgramTerms

if TYPE_CHECKING:
    from vtn.dispatching.fleet import Fleet
    from vtn.dispatching.optimise import Plan

Method = Literal["auto", "optimal", "merit"]

LIMIT_S = 60.0

_log = get_logger("vtn.choosing")


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How members are chosen. probability of meeting the target, in all intervals at once (mode "joint") or in each by
    itself ("each"); common: what moves all homes at once, standard deviation as a part of the delivery; snapback: what
    may come back in an interval after the end, as a part of the mean target, negative: no matter how much; least_wh: no
    call is for less; rebound: what comes back in the event is made up for by others; limit_s: seconds after which the
    best choice known is taken; names_limits: where something lacks, which limits stand in the way."""

    method: Method = "auto"
    probability: float = 0.8
    mode: str = "joint"
    common: float = 0.0
    snapback: float = -1.0
    least_wh: int = 0
    rebound: bool = True
    limit_s: float = LIMIT_S
    names_limits: bool = True

    @property
    def optimal(self) -> bool:
        """Is the optimisation to be used?"""
        return self.method == "optimal" or (self.method == "auto" and _installed())


def policy_of(program: Program, method: Method = "auto", limit_s: float = LIMIT_S) -> Policy:
    """What a programme asks for."""
    return policy_by(program.terms, method, limit_s)


def policy_by(terms: ProgramTerms, method: Method = "auto", limit_s: float = LIMIT_S) -> Policy:
    """What these terms ask for."""
    return Policy(
        method=method,
        probability=terms.meeting_probability_percent / 100,
        mode=terms.meeting_probability_mode,
        common=terms.common_variation_percent / 100,
        snapback=terms.snapback_percent / 100,
        least_wh=terms.call_wh_min,
        limit_s=limit_s,
    )


def prepare(method: Method) -> None:
    """Loads the libraries before the first need: that takes seconds on a busy machine."""
    if Policy(method=method).optimal:
        importlib.import_module("vtn.aggregator.virtual_nodes.calling.plans")
        importlib.import_module("vtn.dispatching.explanation")
        importlib.import_module("vtn.dispatching.shortage")
        importlib.import_module("vtn.dispatching.exact")


def choose_members(
    target_wh: Sequence[int],
    candidates: Sequence[Candidate],
    policy: Policy,
    executor: Executor | None = None,
    most_wh: int | None = None,
) -> Dispatch:
    """Whole homes for `target_wh` per interval; every candidate leaves with its reason. most_wh: what their contracts
    may oblige them to together, so that the contract above can pay them. The same candidates and policy give the same
    choice, on any executor, unless the time runs out."""
    usable = [each for each in candidates if not each.excluded and any(each.available_wh)]
    if policy.optimal and usable and any(target_wh):
        for where in (executor, None) if executor is not None else (None,):
            try:
                return _optimal(target_wh, candidates, policy, where, most_wh)
            except Exception as error:  # whatever it is: homes must be called
                _log.error("the optimisation failed", elsewhere=where is not None, error=repr(error)[:500])
        _log.error("members are chosen in merit order")
    return choose(target_wh, candidates, whole=True)


@cache
def _installed() -> bool:
    return all(importlib.util.find_spec(name) is not None for name in ("numpy", "scipy", "pulp", "highspy"))


def _optimal(
    target_wh: Sequence[int],
    candidates: Sequence[Candidate],
    policy: Policy,
    executor: Executor | None,
    most_wh: int | None,
) -> Dispatch:
    # These libraries come with an extra, and take a second to load.
    from vtn.aggregator.virtual_nodes.calling.plans import payable_plan

    able = sorted((each for each in candidates if any(each.available_wh)), key=lambda each: each.candidate)
    found = payable_plan(target_wh, able, policy, executor, most_wh)
    choices = _choices(able, found.fleets, found.plan, policy, len(target_wh))
    left_out = sorted((each for each in candidates if not any(each.available_wh)), key=lambda each: each.candidate)
    choices += [
        Choice(candidate=each, rank=0, chosen=False, obligation_wh=(), reason=each.excluded or "nothing to offer")
        for each in left_out
    ]
    plan, tail = found.plan, found.plan.mean_wh[len(target_wh) :]
    solved = Solved(
        method="optimal" if plan.status == "optimal" else "best known when the time ran out",
        mode=policy.mode,
        asked_bp=round(policy.probability * BASIS_POINTS),
        probability_bp=round(plan.probability * BASIS_POINTS),
        cost_minor=round(plan.cost),
        gap_percent=round(plan.gap_percent, 3),
        limits=found.limits,
        snapback_wh=round(max(0.0, -float(tail.min()))) if len(tail) else 0,
        spread_wh=tuple(round(each) for each in plan.deviation_wh[: len(target_wh)].tolist()),
    )
    lacking = _lacking(target_wh, choices)
    return Dispatch(target_wh=tuple(target_wh), choices=tuple(choices), lacking_wh=lacking, solved=solved)


def _choices(
    able: Sequence[Candidate], fleets: Sequence[Fleet], plan: Plan, policy: Policy, intervals: int
) -> list[Choice]:
    from vtn.dispatching.explanation import reasons

    told = [
        each
        for fleet, called in zip(fleets, plan.called, strict=True)
        for each in reasons(fleet, called, plan)
    ]  # fmt: skip
    pairs = sorted(
        zip(able, told, strict=True),
        key=lambda pair: (bool(pair[0].excluded), not pair[1].called, pair[1].cost - pair[1].worth, pair[1].home),
    )
    meant = "in all intervals at once" if policy.mode == "joint" else "in each interval"
    reached = (
        f"{plan.calls} calls meet the target {meant} with {plan.probability:.0%} (asked: {policy.probability:.0%})"
    )
    choices = []
    for rank, (candidate, reason) in enumerate(pairs, 1):
        start, count = 0, 0
        obligation: tuple[int, ...] = ()
        text = reason.text
        if reason.start < 0 and not candidate.excluded and policy.least_wh:
            text = f"offers less than a call is worth making for: {policy.least_wh} Wh in these intervals"
        if reason.called:
            start, count, obligation = _call(candidate, reason.start, intervals)
            own = f"called for {count} of {intervals} intervals, from the {start + 1}. on; " if count else ""
            text = f"{own}{text}; {reached}"
        choices.append(
            Choice(
                candidate=candidate,
                rank=0 if candidate.excluded else rank,
                chosen=reason.called,
                obligation_wh=obligation,
                reason=text,
                start=start,
                count=count,
            )
        )
    return choices


def _call(candidate: Candidate, start: int, intervals: int) -> tuple[int, int, tuple[int, ...]]:
    """Start, intervals (0: the whole event) and obligation of a call that begins with interval `start`."""
    obligation = candidate.call_wh(start)
    last = max(n for n, wh in enumerate(obligation) if wh) + 1
    whole = not candidate.at_wh or (start == 0 and last == intervals)
    return (0, 0, obligation) if whole else (start, last - start, obligation)


def _lacking(target_wh: Sequence[int], choices: Sequence[Choice]) -> tuple[int, ...]:
    """What is not expected of those who are called, as coverage is watched later."""
    chosen = [each for each in choices if each.chosen]
    return tuple(
        max(0, wanted - sum(each.obligation_wh[n] * each.candidate.reliability_bp // BASIS_POINTS for each in chosen))
        for n, wanted in enumerate(target_wh)
    )
