"""Whatever is sent, the answer is an oadrResponse in XML, and the process lives."""

from __future__ import annotations

import io

import pytest

from openadr import v2
from openadr.errors import ResponseCode
from vtn.faces.openadr2.face import SERVICES

DOCTYPE = b"""<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]>
<oadrPayload xmlns="http://openadr.org/oadr-2.0b/2012/07">&a;</oadrPayload>"""


@pytest.mark.parametrize("body", [b"", b"no xml", b"\xff\xfe\x00", b"<a/>", DOCTYPE, b"<oadrPayload/>"])
async def test_garbage_is_answered_by_every_service(peer, body):
    for service in SERVICES:
        status, answer = await peer.post(service, body)
        message = v2.parse(answer)
        assert status == 200
        assert isinstance(message, v2.OadrResponse)
        assert 450 <= message.response.response_code < 470


async def test_an_error_keeps_the_request_id_of_the_question(peer):
    body = v2.render(v2.OadrRequestEvent("my-id", peer.ven_id)).replace(b"eiRequestEvent", b"eiUnknown")
    _, answer = await peer.post("EiEvent", body)
    assert v2.parse(answer).response.request_id == "my-id"


async def test_a_body_over_the_limit_is_refused_while_it_is_read(peer):
    async def endless():
        for _ in range(20):
            yield b" " * 100_000

    async with peer.session.post(f"{peer.url}/OpenADR2/Simple/2.0b/EiEvent", data=endless()) as response:
        message = v2.parse(await response.read())
    assert message.response.response_code == ResponseCode.INVALID_DATA
    _, answer = await peer.post("EiEvent", io.BytesIO(b" " * 1_100_000))
    assert v2.parse(answer).response.response_code == ResponseCode.INVALID_DATA


async def test_an_unknown_service_is_answered_in_xml(peer):
    status, answer = await peer.post("EiUnknown", v2.render(v2.OadrPoll(peer.ven_id)))
    assert (status, v2.parse(answer).response.response_code) == (404, 453)
    status, answer = await peer.post("%00%1b", b"")
    assert (status, v2.parse(answer).response.response_code) == (404, 453)


async def test_a_body_that_is_not_in_the_encoding_it_names_is_refused_in_xml(peer):
    url, headers = f"{peer.url}/OpenADR2/Simple/2.0b/OadrPoll", {"Content-Encoding": "gzip"}
    async with peer.session.post(url, data=b"zzz", headers=headers) as response:
        message = v2.parse(await response.read())
    assert (response.status, message.response.response_code) == (200, ResponseCode.INVALID_DATA)


async def test_a_message_only_a_vtn_sends_is_not_recognised(peer):
    message = v2.OadrRequestReregistration(peer.ven_id)
    assert (await peer.send(message, "EiRegisterParty")).response.response_code == 453


@pytest.mark.parametrize("content_type", ["text/xml", "application/xml; charset=utf-8", "text/plain", "x"])
async def test_any_content_type_is_read_in_lenient_mode(peer, content_type):
    status, answer = await peer.post("OadrPoll", v2.render(v2.OadrPoll(peer.ven_id)), content_type)
    assert (status, v2.parse(answer).response.response_code) == (200, 200)


async def test_an_unqualified_schema_version_is_read_in_lenient_mode(peer):
    body = v2.render(v2.OadrPoll(peer.ven_id)).replace(b"ei:schemaVersion", b"schemaVersion")
    _, answer = await peer.post("OadrPoll", body)
    assert v2.parse(answer).response.response_code == 200


async def test_an_internal_error_is_answered_in_xml_with_a_reference(opened_vtn, peer, monkeypatch):
    async def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(opened_vtn.vtn.reports, "confirm", broken)
    message = v2.OadrCreatedReport(v2.EiResponse(request_id="x"), (), peer.ven_id)
    answer = await peer.send(message)
    assert (answer.response.response_code, answer.response.request_id) == (469, "x")
    assert "ZeroDivision" not in answer.response.response_description
