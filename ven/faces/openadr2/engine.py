"""One VEN at work: registered, polling or pushed to, answering, reporting; through restarts and absences of its VTN.

    register ─▶ announce reports ─▶ request events ─▶ ┌ poll ─▶ act ─▶ answer ─▶ report ┐ ◀── push
       ▲ 463, 452, cancelled, asked                     └─────── every poll interval ─────┘
       └──────────────── wait (wall clock, jitter) ◀──────────── no answer

Poll interval and reports run on the domain clock; waiting for a VTN that does not answer runs on the wall clock. A VEN
in push mode polls as well: as often as ever until something was pushed, then now and then, to see that nothing waits.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from openadr.client.errors import VtnRefused, VtnUnreachable
from openadr.client.link import Link, demand_success
from openadr.client.registration import NOT_REGISTERED, UNKNOWN, Registrar, Registration, new_request_id
from openadr.v2 import Message, OadrDistributeEvent, OadrPoll, OadrRequestEvent, OadrResponse, wire_name
from runtime.clock import Clock, happened
from runtime.logs import get_logger
from ven.faces.openadr2.conversation import Conversation, Heard, Request
from ven.faces.openadr2.events import EventDesk
from ven.faces.openadr2.opts import OptDesk
from ven.faces.openadr2.registration import read_wish, write_wish
from ven.faces.openadr2.reporting.desk import ReportDesk
from ven.faces.openadr2.reporting.sourced import SourcedDesk
from ven.home.store import Notes

_DRAIN_MAX = 16  # messages a VTN may queue up for one poll
_BACKOFF_S = 0.5
_RECHECK_S = 30.0
_WISH_S = 2.0
_AGAIN_MS = 900_000

_log = get_logger("ven.faces.openadr2.engine")


class Desks:
    """What the home has to say, by what it is about."""

    def __init__(
        self, events: EventDesk, reports: ReportDesk, sourced: SourcedDesk, opts: OptDesk, clock: Clock
    ) -> None:
        self.events = events
        self.reports = reports
        self.sourced = sourced
        self.opts = opts
        self._clock = clock
        self._not_before_ms: dict[str, int] = {}

    async def say(self, registration: Registration) -> None:
        """Everything the VTN lacks. Raises VtnRefused, VtnUnreachable; not where the VTN has no service for opts, or
        for reports of its own: not every VTN has."""
        await self.events.answer(registration)
        await self.reports.send(registration)
        for name, desk in (("opts", self.opts), ("sourced", self.sourced)):
            if self._clock.now_ms() < self._not_before_ms.get(name, 0):
                continue
            try:
                await desk.say(registration)
            except VtnUnreachable as error:
                self._not_before_ms[name] = self._clock.now_ms() + _AGAIN_MS
                _log.warning("not told", about=name, error=str(error), again_s=_AGAIN_MS // 1000)


class Engine:
    """The 2.0b side of one home. `changed(events)` is called after each exchange; `events`: some are new or changed.
    `push_check_s`: how often to poll where the VTN posts, None in pull mode."""

    def __init__(
        self,
        link: Link,
        registrar: Registrar,
        conversation: Conversation,
        desks: Desks,
        notes: Notes,
        clock: Clock,
        *,
        home: str,
        poll_s: int,
        backoff_max_s: float,
        changed: Callable[[bool], None],
        push_check_s: int | None = None,
    ) -> None:
        self._link = link
        self._registrar = registrar
        self._conversation = conversation
        self._desks = desks
        self._notes = notes
        self._clock = clock
        self._home = home
        self._poll_s = poll_s
        self._backoff_max_s = backoff_max_s
        self._changed = changed
        self._push_check_s = push_check_s
        self._pushes_arrive = False
        self._polls_refused = False
        self._nudged = asyncio.Event()
        self._renew = False
        self._pause_s = _BACKOFF_S
        self._announce_ms: int | None = None
        self.reached = False

    def nudge(self) -> None:
        """There is an answer or a reading to send: do not wait for the next poll."""
        self._nudged.set()

    def pushed(self, message: Message) -> Message:
        """The answer to a message that the VTN posted; what else is to be said follows at once. Raises OpenAdrError."""
        answer = self._conversation.pushed(message)
        self._pushes_arrive = True
        self._tell()
        self.nudge()
        return answer

    async def run(self) -> None:
        """Works for ever."""
        while True:
            try:
                await self._session()
                self._pause_s = self._backoff_max_s  # the VTN ended the registration: ask again, but not soon
            except VtnRefused as error:
                self._renew = self._renew or error.code in UNKNOWN
                _log.warning("VTN refused", home=self._home, code=error.code, error=str(error))
            except VtnUnreachable as error:
                _log.warning("VTN not reached", home=self._home, error=str(error), again_s=round(self._pause_s, 1))
            self.reached = False
            await asyncio.sleep(self._pause_s * random.uniform(0.5, 1.0))
            self._pause_s = min(self._backoff_max_s, 2 * self._pause_s)

    async def _session(self) -> None:
        """From the registration on, until the VTN or the owner ends it. Raises VtnRefused, VtnUnreachable."""
        await self._until_wanted()
        registration = await self._registered()
        # what happened in an absence is in the complete list, not in the queue of polls
        listed = await self._link.ask(OadrRequestEvent(new_request_id(), registration.ven_id))
        await self._take(listed, registration)
        self._tell()
        while self._goes_on():
            if self._renewal_due():
                registration = await self._registered()
            elif self._announce_ms is not None and self._clock.now_ms() >= self._announce_ms:
                await self._announce(registration)
            await self._poll(registration)
            self._pause_s, self.reached = _BACKOFF_S, True
            if self._goes_on() and not self._renewal_due():
                await self._until_next_poll(registration)

    def _goes_on(self) -> bool:
        """Is there a registration, and is there to be one?"""
        return self._registrar.current is not None and read_wish(self._notes).registered

    async def _until_wanted(self) -> None:
        """While the owner wants no registration there is none."""
        while not read_wish(self._notes).registered:
            self.reached = False
            await self._registrar.cancel()
            await asyncio.sleep(_WISH_S)

    def _renewal_due(self) -> bool:
        return self._renew or self._conversation.heard.renew or read_wish(self._notes).again or self._registrar.stale

    async def _registered(self) -> Registration:
        known = self._registrar.current
        if known is None or self._renewal_due():
            known = await self._registrar.register()
            self._renew = self._conversation.heard.renew = False
            self._pushes_arrive = self._polls_refused = False
            wish = read_wish(self._notes)
            if wish.again:
                write_wish(self._notes, type(wish)(registered=wish.registered))
        await self._announce(known)
        return known

    async def _announce(self, registration: Registration) -> None:
        """A VTN that wants no reports, or fails over them, still has events; it hears of them again after a while."""
        self._announce_ms = None
        try:
            await self._desks.reports.announce(registration)
            return
        except VtnRefused as error:
            if error.code == NOT_REGISTERED:
                raise
            _log.warning("reports refused", home=self._home, error=str(error))
        except VtnUnreachable as error:
            _log.warning("reports not taken", home=self._home, error=str(error))
        self._announce_ms = self._clock.now_ms() + _AGAIN_MS

    async def _poll(self, registration: Registration) -> None:
        """One poll with everything the VTN has queued, then what this side has to say."""
        try:
            for _ in range(0 if self._polls_refused else _DRAIN_MAX):
                brought = await self._link.ask(OadrPoll(registration.ven_id))
                if not await self._take(brought, registration) or self._registrar.current is None:
                    break
                self._pushes_arrive = False  # it waited here: what was posted did not arrive
        except VtnRefused as error:
            if self._push_check_s is None or error.code in UNKNOWN:
                raise
            self._polls_refused = True
            _log.warning("the VTN takes no polls in push mode", home=self._home, code=error.code)
        self._tell()
        if self._registrar.current is not None:
            await self._say(registration)

    async def _say(self, registration: Registration) -> None:
        self._nudged.clear()
        await self._desks.say(registration)

    async def _until_next_poll(self, registration: Registration) -> None:
        """Waits in domain time; what becomes ready to be said meanwhile is said at once."""
        poll_s = registration.poll_s or self._poll_s
        if self._push_check_s is not None and (self._pushes_arrive or self._polls_refused):
            poll_s = max(poll_s, self._push_check_s)
        due_ms = self._clock.now_ms() + 1000 * poll_s
        while (now_ms := self._clock.now_ms()) < due_ms:
            next_ms = self._desks.reports.next_ms()
            wake_ms = due_ms if next_ms is None else min(due_ms, max(next_ms, now_ms))
            wait_s = min(max(self._clock.wall_seconds((wake_ms - now_ms) / 1000), 0.001), _RECHECK_S)
            nudged = await happened(self._nudged, wait_s)
            if not self._goes_on() or self._renewal_due():
                return
            if nudged or (next_ms is not None and self._clock.now_ms() >= next_ms):
                await self._say(registration)

    async def _take(self, message: Message, registration: Registration) -> bool:
        """Acts on what a poll brought; False where it is the end of the queue: a plain response, or a list of events,
        which comes at each poll until it is answered."""
        if isinstance(message, OadrResponse):
            demand_success(message.response)
            return False
        if not isinstance(message, Request):
            _log.warning("the VTN said what it never says first", home=self._home, message=wire_name(message))
            return False
        answer = self._conversation.polled(message, registration)
        if answer is not None:
            await self._link.ask(answer)
        return not isinstance(message, OadrDistributeEvent) and not self._conversation.heard.renew

    def _tell(self) -> None:
        """Let the home look at what came."""
        heard = self._conversation.heard
        self._changed(heard.events)
        self._conversation.heard = Heard(renew=heard.renew)
