"""The link to the utility as the operator sees it, and what he may do about it."""

from __future__ import annotations

import msgspec
from sqlalchemy import func, select

from openadr.client.registration import Registration
from openadr.timeline import EventStatus, status
from vtn.auth import audit
from vtn.context import Vtn, only_program
from vtn.errors import Conflict, InvalidInput, NotFound
from vtn.upstream import records
from vtn.upstream.decisions import signal_terms
from vtn.upstream.events import OPT_OUT
from vtn.upstream.mapping import Wanted, of_power, too_long
from vtn.upstream.records import UpstreamEvent, UpstreamNeed
from vtn.upstream.reports import requests
from vtn.upstream.reports.requests import RunningReport
from vtn.upstream.session import CANCEL, REGISTER

_REJECTABLE = (records.RECEIVED, records.HELD, records.APPROVED, records.REQUESTED, records.TAKEN, records.NOTED)


class LinkView(msgspec.Struct, frozen=True, kw_only=True):
    """How we stand with the utility; times are wall clock. `events`: how many there are by state."""

    url: str
    ven_name: str
    enabled: bool
    registered: bool
    ven_id: str | None
    vtn_id: str | None
    poll_s: int | None
    wish: str | None
    reached_ms: int | None
    failed_ms: int | None
    error: str | None
    events: dict[str, int]
    reports_running: int


class EventView(msgspec.Struct, frozen=True, kw_only=True):
    """An event of the utility: where it stands and why, what it asks for, what was answered, the needs made of it."""

    event_id: str
    modification_number: int
    status: EventStatus
    state: str
    why: str
    start_ms: int
    end_ms: int | None
    signals: list[str]
    proposal: Wanted | None
    opt_type: str | None
    owed: bool
    needs: list[UpstreamNeed]


async def link(vtn: Vtn) -> LinkView:
    """How we stand with the utility. Raises NotFound where none is configured."""
    url = _url(vtn)
    async with vtn.database.reading() as connection:
        kept = await records.read_link(connection, url)
        counted = await connection.execute(
            select(records.events.c.state, func.count()).group_by(records.events.c.state)
        )
        states = {state: int(number) for state, number in counted}
        running = await requests.running(connection)
    known = None if kept.registration is None else msgspec.json.decode(kept.registration, type=Registration)
    return LinkView(
        url=url,
        ven_name=vtn.settings.upstream_ven_name or "",
        enabled=kept.enabled,
        registered=known is not None,
        ven_id=None if known is None else known.ven_id,
        vtn_id=None if known is None else known.vtn_id,
        poll_s=None if known is None else known.poll_s,
        wish=kept.wish,
        reached_ms=kept.reached_ms,
        failed_ms=kept.failed_ms,
        error=kept.error,
        events=states,
        reports_running=len(running),
    )


async def events(vtn: Vtn) -> list[EventView]:
    """The utility's events, newest first."""
    now_ms = vtn.clock.now_ms()
    async with vtn.database.reading() as connection:
        found = await records.list_events(connection)
        needs = await records.list_needs(connection)
    return [
        EventView(
            event_id=each.event_id,
            modification_number=each.modification_number,
            status=status(each.event, now_ms, each.offset_s),
            state=each.state,
            why=each.note,
            start_ms=each.event.start_ms + 1000 * each.offset_s,
            end_ms=None if each.event.end_ms is None else each.event.end_ms + 1000 * each.offset_s,
            signals=[f"{signal.name} {signal.type}" for signal in each.event.signals],
            proposal=each.proposal,
            opt_type=each.opt_type,
            owed=each.owed,
            needs=[need for need in needs if need.event_id == each.event_id],
        )
        for each in reversed(found)
    ]


async def approve(vtn: Vtn, event_id: str, power_w: int | None = None) -> None:
    """Take an event that is held, at what it asks for or at `power_w` over all of it. Raises NotFound, Conflict if it
    is not held, InvalidInput for prices without a power."""
    program = await vtn.programs.get(vtn.settings.upstream_program or await only_program(vtn))
    async with vtn.database.transaction() as connection:
        found = _found(await records.find_event(connection, event_id, lock=True), event_id)
        if found.state != records.HELD:
            raise Conflict("event_not_held", f"event {event_id} is {found.state}: it does not wait for an approval")
        proposal = found.proposal
        if power_w is not None:
            if long := too_long(found.event, signal_terms(vtn), program.terms.interval_s):
                raise InvalidInput("event_too_long", f"event {event_id}: {long.reason}")
            proposal = of_power(
                found.event,
                power_w,
                offset_s=found.offset_s,
                interval_s=program.terms.interval_s,
                open_ended_s=vtn.settings.upstream_open_ended_s,
            )
        if proposal is None:
            raise InvalidInput("power_missing", f"event {event_id} gives prices: say how much less is wanted (--kw)")
        if not sum(proposal.target_wh):
            raise InvalidInput("power_invalid", "so little is no energy in an interval")
        await records.change_event(
            connection, event_id, state=records.APPROVED, proposal=proposal, changed_ms=vtn.clock.now_ms()
        )
        await audit.record(connection, "upstream_approved", event_id, energy_wh=sum(proposal.target_wh))


async def reject(vtn: Vtn, event_id: str, reason: str) -> None:
    """Opt out of an event, also later: its homes are let go. Raises NotFound, Conflict if it is refused or cancelled
    already."""
    now_ms = vtn.clock.now_ms()
    async with vtn.database.transaction() as connection:
        found = _found(await records.find_event(connection, event_id, lock=True), event_id)
        if found.state not in _REJECTABLE:
            raise Conflict("event_ended", f"event {event_id} is {found.state} already")
        await records.change_event(
            connection, event_id, state=records.REFUSED, note=reason, opt_type=OPT_OUT, opt_code=200,
            owed=found.event.response_required, changed_ms=now_ms,
        )  # fmt: skip
        needs = await records.list_needs(connection, records.REQUESTED, records.TAKEN, event_id=event_id)
        await records.withdraw_needs(connection, [need.need_id for need in needs], now_ms)
        await audit.record(connection, "upstream_rejected", event_id, reason=reason)


async def register(vtn: Vtn) -> None:
    """Register with the utility, or again: the worker that talks to it does so within seconds."""
    await _wish(vtn, REGISTER)


async def cancel(vtn: Vtn) -> None:
    """End the registration with the utility; needs that were taken stay."""
    await _wish(vtn, CANCEL)


async def reports(vtn: Vtn) -> list[RunningReport]:
    """What the utility asked for and still gets."""
    _url(vtn)
    async with vtn.database.reading() as connection:
        return await requests.running(connection)


async def _wish(vtn: Vtn, wish: str) -> None:
    async with vtn.database.transaction() as connection:
        await records.change_link(connection, _url(vtn), wish=wish)
        await audit.record(connection, f"upstream_{wish}", _url(vtn))


def _url(vtn: Vtn) -> str:
    if vtn.settings.upstream_url is None:
        raise NotFound(
            "upstream_missing", "there is no utility's VTN: set upstream_url, upstream_ven_name and upstream_key"
        )
    return vtn.settings.upstream_url


def _found(event: UpstreamEvent | None, event_id: str) -> UpstreamEvent:
    if event is None:
        raise NotFound("event_unknown", f"the utility sent no event {event_id}: `dr-vtn upstream events` shows them")
    return event
