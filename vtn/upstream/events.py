"""Events of the utility as they come over the wire, and the answers it is owed.

    oadrDistributeEvent ──▶ stored: new, changed, unchanged, gone ──▶ decided elsewhere ──▶ owed ──▶ oadrCreatedEvent

A distribution is complete: an event that is missing is cancelled (rule 58). Whoever asks for an answer gets one for
each distribution, also for what did not change (rule 12); while an operator decides it waits.
"""

from __future__ import annotations

import random

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from openadr.errors import ResponseCode
from openadr.model import DrEvent, digest
from openadr.v2 import EventResponse, OadrDistributeEvent, RefusedEvent
from runtime.clock import Clock
from runtime.logs import get_logger
from vtn.records.database import Database
from vtn.upstream import records
from vtn.upstream.records import UpstreamEvent

OPT_IN, OPT_OUT = "optIn", "optOut"
_DESCRIPTION_MAX = 200

_log = get_logger("vtn.upstream.events")


class EventDesk:
    """Takes distributions in and knows which answers are due."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def receive(self, message: OadrDistributeEvent) -> list[EventResponse]:
        """Store a distribution. Returns the answers that need no decision: to events that cannot be read, or that have
        an older modification number than one that came before (450)."""
        now_ms = self._clock.now_ms()
        at_once = [
            EventResponse(each.event_id, each.modification_number, OPT_OUT, message.request_id, int(each.code),
                          each.detail[:_DESCRIPTION_MAX])
            for each in message.refused
            if each.response_required
        ]  # fmt: skip
        async with self._database.transaction() as connection:
            for each in message.refused:
                _log.warning("event cannot be read", dr_event_id=each.event_id, why=each.detail)
                await self._refuse(connection, each, message.request_id, now_ms)
            for listed in message.events:
                stale = await self._take(connection, listed.dr_event, message.request_id, now_ms)
                at_once += [stale] if stale is not None else []
            known = {each.dr_event.event_id for each in message.events} | {each.event_id for each in message.refused}
            await self._cancel_missing(connection, known, now_ms)
        return at_once

    async def owed(self) -> list[EventResponse]:
        """Answers the utility lacks."""
        async with self._database.reading() as connection:
            return [
                EventResponse(
                    event_id=each.event_id,
                    modification_number=each.modification_number,
                    opt_type=each.opt_type or OPT_OUT,
                    request_id=each.request_id,
                    response_code=each.opt_code,
                    response_description=each.note[:_DESCRIPTION_MAX] or "OK",
                )
                for each in await records.owed_answers(connection)
            ]

    async def answered(self, response: EventResponse) -> None:
        """The utility has this answer, unless another one is due by now."""
        async with self._database.transaction() as connection:
            found = await records.find_event(connection, response.event_id, lock=True)
            same = found is not None and (
                (found.modification_number, found.opt_type, found.opt_code, found.request_id)
                == (response.modification_number, response.opt_type, response.response_code, response.request_id)
            )
            if same:
                await records.change_event(connection, response.event_id, owed=False)

    async def _take(
        self, connection: AsyncConnection, event: DrEvent, request_id: str, now_ms: int
    ) -> EventResponse | None:
        found = await records.find_event(connection, event.event_id, lock=True)
        if found is None:
            if not event.cancelled or event.response_required:
                await records.put_event(connection, _new(event, request_id, now_ms))
                _log.info("event received", dr_event_id=event.event_id, modification=event.modification_number)
            return None
        if event.modification_number < found.modification_number:
            _log.warning("event out of sequence", dr_event_id=event.event_id, modification=event.modification_number)
            code, why = int(ResponseCode.OUT_OF_SEQUENCE), f"modification {found.modification_number} came before"
            stale = EventResponse(
                event.event_id, event.modification_number, found.opt_type or OPT_OUT, request_id, code, why
            )
            return stale if event.response_required else None
        if found.digest == digest(event):
            await records.change_event(connection, event.event_id, request_id=request_id, owed=event.response_required)
            return None
        await self._change(connection, found, event, digest(event), now_ms)
        await records.change_event(connection, event.event_id, request_id=request_id, owed=event.response_required)
        _log.info("event changed", dr_event_id=event.event_id, modification=event.modification_number)
        return None

    async def _refuse(self, connection: AsyncConnection, refused: RefusedEvent, request_id: str, now_ms: int) -> None:
        """A change that cannot be read: what was promised before does not hold for it, so its homes are let go."""
        if await records.find_event(connection, refused.event_id, lock=True) is None:
            return
        await records.change_event(
            connection, refused.event_id, modification_number=refused.modification_number, digest="",
            state=records.REFUSED, note=refused.detail, opt_type=OPT_OUT, opt_code=int(refused.code), owed=False,
            request_id=request_id, changed_ms=now_ms,
        )  # fmt: skip
        needs = await records.list_needs(connection, records.REQUESTED, records.TAKEN, event_id=refused.event_id)
        await records.withdraw_needs(connection, [need.need_id for need in needs], now_ms)

    async def _cancel_missing(self, connection: AsyncConnection, listed: set[str], now_ms: int) -> None:
        for each in await records.list_events(connection, without=records.CANCELLED):
            if each.event_id not in listed and not each.over(now_ms):
                gone = msgspec.structs.replace(each.event, cancelled=True)
                # no digest: listed again, it is a change
                await self._change(connection, each, gone, "", now_ms)
                await records.change_event(connection, each.event_id, owed=False)
                _log.info("event gone", dr_event_id=each.event_id)

    async def _change(
        self, connection: AsyncConnection, found: UpstreamEvent, event: DrEvent, mark: str, now_ms: int
    ) -> None:
        """It is to be decided anew; the drawn start stays, as far as the new window allows."""
        await records.change_event(
            connection, event.event_id, event=event, digest=mark, modification_number=event.modification_number,
            state=records.RECEIVED, offset_s=min(found.offset_s, event.start_after_s), free_ms=None, note="",
            opt_type=None, opt_code=200, changed_ms=now_ms,
        )  # fmt: skip


def _new(event: DrEvent, request_id: str, now_ms: int) -> UpstreamEvent:
    return UpstreamEvent(
        event_id=event.event_id,
        modification_number=event.modification_number,
        event=event,
        digest=digest(event),
        state=records.RECEIVED,
        offset_s=random.randint(0, event.start_after_s),
        free_ms=None,
        proposal=None,
        note="",
        opt_type=None,
        opt_code=200,
        request_id=request_id,
        owed=event.response_required,
        received_ms=now_ms,
        changed_ms=now_ms,
    )
