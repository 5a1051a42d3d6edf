"""A dispatch that is only looked at: whom a need would call, why, how surely, for what; nothing is stored or sent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from contracts.core.units import MS_PER_S, WH_PER_MWH
from ledger.client import START
from vtn.aggregator.dispatch import BASIS_POINTS, Choice
from vtn.aggregator.gateway import EnrolledMembers, member_of
from vtn.aggregator.ports import Member
from vtn.aggregator.records import AggregatorRecords
from vtn.aggregator.virtual_nodes.choosing import Policy, choose_members, policy_of
from vtn.aggregator.virtual_nodes.members.candidacy import site_calendar
from vtn.aggregator.virtual_nodes.members.forecasts import home_forecasts
from vtn.aggregator.virtual_nodes.members.group import evaluated
from vtn.aggregator.virtual_nodes.members.track import TrackRecord
from vtn.context import Vtn
from vtn.errors import InvalidInput, NotFound
from vtn.flexibility.calls import gini
from vtn.services.programs import Program
from vtn.services.vens import ENROLLED

PORTFOLIO = "portfolio"
_HISTORY_MS = 120 * 86_400_000


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """What would be done. Wh per interval; expected_wh: with the reliability of those who are called; pay_minor: what
    they would earn for it; gini: of the calls of the season of all homes, after this one."""

    start_ms: int
    interval_s: int
    target_wh: tuple[int, ...]
    expected_wh: tuple[int, ...]
    lacking_wh: tuple[int, ...]
    method: str
    asked_probability: float
    probability: float
    gap_percent: float
    calls: int
    homes: int
    pay_minor: int
    gini: float
    limits: tuple[str, ...]
    choices: tuple[Choice, ...]
    names: dict[str, str]


async def preview(
    vtn: Vtn,
    program: Program,
    *,
    area: str,
    start_ms: int,
    target_wh: Sequence[int],
    probability: float | None = None,
    virtual_node: str | None = None,
) -> Preview:
    """The dispatch of a need for the homes of an area, of one virtual node, or of all. Raises InvalidInput, NotFound,
    LedgerError."""
    terms = program.terms
    if not target_wh or any(wh < 0 for wh in target_wh) or not any(target_wh):
        raise InvalidInput("target_invalid", "a target is energy in one interval at least, and nowhere negative")
    if start_ms % (terms.interval_s * MS_PER_S):
        raise InvalidInput("start_invalid", f"the start is not on the programme's grid of {terms.interval_s} s")
    track = await _track(vtn, program)
    members = await _members(vtn, program, area, virtual_node)
    readings = await vtn.telemetry.histories([m.ven_id for m in members], start_ms - _HISTORY_MS, start_ms)
    end_ms = start_ms + len(target_wh) * terms.interval_s * MS_PER_S
    homes = EnrolledMembers(vtn.vens, vtn.telemetry, vtn.opts, vtn.contacts, program)
    unavailable = await homes.unavailable([m.ven_id for m in members], start_ms, end_ms)
    evaluations = await evaluated(
        members,
        readings,
        terms,
        track,
        home_forecasts(vtn.database, vtn.settings, program),
        need_id="",
        need_start_ms=start_ms,
        start_ms=start_ms,
        count=len(target_wh),
        now_ms=min(vtn.clock.now_ms(), start_ms),
        engaged=(),
        unavailable=unavailable,
    )
    day = site_calendar(terms).day_of(start_ms)
    policy = policy_of(program, vtn.settings.dispatch)
    if probability is not None:
        policy = Policy(method=policy.method, probability=probability, common=policy.common)
    found = await asyncio.to_thread(choose_members, target_wh, [each.candidate for each in evaluations], policy)
    chosen = {each.candidate.candidate for each in found.chosen}
    expected = tuple(
        sum(each.obligation_wh[n] * each.candidate.reliability_bp // BASIS_POINTS for each in found.chosen)
        for n in range(len(target_wh))
    )
    return Preview(
        start_ms=start_ms,
        interval_s=terms.interval_s,
        target_wh=tuple(target_wh),
        expected_wh=expected,
        lacking_wh=found.lacking_wh,
        method=found.solved.method,
        asked_probability=policy.probability,
        probability=found.solved.probability_bp / BASIS_POINTS,
        gap_percent=found.solved.gap_percent,
        calls=len(found.chosen),
        homes=len(members),
        pay_minor=sum(expected) * terms.device_price_minor_per_mwh // WH_PER_MWH,
        gini=round(gini([track.calls(m.party, day).season + (m.ven_id in chosen) for m in members]), 3),
        limits=tuple(str(each) for each in found.solved.limits),
        choices=found.choices,
        names={member.ven_id: member.ven_name for member in members},
    )


async def _track(vtn: Vtn, program: Program) -> TrackRecord:
    """What the ledger says of the homes until now."""
    track = TrackRecord(site_calendar(program.terms))
    track.release(await AggregatorRecords(vtn.database).released())
    cursor = START
    while page := await vtn.ledger.facts(cursor):
        for record in page:
            track.observe(record.fact)
            cursor = record.cursor
    return track


async def _members(vtn: Vtn, program: Program, area: str, virtual_node: str | None) -> list[Member]:
    found = [
        member_of(ven)
        for ven in await vtn.vens.list(status=ENROLLED)
        if ven.party is not None
        and ven.program == program.name
        and area in (PORTFOLIO, ven.area)
        and virtual_node in (None, ven.virtual_node)
    ]
    if not found:
        raise NotFound(
            "homes_unknown", f"no home of {area} is enrolled in {program.name}: `dr-vtn vens list` shows all"
        )
    return found
