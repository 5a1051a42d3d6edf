"""One round of a contract: members chosen for what is missing, and the contracts that follow, ready to be stored."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from contracts.baseline import PRESETS, InsufficientHistory
from contracts.core.commands import BaselineCommitment, RequestReduction
from contracts.core.units import MS_PER_S, WH_PER_MWH
from contracts.demand_response.contract import ContractRecord, Status
from vtn.aggregator.dispatch import Choice, Dispatch
from vtn.aggregator.records import DevicePlan, Round
from vtn.aggregator.virtual_nodes.calling.contracts import Calling, device_plans
from vtn.aggregator.virtual_nodes.choosing import choose_members
from vtn.aggregator.virtual_nodes.members.candidacy import Evaluation, committed_baseline
from vtn.aggregator.virtual_nodes.members.group import valid
from vtn.services.programs import ProgramTerms

if TYPE_CHECKING:
    from vtn.aggregator.virtual_nodes.agent import Surroundings

_DAY_MS = 86_400_000


@dataclass(frozen=True)
class Planned:
    """A round with its contracts and what it was chosen from."""

    round: Round
    plans: list[DevicePlan]
    dispatch: Dispatch


async def plan_round(
    around: Surroundings,
    group: str,
    contract: ContractRecord,
    request: RequestReduction,
    evaluations: Sequence[Evaluation],
    *,
    number: int,
    reason: str,
    target_wh: Sequence[int],
    start_ms: int,
    free_minor: int | None,
) -> Planned:
    """Members of `group` for what `target_wh` (the contract's intervals) asks from `start_ms` on; nothing is stored.
    free_minor: what the contract's escrow can still hold for them."""
    terms = contract.terms
    skipped = (start_ms - terms.start_ms) // (terms.interval_s * MS_PER_S)
    candidates = [each.candidate for each in evaluations]
    # Off the event loop: a large group takes seconds.
    most_wh = None if free_minor is None else payable_wh(around.program.terms, free_minor)
    dispatch = await asyncio.to_thread(
        choose_members, target_wh[skipped:], candidates, around.policy, around.executor, most_wh
    )
    now_ms = around.clock.now_ms()
    event_id = f"evt-{contract.contract_id.removeprefix('sc1-')}-{number}" if dispatch.chosen else ""
    plans: list[DevicePlan] = []
    if event_id:
        accept_by_ms = min(now_ms + around.program.terms.accept_window_s * MS_PER_S, start_ms)
        if contract.status is Status.ACCEPTED:
            accept_by_ms = terms.activate_by_ms
        calling = Calling(around.program, group, contract, number, event_id, start_ms, accept_by_ms)
        own = await _own_baselines(around, calling, request, dispatch.chosen, evaluations)
        plans = device_plans(calling, dispatch.chosen, evaluations, own)
    planned = Round(
        sc1=contract.contract_id,
        round=number,
        reason=reason,
        dr_event_id=event_id,
        target_wh=tuple(target_wh),
        lacking_wh=(0,) * skipped + dispatch.lacking_wh,
        planned_ms=now_ms,
        solved=dispatch.solved,
    )
    return Planned(planned, plans, dispatch)


def payable_wh(program: ProgramTerms, free_minor: int) -> int:
    """What homes can be obliged to together where so much money is there for them: each contract holds its cap."""
    cost = program.device_price_minor_per_mwh * program.cap_percent
    return free_minor * 100 * WH_PER_MWH // cost if cost else 2**53


async def _own_baselines(
    around: Surroundings,
    calling: Calling,
    request: RequestReduction,
    chosen: Sequence[Choice],
    evaluations: Sequence[Evaluation],
) -> Mapping[str, BaselineCommitment]:
    """Commitments of who is called for a window of its own. No part of the whole event's: like-days are those with
    readings in the window, and the home computes them for its own contract."""
    windows = {each.candidate.candidate: calling.window(each) for each in chosen if each.count}
    if not windows:
        return {}
    program, now_ms = around.program.terms, around.clock.now_ms()
    from_ms = max(0, request.start_ms - (PRESETS[program.baseline_preset].lookback_days + 2) * _DAY_MS)
    readings = valid(await around.members.readings(list(windows), from_ms, now_ms), program)
    party = {each.member.ven_id: each.member.party for each in evaluations}

    def commit() -> dict[str, BaselineCommitment]:
        found = {}
        for ven_id, (start_ms, count) in windows.items():
            days = around.track.event_days(party[ven_id])
            try:
                found[ven_id] = committed_baseline(readings[ven_id], program, days, request.start_ms, start_ms, count)
            except InsufficientHistory:
                continue
        return found

    return await asyncio.to_thread(commit)
