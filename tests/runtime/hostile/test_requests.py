"""What is no HTTP, too much of it, or asked for and never read: one line of the log, one answer, no place taken."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from structlog.testing import capture_logs

import runtime.connections
from runtime.connections import BoundedSite
from runtime.service import READINESS, new_app

SECRET = b"hunter2"
MALFORMED = {
    "a header without form": b"GET / HTTP/1.1\r\nHost: x\r\nBad Header\x00: " + SECRET + b"\r\n\r\n",
    "a giant header": b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: " + SECRET * 2_000 + b"\r\n\r\n",
    "thousands of headers": b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(2_000)) + b"\r\n",
    "a giant path": b"GET /" + SECRET * 2_000 + b" HTTP/1.1\r\n\r\n",
    "two lengths": b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
    "a version of tomorrow": b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
}


@contextlib.asynccontextmanager
async def a_service(answer_bytes: int = 0, connections_max: int = 10) -> AsyncIterator[tuple[int, web.Application]]:
    async def read(request: web.Request) -> web.Response:
        return web.Response(text=str(len(await request.read())))

    async def large(_: web.Request) -> web.Response:
        return web.Response(body=bytes(answer_bytes))

    app = new_app(client_max_size=1_000)
    app.router.add_post("/read", read)
    app.router.add_get("/large", large)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await BoundedSite(runner, "127.0.0.1", 0, connections_max=connections_max).start()
    try:
        yield runner.addresses[0][1], app
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def a_connection(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 16)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def said(port: int, data: bytes) -> bytes:
    async with a_connection(port) as (reader, writer), asyncio.timeout(30):
        writer.write(data)
        return await reader.read()


async def asked(port: int, method: str, path: str, body: bytes = b"") -> tuple[int, dict[str, object]]:
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    answer = await said(port, head.encode() + body)
    status, _, rest = answer.partition(b"\r\n")
    return int(status.split()[1]), json.loads(rest.partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize("sent", MALFORMED)
async def test_what_is_no_http_is_one_line_without_frames_or_what_was_sent(
    sent: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with a_service() as (port, _):
        with caplog.at_level(logging.DEBUG, "aiohttp.server"):
            answer = await said(port, MALFORMED[sent])
    assert b" 400 " in answer.partition(b"\r\n")[0]
    (record,) = (each for each in caplog.records if each.name == "aiohttp.server")
    assert (record.levelno, record.exc_info, record.msg) == (logging.INFO, None, "no HTTP was understood")
    assert record.__dict__["remote"] == "127.0.0.1"
    assert record.__dict__["error"]
    assert SECRET.decode() not in str(record.__dict__)


async def test_too_large_a_body_is_told_the_limit_and_its_own_size() -> None:
    async with a_service() as (port, _):
        status, problem = await asked(port, "POST", "/read", bytes(1_234))
        assert (status, problem["type"]) == (413, "request-too-large")
        assert problem["detail"] == "At most 1000 bytes are read; this body has 1234. Send it in smaller parts."
        chunked = b"POST /read HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        answer = await said(port, chunked + b"800\r\n" + bytes(0x800) + b"\r\n0\r\n\r\n")
        assert b"At most 1000 bytes are read; this body has more." in answer


async def test_an_answer_that_nobody_reads_frees_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime.connections, "TAKEN_S", 0.2)
    async with (
        a_service(answer_bytes=64 << 20, connections_max=4) as (port, _),
        contextlib.AsyncExitStack() as stack,
        asyncio.timeout(30),
    ):
        for _ in range(4):
            _, writer = await stack.enter_async_context(a_connection(port))
            writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        while (await asked(port, "GET", "/healthz"))[0] != 200:
            await asyncio.sleep(0.05)


async def test_an_answer_that_is_read_slowly_arrives_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime.connections, "TAKEN_S", 1.0)
    async with a_service(answer_bytes=16 << 20) as (port, _):
        count = 0
        async with a_connection(port) as (reader, writer):
            writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            while chunk := await reader.read(1 << 20):
                count += len(chunk)
                await asyncio.sleep(0.02)
        assert count > 16 << 20


async def test_a_check_that_does_not_let_itself_be_cancelled_keeps_no_prober_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a driver does whose server was stopped: it tries for seconds to cancel the query there."""
    monkeypatch.setattr("runtime.service._CHECK_TIMEOUT_S", 0.1)
    let_go = asyncio.Event()

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await let_go.wait()

    async with a_service() as (port, app):
        app[READINESS].register("database", stubborn)
        status, answer = await asked(port, "GET", "/readyz")
        assert status == 503
        assert answer["dependencies"] == {"database": {"ready": False, "reason": "no answer in 0.1 s"}}
        let_go.set()


async def test_who_leaves_in_the_middle_of_a_body_leaves_no_trace_in_the_log() -> None:
    """A trace costs more than the request did: hundreds of them a second would be the attack."""
    left = asyncio.Event()
    async with a_service() as (port, app):

        async def noticing(request: web.Request) -> web.Response:
            try:
                return web.Response(text=str(len(await request.read())))
            finally:
                left.set()

        async def failing(_: web.Request) -> web.Response:
            raise ConnectionResetError("a server behind this one is gone")

        app.router._frozen = False
        app.router.add_post("/noticing", noticing)
        app.router.add_get("/failing", failing)
        with capture_logs() as logged:
            async with a_connection(port) as (_, writer):
                writer.write(b"POST /noticing HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\nab")
                await writer.drain()
                await asyncio.sleep(0.05)
            async with asyncio.timeout(20):
                await left.wait()
            answer = await said(port, b"GET /failing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 500"), "one that waits for its answer gets it, and the log says why"
        assert [entry["path"] for entry in logged if entry["event"] == "request failed"] == ["/failing"]
