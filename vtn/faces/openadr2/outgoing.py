"""What a VEN is to be told next, for its poll or for a push, again and again until it acknowledges it.

queue of the VEN ──▶ due: never handed out, or not acknowledged for `redeliver_s` ──▶ least told first ──▶ message,
                                                                                       rendered as of now
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import msgspec

from openadr.model import DrEvent
from openadr.v2 import (
    Message,
    OadrCancelPartyRegistration,
    OadrCancelReport,
    OadrDistributeEvent,
    OadrRequestReregistration,
)
from runtime.clock import Clock
from vtn.faces.openadr2.directory import Directory
from vtn.faces.openadr2.events import Events
from vtn.faces.openadr2.reports import Reporting, Sourcing
from vtn.records.database import Database
from vtn.records.messages import QueuedMessage, acknowledge, claim_push, mark_delivered, open_messages
from vtn.services import deliveries, registrations, reports
from vtn.services.vens import Ven

SERVICES = {
    deliveries.EVENT_MESSAGE: "EiEvent",
    reports.CREATE_MESSAGE: "EiReport",
    reports.METADATA_MESSAGE: "EiReport",
    reports.CANCEL_MESSAGE: "EiReport",
    reports.REGISTER_MESSAGE: "EiReport",
    reports.UPDATE_MESSAGE: "EiReport",
    registrations.CANCEL_MESSAGE: "EiRegisterParty",
    registrations.REREGISTER_MESSAGE: "EiRegisterParty",
}
"""Kind of a message -> service it is pushed to."""

_TOGETHER = (deliveries.EVENT_MESSAGE, reports.CREATE_MESSAGE)
"""Kinds of which one message carries all there is."""
_VOID_MAX = 20
CLAIM_MS = 60_000
"""A worker that pushes has so long (domain time) before another one tries."""


class Handed(msgspec.Struct, frozen=True):
    """A message on its way to a VEN, and what in the queue it stands for. `deliveries` counts this one; `claimed_ms` is
    the mark of whoever pushes it."""

    message: Message
    kind: str
    sequences: tuple[int, ...]
    failures: int
    deliveries: int
    claimed_ms: int

    @property
    def events(self) -> list[DrEvent]:
        """The events it carries."""
        return [each.dr_event for each in self.message.events] if isinstance(self.message, OadrDistributeEvent) else []


class Outgoing:
    """The queues of all VENs."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        directory: Directory,
        events: Events,
        reporting: Reporting,
        sourcing: Sourcing,
        *,
        redeliver_s: int,
    ) -> None:
        self._database = database
        self._clock = clock
        self._directory = directory
        self._events = events
        self._reporting = reporting
        self._sourcing = sourcing
        self.redeliver_ms = 1000 * redeliver_s

    async def poll(self, ven: Ven) -> Message | None:
        """The next message for a VEN that asks, None if there is none; without one waiting no database is asked."""
        if not self._directory.something_due(ven.ven_id):
            return None
        handed = await self.take(ven)
        return None if handed is None else handed.message

    async def take(self, ven: Ven, *, push: bool = False) -> Handed | None:
        """The next message; what has become void is closed. `push` claims it: no other worker pushes it meanwhile."""
        for _ in range(_VOID_MAX):
            now_ms = self._clock.now_ms()
            chosen, message = await self._choose(ven, now_ms, push=push)
            if not chosen:
                return None
            if push or chosen[0].kind != deliveries.EVENT_MESSAGE:
                message = await self._message(chosen, ven)
            if message is not None:
                return Handed(
                    message,
                    chosen[0].kind,
                    tuple(each.sequence for each in chosen),
                    max(each.failures for each in chosen),
                    1 + max(each.deliveries for each in chosen),
                    now_ms + CLAIM_MS,
                )
            await self._drop(chosen)
        return None

    async def _choose(self, ven: Ven, now_ms: int, *, push: bool) -> tuple[list[QueuedMessage], Message | None]:
        """What is sent next; if it is about events, with the message: that is made in the same transaction.

        Not for a push: that locks messages before deliveries, and an answer that comes meanwhile the other way round.
        """
        message: Message | None = None
        if not push:  # a claim leaves out what others have locked: it cannot say what is due
            self._directory.looking(ven.ven_id)
        async with self._database.transaction() as connection:
            waiting = await open_messages(connection, ven.ven_id, claim=push)
            due = [each for each in waiting if self._due_ms(each, push=push) <= now_ms]
            chosen = [each for each in due if each.kind == due[0].kind]
            if chosen and chosen[0].kind not in _TOGETHER:
                chosen = chosen[:1]
            sequences = [each.sequence for each in chosen]
            if chosen and chosen[0].kind != deliveries.EVENT_MESSAGE:  # the list of events marks its own
                await mark_delivered(connection, sequences, now_ms)
            elif chosen and not push:
                keys = {each.key for each in waiting if each.kind == deliveries.EVENT_MESSAGE}
                message = _unless_empty(await self._events.distribute_within(connection, ven, open_keys=keys))
            if chosen and push:
                await claim_push(connection, sequences, now_ms + CLAIM_MS)
        if not push:
            later = [
                now_ms + self.redeliver_ms if each.sequence in sequences else self._due_ms(each, push=False)
                for each in waiting
            ]
            self._directory.looked(ven.ven_id, min(later, default=None))
        return chosen, message

    def _due_ms(self, message: QueuedMessage, *, push: bool) -> int:
        if push:
            return message.not_before_ms or 0
        return 0 if message.delivered_ms is None else message.delivered_ms + self.redeliver_ms

    async def _message(self, chosen: Sequence[QueuedMessage], ven: Ven) -> Message | None:
        keys = [each.key for each in chosen]
        request_id = f"req-{secrets.token_hex(8)}"
        match chosen[0].kind:
            case deliveries.EVENT_MESSAGE:
                return _unless_empty(await self._events.distribute(ven))
            case reports.CREATE_MESSAGE:
                return await self._reporting.create(ven, keys)
            case reports.METADATA_MESSAGE:
                return self._reporting.ask_metadata(ven)
            case reports.CANCEL_MESSAGE:
                to_follow = bool(msgspec.json.decode(chosen[0].payload).get("report_to_follow", False))
                return OadrCancelReport(request_id, tuple(keys), to_follow, ven.ven_id)
            case reports.REGISTER_MESSAGE:
                return await self._sourcing.offer(ven)
            case reports.UPDATE_MESSAGE:
                return await self._sourcing.update(ven, keys[0])
            case registrations.CANCEL_MESSAGE:
                return OadrCancelPartyRegistration(request_id, keys[0], ven.ven_id)
            case registrations.REREGISTER_MESSAGE:
                return OadrRequestReregistration(ven.ven_id)
            case _:
                return None

    async def _drop(self, messages: Sequence[QueuedMessage]) -> None:
        """Close messages that have become void."""
        first = messages[0]
        async with self._database.transaction() as connection:
            keys = [each.key for each in messages]
            await acknowledge(connection, first.ven_id, first.kind, self._clock.now_ms(), keys)


def _unless_empty(distributed: OadrDistributeEvent) -> OadrDistributeEvent | None:
    return distributed if distributed.events else None
