"""Push mode: the VEN as HTTP server, to which its VTN posts.

    connection ── TLS: a certificate, and the VTN's ── body ≤ 1 MiB ── signature, where signed ── handler ──▶ answer
         └──────────────┴──────────────┴─────────────────────┴── an oadrResponse says what is wrong, in XML always

Plain HTTP is served on loopback only, as in every service here.
"""

from __future__ import annotations

import secrets
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from openadr.client.signing import MessageSigning
from openadr.client.trust import VtnTrust
from openadr.errors import MessageError, OpenAdrError, RenderError, ResponseCode
from openadr.v2 import EiResponse, Leniency, Message, OadrResponse, error_answer, parse, render, wire_name
from runtime.connections import HEAD_S, BoundedSite, spoke
from runtime.logs import get_logger
from runtime.service import address, refuse_plain_http

PREFIX = "/OpenADR2/Simple/2.0b"
SERVICES = frozenset({"EiEvent", "EiReport", "EiRegisterParty", "EiOpt", "OadrPoll"})
BODY_BYTES_MAX = 1024 * 1024
_CONNECTIONS_MAX = 64  # one VTN, and who is not it
_GOOD = 200

Handler = Callable[[Message], Message]
"""Carries a message of the VTN out and returns the answer. Raises OpenAdrError for one that is refused."""

_log = get_logger("openadr.client.listener")


class Listener:
    """Serves one VEN. `trust` says who the VTN is, where there is TLS; with `signing` only what the VTN signed is
    carried out, and answers are signed; `count` hears of each message: its name, and ok or refused.

    Raises InsecureAddress for plain HTTP off loopback."""

    def __init__(
        self,
        handler: Handler,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        trust: VtnTrust | None = None,
        signing: MessageSigning | None = None,
        count: Callable[[str, str], None] = lambda name, result: None,
    ) -> None:
        refuse_plain_http(host, tls)
        if tls is not None and trust is None:
            raise ValueError("with TLS it has to be said who the VTN is")
        self._handler = handler
        self._host = host
        self._port = port
        self._tls = tls
        self._trust = trust
        self._signing = signing
        self._count = count

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serves while inside; gives the URL it is reached at from this machine. Raises AddressUnusable."""
        app = web.Application()
        app.router.add_post(PREFIX + "/{service}", self.handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0, keepalive_timeout=HEAD_S)
        await runner.setup()
        try:
            site = BoundedSite(runner, self._host, self._port, ssl_context=self._tls, connections_max=_CONNECTIONS_MAX)
            await site.start()
            yield address(runner, self._host, self._tls)
        finally:
            await runner.cleanup()

    async def handle(self, request: web.Request) -> web.Response:
        """One message: any answer is XML with the requestID of the question, whatever went wrong."""
        spoke(request)
        name, status = "unreadable", _GOOD
        try:
            self._check_peer(request)
            if request.match_info["service"] not in SERVICES:
                status = 404
                raise MessageError(
                    f"there is no service {request.match_info['service'][:40]}", ResponseCode.NOT_RECOGNIZED
                )
            message = self._parse(await _body(request))
            name = wire_name(message)
            answer = self._handler(message)
        except _TooLarge as error:
            status, answer = 413, error_answer(error)
        except OpenAdrError as error:
            answer = error_answer(error)
        except Exception:
            reference = secrets.token_hex(8)
            _log.exception("message failed", message=name, reference=reference)
            code = ResponseCode.DEPLOYMENT_ERROR_OR_OTHER_ERROR
            answer = OadrResponse(EiResponse(code, f"internal error {reference}"))
        refused = _refusal(answer)
        self._count(name, "ok" if refused is None else "refused")
        if refused is not None:
            _log.info("message refused", message=name, code=refused.response_code, why=refused.response_description)
        response = web.Response(body=self._seal(answer), status=status, content_type="application/xml", charset="utf-8")
        if refused is not None and refused.response_code == ResponseCode.NOT_REGISTERED_OR_AUTHORIZED:
            response.force_close()
        return response

    def _check_peer(self, request: web.Request) -> None:
        """Raises MessageError unless the connection is the VTN's: others have certificates of its authorities too."""
        if self._trust is None:
            return
        tls = None if request.transport is None else request.transport.get_extra_info("ssl_object")
        certificate = None if tls is None else tls.getpeercert(binary_form=True)
        if not certificate or not self._trust.peer(certificate):
            raise MessageError("only this VEN's VTN is heard here", ResponseCode.NOT_REGISTERED_OR_AUTHORIZED)

    def _parse(self, body: bytes) -> Message:
        leniencies: list[Leniency] = []
        if self._signing is not None:
            return self._signing.open(body, leniencies)
        return parse(body, lenient=True, leniencies=leniencies)

    def _seal(self, answer: Message) -> bytes:
        try:
            body = render(answer)
        except RenderError:  # the peer's ids cannot be repeated
            body = render(OadrResponse(EiResponse(ResponseCode.INVALID_DATA, "the message is refused")))
        return body if self._signing is None else self._signing.seal(body)


class _TooLarge(MessageError):
    """More bytes than are read."""


def _refusal(answer: Message) -> EiResponse | None:
    response = getattr(answer, "response", None)
    return response if isinstance(response, EiResponse) and response.response_code >= 300 else None


async def _body(request: web.Request) -> bytes:
    body = bytearray()
    try:
        if (request.content_length or 0) <= BODY_BYTES_MAX:
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > BODY_BYTES_MAX:
                    break
            else:
                return bytes(body)
    except web.RequestPayloadError:
        raise MessageError("the body is not whole, or not in the Content-Encoding it names") from None
    raise _TooLarge(f"a body has at most {BODY_BYTES_MAX} bytes")
