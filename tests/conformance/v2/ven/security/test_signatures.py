"""XML signatures of the high security level: the VEN signs every message with ReplayProtect, and acts on nothing that
its VTN did not sign, now, and for the first time."""

from __future__ import annotations

import copy
from datetime import timedelta

import pytest
from lxml import etree

from tests.conformance.v2.ven import said
from tests.conformance.v2.ven.judged import HOUR_MS, a_ven
from tests.conformance.v2.ven.security.signing import DS, OADR, Signing, signed

EI = "{http://docs.oasis-open.org/ns/energyinterop/201110}"


async def test_every_message_is_signed_with_a_new_nonce_and_answers_are_believed(judge, signing, ven):
    start_ms = ven.clock.now_ms() + HOUR_MS
    created = await ven.hear(said.distribute(said.event("evt-1", start_ms)), "oadrCreatedEvent")
    assert created.opts == [("evt-1", "0", "optIn")]
    assert len(signing.nonces) == len(judge.heard) >= 6
    assert judge.of("oadrCreatePartyRegistration")[0].text("./oadr:oadrXmlSignature") == "true"


async def test_rsa_works_as_well(judge, certificates, rsa_pair, tmp_path):
    vtn, own = rsa_pair
    Signing(judge, vtn, own)
    given = {"sign_messages": True, "server_ca": certificates.authority.path}
    async with a_ven(judge, tmp_path, certificate=own.chain, certificate_key=own.key, **given) as ven:
        created = await ven.hear(said.distribute(said.event("evt-1", ven.clock.now_ms() + HOUR_MS)), "oadrCreatedEvent")
    assert created.opts == [("evt-1", "0", "optIn")]


def wrapped(body: bytes, place: str) -> bytes:
    """The signed object kept somewhere, another one where a careless reader looks."""
    root = etree.fromstring(body)
    signature, kept = root.find(DS + "Signature"), root.find(OADR + "oadrSignedObject")
    forged = copy.deepcopy(kept)
    for element in forged.iter(f"{EI}value"):
        element.text = "3"
    if place != "same id":
        forged.set(OADR + "Id", "other")
    root.replace(kept, forged)
    if place == "behind":
        root.append(kept)
    else:
        etree.SubElement(signature, DS + "Object").append(kept)
    return etree.tostring(root)


def changed(body: bytes, tag: str) -> bytes:
    root = etree.fromstring(body)
    element = root.find(f".//{tag}")
    element.text = ("3" if tag.endswith("value") else "A") + element.text[1:]
    return etree.tostring(root)


ATTACKS = {
    "not signed": lambda body, files, now: body,
    "another VEN of the same authority": lambda body, files, now: signed(body, files.other, now),
    "an hour old": lambda body, files, now: signed(body, files.vtn, now - timedelta(hours=1)),
    "an hour ahead": lambda body, files, now: signed(body, files.vtn, now + timedelta(hours=1)),
    "changed value": lambda body, files, now: changed(signed(body, files.vtn, now), f"{EI}value"),
    "changed nonce": lambda body, files, now: changed(signed(body, files.vtn, now), "{*}nonce"),
    "wrapped behind": lambda body, files, now: wrapped(signed(body, files.vtn, now), "behind"),
    "wrapped in the signature": lambda body, files, now: wrapped(signed(body, files.vtn, now), "in"),
    "wrapped with the same id": lambda body, files, now: wrapped(signed(body, files.vtn, now), "same id"),
}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_nothing_else_is_acted_on(judge, ven, certificates, attack):
    start_ms = ven.clock.now_ms() + HOUR_MS
    body = said.distribute(said.event("evt-1", start_ms, said.signal(("PT1H", "1"))))
    honest, judge.seal = judge.seal, lambda body: ATTACKS[attack](body, certificates, judge.now())
    judge.to_poll.append(body)
    await ven.until(lambda: not judge.to_poll, moving=True)
    judge.seal = honest
    await ven.poll()
    assert ven.store.events.find("evt-1") is None
    await ven.at(start_ms)
    assert ven.shed_w == 0


async def test_an_answer_that_came_before_is_not_believed_again(judge, signing, ven):
    start_ms = ven.clock.now_ms() + HOUR_MS
    once = signing.seal(said.distribute(said.event("evt-1", start_ms)))
    judge.seal = lambda body: body if body.startswith(b"<oadr:oadrPayload") else signing.seal(body)
    await ven.hear(once, "oadrCreatedEvent")
    ended = said.event("evt-1", start_ms, number=1, status="cancelled")
    await ven.hear(said.distribute(ended, request_id="dist-2"), "oadrCreatedEvent")
    await ven.poll(once)
    await ven.at(start_ms)
    assert ven.shed_w == 0
