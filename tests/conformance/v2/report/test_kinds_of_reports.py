"""Every kind of report a VEN can bring: energy in any scale, power, states with load control, Green Button feeds,
quality codes."""

from __future__ import annotations

import pytest

from tests.conformance.v2 import reporting
from tests.conformance.v2.reporting import FEED, interval, number

QUARTER_MS = 900_000


def register(device, specifier, name, *descriptions):
    body = reporting.metadata(specifier, name, *descriptions)
    return device.post("EiReport", reporting.register_report(device.ven_id, body))


def send(device, request_id, specifier, name, *intervals, start_ms=None):
    body = reporting.report(request_id, specifier, name, *intervals, start_ms=start_ms)
    return device.post("EiReport", reporting.update_report(device.ven_id, body))


@pytest.mark.parametrize(("scale", "value", "wh"), [("none", "250", 250), ("k", "0.25", 250), ("M", "0.0005", 500)])
def test_energy_is_kept_in_wh_whatever_its_scale(vtn, device, scale, value, wh):
    unit = reporting.ENERGY.format(scale=scale)
    registered = register(device, "usage", "TELEMETRY_USAGE", reporting.description("meter", unit=unit))
    start_ms = vtn.clock.now_ms() // QUARTER_MS * QUARTER_MS - QUARTER_MS
    stretch = interval(number("meter", value), start_ms=start_ms, length="PT15M")
    assert send(device, registered.text(".//ei:reportRequestID"), "usage", "TELEMETRY_USAGE", stretch).code == 200
    assert vtn.do(vtn.inside.telemetry.history(device.ven_id, 0, 2**52)) == {start_ms: wh}


def test_power_is_asked_for_by_the_operator_and_kept_as_it_is(vtn, device):
    power = reporting.description("power", unit=reporting.POWER, report_type="demand", reading="Mean")
    assert register(device, "power", "TELEMETRY_USAGE", power).elements(".//oadr:oadrReportRequest") == []
    request_id = vtn.do(
        vtn.inside.reports.ask(device.ven_id, "power", granularity_s=60, report_back_s=60)
    ).report_request_id
    assert device.poll_for("oadrCreateReport").texts(".//ei:readingType") == ["Mean"]
    start_ms = vtn.clock.now_ms() - 60_000
    stretch = interval(number("power", "1234.5"), start_ms=start_ms, length="PT1M")
    assert send(device, request_id, "power", "TELEMETRY_USAGE", stretch).code == 200
    [found] = vtn.do(vtn.inside.collected.values(device.ven_id, "power", 0, 2**52))
    assert (found.start_ms, found.interval_s, found.value, found.quality) == (start_ms, 60, "1234.5", "ok")


def test_states_of_resources_are_asked_for_at_once_and_kept(vtn, device):
    """A stock VTN answered TELEMETRY_STATUS with a KeyError."""
    described = reporting.description("status", unit="", report_type="x-resourceStatus", reading="x-notApplicable")
    registered = register(device, "status", "TELEMETRY_STATUS", described)
    request_id = registered.text(".//ei:reportRequestID")
    control = (
        "<oadr:oadrLoadControlState><oadr:oadrCapacity><oadr:oadrMin>0</oadr:oadrMin><oadr:oadrMax>1</oadr:oadrMax>"
        "<oadr:oadrCurrent>0.75</oadr:oadrCurrent></oadr:oadrCapacity></oadr:oadrLoadControlState>"
    )
    now_ms = vtn.clock.now_ms()
    first = interval(reporting.status("status", online=True, override=False, control=control), start_ms=now_ms - 60_000)
    assert send(device, request_id, "status", "TELEMETRY_STATUS", first).code == 200
    [found] = vtn.do(vtn.inside.collected.states(device.ven_id))
    assert (found.online, found.manual_override) == (True, False)
    assert (found.load_control.capacity.current, found.load_control.capacity.max) == ("0.75", "1")
    second = interval(reporting.status("status", online=False, override=True), start_ms=now_ms)
    assert send(device, request_id, "status", "TELEMETRY_STATUS", second).code == 200
    [found] = vtn.do(vtn.inside.collected.states(device.ven_id))
    assert (found.online, found.manual_override, found.load_control) == (False, True, None)


def test_green_button_data_are_kept_as_they_came(vtn, device):
    unit = f"<oadr:oadrGBDataDescription>{FEED}</oadr:oadrGBDataDescription>"
    described = reporting.description("green", unit=unit, reading="Direct Read")
    register(device, "green", "HISTORY_GREENBUTTON", described)
    request_id = vtn.do(
        vtn.inside.reports.ask(device.ven_id, "green", granularity_s=0, report_back_s=0)
    ).report_request_id
    device.poll_for("oadrCreateReport")
    stretch = interval(f"<oadr:oadrGBPayload>{FEED}</oadr:oadrGBPayload>", start_ms=0, length="PT1H")
    for _ in range(2):
        assert send(device, request_id, "green", "HISTORY_GREENBUTTON", stretch).code == 200
    assert vtn.do(vtn.inside.collected.feeds(device.ven_id)) == [FEED]


def test_a_value_of_bad_quality_is_kept_and_one_that_is_missing_is_none(vtn, device):
    request_id = register(device, "usage", "TELEMETRY_USAGE", reporting.description("meter")).text(
        ".//ei:reportRequestID"
    )
    start_ms = vtn.clock.now_ms() // QUARTER_MS * QUARTER_MS - 3 * QUARTER_MS
    qualities = ("Quality Good - Non Specific", "Quality Bad - Not Connected", "No Quality - No Value")
    stretches = [
        interval(number("meter", 10, quality), start_ms=start_ms + n * QUARTER_MS, length="PT15M")
        for n, quality in enumerate(qualities)
    ]
    assert send(device, request_id, "usage", "TELEMETRY_USAGE", *stretches).code == 200
    history = vtn.do(vtn.inside.telemetry.history(device.ven_id, 0, 2**52))
    assert history == {start_ms: 10, start_ms + QUARTER_MS: 10}


def test_several_points_share_an_interval(vtn, device):
    request_id = register(
        device,
        "usage",
        "TELEMETRY_USAGE",
        reporting.description("meter"),
        reporting.description("pv", reading="Direct Read"),
    ).text(".//ei:reportRequestID")
    start_ms = vtn.clock.now_ms() // QUARTER_MS * QUARTER_MS - QUARTER_MS
    stretch = interval(number("meter", 10), number("pv", -3), start_ms=start_ms, length="PT15M")
    assert send(device, request_id, "usage", "TELEMETRY_USAGE", stretch).code == 200
    assert vtn.do(vtn.inside.telemetry.history(device.ven_id, 0, 2**52, r_id="pv")) == {start_ms: -3}


def test_readings_of_an_interval_that_has_not_begun_are_invalid(vtn, device):
    request_id = register(device, "usage", "TELEMETRY_USAGE", reporting.description("meter")).text(
        ".//ei:reportRequestID"
    )
    stretch = interval(number("meter", 10), start_ms=vtn.clock.now_ms() + 3_600_000, length="PT15M")
    assert send(device, request_id, "usage", "TELEMETRY_USAGE", stretch).code == 454


def test_a_feed_in_a_report_of_another_kind_is_not_supported(vtn, device):
    registered = register(device, "usage", "TELEMETRY_USAGE", reporting.description("meter"))
    stretch = interval(f"<oadr:oadrGBPayload>{FEED}</oadr:oadrGBPayload>", start_ms=0, length="PT1H")
    assert send(device, registered.text(".//ei:reportRequestID"), "usage", "TELEMETRY_USAGE", stretch).code == 461
    assert vtn.do(vtn.inside.collected.feeds(device.ven_id)) == []


def test_what_is_no_number_is_missing_and_spoils_no_other(vtn, device):
    """The schema allows it, and meters without a value say it."""
    points = (reporting.description("meter"), reporting.description("power", unit=reporting.POWER))
    registered = register(device, "usage", "TELEMETRY_USAGE", *points)
    start_ms = vtn.clock.now_ms() // QUARTER_MS * QUARTER_MS - 2 * QUARTER_MS
    stretches = (
        interval(number("meter", "NaN"), number("power", "NaN"), start_ms=start_ms, length="PT15M"),
        interval(number("meter", 7), start_ms=start_ms + QUARTER_MS, length="PT15M"),
    )
    answer = send(device, registered.text(".//ei:reportRequestID"), "usage", "TELEMETRY_USAGE", *stretches)
    assert answer.code == 200
    assert vtn.do(vtn.inside.telemetry.history(device.ven_id, 0, 2**52)) == {start_ms + QUARTER_MS: 7}
    assert vtn.do(vtn.inside.collected.values(device.ven_id, "power", 0, 2**52)) == []
