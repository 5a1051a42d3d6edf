"""Rule 324: a reportBackDuration of 0 asks for one report; others come each reportBackDuration."""

from __future__ import annotations

from tests.conformance.v2 import reporting

QUARTER_MS = 900_000


def described(device):
    body = reporting.metadata("past", "HISTORY_USAGE", reporting.description("meter"))
    assert (
        device.post("EiReport", reporting.register_report(device.ven_id, body)).elements(".//oadr:oadrReportRequest")
        == []
    )


def ask(vtn, device, **given):
    given = {"granularity_s": 900, "report_back_s": 0} | given
    return vtn.do(vtn.inside.reports.ask(device.ven_id, "past", **given)).report_request_id


def deliver(device, request_id, start_ms, wh=500):
    stretch = reporting.interval(reporting.number("meter", wh), start_ms=start_ms, length="PT15M")
    body = reporting.report(request_id, "past", "HISTORY_USAGE", stretch)
    return device.post("EiReport", reporting.update_report(device.ven_id, body))


def test_one_history_report_is_asked_for_and_completes_the_request(vtn, device):
    described(device)
    start_ms = vtn.clock.now_ms() // QUARTER_MS * QUARTER_MS - 4 * QUARTER_MS
    request_id = ask(vtn, device, start_ms=start_ms, duration_s=3600)
    asked = device.poll_for("oadrCreateReport")
    assert asked.texts(".//ei:reportRequestID") == [request_id]
    assert asked.text(".//ei:reportBackDuration/xcal:duration") == "PT0S"
    assert asked.text(".//ei:reportInterval//xcal:duration/xcal:duration") == "PT1H"
    assert deliver(device, request_id, start_ms).code == 200
    [request] = vtn.do(vtn.inside.reports.all_requests(device.ven_id))
    assert request.status == "completed"
    assert deliver(device, request_id, start_ms).code == 200, "the answer may have been lost"
    vtn.clock.advance(60_000)
    assert device.poll().name == "oadrResponse"


def test_a_request_comes_again_until_it_is_confirmed_and_goes_on_until_it_is_cancelled(vtn, device):
    described(device)
    request_id = ask(vtn, device, report_back_s=900)
    device.poll_for("oadrCreateReport")
    vtn.clock.advance(30_000)
    asked = device.poll_for("oadrCreateReport")
    device.post("EiReport", reporting.created_report(device.ven_id, request_id, request_id=asked.request_id))
    vtn.clock.advance(30_000)
    assert device.poll().name == "oadrResponse"
    for count in range(3):
        assert (
            deliver(device, request_id, vtn.clock.now_ms() // QUARTER_MS * QUARTER_MS - count * QUARTER_MS).code == 200
        )
    [request] = vtn.do(vtn.inside.reports.requests(device.ven_id))
    assert request.status == "running"


def test_a_request_the_ven_refuses_ends(vtn, device):
    described(device)
    request_id = ask(vtn, device)
    asked = device.poll_for("oadrCreateReport")
    device.post("EiReport", reporting.created_report(device.ven_id, request_id=asked.request_id, code=461))
    [request] = vtn.do(vtn.inside.reports.all_requests(device.ven_id))
    assert (request.report_request_id, request.status) == (request_id, "refused")
    assert deliver(device, request_id, 0).code == 452


def test_a_request_that_is_refused_takes_none_with_it_that_the_ven_follows(vtn, device):
    """The code is about all requests of a message, the pending ones say which of them run."""
    usage = reporting.metadata("usage", "TELEMETRY_USAGE", reporting.description("meter"))
    status = reporting.description("status", unit="", report_type="x-resourceStatus", reading="x-notApplicable")
    status = reporting.metadata("status", "TELEMETRY_STATUS", status)
    asked = device.post("EiReport", reporting.register_report(device.ven_id, usage, status))
    [followed] = [each for each in asked.texts(".//ei:reportRequestID") if each.startswith("usage-")]
    device.post("EiReport", reporting.created_report(device.ven_id, followed, request_id="register-1", code=461))
    [request] = vtn.do(vtn.inside.reports.requests(device.ven_id))
    assert (request.report_request_id, request.status) == (followed, "running")
