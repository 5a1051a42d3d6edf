"""What real devices get wrong is read when the VTN is lenient (as delivered) and refused when it is strict; either way
the answer is an oadrResponse in XML."""

from __future__ import annotations

import pytest

from tests.conformance.v2 import reporting, wire
from tests.conformance.v2.running import Device, a_running_vtn


@pytest.fixture(scope="module")
def strict(running_vtn, tmp_path_factory):
    """A strict VTN on the same database."""
    folder = tmp_path_factory.mktemp("strict")
    with a_running_vtn(running_vtn.database_url, folder, running_vtn.clock, lenient=False) as running:
        yield running


def habits(ven_id):
    """Deviation -> (service, body, content type)."""
    poll = wire.poll(ven_id)
    inner = poll[poll.index(b"<oadr:oadrPoll") : poll.index(b"</oadr:oadrSignedObject>")]
    names = poll[poll.index(b" xmlns:oadr") : poll.index(b"><oadr:oadrSignedObject>")]
    bare = inner.replace(b"<oadr:oadrPoll", b"<oadr:oadrPoll" + names, 1)
    events = wire.request_event(ven_id)
    swapped = events.replace(
        b"<pyld:requestID>events-1</pyld:requestID><ei:venID>" + ven_id.encode() + b"</ei:venID>",
        b"<ei:venID>" + ven_id.encode() + b"</ei:venID><pyld:requestID>events-1</pyld:requestID>",
    )
    assert swapped != events
    return {
        "schemaVersion without namespace": (
            "OadrPoll",
            poll.replace(b"ei:schemaVersion", b"schemaVersion"),
            "application/xml",
        ),
        "no oadrPayload": ("OadrPoll", bare, "application/xml"),
        "order of elements": ("EiEvent", swapped, "application/xml"),
        "another content type": ("OadrPoll", poll, "text/plain"),
        "another service": ("EiEvent", poll, "application/xml"),
    }


KINDS = sorted(habits("x"))


@pytest.mark.parametrize("habit", KINDS)
def test_a_lenient_vtn_reads_it(device, habit):
    service, body, content_type = habits(device.ven_id)[habit]
    answer = device.post(service, body, content_type)
    assert answer.code == 200, answer.body


@pytest.mark.parametrize("habit", KINDS)
def test_a_strict_vtn_refuses_it_in_xml(device, strict, habit):
    there = Device(strict, device.ven_name, device.ven_id)
    service, body, content_type = habits(device.ven_id)[habit]
    answer = there.post(service, body, content_type)
    assert answer.name == "oadrResponse"
    assert 450 <= answer.code < 470
    assert there.poll().code == 200


@pytest.mark.parametrize(("written", "ok"), [("+00:00", True), ("Z", True), ("+02:00", False)])
def test_a_time_with_an_offset_of_zero_is_utc(vtn, device, written, ok):
    described = reporting.metadata("usage", "TELEMETRY_USAGE", reporting.description("meter"))
    body = reporting.register_report(device.ven_id, described).replace(b":00:00Z<", f":00:00{written}<".encode())
    assert (device.post("EiReport", body).code == 200) is ok


@pytest.mark.parametrize(("written", "seconds"), [("P1W", 604_800), ("P7D", 604_800), ("PT168H", 604_800)])
def test_a_week_is_a_week(vtn, device, written, seconds):
    """A stock VTN read P1W as 0."""
    start_ms = vtn.clock.now_ms()
    body = wire.create_opt(device.ven_id, "opt-1", "optOut", available=((start_ms, written),))
    assert device.post("EiOpt", body).code == 200
    [found] = vtn.do(vtn.inside.opts.list(device.ven_id))
    assert [length_s for _, length_s in found.schedule.availability] == [seconds]


@pytest.mark.parametrize("service", ["/OadrPoll", "OadrPoll/", "//OadrPoll//"])
def test_a_slash_too_many_between_address_and_service_does_not_matter(device, service):
    assert device.post(service, wire.poll(device.ven_id)).code == 200
