"""One VEN at work: registered, polling, answering, reporting; through restarts and absences of its VTN.

    register ─▶ announce reports ─▶ request events ─▶ ┌ poll ─▶ handle ─▶ answer ─▶ report ┐
       ▲ 463, cancelled, asked to                      └───────── every poll interval ──────┘
       └──────────────── wait (wall clock, jitter) ◀───────────── no answer

Poll interval and reports run on the domain clock; waiting for a VTN that does not answer runs on the wall clock.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from openadr.client.link import Link, demand_success
from openadr.client.registration import NOT_REGISTERED, Registrar, Registration, new_request_id
from openadr.v2 import (
    EiResponse,
    Message,
    OadrCancelPartyRegistration,
    OadrCancelReport,
    OadrCreateReport,
    OadrDistributeEvent,
    OadrPoll,
    OadrRegisteredReport,
    OadrRegisterReport,
    OadrRequestEvent,
    OadrRequestReregistration,
    OadrResponse,
    OadrUpdatedReport,
    OadrUpdateReport,
)
from runtime.clock import Clock, happened
from runtime.logs import get_logger
from ven.errors import VtnRefused, VtnUnreachable
from ven.faces.openadr2.events import EventDesk
from ven.faces.openadr2.reports import ReportDesk

_DRAIN_MAX = 16  # messages a VTN may queue up for one poll
_BACKOFF_S = 0.5
_RECHECK_S = 30.0

_log = get_logger("ven.faces.openadr2.engine")


class Engine:
    """The 2.0b side of one home. `changed(events)` is called after each poll; `events`: some are new or changed."""

    def __init__(
        self,
        link: Link,
        registrar: Registrar,
        events: EventDesk,
        reports: ReportDesk,
        clock: Clock,
        *,
        home: str,
        poll_s: int,
        backoff_max_s: float,
        changed: Callable[[bool], None],
    ) -> None:
        self._link = link
        self._registrar = registrar
        self._events = events
        self._reports = reports
        self._clock = clock
        self._home = home
        self._poll_s = poll_s
        self._backoff_max_s = backoff_max_s
        self._changed = changed
        self._nudged = asyncio.Event()
        self._renew = False
        self._pause_s = _BACKOFF_S
        self.reached = False

    def nudge(self) -> None:
        """There is an answer or a reading to send: do not wait for the next poll."""
        self._nudged.set()

    async def run(self) -> None:
        """Works for ever."""
        while True:
            try:
                await self._session()
                self._pause_s = self._backoff_max_s  # the VTN ended the registration: ask again, but not soon
            except VtnRefused as error:
                self._renew = self._renew or error.code == NOT_REGISTERED
                _log.warning("VTN refused", home=self._home, code=error.code, error=str(error))
            except VtnUnreachable as error:
                _log.warning("VTN not reached", home=self._home, error=str(error), again_s=round(self._pause_s, 1))
            self.reached = False
            await asyncio.sleep(self._pause_s * random.uniform(0.5, 1.0))
            self._pause_s = min(self._backoff_max_s, 2 * self._pause_s)

    async def _session(self) -> None:
        """From the registration on, until the VTN ends it. Raises VtnRefused, VtnUnreachable."""
        registration = await self._registered()
        await self._announce(registration)
        # what happened in an absence is in the complete list, not in the queue of polls
        handled = _Handled()
        listed = await self._link.ask(OadrRequestEvent(new_request_id(), registration.ven_id))
        await self._handle(listed, registration, handled)
        self._changed(handled.events)
        while True:
            await self._poll(registration)
            self._pause_s, self.reached = _BACKOFF_S, True
            if self._renew:
                registration = await self._registered()
                await self._announce(registration)
            elif self._registrar.current is None:
                return
            await self._until_next_poll(registration)

    async def _registered(self) -> Registration:
        known = self._registrar.current
        if known is None or self._renew:
            known = await self._registrar.register()
            self._renew = False
        return known

    async def _announce(self, registration: Registration) -> None:
        """A VTN that wants no reports still has events."""
        try:
            await self._reports.announce(registration)
        except VtnRefused as error:
            if error.code == NOT_REGISTERED:
                raise
            _log.warning("reports refused", home=self._home, error=str(error))

    async def _poll(self, registration: Registration) -> None:
        """One poll with everything the VTN has queued, then what this side has to say."""
        handled = _Handled()
        for _ in range(_DRAIN_MAX):
            await self._handle(await self._link.ask(OadrPoll(registration.ven_id)), registration, handled)
            if handled.last or self._registrar.current is None:
                break
        self._changed(handled.events)
        if self._registrar.current is not None:
            await self._say(registration)

    async def _say(self, registration: Registration) -> None:
        self._nudged.clear()
        await self._events.answer(registration)
        await self._reports.send(registration)

    async def _until_next_poll(self, registration: Registration) -> None:
        """Waits in domain time; what becomes ready to be said meanwhile is said at once."""
        due_ms = self._clock.now_ms() + 1000 * (registration.poll_s or self._poll_s)
        while (left_ms := due_ms - self._clock.now_ms()) > 0:
            wait_s = min(max(self._clock.wall_seconds(left_ms / 1000), 0.001), _RECHECK_S)
            if await happened(self._nudged, wait_s):
                await self._say(registration)

    async def _handle(self, message: Message, registration: Registration, handled: _Handled) -> None:
        """Acts on what a poll brought. A plain response, or a list of events, is the end of the queue."""
        handled.last = False
        match message:
            case OadrResponse():
                handled.last = True
                demand_success(message.response)
            case OadrDistributeEvent():
                # listed again at each poll until answered: going on polling would bring the same
                handled.last = True
                handled.events = await self._events.receive(message, registration) or handled.events
            case OadrCreateReport():
                await self._reports.create(message, registration)
            case OadrCancelReport():
                await self._reports.cancel(message, registration)
            case OadrRegisterReport():
                taken = EiResponse(request_id=message.request_id)
                await self._link.ask(OadrRegisteredReport(taken, (), registration.ven_id))
            case OadrUpdateReport():
                refusal = EiResponse(452, "no report was asked for", message.request_id)
                await self._link.ask(OadrUpdatedReport(refusal, None, registration.ven_id))
            case OadrCancelPartyRegistration():
                await self._link.ask(self._registrar.cancelled(message))
            case OadrRequestReregistration():
                await self._link.ask(OadrResponse(EiResponse(), registration.ven_id))
                self._renew = handled.last = True
            case _:
                raise VtnUnreachable(f"the VTN sent {type(message).__name__} where nothing of the kind is expected")


class _Handled:
    """What one turn of polling brought: `last`, the queue is empty; `events`, some are new or changed."""

    def __init__(self) -> None:
        self.last = False
        self.events = False
