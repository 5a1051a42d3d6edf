"""Events of the wire to the store, and the home's answers back.

distribution ── vtnID ours? ── each event: ── cannot be read ─────────▶ its code, optOut
                                           ── older, or changed under the number it had ─▶ 450, optOut
                                           ── new, changed, the same ─▶ store ─▶ the home's answer
left out, and known ─▶ cancelled by that
"""

from __future__ import annotations

import random
from collections.abc import Callable

from openadr.client.errors import VtnRefused
from openadr.client.link import Link, is_success
from openadr.client.registration import NOT_REGISTERED, Registration
from openadr.errors import ResponseCode
from openadr.model import DrEvent, digest
from openadr.timeline import EventStatus, status
from openadr.v2 import (
    EiResponse,
    EventResponse,
    OadrCreatedEvent,
    OadrDistributeEvent,
    OadrResponse,
    RefusedEvent,
)
from runtime.clock import Clock
from runtime.logs import get_logger
from ven.home.store import Opt, Store, StoredEvent
from ven.home.store.events import answer_text

_DESCRIPTION_MAX = 200

_log = get_logger("ven.faces.openadr2.events")


class EventDesk:
    """Takes distributions in and sends answers out, each until the VTN has it. `created` hears of the createdDateTime
    of each event."""

    def __init__(
        self,
        link: Link,
        store: Store,
        clock: Clock,
        home: str,
        *,
        created: Callable[[int], None] = lambda created_ms: None,
    ) -> None:
        self._link = link
        self._store = store
        self._clock = clock
        self._home = home
        self._created = created
        self._refusals: dict[str, EventResponse] = {}  # the VTN lists the event again if one is lost

    def receive(self, message: OadrDistributeEvent, registration: Registration) -> tuple[EiResponse, bool]:
        """Stores a distribution; it is complete: an event that is missing is cancelled. What to say about the message
        as a whole, and whether something changed."""
        if message.vtn_id != registration.vtn_id:
            # rule 21: an unexpected vtnID is an error, its events are not taken over
            _log.warning("events of another VTN", home=self._home, vtn_id=message.vtn_id)
            detail = f"vtnID {message.vtn_id} is not that of the registration"
            return EiResponse(ResponseCode.INVALID_ID, detail, message.request_id), False
        now_ms = self._clock.now_ms()
        with self._store.transaction():
            changed = [self._take(each.dr_event, message.request_id, now_ms) for each in message.events]
            listed = {each.dr_event.event_id for each in message.events} | {each.event_id for each in message.refused}
            changed.append(self._cancel_missing(listed, now_ms))
        for each in message.events:
            self._created(each.dr_event.created_ms)
        for refused in message.refused:
            self._refuse(refused, message.request_id)
        return EiResponse(request_id=message.request_id), any(changed)

    def refusal(self, response: EiResponse, registration: Registration) -> OadrCreatedEvent:
        """How a distribution as a whole is refused where it was polled."""
        return OadrCreatedEvent(registration.ven_id, (), response)

    async def answer(self, registration: Registration) -> None:
        """Sends every answer the VTN lacks, one event a message, so that one it refuses does not hold up the others."""
        for event_id, refusal in list(self._refusals.items()):
            await self._send(refusal, registration)
            if self._refusals.get(event_id) is refusal:
                del self._refusals[event_id]
        for stored in self._store.events.unanswered():
            event, opt = stored.event, stored.opt or Opt.OUT
            response = EventResponse(
                event_id=event.event_id,
                modification_number=event.modification_number,
                opt_type=opt,
                request_id=stored.request_id,
                response_code=stored.opt_code,
                response_description=stored.opt_reason[:_DESCRIPTION_MAX] or "OK",
            )
            await self._send(response, registration)
            now = self._store.events.find(event.event_id)
            if now is not None and now.request_id == stored.request_id:  # it did not come again meanwhile
                self._store.events.mark_sent(event.event_id, answer_text(stored))

    def _take(self, event: DrEvent, request_id: str, now_ms: int) -> bool:
        """Stores an event; True if it is new or changed."""
        known = self._store.events.find(event.event_id)
        if event.cancelled and known is None and not event.response_required:
            return False
        wrong = None if known is None else _out_of_sequence(event, known)
        if wrong is not None:
            number, code = event.modification_number, ResponseCode.OUT_OF_SEQUENCE
            self._refuse(RefusedEvent(event.event_id, number, code, wrong, event.response_required), request_id)
            return False
        self._refusals.pop(event.event_id, None)
        offset_s = random.randint(0, event.start_after_s)
        if not self._store.events.receive(event, request_id=request_id, offset_s=offset_s, now_ms=now_ms):
            return False
        _log.info(
            "event received",
            home=self._home,
            dr_event_id=event.event_id,
            modification=event.modification_number,
            status=status(event, now_ms),
        )
        return True

    def _refuse(self, refused: RefusedEvent, request_id: str) -> None:
        _log.warning(
            "event refused", home=self._home, dr_event_id=refused.event_id, code=int(refused.code), why=refused.detail
        )
        if refused.response_required:
            self._refusals[refused.event_id] = EventResponse(
                event_id=refused.event_id,
                modification_number=refused.modification_number,
                opt_type=Opt.OUT,
                request_id=request_id,
                response_code=int(refused.code),
                response_description=refused.detail[:_DESCRIPTION_MAX],
            )

    async def _send(self, response: EventResponse, registration: Registration) -> None:
        """An error of the VTN about this answer is final: the same answer again would be refused again."""
        outer = EiResponse(request_id=response.request_id)
        answer = await self._link.ask(OadrCreatedEvent(registration.ven_id, (response,), outer))
        if isinstance(answer, OadrResponse) and not is_success(answer.response):
            if answer.response.response_code == NOT_REGISTERED:
                raise VtnRefused(NOT_REGISTERED, answer.response.response_description)
            _log.warning(
                "answer refused",
                home=self._home,
                dr_event_id=response.event_id,
                code=answer.response.response_code,
                why=answer.response.response_description,
            )

    def _cancel_missing(self, listed: set[str], now_ms: int) -> bool:
        missing = [
            stored
            for stored in self._store.events.all()
            if stored.event.event_id not in listed
            and not stored.cancelled
            and status(stored.event, now_ms, stored.offset_s) is not EventStatus.COMPLETED
        ]
        for stored in missing:
            _log.info("event gone", home=self._home, dr_event_id=stored.event.event_id)
            self._store.events.mark_gone(stored.event.event_id)
        return bool(missing)


def _out_of_sequence(event: DrEvent, known: StoredEvent) -> str | None:
    """Rules 5, 58, 61: why an event cannot follow the one that is known, None if it can.

    A cancellation is taken even if the VTN forgot to count it: a device that goes on for nobody is the worse mistake.
    """
    have = known.event.modification_number
    if event.modification_number < have:
        return f"modificationNumber {event.modification_number} is older than {have}, which is known"
    if event.modification_number == have and digest(event) != known.digest:
        if event.cancelled and not known.event.cancelled:
            _log.warning("cancelled under the number it had", dr_event_id=event.event_id, modification=have)
            return None
        return f"the event changed and kept its modificationNumber {have}"
    return None
