"""Bodies that crashed or confused a stock VTN: entities, a DOCTYPE, no payload, too many bytes. Each gets an
oadrResponse in XML, before anybody is authenticated, and the VTN lives."""

from __future__ import annotations

import random

import pytest

from tests.conformance.v2 import reporting, wire

SERVICES = ["EiRegisterParty", "EiEvent", "EiReport", "EiOpt", "OadrPoll"]
ENTITY = (
    b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    b'<oadrPayload xmlns="http://openadr.org/oadr-2.0b/2012/07"><oadrSignedObject>&b;</oadrSignedObject></oadrPayload>'
)
EXTERNAL = (
    b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    b'<oadrPayload xmlns="http://openadr.org/oadr-2.0b/2012/07">&a;</oadrPayload>'
)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("body", [ENTITY, EXTERNAL], ids=["internal", "external"])
def test_a_document_with_entities_is_refused_everywhere(device, service, body):
    """600 bytes of it ended the process of a stock VTN."""
    answer = device.post(service, body)
    assert (answer.name, answer.code) == ("oadrResponse", 451)
    assert b"root:" not in answer.body
    assert device.poll().code == 200


@pytest.mark.parametrize(
    "body",
    [b"", b"<", b"plain text", b"\x00\x01", b"\xff\xfe<a/>", b"<a/>", b"<oadrPayload/>", wire.poll("x")[:-20]],
    ids=range(8),
)
def test_what_is_no_message_gets_an_answer_in_xml(device, body):
    answer = device.post("OadrPoll", body)
    assert (answer.name, answer.code // 10) == ("oadrResponse", 45)


def test_more_than_a_mebibyte_is_refused_in_xml(device):
    """A stock VTN answered 500 in plain text."""
    answer = device.post("EiReport", wire.poll(device.ven_id) + b" " * 1_100_000)
    assert (answer.name, answer.code) == ("oadrResponse", 454)


def test_a_message_only_a_vtn_sends_is_not_recognised(device):
    body = wire.payload(
        f'<oadr:oadrRequestReregistration ei:schemaVersion="2.0b"><ei:venID>{device.ven_id}</ei:venID>'
        "</oadr:oadrRequestReregistration>"
    )
    assert device.post("EiRegisterParty", body).code == 453


def test_an_unknown_service_is_answered_in_xml(device):
    answer = device.post("EiWeather", wire.poll(device.ven_id))
    assert (answer.status, answer.code) == (404, 453)


@pytest.mark.parametrize("length", ["P99999D", "P999999999D"])
def test_a_reading_of_centuries_is_invalid_and_spoils_no_other(vtn, device, length):
    described = reporting.metadata("usage", "TELEMETRY_USAGE", reporting.description("meter"))
    asked = device.post("EiReport", reporting.register_report(device.ven_id, described))
    request_id = asked.text(".//oadr:oadrReportRequest/ei:reportRequestID")
    start_ms = vtn.clock.now_ms() - 900_000
    reports = [
        reporting.report(
            request_id, "usage", "TELEMETRY_USAGE",
            reporting.interval(reporting.number("meter", 1), start_ms=start_ms, length=each),
        )
        for each in (length, "PT15M")
    ]  # fmt: skip
    answer = device.post("EiReport", reporting.update_report(device.ven_id, *reports))
    assert (answer.name, answer.code) == ("oadrUpdatedReport", 454)
    assert vtn.do(vtn.inside.telemetry.history(device.ven_id, 0, 2**52)) == {start_ms: 1}


@pytest.mark.parametrize(
    ("opt_id", "event"),
    [("opt-1", 4_294_967_295), (f"{random.Random(7).getrandbits(80_000):x}", 0)],
    ids=["modificationNumber", "optID"],
)
def test_numbers_and_ids_that_nothing_holds_are_invalid_data(vtn, device, opt_id, event):
    event_id = vtn.event(device)
    answer = device.post("EiOpt", wire.create_opt(device.ven_id, opt_id, "optOut", event=(event_id, event)))
    assert (answer.name, answer.code) == ("oadrCreatedOpt", 454)
    assert device.poll().code in (0, 200)
