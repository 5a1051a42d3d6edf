"""What a virtual node can offer for a need: the energy its members are expected to shed, where it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor

import msgspec

from vtn.aggregator.dispatch import BASIS_POINTS, Candidate
from vtn.aggregator.virtual_nodes.choosing import Policy, choose_members
from vtn.services.programs import ProgramTerms


class GroupOffer(msgspec.Struct, frozen=True, kw_only=True):
    """What a group offers: Wh per interval, its asking price, its reliability (basis points), and the load it expects
    in the window (Wh)."""

    profile_wh: tuple[int, ...]
    price_minor_per_mwh: int
    reliability_bp: int
    forecast_wh: int


def group_offer(
    target_wh: Sequence[int],
    members: Sequence[Candidate],
    program: ProgramTerms,
    policy: Policy,
    executor: Executor | None = None,
) -> GroupOffer | str:
    """What its members can shed, less the reserve; or why that is nothing."""
    usable = sorted((each for each in members if not each.excluded), key=lambda each: each.merit)
    kept = usable[: len(usable) - len(usable) * program.reserve_percent // 100]
    expected = offered_wh(target_wh, kept, policy, executor) if kept else ()
    if not any(expected):
        return f"none of {len(members)} members can shed anything"
    reliability = sum(each.reliability_bp for each in kept) // len(kept)
    # What a delivered MWh of its members costs it, plus its margin, at most the programme's price.
    cost = program.device_price_minor_per_mwh * BASIS_POINTS // max(1, reliability)
    price = min(cost * (100 + program.virtual_node_margin_percent) // 100, program.virtual_node_price_minor_per_mwh)
    return GroupOffer(
        profile_wh=expected,
        price_minor_per_mwh=price,
        reliability_bp=reliability,
        forecast_wh=sum(each.forecast_wh for each in members),
    )


def offered_wh(
    target_wh: Sequence[int], members: Sequence[Candidate], policy: Policy, executor: Executor | None = None
) -> tuple[int, ...]:
    """Expected Wh per interval of these members. Of members who hold out, all they have; where some do not, what a
    choice for the target gives: called one after the other they can cover an event that each of them cannot."""
    if not policy.optimal or not any(each.at_wh for each in members):
        return _sum([(each, each.available_wh) for each in members], len(target_wh))
    even = msgspec.structs.replace(policy, probability=0.5, mode="each", common=0.0, names_limits=False)
    found = choose_members(target_wh, members, even, executor)
    if any(found.lacking_wh):
        # Too few for all of it: a lower target of the same shape, instead of a gap where it happens to be.
        wanted = sum(target_wh)
        share = 1 - sum(found.lacking_wh) / wanted
        lower = tuple(int(wh * share) for wh in target_wh)
        found = choose_members(lower, members, even, executor) if any(lower) else found
    return _sum([(each.candidate, each.obligation_wh) for each in found.chosen], len(target_wh))


def _sum(calls: Sequence[tuple[Candidate, Sequence[int]]], intervals: int) -> tuple[int, ...]:
    return tuple(sum(wh[n] * each.reliability_bp // BASIS_POINTS for each, wh in calls) for n in range(intervals))
