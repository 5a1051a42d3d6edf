"""What becomes of each event of the utility: taken, refused, held for the operator, or taken note of.

    received ─┬─ cancelled ───────────────▶ cancelled   optIn (rule 36), its homes are let go
              ├─ test, normal operation ──▶ noted       optIn, no need
              ├─ not ours, not understood, too late, more than the homes have ──▶ refused   optOut, with the reason
              ├─ prices, or more than is taken without asking ──▶ held ── approve ──▶ approved ─┐
              │                                                    └─ reject, too late ─▶ refused
              └─ within the limits ──────────────────────────────────────────────────────────▶ requested ──▶ (needs)

Nothing that was agreed on the ledger can be changed there. So when an event changes, needs nobody is bound by yet are
let go and a new one takes their place; where homes are bound already, their contracts stand and a new need asks for
what they lack; what goes beyond the new end is let go then.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.core.commands import RequestReduction
from contracts.core.units import MS_PER_S, charged_minor
from contracts.demand_response.needs import NeedRecord
from openadr.conformance import violations
from openadr.timeline import span
from runtime.logs import get_logger
from vtn.aggregator.terms import request_end_ms, unhurried_start_ms
from vtn.context import Vtn
from vtn.services.programs import Program
from vtn.upstream import records
from vtn.upstream.capacity import Capacity
from vtn.upstream.events import OPT_IN, OPT_OUT
from vtn.upstream.mapping import (
    Asked,
    Nothing,
    Priced,
    SignalTerms,
    Unservable,
    Wanted,
    area_of,
    from_on,
    read_event,
    too_long,
)
from vtn.upstream.records import UpstreamEvent, UpstreamNeed

_WORTH_PERCENT = 2
"""Of what is wanted: less is not worth another need."""

_UNUSABLE = re.compile(r"[^A-Za-z0-9]+")
_READABLE_MAX = 24

_log = get_logger("vtn.upstream.decisions")


class Verdict(NamedTuple):
    """How an event stands now. `request`: the need to put on the ledger; `let_go`: needs whose homes are let go, and
    when (ms)."""

    state: str
    note: str
    opt_type: str | None = None
    code: int = 200
    proposal: Wanted | None = None
    request: RequestReduction | None = None
    let_go: tuple[tuple[str, int], ...] = ()


def signal_terms(vtn: Vtn) -> SignalTerms:
    """How the settings read signals."""
    settings = vtn.settings
    return SignalTerms(
        simple_w=settings.upstream_simple_w,
        setpoint=settings.upstream_setpoint,
        delta=settings.upstream_delta,
        open_ended_s=settings.upstream_open_ended_s,
    )


class Decisions:
    """Decides for one program. `utility`: the ledger party that signs needs; `ven_id`: ours at the utility."""

    def __init__(self, vtn: Vtn, program: Program, utility: str) -> None:
        self._vtn = vtn
        self._program = program
        self._utility = utility
        self._capacity = Capacity(vtn, program)

    async def decide(self, event: UpstreamEvent, ven_id: str) -> bool:
        """Decide an event that is received or approved; False while one of its needs has no answer of the ledger."""
        async with self._vtn.database.reading() as connection:
            needs = await records.list_needs(connection, event_id=event.event_id)
        if any(need.state == records.REQUESTED for need in needs):
            return False
        verdict = await self._verdict(event, needs, ven_id)
        return await self._carry_out(event, verdict)

    async def lapse(self, event: UpstreamEvent) -> bool:
        """Refuse an event the operator has not decided while it could still be served; False: there is time."""
        now_ms = self._vtn.clock.now_ms()
        if event.proposal is None:
            late = event.event.start_ms + event.offset_s * MS_PER_S <= now_ms
        else:
            late = isinstance(from_on(event.proposal, unhurried_start_ms(self._program, now_ms)), Unservable)
        if not late:
            return False
        verdict = Verdict(records.REFUSED, "nobody approved it in time", OPT_OUT, proposal=event.proposal)
        return await self._carry_out(event, verdict)

    async def _verdict(self, event: UpstreamEvent, needs: Sequence[UpstreamNeed], ven_id: str) -> Verdict:
        now_ms = self._vtn.clock.now_ms()
        live = [n for n in needs if n.state == records.TAKEN and request_end_ms(n.request) > now_ms]
        everything = tuple((need.need_id, now_ms) for need in live)
        if event.event.cancelled:
            free_ms = now_ms + MS_PER_S * self._draw(event, now_ms)
            let_go = tuple((need.need_id, free_ms) for need in live)
            return Verdict(records.CANCELLED, "cancelled", OPT_IN, let_go=let_go)
        if event.event.test_event:
            return Verdict(records.NOTED, "a test event: no need is made of it", OPT_IN, let_go=everything)
        if broken := violations(event.event):
            why = f"rule {broken[0].rule}: {broken[0].detail}"
            return Verdict(records.REFUSED, why, OPT_OUT, int(broken[0].code), let_go=everything)
        area = await self._area(event, ven_id)
        asked = area if isinstance(area, Unservable) else await self._asked(event, area, now_ms)
        match asked:
            case Unservable():
                return Verdict(records.REFUSED, asked.reason, OPT_OUT, int(asked.code), let_go=everything)
            case Nothing():
                return Verdict(records.NOTED, asked.reason, OPT_IN, let_go=everything)
            case Priced():
                return Verdict(records.HELD, f"prices: {asked.text}", let_go=everything)
            case Wanted() if not isinstance(area, Unservable):
                return await self._wanted(event, asked, area, live, len(needs), now_ms)
            case _:
                raise TypeError(f"{asked} has no area")

    async def _wanted(
        self, event: UpstreamEvent, wanted: Wanted, area: str, live: Sequence[UpstreamNeed], number: int, now_ms: int
    ) -> Verdict:
        most_w = self._vtn.settings.upstream_automatic_w_max
        if event.state != records.APPROVED and wanted.peak_w > most_w:
            why = f"{wanted.peak_w} W: up to {most_w} W are taken without asking"
            return Verdict(records.HELD, why, proposal=wanted)
        bound = [need for need in live if await self._is_bound(need)]
        if not any(wanted.at(start) for need in bound for start in _asked_starts(need.request)):
            bound = []
        kept = {need.need_id for need in bound}
        let_go = [(need.need_id, now_ms) for need in live if need.need_id not in kept]
        let_go += [(need.need_id, wanted.end_ms) for need in bound if request_end_ms(need.request) > wanted.end_ms]
        lacking = _lacking(wanted, [need.request for need in bound])
        if lacking is None:
            why = "the homes that are bound already give what it asks for"
            return Verdict(records.TAKEN, why, OPT_IN, proposal=wanted, let_go=tuple(let_go))
        if event.state != records.APPROVED:
            short = await self._capacity.lacking(lacking, area, but=[each for each, at_ms in let_go if at_ms <= now_ms])
            if short:
                everything = tuple((need.need_id, now_ms) for need in live)
                return Verdict(records.REFUSED, short, OPT_OUT, proposal=wanted, let_go=everything)
        request = self._request(event, lacking, area, number)
        return Verdict(records.REQUESTED, "", None, proposal=wanted, request=request, let_go=tuple(let_go))

    async def _carry_out(self, event: UpstreamEvent, verdict: Verdict) -> bool:
        """Store a verdict with its need and the sealed request, unless the event changed meanwhile."""
        now_ms = self._vtn.clock.now_ms()
        async with self._vtn.database.transaction() as connection:
            found = await records.find_event(connection, event.event_id, lock=True)
            if found is None or (found.digest, found.state) != (event.digest, event.state):
                return False
            values = {"free_ms": max((at_ms for _, at_ms in verdict.let_go), default=None)}
            await records.change_event(
                connection, event.event_id, state=verdict.state, note=verdict.note, opt_type=verdict.opt_type,
                opt_code=verdict.code, proposal=verdict.proposal, changed_ms=now_ms, **values,
            )  # fmt: skip
            for each, at_ms in verdict.let_go:
                await records.withdraw_needs(connection, [each], at_ms)
            if verdict.request is not None:
                await self._put(connection, event, verdict.request, now_ms)
        _log.info("event decided", dr_event_id=event.event_id, state=verdict.state, why=verdict.note)
        return True

    async def _put(
        self, connection: AsyncConnection, event: UpstreamEvent, request: RequestReduction, now_ms: int
    ) -> None:
        need = UpstreamNeed(
            need_id=request.need_id,
            event_id=event.event_id,
            modification_number=event.modification_number,
            request=request,
            state=records.REQUESTED,
            withdraw_ms=None,
            delivered_wh=None,
            requested_ms=now_ms,
        )
        await records.put_need(connection, need)
        await self._vtn.ledger_outbox.put(connection, outbox_key(request.need_id), self._utility, request)

    async def _asked(self, event: UpstreamEvent, area: str, now_ms: int) -> Asked:
        terms = self._program.terms
        earliest_ms = unhurried_start_ms(self._program, now_ms)
        if event.state == records.APPROVED and event.proposal is not None:
            return from_on(event.proposal, earliest_ms)
        reading = signal_terms(self._vtn)
        if long := too_long(event.event, reading, terms.interval_s):
            return long
        usual = await self._usual(event, area) if self._needs_usual(event) else None
        return read_event(
            event.event,
            reading,
            offset_s=event.offset_s,
            interval_s=terms.interval_s,
            earliest_ms=earliest_ms,
            usual=lambda starts: None if usual is None else [usual[start] for start in starts],
        )

    def _needs_usual(self, event: UpstreamEvent) -> bool:
        limit = self._vtn.settings.upstream_setpoint == "limit"
        return any(each.type == "multiplier" or (limit and each.type == "setpoint") for each in event.event.signals)

    async def _usual(self, event: UpstreamEvent, area: str) -> dict[int, int] | None:
        """What homes usually draw in the event's intervals (start -> Wh), None without history."""
        step_ms = self._program.terms.interval_s * MS_PER_S
        start_ms, end_ms = span(event.event, event.offset_s)
        last_ms = start_ms + self._vtn.settings.upstream_open_ended_s * MS_PER_S if end_ms is None else end_ms
        starts = list(range(start_ms // step_ms * step_ms, last_ms, step_ms))
        found = await self._capacity.usual_wh(area, starts)
        return None if found is None else dict(zip(starts, found, strict=True))

    async def _area(self, event: UpstreamEvent, ven_id: str) -> str | Unservable:
        usual = self._vtn.settings.upstream_area
        areas = {ven.virtual_node: ven.area for ven in await self._capacity.homes(usual) if ven.virtual_node}
        return area_of(event.event, ven_id, areas, usual)

    async def _is_bound(self, need: UpstreamNeed) -> bool:
        """Has anybody a contract under it that has not ended?"""
        found = await self._vtn.ledger.record(NeedRecord, need.need_id)
        return found is not None and found.open_contracts > 0

    def _draw(self, event: UpstreamEvent, now_ms: int) -> int:
        """Seconds until a cancellation takes effect: as randomised as the start, once the event runs (rules 30, 65)."""
        running = event.event.start_ms + event.offset_s * MS_PER_S <= now_ms
        return random.randint(0, event.event.start_after_s) if running else 0

    def _request(self, event: UpstreamEvent, wanted: Wanted, area: str, number: int) -> RequestReduction:
        settings = self._vtn.settings
        price = settings.upstream_price_minor_per_mwh
        energy_wh = sum(wanted.target_wh)
        return RequestReduction(
            need_id=need_id(settings.upstream_url or "", event.event_id, number),
            aggregator=self._vtn.party,
            area=area,
            start_ms=wanted.start_ms,
            interval_s=wanted.interval_s,
            target_wh=wanted.target_wh,
            energy_price_minor_per_mwh=price,
            budget_minor=charged_minor(energy_wh * settings.upstream_budget_percent // 100, price),
        )


def outbox_key(need: str) -> str:
    """The key under which a need's request is sent: its effect."""
    return f"need-{need}"


def need_id(url: str, event_id: str, number: int) -> str:
    """The id of the `number`th need of an event, counted from 0: readable, and short enough for what is named after."""
    readable = _UNUSABLE.sub("-", event_id)[:_READABLE_MAX].strip("-") or "event"
    return f"up-{readable}-{hashlib.sha256(f'{url} {event_id}'.encode()).hexdigest()[:8]}-{number}"


def _asked_starts(request: RequestReduction) -> list[int]:
    """Intervals in which a need asks for something."""
    return [request.start_ms + n * request.interval_s * MS_PER_S for n, wh in enumerate(request.target_wh) if wh]


def _lacking(wanted: Wanted, bound: Sequence[RequestReduction]) -> Wanted | None:
    """What is wanted beyond what homes are bound to already; None if that is nothing worth asking for."""
    given: dict[int, int] = {}
    for request in bound:
        for n, wh in enumerate(request.target_wh):
            start_ms = request.start_ms + n * request.interval_s * MS_PER_S
            given[start_ms] = given.get(start_ms, 0) + wh
    left = tuple(max(0, wh - given.get(start, 0)) for start, wh in zip(wanted.starts_ms, wanted.target_wh, strict=True))
    if sum(left) * 100 <= sum(wanted.target_wh) * _WORTH_PERCENT:
        return None
    asked = from_on(msgspec.structs.replace(wanted, target_wh=left), 0)
    return asked if isinstance(asked, Wanted) else None
