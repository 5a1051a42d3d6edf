"""The 2.0b face: one handler for all services, which turns bytes into a message, finds the VEN and renders the answer.

POST <prefix>/<service> ── size ── parse ── gate ── service ── answer, signed if need be       always oadrPayload XML
"""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from prometheus_client import Counter

from openadr import v2
from openadr.errors import MessageError, OpenAdrError, ResponseCode
from openadr.v2 import EiResponse, Message, OadrPoll, OadrResponse, Verified
from runtime.clock import Clock
from runtime.logs import get_logger
from vtn.auth.gate import Caller, Gate
from vtn.auth.rates import Rate
from vtn.errors import NotAllowed, NotFound, VtnError
from vtn.faces.openadr2.answers import EmptyAnswers, Ready, refusal
from vtn.faces.openadr2.directory import Directory
from vtn.faces.openadr2.events import Events
from vtn.faces.openadr2.opts import Opting
from vtn.faces.openadr2.outgoing import Outgoing
from vtn.faces.openadr2.pushing import PATH, Pushing
from vtn.faces.openadr2.registration import RegisterParty
from vtn.faces.openadr2.reports import Reporting, Sourcing
from vtn.metrics import VtnMetrics
from vtn.records.contacts import Contacts
from vtn.records.database import Database
from vtn.services.opts import Opts
from vtn.services.registrations import Registrations
from vtn.services.reports import Collected, Reports, ReportSource
from vtn.services.telemetry import Telemetry
from vtn.services.vens import Ven, Vens

PREFIX = PATH
SERVICES = ("EiRegisterParty", "EiEvent", "EiReport", "EiOpt", "OadrPoll")
_HEADERS = {"Content-Type": "application/xml; charset=utf-8"}
_XML_TYPES = ("application/xml", "text/xml")

CERTIFIED_REGISTRATIONS_MAX = 60
"""Messages about registrations that one certificate may send one worker in a minute."""
OTHER_REGISTRATIONS_MAX = 6000
"""The same for an address without a certificate: on loopback, where many VENs may be behind it."""
_REGISTERING = (v2.OadrQueryRegistration, v2.OadrCreatePartyRegistration, v2.OadrCancelPartyRegistration)

_POLL_BYTES_MAX = 2048
_POLLS_MAX = 20_000
_TOO_LARGE = 413

Handler = Callable[[Any, Ven], Awaitable[Message]]
_log = get_logger("vtn.openadr2")


class Openadr2Face:
    """Mount it with `add_to`, run `directory.wakeups.run()`, `pushing.run()` and `gate.watch()` as tasks beside it.

    The gate says who asks, by certificate and signature; without both (plain HTTP on loopback) the venID does.
    """

    def __init__(
        self,
        database: Database,
        database_url: str,
        clock: Clock,
        *,
        vens: Vens,
        registrations: Registrations,
        opts: Opts,
        reports: Reports,
        telemetry: Telemetry,
        collected: Collected,
        source: ReportSource,
        metrics: VtnMetrics,
        gate: Gate,
        contacts: Contacts | None = None,
        vtn_id: str = "GRIDPACT",
        poll_interval_s: int = 60,
        redeliver_s: int = 30,
        lenient: bool = True,
        push_tls: ssl.SSLContext | None = None,
        request_bytes_max: int = 1024 * 1024,
    ) -> None:
        self.directory = Directory(database, database_url, vens, clock)
        self._vens = vens
        self._contacts = contacts
        self._metrics = metrics
        # looking a metric up by its labels each time is dearer than counting
        self._seconds = {service: metrics.openadr2_seconds.labels(service) for service in SERVICES}
        self._answers = _Counters(metrics.openadr2_answers)
        self._lenient = lenient
        self._gate = gate
        self._certified_registrations, self._other_registrations = (
            Rate(clock, most, "too_many_requests", "messages about registrations")
            for most in (CERTIFIED_REGISTRATIONS_MAX, OTHER_REGISTRATIONS_MAX)
        )
        gate.listen(self.directory.wakeups)
        self._request_bytes_max = request_bytes_max
        self._registration = RegisterParty(
            registrations, vens, vtn_id=vtn_id, poll_interval_s=poll_interval_s, secure=gate.require_certificate
        )
        events = Events(database, clock, vtn_id=vtn_id)
        reporting = Reporting(reports, telemetry, collected)
        sourcing = Sourcing(source, clock)
        opting = Opting(opts)
        self._outgoing = Outgoing(database, clock, self.directory, events, reporting, sourcing, redeliver_s=redeliver_s)
        self._empty = EmptyAnswers()
        # an unsigned poll is the same bytes each time, and what was valid once is valid again
        self._polls: dict[bytes, OadrPoll] = {}
        # message -> (service it belongs to, handler); the VEN has to be registered for all of these
        self._handlers: dict[type[Any], tuple[str, Handler]] = {
            v2.OadrCanceledPartyRegistration: ("EiRegisterParty", self._registration.canceled),
            v2.OadrRequestEvent: ("EiEvent", events.request),
            v2.OadrCreatedEvent: ("EiEvent", events.created),
            v2.OadrRegisterReport: ("EiReport", reporting.register),
            v2.OadrCreatedReport: ("EiReport", reporting.created),
            v2.OadrCanceledReport: ("EiReport", reporting.canceled),
            v2.OadrUpdateReport: ("EiReport", reporting.update),
            v2.OadrCreateReport: ("EiReport", sourcing.create),
            v2.OadrCancelReport: ("EiReport", sourcing.cancel),
            v2.OadrRegisteredReport: ("EiReport", sourcing.registered),
            v2.OadrUpdatedReport: ("EiReport", sourcing.updated),
            v2.OadrCreateOpt: ("EiOpt", opting.create),
            v2.OadrCancelOpt: ("EiOpt", opting.cancel),
        }
        self.pushing = Pushing(
            database, clock, vens, self._outgoing, self._handlers, metrics,
            gate=gate, tls=push_tls, lenient=lenient,
        )  # fmt: skip
        self.directory.on_message = self.pushing.stirred.set

    def add_to(self, app: web.Application) -> None:
        """Add the routes of all services. The base address of a device may end in a slash, or that of a service."""
        app.router.add_post(PREFIX + r"{before:/+}{service:[^/]+}{after:/*}", self.handle)

    async def handle(self, request: web.Request) -> web.Response:
        """One request: any answer is XML with the requestID of the question, whatever went wrong."""
        service = request.match_info["service"]
        if service not in SERVICES:
            error = MessageError(f"there is no service {service[:40]}", ResponseCode.NOT_RECOGNIZED)
            return _xml(_render_refusal(refusal(error)), status=404)
        with self._seconds[service].time():
            body, code, status = await self._answer(request, service)
        self._answers[service, code].inc()
        response = _xml(body, status)
        if code == ResponseCode.NOT_REGISTERED_OR_AUTHORIZED:
            response.force_close()  # a revoked certificate keeps no connection
        return response

    async def _answer(self, request: web.Request, service: str) -> tuple[bytes, int, int]:
        """The body, its response code and the HTTP status."""
        message: Message | None = None
        caller: Caller | None = None
        status = 200
        try:
            message, verified = self._parse(await self._read(request), request)
            caller = await self._gate.authenticate(request, verified)
            answer = await self._dispatch(message, service, caller)
            if isinstance(answer, Ready):
                return await self._gate.seal(answer.body, caller, signable=answer.signable), 200, status
            return await self._gate.seal(v2.render(answer), caller), _response_code(answer), status
        except (OpenAdrError, VtnError) as error:
            plain = refusal(error, _request_id(message), getattr(message, "ven_id", None))
            status = _TOO_LARGE if isinstance(error, _BodyTooLarge) else status
            _log.info("message refused", service=service, code=plain.response.response_code, reason=str(error))
        except Exception:
            reference = secrets.token_hex(8)
            _log.exception("message failed", service=service, reference=reference)
            code = int(ResponseCode.DEPLOYMENT_ERROR_OR_OTHER_ERROR)
            plain = OadrResponse(EiResponse(code, f"internal error {reference}", _request_id(message)))
        return await self._seal_refusal(_render_refusal(plain), caller), plain.response.response_code, status

    async def _seal_refusal(self, body: bytes, caller: Caller | None) -> bytes:
        try:
            return await self._gate.seal(body, caller)
        except Exception:
            _log.exception("an answer could not be signed")
            return body

    async def _read(self, request: web.Request) -> bytes:
        maximum, content = self._request_bytes_max, request.content
        if (request.content_length or 0) > maximum:
            raise _BodyTooLarge(f"a body has at most {maximum} bytes")
        try:
            if content.is_eof():  # a small body came with its head
                body = content.read_nowait()
            else:
                parts = bytearray()
                async for chunk in content.iter_any():
                    parts += chunk
                    if len(parts) > maximum:
                        break
                body = bytes(parts)
        except web.RequestPayloadError:
            raise MessageError("the body is not whole, or not in the Content-Encoding it names") from None
        if len(body) > maximum:
            raise _BodyTooLarge(f"a body has at most {maximum} bytes")
        return body

    def _parse(self, body: bytes, request: web.Request) -> tuple[Message, Verified | None]:
        if not self._lenient and request.content_type not in _XML_TYPES:
            raise MessageError(f"the content type is {request.content_type}, not application/xml")
        if (poll := self._polls.get(body)) is not None:
            return poll, None
        leniencies: list[v2.Leniency] = []
        message, verified = self._gate.read(body, lenient=self._lenient, leniencies=leniencies)
        for each in leniencies:
            self._metrics.openadr2_leniencies.labels(each.kind).inc()
            _log.debug("read leniently", kind=each.kind, detail=each.detail)
        if isinstance(message, OadrPoll) and verified is None and len(body) <= _POLL_BYTES_MAX:
            if len(self._polls) >= _POLLS_MAX:
                self._polls.clear()
            self._polls[body] = message
        return message, verified

    async def _dispatch(self, message: Message, service: str, caller: Caller) -> Message | Ready:
        if isinstance(message, OadrPoll):
            self._belongs(message, service, "OadrPoll")
            ven = await self._registered(message.ven_id, caller)
            return await self._outgoing.poll(ven) or self._empty.to(ven.ven_id)
        if isinstance(message, _REGISTERING):
            rate = self._certified_registrations if caller.fingerprint else self._other_registrations
            rate.admit(caller.sender)
        match message:
            case v2.OadrQueryRegistration():
                self._belongs(message, service, "EiRegisterParty")
                await self._may_register(None, None, caller)
                return await self._registration.query(message, caller.fingerprint)
            case v2.OadrCreatePartyRegistration():
                self._belongs(message, service, "EiRegisterParty")
                await self._may_register(message.ven_id, message.ven_name, caller)
                return await self._registration.create(message, caller.fingerprint)
            case v2.OadrCancelPartyRegistration():
                self._belongs(message, service, "EiRegisterParty")
                await self._may_register(message.ven_id, None, caller)
                return await self._registration.cancel(message, await self._certified(caller))
            case v2.OadrResponse():
                # the answer to what a poll brought; it says nothing that is not known by what follows it
                return OadrResponse(EiResponse(request_id=message.response.request_id), message.ven_id)
        if type(message) not in self._handlers:
            name = v2.wire_name(message)
            raise MessageError(f"{name} is not sent by a VEN", ResponseCode.NOT_RECOGNIZED)
        wanted, handler = self._handlers[type(message)]
        self._belongs(message, service, wanted)
        ven = await self._registered(getattr(message, "ven_id", None), caller)
        return await handler(message, ven)

    def _belongs(self, message: Message, service: str, wanted: str) -> None:
        if service != wanted and not self._lenient:
            detail = f"{v2.wire_name(message)} belongs to {wanted}, not to {service}"
            raise MessageError(detail, ResponseCode.NOT_RECOGNIZED)

    async def _registered(self, ven_id: str | None, caller: Caller) -> Ven:
        """The VEN that asks. Raises NotFound for a venID nobody has, NotAllowed for one that is not its own."""
        if not ven_id:
            ven = await self._certified(caller)
            if ven is None:
                raise NotFound("ven_unknown", "the message has no venID")
        else:
            found = await self.directory.ven(ven_id)
            if found is None:
                raise NotFound("ven_unknown", f"there is no VEN {ven_id}")
            ven = found
        await self._gate.check(caller, ven.ven_id)
        if ven.registration_id is None:
            raise NotAllowed("ven_not_registered", f"{ven.ven_id} is not registered: register first")
        if self._contacts is not None:
            self._contacts.note(ven.ven_id)
        return ven

    async def _certified(self, caller: Caller) -> Ven | None:
        """The VEN of the caller's certificate, None where none is needed. Raises NotAllowed."""
        if caller.ven_id is None:
            if self._gate.require_certificate:
                raise NotAllowed("certificate_unknown", "no enrolment is bound to this certificate")
            return None
        return await self._vens.get(caller.ven_id)

    async def _may_register(self, ven_id: str | None, ven_name: str | None, caller: Caller) -> None:
        """Raises NotAllowed where the VEN that is meant has to sign, and did not."""
        claimed = caller.ven_id or ven_id
        if claimed is None and ven_name:
            named = await self._vens.find_by_name(ven_name)
            claimed = None if named is None else named.ven_id
        if claimed is not None:
            await self._gate.demand_signature(caller, claimed)


class _Counters(dict[tuple[str, int], Counter]):
    """Answers by service and response code."""

    def __init__(self, answers: Counter) -> None:
        super().__init__()
        self._labelled = answers

    def __missing__(self, key: tuple[str, int]) -> Counter:
        service, code = key
        self[key] = self._labelled.labels(service, str(code))
        return self[key]


class _BodyTooLarge(MessageError):
    """More bytes than are read."""


def _request_id(message: Message | None) -> str:
    response = getattr(message, "response", None)
    return getattr(message, "request_id", None) or getattr(response, "request_id", None) or ""


def _response_code(answer: Message) -> int:
    response = getattr(answer, "response", None)
    return response.response_code if isinstance(response, EiResponse) else 200


def _render_refusal(plain: OadrResponse) -> bytes:
    try:
        return v2.render(plain)
    except OpenAdrError:  # the peer's ids cannot be repeated
        return v2.render(OadrResponse(EiResponse(plain.response.response_code, "the message is refused", "")))


def _xml(body: bytes, status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, headers=_HEADERS)
