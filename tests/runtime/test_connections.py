"""Connections that say nothing, or half of something, take nothing away from those that speak."""

import asyncio
import contextlib

import aiohttp
import pytest
from aiohttp import web

import runtime.connections
from runtime.connections import BoundedSite
from runtime.service import new_app


@contextlib.asynccontextmanager
async def a_service(connections_max: int, head_s: float = 30.0):
    """Port of a service with `connections_max` places."""

    async def read(request: web.Request) -> web.Response:
        return web.Response(text=str(len(await request.read())))

    async def linger(request: web.Request) -> web.Response:
        await asyncio.sleep(5)
        return web.Response()

    app = new_app()
    app.router.add_post("/read", read)
    app.router.add_get("/linger", linger)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, keepalive_timeout=head_s)
    await runner.setup()
    await BoundedSite(runner, "127.0.0.1", 0, connections_max=connections_max).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def a_connection(port: int, data: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    await writer.drain()
    return reader, writer


async def healthy(port: int) -> int:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/healthz") as response:
        return response.status


async def ended(reader: asyncio.StreamReader) -> bytes:
    """What came before the other side closed."""
    try:
        return await asyncio.wait_for(reader.read(), 5)
    except ConnectionResetError:
        return b""


async def test_hundreds_of_half_open_connections_do_not_keep_a_client_out():
    async with a_service(connections_max=20) as port:
        opened = [await a_connection(port, b"GET /healthz HTTP/1.1\r\nX-Slow: ") for _ in range(200)]
        for _ in range(5):
            assert await healthy(port) == 200
        assert await ended(opened[0][0]) == b"", "the oldest made room"
        for _, writer in opened:
            writer.close()


async def test_where_everybody_speaks_the_next_one_is_told_to_come_back():
    async with a_service(connections_max=3) as port:
        speaking = [await a_connection(port, b"GET /linger HTTP/1.1\r\nHost: x\r\n\r\n") for _ in range(3)]
        await asyncio.sleep(0.1)
        reader, writer = await a_connection(port)
        answer = await ended(reader)
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"Retry-After: 2" in answer
        assert answer.endswith(b'"Too many connections", "status": 503}')
        writer.close()
        speaking[0][1].close()
        await asyncio.sleep(0.1)
        assert await healthy(port) == 200
        for _, each in speaking:
            each.close()


@pytest.mark.parametrize("said", [b"", b"GET /healthz HTTP/1.1\r\nHost:", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"])
async def test_a_connection_that_sends_no_further_head_is_closed(said):
    async with a_service(connections_max=10, head_s=0.3) as port:
        reader, writer = await a_connection(port, said)
        answer = await ended(reader)
        assert answer.startswith(b"HTTP/1.1 200") if said.endswith(b"\r\n\r\n") else b"200" not in answer
        writer.close()


async def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(runtime.connections, "BODY_S", 0.3)
    async with a_service(connections_max=10) as port:
        head = b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"
        slow, slow_writer = await a_connection(port, head + b"ab")
        assert await ended(slow) == b""
        whole, writer = await a_connection(port, head)
        await asyncio.sleep(0.1)
        writer.write(b"abcd")
        assert (await asyncio.wait_for(whole.readuntil(b"\r\n\r\n4"), 5)).startswith(b"HTTP/1.1 200")
        await asyncio.sleep(0.4)
        assert not whole.at_eof(), "a body that came in time ends nothing"
        for each in (slow_writer, writer):
            each.close()


async def test_places_come_back_when_connections_end():
    async with a_service(connections_max=4) as port:
        for _ in range(30):
            assert await healthy(port) == 200
        for _ in range(30):
            _, writer = await a_connection(port)
            writer.close()
            await writer.wait_closed()
        assert await healthy(port) == 200
