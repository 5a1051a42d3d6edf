"""XML signatures of the high security level, signed and checked by stock openleadr, attacked by hand."""

from __future__ import annotations

import copy

import pytest
from lxml import etree
from openleadr import messaging

from tests.conformance.v2.security.conftest import EI, OADR

DS = "{http://www.w3.org/2000/09/xmldsig#}"


async def test_a_message_signed_by_openleadr_is_taken_and_openleadr_takes_the_answer(peer):
    """Profile, section 10.6: XML signatures with ReplayProtect."""
    status, answer = await peer.post(peer.signed(ven_id=peer.device.ven_id))
    assert status == 200
    assert answer.findtext(f".//{EI}responseCode") == "200"
    messaging.validate_xml_signature(answer)


async def test_a_replayed_message_is_refused(peer):
    """Defect of openleadr 0.5.36: its cache of nonces is a process's own, so another worker takes the replay."""
    body = peer.signed(ven_id=peer.device.ven_id)
    assert [await peer.code(body), await peer.code(body)] == ["200", "463"]


def wrapped(body: bytes, place: str) -> bytes:
    """The signed object kept somewhere, another one where a careless reader looks."""
    root = etree.fromstring(body)
    signature, signed = root.find(DS + "Signature"), root.find(OADR + "oadrSignedObject")
    forged = copy.deepcopy(signed)
    forged.find(f".//{EI}venID").text = "ven-somebody-else"
    if place != "same id":
        forged.set(OADR + "Id", "other")
        forged.attrib.pop("Id", None)
    root.replace(signed, forged)
    if place == "behind":
        root.append(signed)
    else:
        etree.SubElement(signature, DS + "Object").append(signed)
    return etree.tostring(root)


@pytest.mark.parametrize("place", ["behind", "in the signature", "same id"])
async def test_a_wrapped_message_does_not_speak_for_another(peer, place):
    """Defect of openleadr 0.5.36: it verifies one element and reads the payload from a second parse."""
    body = wrapped(peer.signed(ven_id=peer.device.ven_id), place)
    status, answer = await peer.post(body)
    assert status == 200
    assert (answer.findtext(f".//{EI}responseCode"), answer.findtext(f".//{EI}venID")) in {
        ("463", peer.device.ven_id), ("463", "ven-somebody-else"), ("463", None), ("200", peer.device.ven_id),
    }  # fmt: skip
    # what was acted on, if anything, is the signed poll
    assert answer.findtext(f".//{EI}responseCode") != "200" or answer.findtext(f".//{EI}venID") == peer.device.ven_id


@pytest.mark.parametrize("before", ["ven_id", "digest", "nonce"])
async def test_a_changed_message_is_refused(peer, before):
    """Profile, section 10.6: integrity of the payload and of ReplayProtect."""
    body = peer.signed(ven_id=peer.device.ven_id)
    root = etree.fromstring(body)
    tag = {"ven_id": f"{EI}venID", "digest": f"{DS}DigestValue", "nonce": "{*}nonce"}[before]
    element = root.find(f".//{tag}")
    element.text = "A" + element.text[1:]
    assert await peer.code(etree.tostring(root)) == "463"


async def test_a_doctype_is_refused_before_anybody_is_asked(peer):
    """Defect of openleadr 0.5.36: an internal entity ends the process."""
    body = b'<!DOCTYPE r [<!ENTITY e "x">]>' + peer.signed(ven_id=peer.device.ven_id).partition(b"?>")[2]
    assert await peer.code(body) == "451"
