"""dr_events: planned, published to chosen VENs, changed, cancelled; and what each VEN said about them.

    planned ──▶ published ──▶ cancelled          per VEN: queued ──▶ delivered ──▶ opted_in | opted_out
       └──────────────────────▲                             ▲────────────┘ re-queued by every modification

Every change but those rule 5 leaves out gets the next modification number and is sent again. An event that was for
many can be withdrawn from one of them: for that VEN, and no other, it is cancelled.
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import RowMapping, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from openadr.conformance import unit_violations, violations
from openadr.model import DrEvent, canonical, digest
from runtime.clock import Clock
from vtn.errors import Conflict, InvalidInput, NotFound
from vtn.records.database import Database
from vtn.records.messages import queue
from vtn.records.tables import dr_event_versions, dr_events, event_deliveries, messages, programs, vens
from vtn.services.deliveries import (
    CANCELLED,
    EVENT_MESSAGE,
    OPTED_OUT,
    PLANNED,
    PUBLISHED,
    QUEUED,
    EventDelivery,
    applicable,
    record_opt,
    to_event,
)
from vtn.services.reports import vens_with_resources
from vtn.services.vens import ENROLLED

_BATCH = 5_000
"""VENs in one statement: PostgreSQL takes 65,535 parameters."""
_FRESH: dict[str, Any] = {
    "state": QUEUED, "delivered_ms": None, "answered_ms": None, "late": False, "opt_id": None,
}  # fmt: skip
"""A delivery that starts again."""


class DrEventRecord(msgspec.Struct, frozen=True):
    """An event with its state; `digest` is what contract terms hold. `status`: planned, published, cancelled."""

    event_id: str
    program: str
    status: str
    modification_number: int
    digest: str
    event: DrEvent
    created_ms: int
    changed_ms: int


class DrEvents:
    """Events in PostgreSQL."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def create(self, event: DrEvent, program: str) -> DrEventRecord:
        """Store a planned event of a program; the same one again is returned as it is.

        Raises InvalidInput if it breaks a rule of the profile, NotFound for the program, Conflict for another event
        with this id.
        """
        broken = violations(event, is_new=True) + unit_violations(event)
        if broken:
            raise InvalidInput("event_invalid", "; ".join(f"rule {each.rule}: {each.detail}" for each in broken))
        now_ms = self._clock.now_ms()
        event = msgspec.structs.replace(event, created_ms=event.created_ms or now_ms)
        record = DrEventRecord(event.event_id, program, PLANNED, 0, digest(event), event, event.created_ms, now_ms)
        async with self._database.transaction() as connection:
            context = await connection.scalar(select(programs.c.market_context).where(programs.c.name == program))
            if context is None:
                raise NotFound("program_unknown", f"there is no program {program}")
            if context != event.program:
                raise InvalidInput("event_invalid", f"the market context of {program} is {context}")
            statement = (
                upsert(dr_events).values(**_to_row(record)).on_conflict_do_nothing().returning(dr_events.c.event_id)
            )
            if await connection.scalar(statement) is not None:
                await _keep_version(connection, record)
                return record
            found = await _locked(connection, event.event_id)
        if found.digest != record.digest:
            raise Conflict("event_exists", f"another event has the id {event.event_id}")
        return found

    async def publish(self, event_id: str, ven_ids: Sequence[str] | None = None) -> builtins.list[str]:
        """Queue the event for these VENs, or for all its targets name; again to add VENs. Returns who was added.

        Raises NotFound, Conflict for a cancelled event.
        """
        now_ms = self._clock.now_ms()
        async with self._database.transaction() as connection:
            record = await _locked(connection, event_id)
            if record.status == CANCELLED:
                raise Conflict("event_cancelled", f"event {event_id} is cancelled")
            chosen = builtins.list(ven_ids) if ven_ids is not None else await _targeted(connection, record)
            if record.status == PLANNED:
                await connection.execute(
                    update(dr_events)
                    .where(dr_events.c.event_id == event_id)
                    .values(status=PUBLISHED, changed_ms=now_ms)
                )
            if not chosen:
                return []
            known = await connection.scalars(select(vens.c.ven_id).where(vens.c.ven_id.in_(chosen)))
            if unknown := set(chosen) - set(known):
                raise NotFound("ven_unknown", f"there is no VEN {', '.join(sorted(unknown))}")
            rows = [
                {
                    "event_id": event_id,
                    "ven_id": ven_id,
                    "state": QUEUED,
                    "modification_number": record.modification_number,
                    "queued_ms": now_ms,
                }
                for ven_id in dict.fromkeys(chosen)
            ]
            new: builtins.list[str] = []
            for first in range(0, len(rows), _BATCH):
                statement = upsert(event_deliveries).values(rows[first : first + _BATCH]).on_conflict_do_nothing()
                new += await connection.scalars(statement.returning(event_deliveries.c.ven_id))
            new.sort()
            await queue(connection, new, EVENT_MESSAGE, event_id, now_ms)
        return new

    async def modify(self, event: DrEvent) -> DrEventRecord:
        """Replace an event by one with the same id; its modification number is counted on and it is sent again.

        What rule 5 leaves out alone is no change. Raises NotFound, Conflict if cancelled or over, InvalidInput.
        """
        async with self._database.transaction() as connection:
            record = await _locked(connection, event.event_id)
            if record.status == CANCELLED:
                raise Conflict("event_cancelled", f"event {event.event_id} is cancelled")
            if record.event.end_ms is not None and record.event.end_ms <= self._clock.now_ms():
                raise Conflict("event_completed", f"event {event.event_id} is over")
            return await self._replace(connection, record, event, record.status)

    async def cancel(self, event_id: str) -> DrEventRecord:
        """Cancel an event; its VENs are told until they confirm (rule 36). Again is no change. Raises NotFound."""
        async with self._database.transaction() as connection:
            record = await _locked(connection, event_id)
            if record.status == CANCELLED:
                return record
            event = msgspec.structs.replace(record.event, cancelled=True)
            return await self._replace(connection, record, event, CANCELLED)

    async def withdraw(self, event_id: str, ven_ids: Sequence[str]) -> builtins.list[str]:
        """Cancel an event for these VENs alone; those that opted out do without. Returns who is told. Raises NotFound.

        Again is no change, and so is what the event as a whole was cancelled for already.
        """
        now_ms = self._clock.now_ms()
        async with self._database.transaction() as connection:
            record = await _locked(connection, event_id)
            if record.status == CANCELLED:
                return []
            d = event_deliveries.c
            told = await connection.scalars(
                update(event_deliveries)
                .where(d.event_id == event_id, d.ven_id.in_(ven_ids), d.withdrawn.is_(False), d.state != OPTED_OUT)
                .values(**_FRESH, withdrawn=True, modification_number=record.modification_number + 1, queued_ms=now_ms)
                .returning(d.ven_id)
            )
            chosen = sorted(told)
            await queue(connection, chosen, EVENT_MESSAGE, event_id, now_ms)
        return chosen

    async def get(self, event_id: str) -> DrEventRecord:
        """Raises NotFound."""
        async with self._database.reading() as connection:
            query = select(dr_events).where(dr_events.c.event_id == event_id)
            row = (await connection.execute(query)).mappings().first()
        if row is None:
            raise _unknown(event_id)
        return _record(row)

    async def list(self, *, status: str | None = None) -> builtins.list[DrEventRecord]:
        """Events by start."""
        query = select(dr_events).order_by(dr_events.c.start_ms, dr_events.c.event_id)
        if status is not None:
            query = query.where(dr_events.c.status == status)
        async with self._database.reading() as connection:
            return [_record(row) for row in (await connection.execute(query)).mappings()]

    async def deliveries(self, event_id: str) -> builtins.list[EventDelivery]:
        """How far the event got with each VEN it was published to, by venID."""
        d, m = event_deliveries.c, messages.c
        about = (m.ven_id == d.ven_id) & (m.kind == EVENT_MESSAGE) & (m.key == d.event_id)
        query = (
            select(event_deliveries, dr_events.c.start_ms, m.deliveries, m.failures, m.last_error)
            .join(dr_events, dr_events.c.event_id == d.event_id)
            .join(messages, about, isouter=True)
            .where(d.event_id == event_id)
        )
        now_ms = self._clock.now_ms()
        async with self._database.reading() as connection:
            rows = (await connection.execute(query.order_by(d.ven_id))).mappings()
            return [_delivery(row, now_ms) for row in rows]

    async def applicable(self, ven_id: str) -> builtins.list[DrEvent]:
        """ALL events that apply to a VEN now: one it knows and does not find is cancelled for it (rule 58).

        A cancelled event is in the list until the VEN confirmed it, a completed one for five minutes.
        """
        async with self._database.reading() as connection:
            return await applicable(connection, ven_id, self._clock.now_ms())

    async def record_opt(
        self, ven_id: str, event_id: str, modification_number: int, opt_type: str, *, opt_id: str | None = None
    ) -> EventDelivery:
        """Note optIn or optOut of a VEN, and that it acknowledged this modification of the event.

        `opt_id` marks an oadrCreateOpt: it stands against later answers without one until it is cancelled (rule 206).
        Raises NotFound (452) and Conflict `modification_out_of_sequence` (450).
        """
        now_ms = self._clock.now_ms()
        async with self._database.transaction() as connection:
            return await record_opt(connection, ven_id, event_id, modification_number, opt_type, now_ms, opt_id=opt_id)

    async def _replace(
        self, connection: AsyncConnection, record: DrEventRecord, event: DrEvent, status: str
    ) -> DrEventRecord:
        now_ms = self._clock.now_ms()
        same = msgspec.structs.replace(event, modification_number=record.modification_number)
        if digest(same) == record.digest:
            return record
        number = record.modification_number + 1
        event = msgspec.structs.replace(event, modification_number=number, created_ms=record.created_ms)
        if broken := violations(event) + unit_violations(event):
            raise InvalidInput("event_invalid", "; ".join(f"rule {each.rule}: {each.detail}" for each in broken))
        if event.program != record.event.program:
            raise InvalidInput("event_invalid", "an event stays in its program")
        changed = DrEventRecord(
            event.event_id, record.program, status, number, digest(event), event, record.created_ms, now_ms
        )
        await connection.execute(
            update(dr_events).where(dr_events.c.event_id == event.event_id).values(**_to_row(changed))
        )
        await _keep_version(connection, changed)
        affected = await connection.scalars(
            update(event_deliveries)
            .where(event_deliveries.c.event_id == event.event_id, event_deliveries.c.withdrawn.is_(False))
            .values(**_FRESH, modification_number=number, queued_ms=now_ms)
            .returning(event_deliveries.c.ven_id)
        )
        await queue(connection, sorted(affected), EVENT_MESSAGE, event.event_id, now_ms)
        return changed


async def _targeted(connection: AsyncConnection, record: DrEventRecord) -> list[str]:
    """Enrolled VENs that a target of the event names; without targets all of the program.

    A resource is the VEN's that named it as the source of what it reports.
    """
    columns = {
        "ven": vens.c.ven_id, "group": vens.c.virtual_node, "group_name": vens.c.virtual_node, "party": vens.c.party,
    }  # fmt: skip
    query = select(vens.c.ven_id).where(vens.c.status == ENROLLED, vens.c.program == record.program)
    targets = record.event.targets
    if targets:
        conditions = [columns[each.kind] == each.value for each in targets if each.kind in columns]
        resources = {each.value for each in targets if each.kind == "resource"}
        if resources:
            conditions.append(vens.c.ven_id.in_(await vens_with_resources(connection, resources)))
        if not conditions:
            return []
        query = query.where(or_(*conditions))
    return sorted(await connection.scalars(query))


def _delivery(row: RowMapping, now_ms: int) -> EventDelivery:
    values = dict(row)
    start_ms = values.pop("start_ms")
    values |= {name: values[name] or 0 for name in ("deliveries", "failures")}
    values["late"] = values["late"] or (values["answered_ms"] is None and now_ms >= start_ms)
    return EventDelivery(**values)


async def _locked(connection: AsyncConnection, event_id: str) -> DrEventRecord:
    query = select(dr_events).where(dr_events.c.event_id == event_id).with_for_update()
    row = (await connection.execute(query)).mappings().first()
    if row is None:
        raise _unknown(event_id)
    return _record(row)


async def _keep_version(connection: AsyncConnection, record: DrEventRecord) -> None:
    await connection.execute(
        insert(dr_event_versions).values(
            event_id=record.event_id,
            modification_number=record.modification_number,
            canonical=canonical(record.event),
            digest=record.digest,
            created_ms=record.changed_ms,
        )
    )


def _to_row(record: DrEventRecord) -> dict[str, Any]:
    return {
        "event_id": record.event_id,
        "program": record.program,
        "status": record.status,
        "modification_number": record.modification_number,
        "start_ms": record.event.start_ms,
        "end_ms": record.event.end_ms,
        "canonical": canonical(record.event),
        "digest": record.digest,
        "created_ms": record.created_ms,
        "changed_ms": record.changed_ms,
    }


def _record(row: RowMapping) -> DrEventRecord:
    values = {name: row[name] for name in DrEventRecord.__struct_fields__ if name != "event"}
    return DrEventRecord(**values, event=to_event(row["canonical"], row["created_ms"]))


def _unknown(event_id: str) -> NotFound:
    return NotFound("event_unknown", f"there is no event {event_id}: `dr-vtn events list` shows those there are")
