"""Rules 314 and 342: an interval without dtstart inherits that of its report; those that follow go on from there."""

from __future__ import annotations

from tests.conformance.v2 import reporting
from tests.conformance.v2.reporting import interval, number

QUARTER_MS = 900_000


def send(device, *intervals, start_ms=None):
    described = reporting.metadata("usage", "TELEMETRY_USAGE", reporting.description("meter"))
    answer = device.post("EiReport", reporting.register_report(device.ven_id, described))
    request_id = answer.text(".//ei:reportRequestID")
    body = reporting.report(request_id, "usage", "TELEMETRY_USAGE", *intervals, start_ms=start_ms)
    return device.post("EiReport", reporting.update_report(device.ven_id, body))


def history(vtn, device):
    return vtn.do(vtn.inside.telemetry.history(device.ven_id, 0, 2**52))


def test_the_start_of_the_report_is_that_of_its_first_interval(vtn, device):
    start_ms = vtn.clock.now_ms() // QUARTER_MS * QUARTER_MS - 4 * QUARTER_MS
    answer = send(
        device,
        interval(number("meter", 1), length="PT15M"),
        interval(number("meter", 2), length="PT15M"),
        interval(number("meter", 3), start_ms=start_ms + 3 * QUARTER_MS, length="PT15M"),
        start_ms=start_ms,
    )
    assert answer.code == 200
    assert history(vtn, device) == {start_ms: 1, start_ms + QUARTER_MS: 2, start_ms + 3 * QUARTER_MS: 3}


def test_a_missing_duration_is_the_granularity_that_was_asked_for(vtn, device):
    start_ms = vtn.clock.now_ms() // QUARTER_MS * QUARTER_MS - 4 * QUARTER_MS
    assert send(device, interval(number("meter", 1)), interval(number("meter", 2)), start_ms=start_ms).code == 200
    assert history(vtn, device) == {start_ms: 1, start_ms + QUARTER_MS: 2}


def test_without_any_start_the_data_are_invalid(vtn, device):
    assert send(device, interval(number("meter", 1), length="PT15M")).code == 454
    assert history(vtn, device) == {}
