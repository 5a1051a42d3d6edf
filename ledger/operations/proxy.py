"""`dr-ledger proxy`: lets devices reach the replicas through one address. It holds no key, so it can only forward.

    device ─ HTTP ─▶ proxy ─▶ replica that answered last
                       └────▶ the next one, where that one is away or cannot order

Bodies pass as bytes: a changed one is refused by the replica (signature, commitment), and an answer that was changed by
whoever reads it (ids, proofs under the policy). A transaction may reach two replicas: its id makes that one execution.
Nothing is kept: what cannot be forwarded is answered 503, and the device keeps it in its own outbox.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl as ssl_module
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Final

import aiohttp
from aiohttp import ClientConnectionResetError, web
from prometheus_client import CollectorRegistry, Counter, Gauge
from yarl import URL

from ledger.client.signing import READ_HEADERS
from ledger.operations.errors import NoUpstream
from runtime.logs import get_logger
from runtime.service import READINESS, REGISTRY, STOPPING, ProblemError, new_app

_log = get_logger("ledger.operations.proxy")

REQUEST_BYTES_MAX: Final = 4 * 1024 * 1024
_ASKED: Final = ("Accept", "Accept-Encoding", "Content-Type", "Last-Event-ID", "If-None-Match", *READ_HEADERS)
_ANSWERED: Final = (
    "Content-Type", "Content-Encoding", "Cache-Control", "Retry-After", "ETag", "X-Accel-Buffering",
    "Ledger-Height", "Ledger-Final-Height", "Allow", "Vary", "Access-Control-Allow-Origin",
    "Access-Control-Expose-Headers", "WWW-Authenticate",
)  # fmt: skip
_AWAY: Final = frozenset({502, 503, 504})
_CONNECT_S: Final = 2.0
#: for the head of an answer: a replica says "unknown" after 5 s, and waits another 5 s for finality where asked to
_ANSWER_S: Final = {"GET": 6.0, "HEAD": 6.0, "POST": 12.0}
#: three heartbeats of the replica missed: the stream is dead
_STREAM_S: Final = 45.0
_SLOW_READER_S: Final = 20.0
#: a replica that refused or broke a connection is asked last for so long, one that said nothing for longer
_REST_S: Final = 1.0
_SILENT_REST_S: Final = 15.0


def build(
    upstreams: Sequence[str],
    *,
    ssl: ssl_module.SSLContext | None = None,
    requests_max: int = 500,
    forwarding: type[Proxy] | None = None,
) -> web.Application:
    """The application of a proxy in front of these replicas; at most `requests_max` requests and streams at once."""
    app = new_app(client_max_size=REQUEST_BYTES_MAX)
    proxy = (forwarding or Proxy)(upstreams, ssl=ssl, requests_max=requests_max, registry=app[REGISTRY])
    app.router.add_get("/v1/channels/{channel}/{path:.+}", proxy.forward)
    app.router.add_post("/v1/channels/{channel}/transactions", proxy.forward)
    app[READINESS].register("replicas", proxy.check)

    async def session(_: web.Application) -> AsyncIterator[None]:
        async with proxy:
            yield

    app.cleanup_ctx.append(session)
    return app


class Proxy:
    """Forwards requests; enter it as a context to open its connections."""

    def __init__(
        self,
        upstreams: Sequence[str],
        *,
        ssl: ssl_module.SSLContext | None,
        requests_max: int,
        registry: CollectorRegistry,
    ) -> None:
        self._upstreams = [URL(url.rstrip("/")) for url in upstreams]
        self._rested: dict[URL, float] = {}
        self._ssl = ssl
        self._max = requests_max
        self._open = 0
        self._session: aiohttp.ClientSession
        self._forwarded = Counter(
            "ledger_proxy_forwarded", "Requests answered by a replica", ["upstream", "status"], registry=registry
        )
        self._failed = Counter(
            "ledger_proxy_failed", "Tries that a replica did not answer", ["upstream"], registry=registry
        )
        Gauge("ledger_proxy_open", "Requests and streams open", registry=registry).set_function(lambda: self._open)

    async def __aenter__(self) -> Proxy:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_STREAM_S)
        connector = aiohttp.TCPConnector(limit=self._max, ssl=self._ssl or True)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def check(self) -> None:
        """Return if one of the replicas lives, else raise NoUpstream."""
        for upstream in self._in_turn():
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                async with (
                    asyncio.timeout(_CONNECT_S / len(self._upstreams)),
                    self._session.get(upstream / "healthz") as response,
                ):
                    if response.status == 200:
                        return
        raise NoUpstream(
            f"no replica answers ({', '.join(map(str, self._upstreams))}): devices keep what they send until one does; "
            "start one, or correct --upstream"
        )

    async def forward(self, request: web.Request) -> web.StreamResponse:
        """Any request of the ledger's interface, answered by the first replica that can."""
        if self._open >= self._max:
            raise ProblemError("proxy-busy", "The proxy is busy", 503, "Try again shortly.", retry_after=1)
        self._open += 1
        try:
            body = await self.body(request)
            async with contextlib.AsyncExitStack() as stack:
                answer = await self._answer(request, body, stack)
                return await self._pass_on(request, answer)
        finally:
            self._open -= 1

    async def body(self, request: web.Request) -> bytes | None:
        """What is forwarded: the bytes that came."""
        return await request.read() if request.method == "POST" else None

    async def _answer(
        self, request: web.Request, body: bytes | None, stack: contextlib.AsyncExitStack
    ) -> aiohttp.ClientResponse:
        """The answer of the first replica that gives one; the last 503 if all give one. Raises a 503 for none."""
        last: aiohttp.ClientResponse | None = None
        for upstream in self._in_turn():
            try:
                async with asyncio.timeout(_ANSWER_S[request.method]):
                    last = await stack.enter_async_context(self._ask(upstream, request, body))
            except TimeoutError:
                self._rest(upstream, "no answer in time", _SILENT_REST_S)
                continue
            except (aiohttp.ClientError, OSError) as error:
                self._rest(upstream, str(error) or repr(error))
                continue
            self._forwarded.labels(str(upstream), str(last.status)).inc()
            if last.status not in _AWAY:
                self._rested.pop(upstream, None)
                return last
            self._rest(upstream, f"HTTP {last.status}")
        if last is None:
            detail = "No replica of the ledger answers this proxy. Keep what you send and try again."
            raise ProblemError("no-replica", "No replica can be reached", 503, detail, retry_after=2)
        return last

    def _ask(
        self, upstream: URL, request: web.Request, body: bytes | None
    ) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]:
        target = URL(str(upstream) + request.rel_url.raw_path_qs, encoded=True)
        headers = _kept(request.headers, _ASKED)
        return self._session.request(request.method, target, data=body, headers=headers, allow_redirects=False)

    async def _pass_on(self, request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status, headers=_kept(answer.headers, _ANSWERED))
        if answer.content_length is not None:
            response.content_length = answer.content_length
        try:
            await response.prepare(request)
            async with contextlib.aclosing(_chunks(answer, request.app[STOPPING])) as chunks:
                async for chunk in chunks:
                    async with asyncio.timeout(_SLOW_READER_S):
                        await response.write(chunk)
        except (aiohttp.ClientError, TimeoutError, OSError, ClientConnectionResetError):
            if request.transport is not None:
                request.transport.abort()  # half an answer: the device sees a broken connection and asks again
        return response

    def _in_turn(self) -> list[URL]:
        """Replicas in the order given, those that were away a moment ago last."""
        now = asyncio.get_running_loop().time()
        return sorted(self._upstreams, key=lambda upstream: self._rested.get(upstream, 0.0) > now)

    def _rest(self, upstream: URL, why: str, rest_s: float = _REST_S) -> None:
        now = asyncio.get_running_loop().time()
        if self._rested.get(upstream, 0.0) <= now:
            _log.warning("replica away", upstream=str(upstream), error=why)
        self._rested[upstream] = now + rest_s
        self._failed.labels(str(upstream)).inc()


async def _chunks(answer: aiohttp.ClientResponse, stopping: asyncio.Event) -> AsyncGenerator[bytes, None]:
    """The body piece by piece; a stream of facts ends when the proxy does, and its reader goes on from its cursor."""
    stop = asyncio.ensure_future(stopping.wait())
    read: asyncio.Future[bytes] | None = None
    try:
        while True:
            read = asyncio.ensure_future(answer.content.readany())
            await asyncio.wait((read, stop), return_when=asyncio.FIRST_COMPLETED)
            chunk = read.result() if read.done() else b""
            if not chunk:
                return
            yield chunk
    finally:
        for task in (read, stop):
            if task is not None:
                task.cancel()


def _kept(headers: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    return {name: headers[name] for name in names if name in headers}
