"""Hostile bodies and connections against the running face: an answer in XML with the right code, and nothing kept."""

from __future__ import annotations

import asyncio
import io
import random
import secrets

import aiohttp
import pytest
from aiohttp import web
from sqlalchemy import func, select
from structlog.testing import capture_logs

from openadr import v2
from runtime import connections
from runtime.connections import BoundedSite
from tests.fuzz.mutation import corpus, mutated
from vtn.app import build_app
from vtn.faces.openadr2 import PREFIX
from vtn.faces.openadr2.face import SERVICES
from vtn.records.tables import metadata

LAUGHS = (
    b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha">'
    + b"".join(b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(9))
    + b"]><oadrPayload>&j;</oadrPayload>"
)


async def rows(vtn):
    """How many rows each table has."""
    async with vtn.database.reading() as connection:
        return {
            table.name: await connection.scalar(select(func.count()).select_from(table))
            for table in metadata.sorted_tables
        }


async def test_mutated_messages_are_answered_and_leave_nothing_behind(opened_vtn, peer):
    bodies, chance = corpus(), random.Random(7)
    before = await rows(opened_vtn.vtn)
    for _ in range(150):
        status, answer = await peer.post(chance.choice(SERVICES), mutated(bodies, chance))
        assert status == 200
        assert v2.parse(answer)
    assert await rows(opened_vtn.vtn) == before


async def test_an_entity_bomb_is_not_allowed_and_logged(peer):
    with capture_logs() as logs:
        status, answer = await peer.post("EiEvent", LAUGHS)
    assert (status, v2.parse(answer).response.response_code) == (200, 451)
    assert any(each["event"] == "message refused" and "DOCTYPE" in each["reason"] for each in logs)


async def test_an_oversized_body_gets_413_and_an_oadr_response(peer):
    for body in (b" " * 1_100_000, v2.render(v2.OadrPoll("x" * 1_100_000))):
        status, answer = await peer.post("OadrPoll", io.BytesIO(body))
        assert (status, v2.parse(answer).response.response_code) == (413, 454)


async def test_registrations_from_nobody_leave_nothing_behind(opened_vtn, peer):
    before = await rows(opened_vtn.vtn)

    async def strangers(count):
        for _ in range(count):
            asked = v2.OadrCreatePartyRegistration(request_id="r", ven_name=secrets.token_hex(20))
            assert (await peer.send(asked)).response.response_code == 452

    await asyncio.gather(*(strangers(60) for _ in range(4)))
    assert await rows(opened_vtn.vtn) == before


async def test_one_ven_registering_for_ever_has_one_registration(opened_vtn, peer):
    before = await rows(opened_vtn.vtn)
    for _ in range(20):
        assert (await peer.register()).response.response_code == 200
    assert await rows(opened_vtn.vtn) == before


async def test_a_message_signed_by_nobody_we_know_is_refused_and_logged(peer):
    signed = [body for body in corpus() if b"<ds:Signature" in body and b"oadrPoll" in body]
    with capture_logs() as logs:
        for body in signed:
            _, answer = await peer.post("OadrPoll", body)
            assert v2.parse(answer).response.response_code == 463
    assert {each["reason"] for each in logs if each["event"] == "caller refused"} == {"signer_unknown"}


@pytest.mark.parametrize("head", ["", "Content-Length: 400\r\n\r\n<oadr"], ids=["head", "body"])
async def test_who_sends_drop_by_drop_is_cut_off_and_keeps_nobody_waiting(opened_vtn, monkeypatch, head):
    """Slow-loris: a head, or a body, that never ends."""
    monkeypatch.setattr(connections, "BODY_S", 0.3)
    runner = web.AppRunner(build_app(opened_vtn.vtn), keepalive_timeout=0.3)
    await runner.setup()
    try:
        await BoundedSite(runner, "127.0.0.1", 0, connections_max=8).start()
        port = runner.addresses[0][1]
        slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(8)]
        for _, writer in slow:
            writer.write(f"POST {PREFIX}/OadrPoll HTTP/1.1\r\nHost: x\r\n{head}".encode())
        async with asyncio.timeout(30), aiohttp.ClientSession() as session:
            while True:
                try:
                    async with session.post(f"http://127.0.0.1:{port}{PREFIX}/OadrPoll", data=b"x") as answer:
                        if answer.status == 200:
                            break
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.05)
            if head:
                for reader, _ in slow:
                    await reader.read()  # it ends
        for _, writer in slow:
            writer.close()
    finally:
        await runner.cleanup()
