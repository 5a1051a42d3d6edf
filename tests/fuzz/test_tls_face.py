"""Hostile bodies, requests and connections over mutual TLS, sent as raw bytes by an enrolled VEN, or by nobody."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import ssl
import zlib
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from openadr import v2
from runtime import connections
from runtime.connections import BoundedSite
from runtime.tls import client_context
from tests.fuzz.mutation import corpus
from tests.fuzz.test_face import LAUGHS
from tests.fuzz.test_parse import costly
from tests.vtn.auth.devices import a_device, a_secured_vtn
from tests.vtn.faces.peer import heard
from vtn.app import build_app
from vtn.auth.pki import Pki
from vtn.faces.openadr2 import PREFIX

PLACES = 6


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    return Pki.create(tmp_path_factory.mktemp("authorities") / "pki", ["127.0.0.1", "localhost"], "Test")


@pytest.fixture
async def vtn(vtn_url, clock, tmp_path, pki):
    async with a_secured_vtn(vtn_url, clock, tmp_path, pki) as found:
        yield found


@pytest.fixture
async def device(vtn, tmp_path):
    return await a_device(vtn, tmp_path)


@contextlib.asynccontextmanager
async def served(vtn, **options: Any):
    """The port of a worker, as `serve` listens."""
    tls = vtn.settings.tls()
    app = build_app(vtn, tls=tls)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, **options)
    await runner.setup()
    try:
        await BoundedSite(runner, "127.0.0.1", 0, ssl_context=tls, connections_max=PLACES).start()
        await heard(app)
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def connected(port: int, tls: ssl.SSLContext | None):
    return await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname="localhost" if tls else None)


def request(body: bytes, *headers: str, service: str = "OadrPoll", length: bool = True) -> bytes:
    """A request as bytes."""
    lines = [f"POST {PREFIX}/{service} HTTP/1.1", "Host: x", "Content-Type: application/xml", *headers]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


async def told(reader: asyncio.StreamReader) -> tuple[int, Any]:
    """Status and message of the next answer; 0 where the connection ended instead."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return 0, None
    status = int(head.split()[1])
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
    body = await reader.readexactly(int(fields.get(b"content-length", b"0")))
    return status, v2.parse(body) if b"xml" in fields.get(b"content-type", b"") else body


async def asked(port: int, device, *requests: bytes) -> list[tuple[int, Any]]:
    """The answers to requests that are sent in one go, until there are as many or the connection ends."""
    reader, writer = await connected(port, device.tls)
    writer.write(b"".join(requests))
    with contextlib.suppress(ConnectionError):
        await writer.drain()
    answers = []
    async with asyncio.timeout(30):
        while len(answers) < len(requests):
            answers.append(await told(reader))
            if answers[-1][0] == 0:
                break
    writer.close()
    return answers


def code(answer: tuple[int, Any]) -> tuple[int, int]:
    return answer[0], answer[1].response.response_code


async def test_hostile_bodies_get_the_code_that_says_what_is_wrong_and_a_line_in_the_log(vtn, device):
    poll = v2.render(v2.OadrPoll(device.ven_id))
    attributes, depth = costly()["attributes"], costly()["depth"]
    bomb = gzip.compress(b" " * 50_000_000)
    cases = [
        ("DOCTYPE", request(LAUGHS), (200, 451)),
        ("names", request(attributes), (200, 454)),
        ("", request(depth), (200, 454)),
        ("", request(poll[:-20]), (200, 454)),
        ("at most", request(b"", "Transfer-Encoding: chunked", length=False) + endless(1_200_000), (413, 454)),
        ("at most", request(bomb, "Content-Encoding: gzip"), (413, 454)),
        ("at most", request(zlib.compress(b" " * 5_000_000), "Content-Encoding: deflate"), (413, 454)),
        ("Content-Encoding", request(b"zzz", "Content-Encoding: gzip"), (200, 454)),
        ("", request(gzip.compress(poll), "Content-Encoding: gzip"), (200, 200)),
    ]
    async with served(vtn) as port:
        for reason, sent, expected in cases:
            with capture_logs() as logs:
                [answer] = await asked(port, device, sent)
            assert code(answer) == expected, (reason, sent[:200])
            if expected[1] != 200:
                assert any(each["event"] == "message refused" and reason in each["reason"] for each in logs)
        assert code((await asked(port, device, request(poll)))[0]) == (200, 200)


def endless(size: int) -> bytes:
    """Chunks of so many bytes altogether."""
    chunk = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
    return chunk * (size // 0x8000) + b"0\r\n\r\n"


async def test_an_announced_size_over_the_limit_is_refused_before_a_byte_of_it_came(vtn, device):
    async with served(vtn) as port:
        head = request(b"", "Content-Length: 99999999999", length=False)
        assert code((await asked(port, device, head))[0]) == (413, 454)


async def test_a_moved_signature_opens_nothing(vtn, device):
    """The signed object kept aside, another one in its place: with the same id, with another, and twice."""
    signed = device.signed(v2.OadrPoll(device.ven_id))
    start = signed.index(b"<oadr:oadrSignedObject")
    kept = signed[start : signed.index(b"</oadr:oadrPayload>")]
    forged = kept.replace(b"oadrPoll", b"oadrRequestEvent")
    closing = b"</ds:Signature>"
    inside = signed.replace(kept, forged).replace(closing, b"<ds:Object>" + kept + b"</ds:Object>" + closing)
    renamed = inside.replace(forged, forged.replace(b'Id="oadrSignedObject"', b'Id="other"', 1))
    async with served(vtn) as port:
        for body in (inside, renamed, signed.replace(kept, kept + forged), signed.replace(kept, forged + kept)):
            [answer] = await asked(port, device, request(body))
            assert code(answer) == (200, 463)
        assert code((await asked(port, device, request(signed)))[0]) == (200, 200)


async def test_what_two_readers_of_http_could_read_differently_is_read_by_nobody(vtn, device):
    """Smuggling: whatever comes, the poll that is hidden in a body is never answered as a request of its own."""
    poll = v2.render(v2.OadrPoll(device.ven_id))
    hidden = request(poll)
    chunked = b"0\r\n\r\n" + hidden
    variants = [
        request(hidden, f"Content-Length: {len(poll)}"),
        request(chunked, "Transfer-Encoding: chunked"),
        request(chunked, "Transfer-Encoding: chunked, identity", length=False),
        request(chunked, "Transfer-Encoding: x", length=False),
        request(chunked, "Transfer-Encoding : chunked"),
        request(chunked, "Transfer-Encoding:\x0bchunked"),
        request(hidden, f"Content-Length: +{len(hidden)}", length=False),
        request(hidden, "Content-Length: 0x10", length=False),
        request(b"", "Transfer-Encoding: chunked", length=False) + b"-1\r\n" + hidden,
        request(b"", "Transfer-Encoding: chunked", length=False) + b"ffffffffffffffffff\r\n" + hidden,
        request(poll).replace(b"\r\nHost", b"\r\n Host", 1),
        request(poll).replace(b"Host: x", b"Host x", 1),
        request(poll).replace(b"HTTP/1.1", b"HTTP/9.9", 1),
    ]
    async with served(vtn) as port:
        for sent in variants:
            answers = [each for each in await asked(port, device, sent, b"") if each[0]]
            assert len(answers) <= 1, sent[:300]
            for status, message in answers:
                assert status == 400 or message.response.response_code >= 450, sent[:300]
        assert code((await asked(port, device, request(poll)))[0]) == (200, 200)


async def test_requests_that_are_sent_in_one_go_are_answered_in_order(vtn, device):
    poll = v2.render(v2.OadrPoll(device.ven_id))
    asks = [v2.render(v2.OadrRequestEvent(f"request-{number}", device.ven_id)) for number in range(3)]
    async with served(vtn) as port:
        sent = [part for ask in asks for part in (request(ask, service="EiEvent"), request(poll))]
        answers = await asked(port, device, *sent)
        bad = await asked(port, device, request(b"<", service="EiEvent"), request(poll))
    assert [answer.response.request_id for _, answer in answers[::2]] == [f"request-{n}" for n in range(3)]
    assert {code(answer) for answer in answers} == {(200, 200)}
    assert [code(answer) for answer in bad] == [(200, 454), (200, 200)]


@pytest.mark.parametrize("stage", ["handshake not begun", "handshake stalled", "head", "body"])
async def test_those_who_send_drop_by_drop_over_tls_keep_nobody_waiting(vtn, device, monkeypatch, stage):
    """More of them than there are places; whoever has something to say is answered, and they are cut off."""
    monkeypatch.setattr(connections, "HANDSHAKE_S", 1.0)
    monkeypatch.setattr(connections, "BODY_S", 0.5)
    poll = v2.render(v2.OadrPoll(device.ven_id))
    beginning = {
        "handshake not begun": b"",
        "handshake stalled": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        "head": request(poll)[:60],
        "body": request(poll)[:-100],
    }[stage]
    async with served(vtn, keepalive_timeout=0.5) as port, asyncio.timeout(60):
        slow = []
        for _ in range(PLACES * 3 if stage != "body" else PLACES):
            reader, writer = await connected(port, None if stage.startswith("handshake") else device.tls)
            writer.write(beginning)
            slow.append((reader, writer))
        trickling = [asyncio.create_task(trickle([writer for _, writer in slow]))]
        while True:  # where all places are taken by bodies that dawdle, until these are cut off
            with contextlib.suppress(ConnectionError, ssl.SSLError, TimeoutError):
                [answer] = await asked(port, device, request(poll))
                if answer[0] == 200:
                    break
            await asyncio.sleep(0.05)
        for reader, writer in slow:
            with contextlib.suppress(ConnectionError):
                while await reader.read(1000):
                    pass
            writer.close()
        trickling[0].cancel()


async def trickle(writers: list[asyncio.StreamWriter]) -> None:
    """A byte now and then."""
    while True:
        for writer in writers:
            if not writer.is_closing():
                writer.write(b"x")
        await asyncio.sleep(0.1)


async def test_a_known_certificate_may_not_register_for_ever(vtn, device):
    registering = request(
        v2.render(v2.OadrCreatePartyRegistration(request_id="r", ven_name="home-1", ven_id=device.ven_id)),
        service="EiRegisterParty",
    )
    async with served(vtn) as port:
        answers = await asked(port, device, *[registering] * 65)
        codes = [answer.response.response_code for _, answer in answers]
        assert codes == [200] * 60 + [451] * 5
        assert code((await asked(port, device, request(v2.render(v2.OadrPoll(device.ven_id)))))[0]) == (200, 200)


async def test_whoever_has_no_certificate_of_ours_is_not_even_heard(vtn, device, tmp_path):
    """Nor is a message that somebody else signed, whatever it says."""
    stranger = client_context(tmp_path / "ca.pem")
    async with served(vtn) as port:
        answer = b""
        with contextlib.suppress(ConnectionError, ssl.SSLError):  # TLS 1.3 tells the client with its first answer
            reader, writer = await connected(port, stranger)
            writer.write(request(v2.render(v2.OadrPoll(device.ven_id))))
            answer = await reader.read(1000)
        assert answer == b""
        foreign = next(body for body in corpus() if b"<ds:Signature" in body and b"oadrPoll" in body)
        assert code((await asked(port, device, request(foreign)))[0]) == (200, 463)
