"""Events of the wire to the store, and the home's answers back."""

from __future__ import annotations

import random

from openadr.client.link import Link, is_success
from openadr.client.registration import NOT_REGISTERED, Registration
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
from ven.errors import VtnRefused
from ven.home.store import Opt, Store
from ven.home.store.events import answer_text

_log = get_logger("ven.faces.openadr2.events")


class EventDesk:
    """Takes distributions in and sends answers out, each until the VTN has it."""

    def __init__(self, link: Link, store: Store, clock: Clock, home: str) -> None:
        self._link = link
        self._store = store
        self._clock = clock
        self._home = home

    async def receive(self, message: OadrDistributeEvent, registration: Registration) -> bool:
        """Stores a distribution; it is complete: an event that is missing is cancelled. True if something changed."""
        if message.vtn_id != registration.vtn_id:
            # rule 21: an unexpected vtnID is an error, its events are not taken over
            _log.warning("events of another VTN", home=self._home, vtn_id=message.vtn_id)
            refusal = EiResponse(452, f"vtnID {message.vtn_id} is not that of the registration", message.request_id)
            await self._link.ask(OadrCreatedEvent(registration.ven_id, (), refusal))
            return False
        changed = False
        now_ms = self._clock.now_ms()
        with self._store.transaction():
            for each in message.events:
                event = each.dr_event
                if event.cancelled and self._store.events.find(event.event_id) is None and not event.response_required:
                    continue
                offset_s = random.randint(0, event.start_after_s)
                if self._store.events.receive(event, request_id=message.request_id, offset_s=offset_s, now_ms=now_ms):
                    changed = True
                    _log.info(
                        "event received",
                        home=self._home,
                        dr_event_id=event.event_id,
                        modification=event.modification_number,
                        status=each.status,
                    )
            listed = {each.dr_event.event_id for each in message.events} | {each.event_id for each in message.refused}
            changed = self._cancel_missing(listed, now_ms) or changed
        for refused in message.refused:
            await self._refuse(refused, message.request_id, registration)
        return changed

    async def answer(self, registration: Registration) -> None:
        """Sends every answer the VTN lacks, one event a message, so that one it refuses does not hold up the others."""
        for stored in self._store.events.unanswered():
            event, opt = stored.event, stored.opt or Opt.OUT
            response = EventResponse(
                event_id=event.event_id,
                modification_number=event.modification_number,
                opt_type=opt,
                request_id=stored.request_id,
                response_code=stored.opt_code,
                response_description=stored.opt_reason[:200] or "OK",
            )
            await self._send(response, registration)
            self._store.events.mark_sent(event.event_id, answer_text(stored))

    async def _refuse(self, refused: RefusedEvent, request_id: str, registration: Registration) -> None:
        _log.warning("event refused", home=self._home, dr_event_id=refused.event_id, why=refused.detail)
        if refused.response_required:
            response = EventResponse(
                event_id=refused.event_id,
                modification_number=refused.modification_number,
                opt_type=Opt.OUT,
                request_id=request_id,
                response_code=int(refused.code),
                response_description=refused.detail[:200],
            )
            await self._send(response, registration)

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
