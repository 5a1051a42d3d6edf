"""All members of a virtual node evaluated at once: what is known of them is read together, and judged in a thread.

ledger    engagements ────┐
records   plans asked ────┤
members   homes, telemetry, opts ──┼──▶ `evaluated` ──▶ one Evaluation a home
track     past contracts ─┘
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from types import MappingProxyType
from typing import TYPE_CHECKING

from contracts.baseline import PRESETS
from contracts.core.commands import RequestReduction
from contracts.core.units import MS_PER_S
from contracts.demand_response.contract import EngagementRecord, terms_end_ms
from ledger.client import LedgerClient
from runtime.logs import get_logger
from vtn.aggregator.dispatch import Candidate
from vtn.aggregator.ports import HomeForecasts, Member
from vtn.aggregator.records import DevicePlan
from vtn.aggregator.virtual_nodes.members.candidacy import Evaluation, evaluate
from vtn.aggregator.virtual_nodes.members.track import TrackRecord
from vtn.services.programs import ProgramTerms

if TYPE_CHECKING:
    from vtn.aggregator.virtual_nodes.agent import Surroundings

_DAY_MS = 86_400_000
_HOUR_S = 3_600

_log = get_logger("vtn.members")


async def evaluate_group(
    around: Surroundings,
    ledger: LedgerClient,
    group: str,
    request: RequestReduction,
    start_ms: int,
    count: int,
    exclude: Collection[str],
) -> list[Evaluation]:
    """Every member of `group` for `count` intervals of `request` from `start_ms` on; the parties of `exclude` are
    taken already. Raises LedgerError."""
    now_ms = around.clock.now_ms()
    end_ms = start_ms + count * request.interval_s * MS_PER_S
    engaged = {
        key.split("/")[0]
        for key, engagement in await ledger.records(EngagementRecord)
        if int(key.split("/")[1]) < end_ms and engagement.end_ms > start_ms
    }
    asked = await around.records.asked(now_ms)
    engaged |= {plan.device for plan in asked if plan.terms.start_ms < end_ms and terms_end_ms(plan.terms) > start_ms}
    members = await around.members.of_group(group)
    preset = PRESETS[around.program.terms.baseline_preset]
    from_ms = max(0, request.start_ms - (preset.lookback_days + 2) * _DAY_MS)
    ven_ids = [member.ven_id for member in members]
    readings = await around.members.readings(ven_ids, from_ms, now_ms)
    unavailable = await around.members.unavailable(ven_ids, start_ms, end_ms)
    return await evaluated(
        members,
        readings,
        around.program.terms,
        around.track,
        around.forecasts,
        need_id=request.need_id,
        need_start_ms=request.start_ms,
        start_ms=start_ms,
        count=count,
        now_ms=now_ms,
        engaged=engaged | set(exclude),
        unavailable=unavailable,
        planned=_unanswered(asked, around.program.terms, around.track),
    )


def _unanswered(
    asked: Sequence[DevicePlan], program: ProgramTerms, track: TrackRecord
) -> dict[str, list[date]]:  # fmt: skip
    """party -> local days for which it is asked, and has not accepted: they count as calls until it has answered."""
    calendar, found = program.calendar, dict[str, list[date]]()
    for plan in asked:
        if not track.accepted(plan.contract_id):
            found.setdefault(plan.device, []).append(calendar.day_of(plan.terms.start_ms))
    return found


async def evaluated(
    members: Sequence[Member],
    readings: Mapping[str, Mapping[int, int]],
    program: ProgramTerms,
    track: TrackRecord,
    forecasts: HomeForecasts,
    *,
    need_id: str,
    need_start_ms: int,
    start_ms: int,
    count: int,
    now_ms: int,
    engaged: Collection[str],
    unavailable: Mapping[str, str],
    planned: Mapping[str, Collection[date]] = MappingProxyType({}),
) -> list[Evaluation]:
    """Each member on its readings (ven_id -> interval start -> Wh), as far as a meter can have made them. engaged:
    parties that are under contract in this time; unavailable: ven_id -> why it does not want to be called; planned:
    party -> days it is asked for already."""
    day = program.calendar.day_of(start_ms)
    mean_calls = track.mean_calls([member.party for member in members], day) if members else 0.0
    # Off the event loop: homes go on polling while a large group is evaluated.
    readings = await asyncio.to_thread(valid, readings, program)
    made = await forecasts.of_homes(
        readings,
        {member.ven_id: track.event_days(member.party) for member in members},
        program,
        start_ms=start_ms,
        count=count,
        now_ms=now_ms,
    )
    for member in members:
        track.corrected(member.party, member.corrected_ms)

    def each_of(member: Member) -> Evaluation:
        try:
            return evaluate(
                member,
                readings[member.ven_id],
                program,
                track,
                need_id=need_id,
                need_start_ms=need_start_ms,
                start_ms=start_ms,
                count=count,
                now_ms=now_ms,
                engaged=member.party in engaged,
                forecast=made.get(member.ven_id),
                unavailable=unavailable.get(member.ven_id, ""),
                mean_calls=mean_calls,
                planned=planned.get(member.party, ()),
            )
        except Exception as error:  # whatever a home says of itself: the others are to be called
            _log.exception("home not evaluated", ven=member.ven_id)
            return _excluded(member, count, f"cannot be evaluated: {error}"[:200])

    return await asyncio.to_thread(lambda: [each_of(member) for member in members])


def valid(readings: Mapping[str, Mapping[int, int]], program: ProgramTerms) -> Mapping[str, Mapping[int, int]]:
    """Readings without those beyond what the connection of a home carries: one of them would be its baseline, and
    larger than what the ledger counts with."""
    most = program.connection_w * program.interval_s // _HOUR_S

    def of_home(wh: Mapping[int, int]) -> Mapping[int, int]:
        if not wh or (max(wh.values()) <= most and min(wh.values()) >= -most):
            return wh
        return {at: energy for at, energy in wh.items() if -most <= energy <= most}

    return {ven_id: of_home(wh) for ven_id, wh in readings.items()}


def _excluded(member: Member, count: int, reason: str) -> Evaluation:
    candidate = Candidate(
        candidate=member.ven_id, available_wh=(0,) * count, forecast_wh=0, price_minor_per_mwh=0, reliability_bp=0,
        excluded=reason,
    )  # fmt: skip
    return Evaluation(member=member, candidate=candidate, baseline=None)
