"""A listener that half-open and dawdling connections cannot exhaust.

    accepted ─ silent ── head of a request ──▶ speaking ── answer ──▶ idle ─┐
                 │ HEAD_S, or the cap is reached   │ body: BODY_S           │ HEAD_S
                 ▼                                 ▼ answer not taken       ▼
               closed                            closed                   closed

An answer that waits for its reader must get on by TAKEN_BYTES in TAKEN_S: else whoever asks for large answers and reads
none of them would hold every place. What is no HTTP is one line of the log, however it was sent.

At the cap the oldest connection that has never sent a request makes room for a new one; where all have, the new one is
answered 503 and closed. So whoever opens sockets and says nothing cannot keep out who does.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import ssl
import sys
from collections.abc import Callable
from typing import Final, cast

from aiohttp import StreamReader, web
from aiohttp.http_exceptions import HttpProcessingError

from runtime.errors import AddressUnusable
from runtime.logs import get_logger

_log = get_logger("runtime.connections")

HEAD_S: Final = 30.0
"""Seconds a connection may wait for the head of its next request; for web.AppRunner(keepalive_timeout=...)."""
BODY_S: Final = 60.0
HANDSHAKE_S: Final = 10.0
TAKEN_S: Final = 30.0
TAKEN_BYTES: Final = 16 * 1024
_CONNECTIONS_MAX: Final = 4_096
_DESCRIPTORS_WANTED: Final = 16_384
_PROBLEM: Final = b'{"type": "too-many-connections", "title": "Too many connections", "status": 503}'
_UNUSABLE: Final = {
    errno.EADDRINUSE: "another program does, stop it",
    errno.EADDRNOTAVAIL: "this machine has no such address",
    errno.EACCES: "ports below 1024 need a privilege that this process has not",
}
_BUSY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nRetry-After: 2\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(_PROBLEM), _PROBLEM)
)


class BoundedSite(web.TCPSite):
    """A TCPSite with at most `connections_max` connections (default: half of the file descriptors, at most 4,096)."""

    __slots__ = ("_places",)

    def __init__(self, runner: web.AppRunner, *args: object, connections_max: int | None = None, **options: object):
        super().__init__(runner, *args, **options)  # type: ignore[arg-type]
        self._places = _Places(connections_max or _default_maximum())
        if self._ssl_context is not None:
            self._ssl_context.sslobject_class = _Handshake
        logging.getLogger("aiohttp.server").addFilter(_malformed)

    async def start(self) -> None:
        """As TCPSite. Raises AddressUnusable."""
        await web.BaseSite.start(self)
        server = self._runner.server
        assert server is not None
        try:
            self._server = await asyncio.get_running_loop().create_server(
                lambda: _Connection(self._places, server),
                self._host,
                self._port,
                ssl=self._ssl_context,
                ssl_handshake_timeout=HANDSHAKE_S if self._ssl_context else None,
                backlog=self._backlog,
                reuse_address=self._reuse_address,
                reuse_port=self._reuse_port,
            )
        except OSError as error:
            why = _UNUSABLE.get(error.errno or 0, f"({error.strerror or error})")
            raise AddressUnusable(
                f"{self._host}:{self._port} cannot be listened on: {why}; choose another address or port"
            ) from None
        self._bound_port = self._server.sockets[0].getsockname()[1]


def spoke(request: web.BaseRequest) -> None:
    """The head of a request has arrived: its connection is no longer one that says nothing."""
    protocol = None if request.transport is None else request.transport.get_protocol()
    if isinstance(protocol, _Connection):
        protocol.spoke(request)


class _Places:
    """Who is connected."""

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self.open = 0
        self.silent: dict[_Connection, None] = {}
        self._told_s = -60.0

    def admit(self, connection: _Connection) -> bool:
        """Is there a place, after the oldest silent connection was closed if need be?"""
        if self.open >= self.maximum:
            self._tell()
            oldest = next(iter(self.silent), None)
            if oldest is None:
                return False
            oldest.close()
        self.open += 1
        self.silent[connection] = None
        return True

    def leave(self, connection: _Connection) -> None:
        """The place is free again."""
        self.open -= 1
        self.silent.pop(connection, None)

    def _tell(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if now_s - self._told_s > 10:
            self._told_s = now_s
            _log.warning("all connections taken", maximum=self.maximum, silent=len(self.silent))


class _Connection(asyncio.Protocol):
    """aiohttp's handler of one connection, behind the door."""

    def __init__(self, places: _Places, handler: Callable[[], asyncio.Protocol]) -> None:
        self._places = places
        self._make = handler
        self._handler: asyncio.Protocol | None = None
        self._transport: asyncio.Transport | None = None
        self._body: asyncio.TimerHandle | None = None
        self._taken: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its class
        if not self._places.admit(self):
            transport.write(_BUSY)
            transport.close()
            return
        self._transport = transport
        self._handler = self._make()
        self._handler.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._handler is not None:
            self._handler.data_received(data)

    def eof_received(self) -> bool | None:
        return self._handler.eof_received() if self._handler is not None else None

    def pause_writing(self) -> None:
        if self._transport is not None:
            self._await_reader(self._transport.get_write_buffer_size())
        if self._handler is not None:
            self._handler.pause_writing()

    def resume_writing(self) -> None:
        self._stop_awaiting_reader()
        if self._handler is not None:
            self._handler.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        handler, self._handler = self._handler, None
        self._stop_waiting()
        self._stop_awaiting_reader()
        if self._transport is not None:
            self._transport = None
            self._places.leave(self)
        if handler is not None:
            handler.connection_lost(error)

    def spoke(self, request: web.BaseRequest) -> None:
        """A request began; its body must arrive in time."""
        self._places.silent.pop(self, None)
        self._stop_waiting()
        if request.body_exists and not request.content.is_eof():
            self._body = asyncio.get_running_loop().call_later(BODY_S, self._require_body, request.content)

    def close(self) -> None:
        """Makes room at once."""
        transport, self._transport = self._transport, None
        if transport is not None:
            self._places.leave(self)
            transport.abort()

    def _require_body(self, content: StreamReader) -> None:
        if self._transport is not None and not content.is_eof():
            self._transport.abort()

    def _stop_waiting(self) -> None:
        if self._body is not None:
            self._body.cancel()
            self._body = None

    def _await_reader(self, left: int) -> None:
        self._stop_awaiting_reader()
        self._taken = asyncio.get_running_loop().call_later(TAKEN_S, self._require_reader, left)

    def _require_reader(self, before: int) -> None:
        if self._transport is None:
            return
        left = self._transport.get_write_buffer_size()
        if left > before - TAKEN_BYTES:
            _log.info("an answer was not read", bytes_left=left)
            self._transport.abort()
        else:
            self._await_reader(left)

    def _stop_awaiting_reader(self) -> None:
        if self._taken is not None:
            self._taken.cancel()
            self._taken = None


class _Malformed(logging.Filter):
    """aiohttp logs what is no HTTP as its own error, with all frames: it is the sender's, and one line."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            remote = record.args[0] if isinstance(record.args, tuple) and record.args else None
            if record.levelno > logging.INFO:
                record.levelno, record.levelname = logging.INFO, "INFO"
            record.exc_info = record.exc_text = None
            record.msg, record.args = "no HTTP was understood", None
            record.__dict__ |= {"remote": remote, "status": error.code, "error": _kind(error.message)}
        return True


_malformed: Final = _Malformed()


def _kind(message: str) -> str:
    """Without the bytes that came: they may be a password's."""
    return message.partition("\n")[0].partition(":")[0].partition("b'")[0][:80].strip()


class _Handshake(ssl.SSLObject):
    """asyncio drops a connection whose handshake fails without a word: here the log says whose fault it was."""

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            why = getattr(error, "verify_message", "") or error.reason or str(error)
            _log.warning("TLS connection refused", reason=why)
            raise


def _default_maximum() -> int:
    if sys.platform == "win32":
        return _CONNECTIONS_MAX
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS_WANTED if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return _CONNECTIONS_MAX if soft == resource.RLIM_INFINITY else min(_CONNECTIONS_MAX, soft // 2)
