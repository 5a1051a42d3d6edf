"""The judge: a VTN that says what a test wrote and checks every message of the VEN by the schema the Alliance wrote."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from email.utils import format_datetime

from aiohttp import web

from tests.conformance.v2 import reporting, wire
from tests.conformance.v2.ven import said
from tests.conformance.v2.wire import Answer

PATH = "/OpenADR2/Simple/2.0b"
PATIENCE_S = 60
SERVICES = {
    "oadrPoll": "OadrPoll",
    "oadrRequestEvent": "EiEvent",
    "oadrCreatedEvent": "EiEvent",
    "oadrQueryRegistration": "EiRegisterParty",
    "oadrCreatePartyRegistration": "EiRegisterParty",
    "oadrCancelPartyRegistration": "EiRegisterParty",
    "oadrCanceledPartyRegistration": "EiRegisterParty",
    "oadrCreateOpt": "EiOpt",
    "oadrCancelOpt": "EiOpt",
    "oadrRegisterReport": "EiReport",
    "oadrRegisteredReport": "EiReport",
    "oadrCreateReport": "EiReport",
    "oadrCreatedReport": "EiReport",
    "oadrUpdateReport": "EiReport",
    "oadrUpdatedReport": "EiReport",
    "oadrCancelReport": "EiReport",
    "oadrCanceledReport": "EiReport",
}
"""Profile, section 9: the service of each message. oadrResponse goes where what it answers came from."""

Reply = bytes | int | Callable[["Heard"], "bytes | int | Awaitable[bytes | int]"]
"""What is said: bytes, an HTTP status alone, or either as it follows from the message, perhaps after a while."""


class Heard(Answer):
    """A message of the VEN, valid by the schema, with the service it was posted to."""

    def __init__(self, body: bytes, service: str) -> None:
        super().__init__(body)
        self.service = service

    @property
    def own_id(self) -> str:
        """The requestID of the message itself, wherever the message has it."""
        return (self.texts("./pyld:requestID") or self.texts("./*/pyld:requestID") or [""])[0]

    @property
    def opts(self) -> list[tuple[str, str, str]]:
        """(eventID, modificationNumber, optType) of each eventResponse of an oadrCreatedEvent."""
        return [
            (
                self.text(".//ei:eventID", each) or "",
                self.text(".//ei:modificationNumber", each) or "",
                self.text("./ei:optType", each) or "",
            )
            for each in self.elements(".//ei:eventResponse")
        ]

    @property
    def event_codes(self) -> list[str]:
        """Response codes of the eventResponses."""
        return self.texts(".//ei:eventResponse/ei:responseCode")


class Judge:
    """`heard` is what the VEN said, `faults` what was wrong with it. `listed` is what applies: every oadrRequestEvent
    is answered with it. `to_poll` is said to polls, one a poll; `replies` to other messages, once each; everything
    else gets the usual good answer. `seal` signs what is said, `check` looks at each body that comes; `now` is the
    time the judge has."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.faults: list[str] = []
        self.listed: list[str] = []
        self.to_poll: deque[Reply] = deque()
        self.replies: dict[str, deque[Reply]] = {}
        self.seal: Callable[[bytes], bytes] = lambda body: body
        self.check: Callable[[bytes], None] = lambda _: None
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC)
        self.address = ""
        self._read = 0

    @property
    def url(self) -> str:
        """The address of the services."""
        return self.address + PATH

    def reply(self, name: str, *replies: Reply) -> None:
        """Say this to the next messages of that name."""
        self.replies.setdefault(name, deque()).extend(replies)

    def of(self, *names: str) -> list[Heard]:
        """All messages of these names."""
        return [each for each in self.heard if each.name in names]

    async def next(self, name: str) -> Heard:
        """The next message of this name, of those not asked for yet; the ones before it are passed over."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                while self._read < len(self.heard):
                    found = self.heard[self._read]
                    self._read += 1
                    if found.name == name:
                        return found
                await asyncio.sleep(0.002)

    async def answer(self, request: web.Request) -> web.Response:
        """The handler of all services."""
        body, service = await request.read(), request.match_info["service"]
        try:
            assert request.content_type == "application/xml", request.content_type
            heard = Heard(body, service)
            assert heard.name == "oadrResponse" or SERVICES[heard.name] == service, f"{heard.name} to {service}"
            self.check(body)
        except (AssertionError, KeyError, ValueError) as error:
            self.faults.append(repr(error))
            return web.Response(status=400)
        queue = self.to_poll if heard.name == "oadrPoll" else self.replies.get(heard.name)
        reply = queue.popleft() if queue else self._usual(heard)
        if callable(reply):
            said_so = reply(heard)
            reply = await said_so if inspect.isawaitable(said_so) else said_so
        self.heard.append(heard)
        if isinstance(reply, int):
            return web.Response(status=reply)
        dated = {"Date": format_datetime(self.now(), usegmt=True)}
        return web.Response(body=self.seal(reply), content_type="application/xml", headers=dated)

    def _usual(self, heard: Heard) -> bytes:
        question = heard.own_id
        match heard.name:
            case "oadrQueryRegistration":
                return said.registered(ven_id=None, registration_id=None, request_id=question)
            case "oadrCreatePartyRegistration":
                return said.registered(request_id=question)
            case "oadrCancelPartyRegistration":
                return wire.canceled_party_registration(question, said.REGISTRATION, said.VEN)
            case "oadrRequestEvent":
                return said.distribute(*self.listed, request_id=f"list-{len(self.heard)}", answered=question)
            case "oadrRegisterReport":
                return reporting.registered_report(said.VEN, question)
            case "oadrUpdateReport":
                return reporting.updated_report(said.VEN, question)
            case "oadrCreateOpt" | "oadrCancelOpt":
                name = "oadrCreatedOpt" if heard.name == "oadrCreateOpt" else "oadrCanceledOpt"
                opt_id = f"<ei:optID>{heard.text('./ei:optID')}</ei:optID>"
                return wire.element(name, wire.response_element(question), opt_id)
            case _:
                return wire.response(question, said.VEN)


@contextlib.asynccontextmanager
async def a_judge(tls: ssl.SSLContext | None = None) -> AsyncIterator[Judge]:
    """A judge at a loopback address."""
    judge = Judge()
    app = web.Application(client_max_size=2**24)
    app.router.add_post(PATH + "/{service}", judge.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    judge.address = f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield judge
    finally:
        await runner.cleanup()
