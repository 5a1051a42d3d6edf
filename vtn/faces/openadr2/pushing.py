"""Push mode: the VTN posts what is due to the VEN's transport address, and tries again until it arrives.

due? ──▶ claim (one worker) ──▶ POST <address>/OpenADR2/Simple/2.0b/<service> ──▶ answer ──▶ as if the VEN had sent it
  ▲                                  │ failed                              │ not acknowledged yet
  └──────── back-off, doubled ───────┴──────── after the redelivery time ──┘

With TLS the VEN's server shows the certificate that is bound to it, checked before a byte is sent; without TLS only
addresses on loopback are used.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from openadr import v2
from openadr.errors import OpenAdrError
from openadr.v2 import Message
from runtime.clock import Clock, happened
from runtime.logs import get_logger
from vtn.auth.gate import Gate
from vtn.errors import InvalidInput, VtnError
from vtn.faces.openadr2.outgoing import SERVICES, Handed, Outgoing
from vtn.metrics import VtnMetrics
from vtn.records.database import Database
from vtn.records.messages import end_push, vens_to_push
from vtn.services.deliveries import mark_event_received
from vtn.services.vens import ENROLLED, Ven, Vens

PATH = "/OpenADR2/Simple/2.0b"
ANSWER_BYTES_MAX = 1024 * 1024
_ADDRESS_MAX = 2_000
_AT_ONCE = 32
_DRAIN_MAX = 20
_RETRY_MS, _RETRY_MAX_MS = 5_000, 300_000
_LOOK_S_MIN = 0.2
"""Messages for VENs that poll stir it too: it looks so often at most."""
_TIMEOUT = aiohttp.ClientTimeout(total=20, connect=5)

Answered = Callable[[Any, Ven], Awaitable[Message]]
_log = get_logger("vtn.openadr2.pushing")


class Pushing:
    """`run` it as a task. `handlers`: what a VEN's answer of a kind is given to; where the
    gate wants certificates, only TLS is used, with `tls`."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        vens: Vens,
        outgoing: Outgoing,
        handlers: dict[type[Any], tuple[str, Answered]],
        metrics: VtnMetrics,
        *,
        gate: Gate,
        tls: ssl.SSLContext | None,
        lenient: bool,
        interval_s: float = 1.0,
    ) -> None:
        self._gate = gate
        self._secure = gate.require_certificate
        self.stirred = asyncio.Event()
        self._database = database
        self._clock = clock
        self._vens = vens
        self._outgoing = outgoing
        self._handlers = handlers
        self._metrics = metrics
        self._tls = tls
        self._lenient = lenient
        self._interval_s = interval_s
        self._at_once = asyncio.Semaphore(_AT_ONCE)
        self._busy: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Push until cancelled."""
        try:
            while True:
                try:
                    await self._look()
                except Exception:
                    _log.exception("looking for messages to push failed")
                await asyncio.sleep(_LOOK_S_MIN)
                await happened(self.stirred, self._interval_s)
                self.stirred.clear()
        finally:
            for task in self._busy.values():
                task.cancel()
            await asyncio.gather(*self._busy.values(), return_exceptions=True)

    async def _look(self) -> None:
        async with self._database.reading() as connection:
            found = await vens_to_push(connection, self._clock.now_ms())
        for ven_id in found:
            if ven_id not in self._busy:
                task = asyncio.create_task(self._serve(ven_id))
                self._busy[ven_id] = task
                task.add_done_callback(partial(self._served, ven_id))

    def _served(self, ven_id: str, _: asyncio.Task[None]) -> None:
        self._busy.pop(ven_id, None)

    async def _serve(self, ven_id: str) -> None:
        """Send a VEN what is due, one message after the other, until one fails."""
        async with self._at_once:
            ven = await self._vens.find(ven_id)
            if ven is None or ven.status != ENROLLED:
                return
            try:
                for _ in range(_DRAIN_MAX):
                    handed = await self._outgoing.take(ven, push=True)
                    if handed is None or not await self._push(handed, ven):
                        return
            except Exception:
                _log.exception("pushing failed", ven_id=ven_id)

    async def _push(self, handed: Handed, ven: Ven) -> bool:
        try:
            url = service_url(ven.transport_address or "", SERVICES[handed.kind], secure=self._secure)
            answer = await self._post(url, await self._gate.seal_to(ven.ven_id, v2.render(handed.message)), ven)
            code = _code(answer)
            if code >= 300:
                raise InvalidInput("push_refused", f"the VEN answered {code}")
        except (aiohttp.ClientError, OSError, TimeoutError, OpenAdrError, VtnError) as error:
            await self._failed(handed, ven, str(error) or type(error).__name__)
            return False
        now_ms = self._clock.now_ms()
        # an answer may lack the acknowledgement: then it is pushed again, each time later
        again_ms = now_ms + min(self._outgoing.redeliver_ms * 2 ** min(handed.deliveries - 1, 10), _RETRY_MAX_MS)
        async with self._database.transaction() as connection:
            await end_push(connection, handed.sequences, handed.claimed_ms, again_ms)
            await mark_event_received(connection, ven.ven_id, handed.events, now_ms)
        self._metrics.openadr2_pushes.labels("delivered").inc()
        handler = self._handlers.get(type(answer))
        if handler is not None:
            try:
                await handler[1](answer, ven)
            except (OpenAdrError, VtnError) as error:
                _log.warning("answer to a push refused", ven_id=ven.ven_id, reason=str(error))
        return True

    async def _failed(self, handed: Handed, ven: Ven, reason: str) -> None:
        wait_ms = min(_RETRY_MS * 2 ** min(handed.failures, 10), _RETRY_MAX_MS)
        self._metrics.openadr2_pushes.labels("failed").inc()
        _log.warning("push failed", ven_id=ven.ven_id, kind=handed.kind, reason=reason[:200], again_s=wait_ms // 1000)
        async with self._database.transaction() as connection:
            again_ms = self._clock.now_ms() + wait_ms
            await end_push(connection, handed.sequences, handed.claimed_ms, again_ms, error=reason[:500])

    async def _post(self, url: str, body: bytes, ven: Ven) -> Message:
        """Raises aiohttp.ClientError, OSError, TimeoutError, MessageError."""
        if self._secure:
            if ven.fingerprint is None or self._tls is None:
                raise InvalidInput("certificate_unknown", "no certificate is bound to this VEN, or the VTN has none")
            connector = aiohttp.TCPConnector(ssl=BoundFingerprint(ven.fingerprint), force_close=True)
        else:
            connector = aiohttp.TCPConnector(force_close=True)
        headers = {"Content-Type": "application/xml"}
        async with (
            aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT, auto_decompress=False) as session,
            session.post(url, data=body, headers=headers, ssl=self._tls or True, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise InvalidInput("push_refused", f"the VEN answered HTTP {response.status}")
            answer = await response.content.read(ANSWER_BYTES_MAX + 1)
            while len(answer) <= ANSWER_BYTES_MAX and (more := await response.content.read(ANSWER_BYTES_MAX)):
                answer += more
        return await self._gate.read_answer(answer, ven.ven_id, lenient=self._lenient)


class BoundFingerprint(aiohttp.Fingerprint):
    """Accepts the server whose certificate has this OpenADR fingerprint (`AA:BB:..`), before anything is sent."""

    def __init__(self, fingerprint: str) -> None:
        super().__init__(bytes(32))
        self._expected = fingerprint

    def check(self, transport: asyncio.Transport) -> None:
        """Raises aiohttp.ServerFingerprintMismatch."""
        tls = transport.get_extra_info("ssl_object")
        if tls is None:
            return
        certificate = tls.getpeercert(binary_form=True)
        found = v2.fingerprint(certificate) if certificate else ""
        if found != self._expected:
            host, port, *_ = transport.get_extra_info("peername")
            raise aiohttp.ServerFingerprintMismatch(self._expected.encode(), found.encode(), host, port)


def service_url(address: str, service: str, *, secure: bool) -> str:
    """Where a service of a VEN is, under its oadrTransportAddress.

    Raises InvalidInput `address_invalid`: with TLS only https is used, without it only http on loopback.
    """
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise InvalidInput("address_invalid", "the oadrTransportAddress is no URL") from None
    plain = len(address) <= _ADDRESS_MAX and address.isprintable()
    if not plain or not host or parts.username is not None or parts.query or parts.fragment:
        raise InvalidInput("address_invalid", "the oadrTransportAddress is no plain URL of a server")
    if parts.scheme != ("https" if secure else "http"):
        raise InvalidInput("address_invalid", f"the oadrTransportAddress begins with {'https' if secure else 'http'}")
    if not secure and not _is_loopback(host):
        raise InvalidInput("address_invalid", "without TLS a VEN is reached on loopback only")
    base = address.rstrip("/")
    return f"{base}/{service}" if base.endswith(PATH) else f"{base}{PATH}/{service}"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _code(answer: Message) -> int:
    response = getattr(answer, "response", None)
    return response.response_code if isinstance(response, v2.EiResponse) else 200
