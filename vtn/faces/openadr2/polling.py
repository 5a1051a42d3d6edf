"""OadrPoll: the next thing a VEN is to be told, again and again until it acknowledges it.

queue of the VEN, oldest first ──▶ due: never handed out, or not acknowledged for `redeliver_s`
"""

from __future__ import annotations

import secrets

from openadr.v2 import (
    Message,
    OadrCancelPartyRegistration,
    OadrCancelReport,
    OadrRequestReregistration,
)
from runtime.clock import Clock
from vtn.faces.openadr2.directory import Directory
from vtn.faces.openadr2.events import Events
from vtn.faces.openadr2.reports import Reporting
from vtn.records.database import Database
from vtn.records.messages import QueuedMessage, acknowledge, mark_delivered, open_messages
from vtn.services import deliveries, registrations, reports
from vtn.services.vens import Ven


class Polling:
    """The service on the queues."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        directory: Directory,
        events: Events,
        reporting: Reporting,
        *,
        redeliver_s: int,
    ) -> None:
        self._database = database
        self._clock = clock
        self._directory = directory
        self._events = events
        self._reporting = reporting
        self._redeliver_ms = 1000 * redeliver_s

    async def poll(self, ven: Ven) -> Message | None:
        """The next message for the VEN, None if there is none; without one waiting no database is asked."""
        if not self._directory.something_due(ven.ven_id):
            return None
        now_ms = self._clock.now_ms()
        self._directory.looking(ven.ven_id)
        async with self._database.transaction() as connection:
            waiting = await open_messages(connection, ven.ven_id)
            due = [each for each in waiting if self._due_ms(each) <= now_ms]
            # one message carries all events, and one all report requests: they are handed out together
            chosen = [each for each in due if each.kind == due[0].kind]
            if chosen and chosen[0].kind not in (deliveries.EVENT_MESSAGE, reports.CREATE_MESSAGE):
                chosen = chosen[:1]
            if chosen:
                await mark_delivered(connection, [each.sequence for each in chosen], now_ms)
        handed = {each.sequence for each in chosen}
        later = [now_ms + self._redeliver_ms if each.sequence in handed else self._due_ms(each) for each in waiting]
        self._directory.looked(ven.ven_id, min(later, default=None))
        return await self._message(chosen, ven) if chosen else None

    def _due_ms(self, message: QueuedMessage) -> int:
        return 0 if message.delivered_ms is None else message.delivered_ms + self._redeliver_ms

    async def _message(self, chosen: list[QueuedMessage], ven: Ven) -> Message | None:
        keys = [each.key for each in chosen]
        match chosen[0].kind:
            case deliveries.EVENT_MESSAGE:
                return await self._events.distribute(ven)
            case reports.CREATE_MESSAGE:
                message = await self._reporting.create(ven, keys)
                if message is None:
                    await self._drop(chosen)
                return message
            case reports.CANCEL_MESSAGE:
                return OadrCancelReport(f"req-{secrets.token_hex(8)}", tuple(keys), False, ven.ven_id)
            case registrations.CANCEL_MESSAGE:
                return OadrCancelPartyRegistration(f"req-{secrets.token_hex(8)}", keys[0], ven.ven_id)
            case registrations.REREGISTER_MESSAGE:
                return OadrRequestReregistration(ven.ven_id)
            case _:
                await self._drop(chosen)
                return None

    async def _drop(self, messages: list[QueuedMessage]) -> None:
        """Close messages that have become void."""
        first = messages[0]
        async with self._database.transaction() as connection:
            keys = [each.key for each in messages]
            await acknowledge(connection, first.ven_id, first.kind, self._clock.now_ms(), keys)
