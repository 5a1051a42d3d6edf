"""Rule 304: an oadrUpdateReport with a reportRequestID that is unknown for THAT VEN is answered with 452."""

from __future__ import annotations

from tests.conformance.v2 import reporting
from vtn.services.reports import USAGE_METADATA, MeteringPoint, Specifier


def a_report(request_id, start_ms, r_id="meter"):
    stretch = reporting.interval(reporting.number(r_id, 120), start_ms=start_ms, length="PT15M")
    return reporting.report(request_id, "usage", "TELEMETRY_USAGE", stretch)


def request_of(device):
    described = reporting.metadata("usage", "TELEMETRY_USAGE", reporting.description("meter"))
    answer = device.post("EiReport", reporting.register_report(device.ven_id, described))
    return answer.text(".//ei:reportRequestID")


def test_an_unknown_request_is_an_invalid_id(vtn, device):
    request_of(device)
    body = reporting.update_report(device.ven_id, a_report("nobody-asked", 0), request_id="update-7")
    answer = device.post("EiReport", body)
    assert (answer.name, answer.code, answer.answered) == ("oadrUpdatedReport", 452, "update-7")


def test_a_request_of_another_ven_is_unknown_too(vtn, device):
    other = vtn.device()
    special = vtn.do(ask_other(vtn, other))
    body = reporting.update_report(device.ven_id, a_report(special, 0))
    assert device.post("EiReport", body).code == 452
    assert vtn.do(vtn.inside.telemetry.history(device.ven_id, 0, 2**52)) == {}


async def ask_other(vtn, other):
    specifier = Specifier("x", USAGE_METADATA, (MeteringPoint("m", "usage", "Net"),))
    await vtn.inside.reports.register(other.ven_id, [specifier])
    return (await vtn.inside.reports.ask(other.ven_id, "x", granularity_s=900, report_back_s=900)).report_request_id


def test_one_unknown_report_does_not_spoil_the_others(vtn, device):
    known = request_of(device)
    start_ms = vtn.clock.now_ms() // 900_000 * 900_000 - 900_000
    body = reporting.update_report(device.ven_id, a_report("nobody-asked", start_ms), a_report(known, start_ms))
    assert device.post("EiReport", body).code == 452
    assert vtn.do(vtn.inside.telemetry.history(device.ven_id, start_ms, start_ms + 1)) == {start_ms: 120}


def test_a_point_that_was_never_described_is_an_invalid_id(vtn, device):
    known = request_of(device)
    body = reporting.update_report(device.ven_id, a_report(known, vtn.clock.now_ms() - 900_000, r_id="somewhere"))
    assert device.post("EiReport", body).code == 452


def test_a_cancelled_request_is_unknown(vtn, device):
    known = request_of(device)
    vtn.do(vtn.inside.reports.cancel(device.ven_id, known))
    told = device.poll_for("oadrCancelReport")
    assert (told.texts("./ei:reportRequestID"), told.text("./pyld:reportToFollow")) == ([known], "false")
    assert device.post("EiReport", reporting.canceled_report(device.ven_id, request_id=told.request_id)).code == 200
    body = reporting.update_report(device.ven_id, a_report(known, vtn.clock.now_ms() - 900_000))
    assert device.post("EiReport", body).code == 452


def test_a_last_report_that_was_asked_for_is_taken(vtn, device):
    known = request_of(device)
    vtn.do(vtn.inside.reports.cancel(device.ven_id, known, report_to_follow=True))
    assert device.poll_for("oadrCancelReport").text("./pyld:reportToFollow") == "true"
    body = reporting.update_report(device.ven_id, a_report(known, vtn.clock.now_ms() - 900_000))
    assert device.post("EiReport", body).code == 200


def test_an_answer_about_other_requests_does_not_end_one_that_was_not_sent_yet(vtn, device):
    known = request_of(device)
    vtn.do(vtn.inside.reports.cancel(device.ven_id, known))
    device.post("EiReport", reporting.canceled_report(device.ven_id))
    assert device.poll_for("oadrCancelReport").texts("./ei:reportRequestID") == [known]
