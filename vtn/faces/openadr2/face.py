"""The 2.0b face: one handler for all services, which turns bytes into a message, finds the VEN and renders the answer.

POST <prefix>/<service> ── size ── parse ── who asks ── service ── answer       always oadrPayload XML, never a 500
"""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from openadr import v2
from openadr.errors import MessageError, OpenAdrError, ResponseCode
from openadr.v2 import EiResponse, Message, OadrPoll, OadrResponse
from runtime.clock import Clock
from runtime.logs import get_logger
from vtn.errors import NotAllowed, NotFound, VtnError
from vtn.faces.openadr2.answers import EmptyAnswers, refusal
from vtn.faces.openadr2.directory import Directory
from vtn.faces.openadr2.events import Events
from vtn.faces.openadr2.opts import Opting
from vtn.faces.openadr2.outgoing import Outgoing
from vtn.faces.openadr2.pushing import PATH, Pushing
from vtn.faces.openadr2.registration import RegisterParty
from vtn.faces.openadr2.reports import Reporting, Sourcing
from vtn.metrics import VtnMetrics
from vtn.records.database import Database
from vtn.services.opts import Opts
from vtn.services.registrations import Registrations
from vtn.services.reports import Collected, Reports, ReportSource
from vtn.services.telemetry import Telemetry
from vtn.services.vens import Ven, Vens

PREFIX = PATH
SERVICES = ("EiRegisterParty", "EiEvent", "EiReport", "EiOpt", "OadrPoll")
_CONTENT_TYPE = "application/xml"
_XML_TYPES = ("application/xml", "text/xml")

_POLL_BYTES_MAX = 2048
_POLLS_MAX = 20_000

Handler = Callable[[Any, Ven], Awaitable[Message]]
_log = get_logger("vtn.openadr2")


class Openadr2Face:
    """Mount it with `add_to`, run `directory.wakeups.run()` and `pushing.run()` as tasks beside it.

    `require_certificate`: the TLS client certificate says who asks; without it (plain HTTP on loopback) the venID does.
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
        vtn_id: str = "GRIDPACT",
        poll_interval_s: int = 60,
        redeliver_s: int = 30,
        lenient: bool = True,
        require_certificate: bool = False,
        push_tls: ssl.SSLContext | None = None,
        request_bytes_max: int = 1024 * 1024,
    ) -> None:
        self.directory = Directory(database, database_url, vens, clock)
        self._vens = vens
        self._metrics = metrics
        self._lenient = lenient
        self._require_certificate = require_certificate
        self._request_bytes_max = request_bytes_max
        self._registration = RegisterParty(
            registrations, vens, vtn_id=vtn_id, poll_interval_s=poll_interval_s, secure=require_certificate
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
            secure=require_certificate, tls=push_tls, lenient=lenient,
        )  # fmt: skip
        self.directory.on_message = self.pushing.stirred.set

    def add_to(self, app: web.Application) -> None:
        """Add the routes of all services."""
        app.router.add_post(PREFIX + "/{service}", self.handle)

    async def handle(self, request: web.Request) -> web.Response:
        """One request: any answer is XML with the requestID of the question, whatever went wrong."""
        service = request.match_info["service"]
        if service not in SERVICES:
            error = MessageError(f"there is no service {service[:40]}", ResponseCode.NOT_RECOGNIZED)
            return _xml(_render_refusal(refusal(error)), status=404)
        with self._metrics.openadr2_seconds.labels(service).time():
            body, code = await self._answer(request, service)
        self._metrics.openadr2_answers.labels(service, str(code)).inc()
        return _xml(body)

    async def _answer(self, request: web.Request, service: str) -> tuple[bytes, int]:
        message: Message | None = None
        try:
            message = self._parse(await self._read(request), request.content_type)
            answer = await self._dispatch(message, service, _fingerprint(request))
            if isinstance(answer, bytes):
                return answer, 200
            return v2.render(answer), _response_code(answer)
        except (OpenAdrError, VtnError) as error:
            plain = refusal(error, _request_id(message), getattr(message, "ven_id", None))
            _log.info("message refused", service=service, code=plain.response.response_code, reason=str(error))
        except Exception:
            reference = secrets.token_hex(8)
            _log.exception("message failed", service=service, reference=reference)
            code = int(ResponseCode.DEPLOYMENT_ERROR_OR_OTHER_ERROR)
            plain = OadrResponse(EiResponse(code, f"internal error {reference}", _request_id(message)))
        return _render_refusal(plain), plain.response.response_code

    async def _read(self, request: web.Request) -> bytes:
        if (request.content_length or 0) > self._request_bytes_max:
            raise MessageError(f"a body has at most {self._request_bytes_max} bytes")
        body = bytearray()
        try:
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > self._request_bytes_max:
                    raise MessageError(f"a body has at most {self._request_bytes_max} bytes")
        except web.RequestPayloadError:
            raise MessageError("the body is not whole, or not in the Content-Encoding it names") from None
        return bytes(body)

    def _parse(self, body: bytes, content_type: str) -> Message:
        if not self._lenient and content_type not in _XML_TYPES:
            raise MessageError(f"the content type is {content_type}, not application/xml")
        if (poll := self._polls.get(body)) is not None:
            return poll
        leniencies: list[v2.Leniency] = []
        message = v2.parse(body, lenient=self._lenient, leniencies=leniencies)
        for each in leniencies:
            self._metrics.openadr2_leniencies.labels(each.kind).inc()
            _log.debug("read leniently", kind=each.kind, detail=each.detail)
        if isinstance(message, OadrPoll) and len(body) <= _POLL_BYTES_MAX:
            if len(self._polls) >= _POLLS_MAX:
                self._polls.clear()
            self._polls[body] = message
        return message

    async def _dispatch(self, message: Message, service: str, fingerprint: str | None) -> Message | bytes:
        if isinstance(message, OadrPoll):
            self._belongs(message, service, "OadrPoll")
            ven = await self._registered(message.ven_id, fingerprint)
            return await self._outgoing.poll(ven) or self._empty.to(ven.ven_id)
        match message:
            case v2.OadrQueryRegistration():
                self._belongs(message, service, "EiRegisterParty")
                return await self._registration.query(message, fingerprint)
            case v2.OadrCreatePartyRegistration():
                self._belongs(message, service, "EiRegisterParty")
                return await self._registration.create(message, fingerprint)
            case v2.OadrCancelPartyRegistration():
                self._belongs(message, service, "EiRegisterParty")
                caller = await self._certified(fingerprint) if self._require_certificate else None
                return await self._registration.cancel(message, caller)
            case v2.OadrResponse():
                # the answer to what a poll brought; it says nothing that is not known by what follows it
                return OadrResponse(EiResponse(request_id=message.response.request_id), message.ven_id)
        if type(message) not in self._handlers:
            name = v2.wire_name(message)
            raise MessageError(f"{name} is not sent by a VEN", ResponseCode.NOT_RECOGNIZED)
        wanted, handler = self._handlers[type(message)]
        self._belongs(message, service, wanted)
        ven = await self._registered(getattr(message, "ven_id", None), fingerprint)
        return await handler(message, ven)

    def _belongs(self, message: Message, service: str, wanted: str) -> None:
        if service != wanted and not self._lenient:
            detail = f"{v2.wire_name(message)} belongs to {wanted}, not to {service}"
            raise MessageError(detail, ResponseCode.NOT_RECOGNIZED)

    async def _registered(self, ven_id: str | None, fingerprint: str | None) -> Ven:
        """The VEN that asks. Raises NotFound for a venID nobody has, NotAllowed for one that is not its own."""
        if self._require_certificate and not ven_id:
            ven: Ven | None = await self._certified(fingerprint)
        elif not ven_id:
            raise NotFound("ven_unknown", "the message has no venID")
        else:
            ven = await self.directory.ven(ven_id)
        if ven is None:
            raise NotFound("ven_unknown", f"there is no VEN {ven_id}")
        if self._require_certificate and (fingerprint is None or ven.fingerprint != fingerprint):
            raise NotAllowed("certificate_unknown", "this certificate is not that of the VEN")
        if ven.registration_id is None:
            raise NotAllowed("ven_not_registered", f"{ven.ven_id} is not registered: register first")
        return ven

    async def _certified(self, fingerprint: str | None) -> Ven:
        ven = await self._vens.find_by_fingerprint(fingerprint) if fingerprint else None
        if ven is None:
            raise NotAllowed("certificate_unknown", "no enrolment is bound to this certificate")
        return ven


def _fingerprint(request: web.Request) -> str | None:
    """OpenADR fingerprint of the caller's certificate, None without TLS or certificate."""
    tls = request.transport.get_extra_info("ssl_object") if request.transport is not None else None
    certificate = None if tls is None else tls.getpeercert(binary_form=True)
    return v2.fingerprint(certificate) if certificate else None


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
    return web.Response(body=body, status=status, content_type=_CONTENT_TYPE, charset="utf-8")
