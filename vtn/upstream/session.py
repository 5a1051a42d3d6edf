"""The conversation with the utility's VTN: registered, polling, answering, reporting; through its absences and ours.

    register ─▶ announce reports ─▶ request events ─▶ ┌ poll ─▶ store ─▶ answer ─▶ report ┐
       ▲ 463, asked to                                └──────── every poll interval ──────┘
       └── wait (wall clock, jitter) ◀── no answer            ended by either side: rest until the operator registers

What comes in is stored before it is answered; what is decided about it is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import msgspec

from openadr.client.errors import VtnRefused, VtnUnreachable
from openadr.client.link import Link, demand_success, is_success
from openadr.client.registration import NOT_REGISTERED, UNKNOWN, Registrar, Registration, new_request_id
from openadr.errors import ResponseCode
from openadr.v2 import (
    EiResponse,
    EventResponse,
    Message,
    OadrCancelPartyRegistration,
    OadrCancelReport,
    OadrCreatedEvent,
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
from runtime.clock import happened
from runtime.logs import get_logger
from vtn.context import Vtn
from vtn.upstream import records
from vtn.upstream.events import EventDesk
from vtn.upstream.records import UpstreamLink
from vtn.upstream.reports import requests
from vtn.upstream.reports.desk import ReportDesk

REGISTER, CANCEL = "register", "cancel"
_DRAIN_MAX = 16  # messages a VTN may queue up for one poll
_PAUSE_S, _PAUSE_S_MAX = 0.5, 60.0
_LOOK_S = 1.0

_log = get_logger("vtn.upstream.session")


class Shelf:
    """The registration in memory, for the registrar; the session stores it after each change."""

    def __init__(self) -> None:
        self.registration: Registration | None = None

    def read(self) -> Registration | None:
        """The registration, None without one."""
        return self.registration

    def write(self, registration: Registration) -> None:
        """Keep it in the place of any other."""
        self.registration = registration

    def drop(self, *, ended: bool) -> None:
        """There is none any more."""
        self.registration = None


class Session:
    """One link to one VTN. `nudged`: set by whoever has something to say; `received` is called when events came."""

    def __init__(
        self,
        vtn: Vtn,
        link: Link,
        registrar: Registrar,
        shelf: Shelf,
        events: EventDesk,
        reports: ReportDesk,
        *,
        nudged: asyncio.Event,
        received: Callable[[], None],
    ) -> None:
        self._vtn = vtn
        self._link = link
        self._registrar = registrar
        self._shelf = shelf
        self._events = events
        self._reports = reports
        self._nudged = nudged
        self._received = received
        self._renew = False
        self._pause_s = _PAUSE_S

    async def run(self) -> None:
        """Works until cancelled."""
        kept = (await self._kept()).registration
        if kept is not None:
            self._shelf.write(msgspec.json.decode(kept, type=Registration))
        while True:
            try:
                if await self._obey():
                    await self._converse()
                    continue
            except VtnRefused as error:
                self._renew = self._renew or error.code in UNKNOWN
                await self._failed(error)
            except VtnUnreachable as error:
                await self._failed(error)
            else:
                await happened(self._nudged, _LOOK_S)
                self._nudged.clear()

    async def _obey(self) -> bool:
        """Do what the operator wishes; True if the link is to be used."""
        kept = await self._kept()
        if kept.wish == CANCEL:
            await self._registrar.cancel()
            await self._store_registration(enabled=False, wish=None, failed_ms=None, error=None)
            return False
        if kept.wish == REGISTER:
            self._renew = True
            await self._change(enabled=True, wish=None)
            return True
        return kept.enabled

    async def _converse(self) -> None:
        """From the registration on, until it ends, is to be renewed, or the operator wishes something."""
        registration = await self._registered()
        await self._announce(registration)
        # what happened in an absence is in the complete list, not in the queue of polls
        listed = await self._link.ask(OadrRequestEvent(new_request_id(), registration.ven_id))
        await self._handle(listed, registration)
        await self._reached()
        while not self._renew and self._shelf.registration is not None:
            await self._say(registration)
            if await self._until_next_poll(registration):
                return
            await self._poll(registration)
            await self._reached()
            if self._shelf.registration is not None:
                await self._announce(registration)

    async def _registered(self) -> Registration:
        known = self._shelf.registration
        if known is None or self._renew:
            try:
                known = await self._registrar.register()
                self._renew = False
            finally:
                await self._store_registration()
        return known

    async def _announce(self, registration: Registration) -> None:
        """A VTN that wants no reports, or fails over them, still has events: they are offered again after each poll."""
        try:
            await self._reports.announce(registration)
        except VtnRefused as error:
            if error.code == NOT_REGISTERED:
                raise
            _log.warning("reports refused", error=str(error))
        except VtnUnreachable as error:
            _log.warning("reports not announced", error=str(error))

    async def _poll(self, registration: Registration) -> None:
        """One poll with everything the VTN has queued."""
        for _ in range(_DRAIN_MAX):
            last = await self._handle(await self._link.ask(OadrPoll(registration.ven_id)), registration)
            if last or self._shelf.registration is None:
                return

    async def _say(self, registration: Registration) -> None:
        """Answers, each on its own so that one that is refused holds up no other, and reports that are due."""
        self._nudged.clear()
        for response in await self._events.owed():
            await self._answer(response, registration)
        await self._reports.send(registration)

    async def _answer(self, response: EventResponse, registration: Registration) -> None:
        """An error of the VTN about this answer is final: the same answer again would be refused again."""
        outer = EiResponse(request_id=response.request_id)
        answer = await self._link.ask(OadrCreatedEvent(registration.ven_id, (response,), outer))
        if isinstance(answer, OadrResponse) and not is_success(answer.response):
            code, why = answer.response.response_code, answer.response.response_description
            if code == NOT_REGISTERED:
                raise VtnRefused(code, why)
            _log.warning("answer refused", dr_event_id=response.event_id, code=code, why=why)
        await self._events.answered(response)

    async def _until_next_poll(self, registration: Registration) -> bool:
        """Waits in domain time; what becomes ready to be said meanwhile is said at once. True if the operator wishes
        something."""
        clock = self._vtn.clock
        due_ms = clock.now_ms() + 1000 * (registration.poll_s or self._vtn.settings.upstream_poll_s)
        while (left_ms := due_ms - clock.now_ms()) > 0:
            await happened(self._nudged, min(max(clock.wall_seconds(left_ms / 1000), 0.001), _LOOK_S))
            if (await self._kept()).wish is not None:
                return True
            await self._say(registration)
        return False

    async def _handle(self, message: Message, registration: Registration) -> bool:
        """Acts on what came. True if it is the end of the queue: a plain response, or a list of events (listed again at
        each poll until it is answered)."""
        ven_id = registration.ven_id
        match message:
            case OadrResponse():
                demand_success(message.response)
                return True
            case OadrDistributeEvent():
                await self._distributed(message, registration)
                return True
            case OadrCreateReport():
                await self._reports.create(message, registration)
            case OadrCancelReport():
                await self._reports.cancel(message, registration)
            case OadrRegisterReport():
                await self._link.ask(OadrRegisteredReport(EiResponse(request_id=message.request_id), (), ven_id))
            case OadrUpdateReport():
                refusal = EiResponse(ResponseCode.INVALID_ID, "no report was asked for", message.request_id)
                await self._link.ask(OadrUpdatedReport(refusal, None, ven_id))
            case OadrCancelPartyRegistration():
                await self._cancelled(message)
            case OadrRequestReregistration():
                await self._link.ask(OadrResponse(EiResponse(), ven_id))
                self._renew = True
                return True
            case _:
                raise VtnUnreachable(f"the VTN sent {type(message).__name__} where nothing of the kind is expected")
        return False

    async def _distributed(self, message: OadrDistributeEvent, registration: Registration) -> None:
        if message.vtn_id != registration.vtn_id:
            # rule 21: an unexpected vtnID is an error, its events are not taken over
            _log.warning("events of another VTN", vtn_id=message.vtn_id)
            why = f"vtnID {message.vtn_id} is not that of the registration"
            refusal = EiResponse(ResponseCode.INVALID_ID, why, message.request_id)
            await self._link.ask(OadrCreatedEvent(registration.ven_id, (), refusal))
            return
        for response in await self._events.receive(message):
            await self._answer(response, registration)
        self._received()

    async def _cancelled(self, message: OadrCancelPartyRegistration) -> None:
        """The utility ended it: nothing more is asked of it until the operator registers again."""
        answer = self._registrar.cancelled(message)
        if self._shelf.registration is None:
            await self._store_registration(enabled=False)
        await self._link.ask(answer)

    async def _store_registration(self, **values: object) -> None:
        found = self._shelf.registration
        encoded = None if found is None else msgspec.json.encode(found)
        async with self._vtn.database.transaction() as connection:
            await records.change_link(connection, self._url, registration=encoded, **values)
            if found is None:
                await requests.end_all(connection)

    async def _reached(self) -> None:
        self._pause_s = _PAUSE_S
        await self._change(reached_ms=self._vtn.clock.wall_ms(), failed_ms=None, error=None)

    async def _failed(self, error: VtnRefused | VtnUnreachable) -> None:
        _log.warning("utility not reached", error=str(error), again_s=round(self._pause_s, 1))
        await self._change(failed_ms=self._vtn.clock.wall_ms(), error=str(error))
        await asyncio.sleep(self._pause_s * random.uniform(0.5, 1.0))
        self._pause_s = min(_PAUSE_S_MAX, 2 * self._pause_s)

    async def _kept(self) -> UpstreamLink:
        async with self._vtn.database.reading() as connection:
            return await records.read_link(connection, self._url)

    async def _change(self, **values: object) -> None:
        async with self._vtn.database.transaction() as connection:
            await records.change_link(connection, self._url, **values)

    @property
    def _url(self) -> str:
        return self._vtn.settings.upstream_url or ""
