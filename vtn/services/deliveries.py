"""How far each event got with each VEN it was published to, and what the VEN answered.

queued ──▶ delivered ──▶ acknowledged ──▶ opted_in | opted_out         a modification queues it again
               └──────────────────────────▲

Acknowledged is what a VEN received without opting: a pushed event it has not decided on yet, a cancellation it
confirmed, an event it need not answer. An event can be withdrawn from one VEN: for that one it is cancelled.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, bindparam, case, func, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from openadr.model import DrEvent
from vtn.errors import Conflict, InvalidInput, NotFound
from vtn.records.messages import acknowledge, queue
from vtn.records.tables import dr_events, event_deliveries, messages

PLANNED, PUBLISHED, CANCELLED = "planned", "published", "cancelled"
QUEUED, DELIVERED, ACKNOWLEDGED = "queued", "delivered", "acknowledged"
OPTED_IN, OPTED_OUT = "opted_in", "opted_out"
EVENT_MESSAGE = "event"
_STATE_OF_OPT = {"optIn": OPTED_IN, "optOut": OPTED_OUT}
_COMPLETED_FOR_MS = 300_000
"""A completed event is still listed this long: a VEN whose clock is behind must not take its absence for a cancel. Nor
must one whose random start and end are the latest of the window (rule 30): that time is added."""
_WINDOW_MAX_MS = 86_400_000
"""Windows are looked at up to this; a longer one keeps an event listed for this time."""
_APPLICABLE = (
    select(dr_events.c.canonical, dr_events.c.created_ms, event_deliveries.c.withdrawn)
    .add_columns(event_deliveries.c.modification_number)
    .join(event_deliveries, event_deliveries.c.event_id == dr_events.c.event_id)
    .where(event_deliveries.c.ven_id == bindparam("ven_id"))
    .where(or_(dr_events.c.end_ms.is_(None), dr_events.c.end_ms > bindparam("over_ms")))
    .where(
        or_(
            (dr_events.c.status == PUBLISHED) & event_deliveries.c.withdrawn.is_(False),
            event_deliveries.c.answered_ms.is_(None),
        )
    )
    .order_by(dr_events.c.start_ms, dr_events.c.event_id)
)
"""Made once: putting a statement together costs as much as running it."""
_DELIVERY = (
    select(event_deliveries, dr_events.c.start_ms, dr_events.c.status)
    .join(dr_events, dr_events.c.event_id == event_deliveries.c.event_id)
    .where(event_deliveries.c.event_id == bindparam("event_id"), event_deliveries.c.ven_id == bindparam("ven_id"))
    .with_for_update(of=event_deliveries)
)
_SILENT_DELIVERIES = 2
"""An event nobody answers (oadrResponseRequired never) is sent so often: one answer may be lost on the way."""


class EventDelivery(msgspec.Struct, frozen=True):
    """How far an event got with one VEN. `state`: queued, delivered, acknowledged, opted_in, opted_out; `late`: not
    answered before the start; `answered_ms` None: the current modification is not answered; `withdrawn`: cancelled for
    this VEN alone. Of its message: how often it was sent, pushes that failed in a row, and why the last one did."""

    event_id: str
    ven_id: str
    state: str
    modification_number: int
    queued_ms: int
    delivered_ms: int | None
    answered_ms: int | None
    late: bool
    opt_id: str | None
    withdrawn: bool = False
    deliveries: int = 0
    failures: int = 0
    last_error: str | None = None


async def applicable(connection: AsyncConnection, ven_id: str, now_ms: int) -> list[DrEvent]:
    """As `DrEvents.applicable`, inside a transaction."""
    over_ms = now_ms - _COMPLETED_FOR_MS
    rows = await connection.execute(_APPLICABLE, {"ven_id": ven_id, "over_ms": over_ms - _WINDOW_MAX_MS})
    events = []
    for row in rows:
        event = to_event(row.canonical, row.created_ms)
        if event.end_ms is None or event.end_ms + 1000 * event.start_after_s > over_ms:
            events.append(_withdrawn(event, row.modification_number) if row.withdrawn else event)
    return events


def _withdrawn(event: DrEvent, modification_number: int) -> DrEvent:
    return msgspec.structs.replace(event, cancelled=True, modification_number=modification_number)


async def hand_out(
    connection: AsyncConnection,
    ven_id: str,
    now_ms: int,
    *,
    report_only: bool = False,
    open_keys: Set[str] | None = None,
) -> list[DrEvent]:
    """All events that apply to a VEN, noted as delivered; a report-only VEN has none. `open_keys` are the events of its
    open messages, where this transaction has read them already.

    Messages about events that no longer apply are closed. One with oadrResponseRequired never is done after its second
    delivery. What changes meanwhile is not taken for delivered.
    """
    m = messages.c
    waiting = (m.ven_id == ven_id, m.kind == EVENT_MESSAGE, m.acknowledged_ms.is_(None))
    # read before the events: what is queued from here on is not closed
    if open_keys is None:
        open_keys = set(await connection.scalars(select(m.key).where(*waiting)))
    events = [] if report_only else await applicable(connection, ven_id, now_ms)
    if void := open_keys - {event.event_id for event in events}:
        await acknowledge(connection, ven_id, EVENT_MESSAGE, now_ms, sorted(void))
    if not events:
        return []
    d = event_deliveries.c
    ids = await connection.scalars(
        update(event_deliveries)
        .where(*_these(ven_id, events))
        .values(
            delivered_ms=func.coalesce(d.delivered_ms, now_ms),
            state=case((d.state == QUEUED, DELIVERED), else_=d.state),
        )
        .returning(d.event_id)
    )
    sent = await connection.execute(
        update(messages)
        .where(*waiting, m.key.in_(ids.all()))
        .values(delivered_ms=now_ms, deliveries=m.deliveries + 1)
        .returning(m.key, m.deliveries)
    )
    often = {row.key for row in sent if row.deliveries >= _SILENT_DELIVERIES}
    await _end_silent(connection, ven_id, [event for event in events if event.event_id in often], now_ms)
    return events


async def mark_event_received(connection: AsyncConnection, ven_id: str, events: Sequence[DrEvent], now_ms: int) -> None:
    """Note that a VEN confirmed it has these events (the answer to a push); those it need not answer are done."""
    if not events:
        return
    d = event_deliveries.c
    await connection.execute(
        update(event_deliveries)
        .where(*_these(ven_id, events), d.answered_ms.is_(None), d.state.in_((QUEUED, DELIVERED)))
        .values(state=ACKNOWLEDGED)
    )
    await _end_silent(connection, ven_id, events, now_ms)


async def _end_silent(connection: AsyncConnection, ven_id: str, events: Sequence[DrEvent], now_ms: int) -> None:
    """Those of `events` that nobody answers are done."""
    silent = [event for event in events if not event.response_required]
    if not silent:
        return
    d = event_deliveries.c
    ended = await connection.scalars(
        update(event_deliveries)
        .where(*_these(ven_id, silent))
        .values(
            answered_ms=func.coalesce(d.answered_ms, now_ms),
            state=case((d.answered_ms.is_(None), ACKNOWLEDGED), else_=d.state),
        )
        .returning(d.event_id)
    )
    await acknowledge(connection, ven_id, EVENT_MESSAGE, now_ms, ended.all())


def _these(ven_id: str, events: Sequence[DrEvent]) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """The deliveries of exactly these modifications."""
    d = event_deliveries.c
    pairs = [(event.event_id, event.modification_number) for event in events]
    return d.ven_id == ven_id, tuple_(d.event_id, d.modification_number).in_(pairs)


async def queue_again(connection: AsyncConnection, ven_id: str, now_ms: int) -> None:
    """Queue what applies to a VEN, answered or not: it has registered anew, and may have forgotten everything."""
    e, d = dr_events.c, event_deliveries.c
    found = await connection.scalars(
        select(e.event_id)
        .join(event_deliveries, d.event_id == e.event_id)
        .where(d.ven_id == ven_id, or_(e.end_ms.is_(None), e.end_ms > now_ms))
        .where(or_((e.status == PUBLISHED) & d.withdrawn.is_(False), d.answered_ms.is_(None)))
    )
    for event_id in found.all():
        await queue(connection, [ven_id], EVENT_MESSAGE, event_id, now_ms)


async def record_opt(
    connection: AsyncConnection,
    ven_id: str,
    event_id: str,
    modification_number: int,
    opt_type: str,
    now_ms: int,
    *,
    opt_id: str | None = None,
) -> EventDelivery:
    """As `DrEvents.record_opt`, inside a transaction."""
    state = _STATE_OF_OPT.get(opt_type)
    if state is None:
        raise InvalidInput("opt_type_invalid", f"{opt_type} is neither optIn nor optOut")
    d = event_deliveries.c
    row = (await connection.execute(_DELIVERY, {"event_id": event_id, "ven_id": ven_id})).mappings().first()
    if row is None:
        raise NotFound("event_unknown", f"event {event_id} is not known for {ven_id}")
    if modification_number != row["modification_number"]:
        raise Conflict(
            "modification_out_of_sequence",
            f"event {event_id} is at modification {row['modification_number']}, not {modification_number}",
        )
    values: dict[str, Any] = {"answered_ms": row["answered_ms"] or now_ms}
    if opt_id is not None or row["opt_id"] is None:
        first_answer = row["state"] in (QUEUED, DELIVERED, ACKNOWLEDGED)
        # a cancellation is confirmed, whatever is confirmed it with (rule 36 says optIn)
        ended = row["withdrawn"] or row["status"] == CANCELLED
        values |= {"state": ACKNOWLEDGED if ended else state, "opt_id": opt_id or row["opt_id"]}
        values["late"] = now_ms >= row["start_ms"] if first_answer else row["late"]
    changed = update(event_deliveries).where(d.event_id == event_id, d.ven_id == ven_id)
    result = await connection.execute(changed.values(**values).returning(*event_deliveries.c))
    await acknowledge(connection, ven_id, EVENT_MESSAGE, now_ms, [event_id])
    return EventDelivery(**result.mappings().one())


def to_event(data: bytes, created_ms: int) -> DrEvent:
    """The event of its canonical bytes."""
    return msgspec.structs.replace(msgspec.json.decode(data, type=DrEvent), created_ms=created_ms)
