"""HTTP to a VTN: whatever comes back is a message, a refusal or an absence, and never anything else."""

from __future__ import annotations

import contextlib
import time

import aiohttp
import pytest
from aiohttp import web

from openadr.client.errors import VtnUnreachable
from openadr.client.link import ANSWER_BYTES_MAX, Dated, Link
from openadr.client.signing import RecentNonces
from openadr.v2 import EiResponse, OadrPoll, OadrResponse, render
from runtime.errors import InsecureAddress

GOOD = render(OadrResponse(EiResponse(), "ven-7"))
ASKED = OadrPoll("ven-7")


@contextlib.asynccontextmanager
async def a_link(answer, **options):
    """A link to a server that answers so: bytes, or a response."""

    async def handle(request):
        assert request.content_type == "application/xml"
        return web.Response(body=answer) if isinstance(answer, bytes) else answer()

    app = web.Application()
    app.router.add_post("/{service}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
            yield Link(url, session, **({"timeout_s": 5} | options))
    finally:
        await runner.cleanup()


async def test_an_answer_is_a_message_whatever_the_status_below_500():
    counted = []
    for status in (200, 400):
        async with a_link(
            lambda status=status: web.Response(body=GOOD, status=status), count=lambda *each: counted.append(each)
        ) as link:
            assert await link.ask(ASKED) == OadrResponse(EiResponse(), "ven-7")
    assert counted == [("oadrPoll", "ok")] * 2


@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.Response(status=503, body=GOOD),
        lambda: web.Response(body=b""),
        lambda: web.Response(body=b"thank you"),
        lambda: web.Response(body=b" " * (ANSWER_BYTES_MAX + 1)),
        lambda: web.Response(body=GOOD, headers={"Content-Encoding": "gzip"}),
    ],
    ids=["busy", "empty", "no XML", "too large", "not in its encoding"],
)
async def test_anything_else_is_an_absence(answer):
    counted = []
    async with a_link(answer, count=lambda *each: counted.append(each)) as link:
        with pytest.raises(VtnUnreachable, match="oadrPoll"):
            await link.ask(ASKED)
    assert counted == [("oadrPoll", "unreachable")]


async def test_nobody_is_sent_elsewhere():
    asked = []

    def elsewhere():
        asked.append(1)
        return web.Response(status=307, headers={"Location": "/EiEvent"})

    async with a_link(elsewhere) as link:
        with pytest.raises(VtnUnreachable):
            await link.ask(ASKED)
    assert len(asked) == 1


async def test_the_date_of_an_answer_is_shown_between_asking_and_hearing():
    seen = []
    clock = Dated(lambda: time.time_ns() // 1_000_000, lambda *each: seen.append(each))
    for date in ("Sat, 21 Nov 2026 17:00:00 GMT", "yesterday"):
        async with a_link(lambda date=date: web.Response(body=GOOD, headers={"Date": date}), dated=clock) as link:
            await link.ask(ASKED)
    [(theirs_ms, before_ms, after_ms)] = seen
    assert theirs_ms == 1_795_280_400_500
    assert before_ms <= after_ms


async def test_no_vtn_is_called_over_plain_http_off_loopback():
    async with aiohttp.ClientSession() as session:
        with pytest.raises(InsecureAddress):
            Link("http://vtn.example", session, timeout_s=1)


def test_a_nonce_counts_once_until_its_time_alone_refuses_it():
    nonces = RecentNonces()
    assert nonces.admit("a", 1000, 0)
    assert not nonces.admit("a", 1000, 999)
    for n in range(9_999):
        assert nonces.admit(f"n{n}", 2000, 999)
    assert not nonces.admit("one too many", 2000, 999)
    assert nonces.admit("there is room again", 3000, 1001)
