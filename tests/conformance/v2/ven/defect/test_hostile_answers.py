"""Answers that ended or confused a stock client: entities, a DOCTYPE, no XML, too many bytes, none at all. The VEN
lives, keeps what it had, and comes back."""

from __future__ import annotations

import asyncio

import pytest

from tests.conformance.v2 import wire
from tests.conformance.v2.ven import said
from tests.conformance.v2.ven.judged import HOUR_MS, a_ven

ENTITY = (
    b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    b'<oadrPayload xmlns="http://openadr.org/oadr-2.0b/2012/07"><oadrSignedObject>&b;</oadrSignedObject></oadrPayload>'
)
EXTERNAL = (
    b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    b'<oadrPayload xmlns="http://openadr.org/oadr-2.0b/2012/07">&a;</oadrPayload>'
)
BODIES = {
    "internal entity": ENTITY,
    "external entity": EXTERNAL,
    "nothing": b"",
    "text": b"Bad gateway",
    "binary": b"\x00\x01\xff",
    "cut off": wire.response("", said.VEN)[:-30],
    "another root": b"<html><body>login</body></html>",
    "5 MiB": wire.response("", said.VEN) + b" " * 5 * 2**20,
    "a question of a VEN": wire.poll(said.VEN),
    "500": 500,
    "404": 404,
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_it_lives_and_keeps_its_event(judge, ven, body):
    start_ms = ven.clock.now_ms() + HOUR_MS
    judge.listed.append(said.event("evt-1", start_ms))
    await ven.hear(said.distribute(*judge.listed), "oadrCreatedEvent")
    await ven.at(start_ms)
    await ven.until(lambda: ven.shed_w == 600)
    await ven.poll(body)
    assert ven.shed_w == 600
    assert len(judge.of("oadrCreatePartyRegistration")) == 1


@pytest.mark.parametrize("body", [ENTITY, 500], ids=["entity", "500"])
@pytest.mark.parametrize(
    "name", ["oadrQueryRegistration", "oadrCreatePartyRegistration", "oadrRegisterReport", "oadrRequestEvent"]
)
async def test_it_comes_up_after_a_bad_start(judge, tmp_path, name, body):
    judge.reply(name, body)
    async with a_ven(judge, tmp_path) as ven:
        await ven.poll()
    assert len(judge.of(name)) >= 2


async def test_an_answer_that_takes_too_long_is_given_up(judge, tmp_path):
    async def slow(_):
        await asyncio.sleep(60)
        return wire.response("", said.VEN)

    judge.to_poll.append(slow)
    async with a_ven(judge, tmp_path, request_timeout_s=0.5) as ven:
        assert not judge.to_poll
        await ven.poll()
