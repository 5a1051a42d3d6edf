"""The VTN reports too: a VEN asks for its own energy as the VTN recorded it, once or each reportBackDuration."""

from __future__ import annotations

import pytest

from tests.conformance.v2 import reporting
from tests.conformance.v2.reporting import interval, number

QUARTER_MS = 900_000


def with_history(vtn, device, count=4):
    """A VEN that has reported `count` quarters of an hour of 100, 101, ... Wh; returns the first start."""
    described = reporting.metadata("usage", "TELEMETRY_USAGE", reporting.description("meter"))
    answer = device.post("EiReport", reporting.register_report(device.ven_id, described))
    request_id = answer.text(".//ei:reportRequestID")
    start_ms = vtn.clock.now_ms() // QUARTER_MS * QUARTER_MS - count * QUARTER_MS
    stretches = [
        interval(number("meter", 100 + n), start_ms=start_ms + n * QUARTER_MS, length="PT15M") for n in range(count)
    ]
    body = reporting.report(request_id, "usage", "TELEMETRY_USAGE", *stretches)
    assert device.post("EiReport", reporting.update_report(device.ven_id, body)).code == 200
    return start_ms


def ask(device, *requests):
    return device.post("EiReport", reporting.create_report(device.ven_id, *requests, request_id="create-7"))


def received(device):
    """The values of the next report, confirmed."""
    update = device.poll_for("oadrUpdateReport")
    assert device.post("EiReport", reporting.updated_report(device.ven_id, update.request_id)).code == 200
    return update.texts(".//ei:reportRequestID"), update.texts(".//oadr:oadrReportPayload//ei:value")


def test_history_is_sent_once_and_again_until_it_is_confirmed(vtn, device):
    start_ms = with_history(vtn, device)
    answer = ask(
        device, reporting.report_request("mine-1", "vtn-history", back="PT0S", start_ms=start_ms, length="PT1H")
    )
    assert (answer.name, answer.code, answer.answered) == ("oadrCreatedReport", 200, "create-7")
    assert answer.texts(".//oadr:oadrPendingReports/ei:reportRequestID") == ["mine-1"]
    first = device.poll_for("oadrUpdateReport")
    assert first.texts(".//oadr:oadrReportPayload//ei:value") == ["100", "101", "102", "103"]
    vtn.clock.advance(30_000)
    assert received(device) == (["mine-1"], ["100", "101", "102", "103"])
    vtn.clock.advance(60_000)
    assert device.poll().name == "oadrResponse"
    assert vtn.do(vtn.inside.report_source.running(device.ven_id)) == []


def test_a_coarser_granularity_adds_up(vtn, device):
    start_ms = with_history(vtn, device)
    ask(device, reporting.report_request(
        "mine-1", "vtn-history", granularity="PT30M", back="PT0S", start_ms=start_ms, length="PT1H"
    ))  # fmt: skip
    assert received(device) == (["mine-1"], ["201", "205"])


def test_a_periodic_report_brings_what_is_new_until_it_is_cancelled(vtn, device):
    start_ms = with_history(vtn, device)
    ask(device, reporting.report_request("mine-1", "vtn-usage", back="PT15M", start_ms=start_ms))
    vtn.clock.advance(QUARTER_MS)
    assert received(device) == (["mine-1"], ["100", "101", "102", "103"])
    vtn.clock.advance(QUARTER_MS)
    assert received(device) == (["mine-1"], []), "nothing was recorded since"
    cancelled = device.post("EiReport", reporting.cancel_report(device.ven_id, "mine-1"))
    assert (cancelled.name, cancelled.code) == ("oadrCanceledReport", 200)
    assert cancelled.texts(".//oadr:oadrPendingReports/ei:reportRequestID") == []
    vtn.clock.advance(4 * QUARTER_MS)
    assert device.poll().name == "oadrResponse"


def test_a_last_report_follows_a_cancellation_that_asks_for_it(vtn, device):
    start_ms = with_history(vtn, device)
    ask(device, reporting.report_request("mine-1", "vtn-usage", back="PT12H", start_ms=start_ms))
    assert device.post("EiReport", reporting.cancel_report(device.ven_id, "mine-1", to_follow=True)).code == 200
    assert received(device) == (["mine-1"], ["100", "101", "102", "103"])


@pytest.mark.parametrize(
    ("request_xml", "code"),
    [
        (reporting.report_request("mine-1", "weather"), 461),
        (reporting.report_request("mine-1", "vtn-usage", r_id="voltage"), 452),
        (reporting.report_request("mine-1", "vtn-usage", granularity="PT10M"), 454),
        (reporting.report_request("mine-1", "vtn-usage", granularity="P99999D"), 454),
        (reporting.report_request("mine-1", "vtn-usage", back="P99999D"), 454),
    ],
)
def test_what_the_vtn_does_not_report_is_refused_with_its_code(vtn, device, request_xml, code):
    answer = ask(device, request_xml)
    assert (answer.name, answer.code) == ("oadrCreatedReport", code)
    assert vtn.do(vtn.inside.report_source.running(device.ven_id)) == []


def test_an_unknown_request_cannot_be_cancelled(device):
    answer = device.post("EiReport", reporting.cancel_report(device.ven_id, "nobody-asked"))
    assert (answer.name, answer.code) == ("oadrCanceledReport", 452)


def test_a_ven_asks_for_reports_in_the_same_breath_as_it_takes_the_offer(vtn, device):
    start_ms = with_history(vtn, device)
    vtn.do(vtn.inside.report_source.offer(device.ven_id))
    offer = device.poll_for("oadrRegisterReport")
    request = reporting.report_request("mine-1", "vtn-history", back="PT0S", start_ms=start_ms, length="PT1H")
    assert device.post("EiReport", reporting.registered_report(device.ven_id, offer.request_id, request)).code == 200
    assert received(device)[0] == ["mine-1"]


def test_a_ven_gets_its_own_energy_only(vtn, device):
    other = vtn.device()
    start_ms = with_history(vtn, other)
    ask(device, reporting.report_request("mine-1", "vtn-history", back="PT0S", start_ms=start_ms, length="PT1H"))
    assert received(device) == (["mine-1"], [])
