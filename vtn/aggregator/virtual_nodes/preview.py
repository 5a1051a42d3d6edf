"""A dispatch that is only looked at: whom a need would call, why, how surely, for what; nothing is stored or sent.

It goes the way of the service: virtual nodes offer, the cheapest are asked for their part, and each chooses among its
members with the same functions on the same readings. Of the same state it says what the service would do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from types import SimpleNamespace
from typing import cast

import msgspec

from contracts.core.commands import RequestReduction
from contracts.core.units import MS_PER_S, WH_PER_MWH, earned_minor, percent_of
from ledger.client import START
from runtime.clock import Clock
from vtn.aggregator.dispatch import BASIS_POINTS, Candidate, Choice, Dispatch, Solved, choose
from vtn.aggregator.gateway import EnrolledMembers, ProgramEvents, member_of
from vtn.aggregator.ports import Member
from vtn.aggregator.records import AggregatorRecords
from vtn.aggregator.terms import earliest_start_ms
from vtn.aggregator.virtual_nodes.agent import Surroundings
from vtn.aggregator.virtual_nodes.calling.offering import GroupOffer, group_offer
from vtn.aggregator.virtual_nodes.calling.rounds import payable_wh
from vtn.aggregator.virtual_nodes.calling.seen import GroupPreview, Preview
from vtn.aggregator.virtual_nodes.choosing import Policy, choose_members, policy_of
from vtn.aggregator.virtual_nodes.members.candidacy import Evaluation
from vtn.aggregator.virtual_nodes.members.forecasts import home_forecasts
from vtn.aggregator.virtual_nodes.members.group import evaluate_group
from vtn.aggregator.virtual_nodes.members.track import TrackRecord
from vtn.context import Vtn
from vtn.errors import InvalidInput, NotFound
from vtn.flexibility.calls import gini
from vtn.services.programs import Program
from vtn.services.vens import ENROLLED, Ven

PORTFOLIO = "portfolio"


@dataclass(frozen=True)
class _Group:
    name: str
    members: list[Member]
    evaluations: list[Evaluation]
    offer: GroupOffer | str

    @property
    def candidate(self) -> Candidate:
        """As the aggregator sees it."""
        offer = self.offer
        if isinstance(offer, str):
            none = (0,) * len(self.evaluations[0].candidate.available_wh)
            return Candidate(
                candidate=self.name,
                available_wh=none,
                forecast_wh=0,
                price_minor_per_mwh=0,
                reliability_bp=0,
                excluded=offer,
            )
        return Candidate(
            candidate=self.name,
            available_wh=offer.profile_wh,
            forecast_wh=offer.forecast_wh,
            price_minor_per_mwh=offer.price_minor_per_mwh,
            reliability_bp=offer.reliability_bp,
        )


async def preview(
    vtn: Vtn,
    program: Program,
    *,
    area: str,
    start_ms: int,
    target_wh: Sequence[int],
    probability: float | None = None,
    virtual_node: str | None = None,
    mode: str | None = None,
    price_minor_per_mwh: int | None = None,
    executor: Executor | None = None,
    progress: Callable[[int], None] | None = None,
) -> Preview:
    """The dispatch of a need for the homes of an area, of one virtual node (asked for all of it), or of all. `price_..`
    of the need, which limits what contracts can hold for homes: else what a virtual node asks at most. `progress` gets
    how many homes were evaluated or chosen from. Raises InvalidInput, NotFound, LedgerError."""
    terms = program.terms
    if not target_wh or any(wh < 0 for wh in target_wh) or not any(target_wh):
        raise InvalidInput("target_invalid", "a target is energy in one interval at least, and nowhere negative")
    if start_ms % (terms.interval_s * MS_PER_S):
        raise InvalidInput("start_invalid", f"the start is not on the programme's grid of {terms.interval_s} s")
    policy = policy_of(program, vtn.settings.dispatch, vtn.settings.dispatch_limit_s)
    if probability is not None:
        policy = msgspec.structs.replace(policy, probability=probability)
    policy = policy if mode is None else msgspec.structs.replace(policy, mode=mode)
    price = terms.virtual_node_price_minor_per_mwh if price_minor_per_mwh is None else price_minor_per_mwh
    step = progress or (lambda _: None)
    now_ms = vtn.clock.now_ms()
    request_ms = start_ms
    if start_ms >= now_ms:  # as in the service: who is called must have time to answer
        start_ms = max(start_ms, earliest_start_ms(program, now_ms))
    target = tuple(target_wh)[(start_ms - request_ms) // (terms.interval_s * MS_PER_S) :]
    if not any(target):
        raise InvalidInput("start_invalid", "no interval is left that homes could still answer a call for")
    track = await _track(vtn, program)
    homes = await _homes(vtn, program, area, virtual_node)
    groups = []
    for name, members in homes.items():
        around = _surroundings(vtn, program, members, track, min(now_ms, start_ms))
        request = RequestReduction(
            need_id="preview", aggregator=vtn.party, area=area, start_ms=request_ms, interval_s=terms.interval_s,
            target_wh=tuple(target_wh), energy_price_minor_per_mwh=0, budget_minor=0,
        )  # fmt: skip
        evaluations = await evaluate_group(around, vtn.ledger, name, request, start_ms, len(target), ())
        candidates = [each.candidate for each in evaluations]
        offer = await asyncio.to_thread(group_offer, target, candidates, terms, policy, executor)
        groups.append(_Group(name, members, evaluations, offer))
        step(len(members))
    asked = choose(target, [each.candidate for each in groups])
    asked_of = {each.candidate.candidate: each for each in asked.choices}
    found: dict[str, Dispatch] = {}
    for group in groups:
        wanted = target if virtual_node is not None else asked_of[group.name].obligation_wh
        if any(wanted):
            held = earned_minor(percent_of(sum(wanted), terms.cap_percent), price)
            most_wh = payable_wh(terms, held)
            candidates = [each.candidate for each in group.evaluations]
            found[group.name] = await asyncio.to_thread(
                choose_members, wanted, candidates, policy, executor, most_wh
            )  # fmt: skip
        step(len(group.members))
    return _seen(program, track, policy, start_ms, target, groups, asked_of, found)


def _seen(
    program: Program,
    track: TrackRecord,
    policy: Policy,
    start_ms: int,
    target: tuple[int, ...],
    groups: Sequence[_Group],
    asked_of: dict[str, Choice],
    found: dict[str, Dispatch],
) -> Preview:
    day = program.terms.calendar.day_of(start_ms)
    called = [each for dispatch in found.values() for each in dispatch.chosen]
    chosen = {each.candidate.candidate for each in called}
    expected = tuple(
        sum(each.obligation_wh[n] * each.candidate.reliability_bp // BASIS_POINTS for each in called)
        for n in range(len(target))
    )
    solved = [each.solved for each in found.values()]
    spread = [each.spread_wh for each in solved if each.spread_wh]
    members = [member for group in groups for member in group.members]
    probability = 1.0 if solved else 0.0
    for each in solved:
        probability *= each.probability_bp / BASIS_POINTS
    return Preview(
        start_ms=start_ms,
        interval_s=program.terms.interval_s,
        target_wh=target,
        expected_wh=expected,
        spread_wh=tuple(round(sum(wh[n] ** 2 for wh in spread) ** 0.5) for n in range(len(target))) if spread else (),
        lacking_wh=tuple(max(0, wanted - wh) for wanted, wh in zip(target, expected, strict=True)),
        method=", ".join(sorted({each.method for each in solved})) or "nobody asked",
        mode=policy.mode,
        asked_probability=policy.probability,
        probability=probability,
        gap_percent=max((each.gap_percent for each in solved), default=0.0),
        calls=len(called),
        homes=len(members),
        pay_minor=sum(expected) * program.terms.device_price_minor_per_mwh // WH_PER_MWH,
        gini=round(gini([track.calls(m.party, day).season + (m.ven_id in chosen) for m in members]), 3),
        limits=tuple(dict.fromkeys(str(limit) for each in solved for limit in each.limits)),
        choices=tuple(each for group in groups for each in _choices(group, found, asked_of)),
        names={member.ven_id: member.ven_name for member in members},
        groups=tuple(_group(each, found, asked_of) for each in groups),
    )


def _choices(group: _Group, found: dict[str, Dispatch], asked_of: dict[str, Choice]) -> Sequence[Choice]:
    """Members of a group that is not asked leave with its reason."""
    if group.name in found:
        return found[group.name].choices
    why = f"its virtual node is not asked: {asked_of[group.name].reason}"
    return [
        Choice(candidate=each.candidate, rank=0, chosen=False, obligation_wh=(), reason=each.candidate.excluded or why)
        for each in group.evaluations
    ]


def _group(group: _Group, found: dict[str, Dispatch], asked_of: dict[str, Choice]) -> GroupPreview:
    offer, dispatch, asked = group.offer, found.get(group.name), asked_of[group.name]
    return GroupPreview(
        name=group.name,
        homes=len(group.members),
        offered_wh=offer.profile_wh if isinstance(offer, GroupOffer) else (),
        price_minor_per_mwh=offer.price_minor_per_mwh if isinstance(offer, GroupOffer) else 0,
        asked_wh=dispatch.target_wh if dispatch else (),
        calls=len(dispatch.chosen) if dispatch else 0,
        reason=asked.reason,
        solved=dispatch.solved if dispatch else Solved(),
    )


class _Gathered(EnrolledMembers):
    """Members of a group that may not be formed yet."""

    def __init__(self, vtn: Vtn, program: Program, members: list[Member]) -> None:
        super().__init__(vtn.vens, vtn.telemetry, vtn.opts, vtn.contacts, program)
        self._gathered = members

    async def of_group(self, group: str) -> list[Member]:
        """Those it was made with."""
        return self._gathered


def _surroundings(vtn: Vtn, program: Program, members: list[Member], track: TrackRecord, now_ms: int) -> Surroundings:
    """As a virtual node has them, at a moment that stands still."""
    still = cast("Clock", SimpleNamespace(now_ms=lambda: now_ms))
    return Surroundings(
        members=_Gathered(vtn, program, members),
        events=ProgramEvents(vtn.dr_events, program.name),
        records=AggregatorRecords(vtn.database),
        program=program,
        clock=still,
        track=track,
        method=vtn.settings.dispatch,
        forecasts=home_forecasts(vtn.database, vtn.settings, program),
    )


async def _track(vtn: Vtn, program: Program) -> TrackRecord:
    """What the ledger says of the homes until now."""
    track = TrackRecord(program.terms.calendar, program.terms.derate_percent)
    records = AggregatorRecords(vtn.database)
    track.release(await records.released())
    track.opted_out(await records.opted_out())
    cursor = START
    while page := await vtn.ledger.facts(cursor):
        for record in page:
            track.observe(record.fact)
            cursor = record.cursor
    return track


async def _homes(vtn: Vtn, program: Program, area: str, virtual_node: str | None) -> dict[str, list[Member]]:
    """Members by virtual node; homes that are in none yet by feeder."""
    found: dict[str, list[Member]] = {}
    for ven in await vtn.vens.list(status=ENROLLED):
        asked = ven.party is not None and ven.program == program.name and area in (PORTFOLIO, ven.area)
        if asked and virtual_node in (None, ven.virtual_node):
            found.setdefault(_group_of(ven), []).append(member_of(ven))
    if not found:
        raise NotFound(
            "homes_unknown", f"no home of {area} is enrolled in {program.name}: `dr-vtn vens list` shows all"
        )
    return dict(sorted(found.items()))


def _group_of(ven: Ven) -> str:
    return ven.virtual_node or f"homes of {ven.area} without a virtual node"
