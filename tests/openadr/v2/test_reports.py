"""Readings into reports and out of them: integer Wh, nothing lost, nothing invented."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openadr.errors import InvalidReport, MessageError, OpenAdrError, ResponseCode
from openadr.model import Reading, Report, Unit
from openadr.v2 import (
    GreenButton,
    OadrRegisterReport,
    OadrReport,
    OadrUpdateReport,
    ReportDescription,
    ReportInterval,
    ReportPayload,
    from_report,
    parse,
    render,
    to_report,
    usage_metadata,
)
from tests.builders import START_MS
from tests.openadr.samples import MESSAGES

METER = ReportDescription("meter", "usage", "Net", Unit("energy_real", "Wh"))
METADATA = usage_metadata("usage", ["meter", "pv"], period_s=900, created_ms=START_MS, resource_ids={"meter": "home-1"})
DESCRIBED = {each.r_id: each for each in METADATA.descriptions}


def a_report(*intervals: ReportInterval, start_ms: int | None = START_MS) -> OadrReport:
    return OadrReport("rr-1", "usage", START_MS, "TELEMETRY_USAGE", "report-1", start_ms, intervals=intervals)


def an_interval(value: str, start_ms: int | None = None, duration_s: int | None = None) -> ReportInterval:
    return ReportInterval((ReportPayload("meter", value),), start_ms, duration_s)


READINGS = st.builds(
    Reading,
    st.sampled_from(["meter", "pv"]),
    st.integers(0, 10_000).map(lambda quarter: START_MS + 900_000 * quarter),
    st.sampled_from([300, 900, 3600]),
    st.integers(-(10**9), 10**9),
    st.sampled_from(["ok", "estimated", "bad"]),
)


@given(st.lists(READINGS, max_size=8, unique_by=lambda reading: (reading.start_ms, reading.duration_s, reading.r_id)))
def test_readings_survive_the_wire(given_readings: list[Reading]) -> None:
    report = Report("report-1", "rr-1", "usage", START_MS, tuple(given_readings))
    message = parse(render(OadrUpdateReport("r", (from_report(report),), "00123")))
    assert isinstance(message, OadrUpdateReport)
    back = to_report(message.reports[0], DESCRIBED)
    assert sorted(back.readings, key=repr) == sorted(report.readings, key=repr)
    assert (back.report_id, back.report_request_id, back.name) == ("report-1", "rr-1", "TELEMETRY_USAGE")


def test_a_missing_reading_stays_missing() -> None:
    gap = Reading("meter", START_MS, 900, 0, "missing")
    body = render(OadrUpdateReport("r", (from_report(Report("x", "rr-1", "usage", START_MS, (gap,))),)))
    assert b"No Quality - No Value" in body
    message = parse(body)
    assert isinstance(message, OadrUpdateReport)
    assert to_report(message.reports[0], DESCRIBED).readings == (gap,)


def test_our_metadata_is_a_valid_register_report_with_request_id_0() -> None:
    """Rules 301, 306, 311, 327."""
    message = parse(render(OadrRegisterReport("r", (METADATA,), "00123")))
    assert isinstance(message, OadrRegisterReport)
    assert message.reports == (METADATA,)
    assert (METADATA.report_request_id, METADATA.report_name) == ("0", "METADATA_TELEMETRY_USAGE")


def test_an_interval_without_a_start_inherits_the_report_s_and_then_follows_on() -> None:
    """Rules 314 and 342."""
    report = a_report(an_interval("1"), an_interval("2"), an_interval("3", START_MS + 7_200_000, 60))
    found = [
        (reading.start_ms - START_MS, reading.duration_s) for reading in to_report(report, DESCRIBED, 900).readings
    ]
    assert found == [(0, 900), (900_000, 900), (7_200_000, 60)]
    with pytest.raises(InvalidReport):
        to_report(a_report(an_interval("1"), start_ms=None), DESCRIBED)


@pytest.mark.parametrize(
    ("value", "scale", "value_wh"),
    [
        ("412", "none", 412),
        ("0.412", "k", 412),
        ("1.5", "none", 2),
        ("2.5", "none", 2),
        ("-0.0004", "M", -400),
        ("7", "m", 0),
    ],
)
def test_units_are_scaled_to_wh_without_floats(value: str, scale: str, value_wh: int) -> None:
    described = {"meter": ReportDescription("meter", "usage", "Net", Unit("energy_real", "Wh", scale))}
    (reading,) = to_report(a_report(an_interval(value)), described).readings
    assert reading.value_wh == value_wh


@pytest.mark.parametrize(
    ("description", "code"),
    [
        (None, ResponseCode.INVALID_ID),
        (ReportDescription("meter", "demand", "Mean", Unit("power_real", "W")), ResponseCode.REPORT_NOT_SUPPORTED),
        (ReportDescription("meter", "level", "x-notApplicable"), ResponseCode.REPORT_NOT_SUPPORTED),
    ],
)
def test_a_value_without_a_usable_description_is_refused(
    description: ReportDescription | None, code: ResponseCode
) -> None:
    """openleadr drops an unknown report with code 200."""
    described = {} if description is None else {"meter": description}
    with pytest.raises(InvalidReport) as caught:
        to_report(a_report(an_interval("1")), described)
    assert caught.value.code is code


def test_a_status_report_is_read() -> None:
    """TELEMETRY_STATUS: openleadr raises KeyError."""
    update = next(message for message in MESSAGES if isinstance(message, OadrUpdateReport))
    message = parse(render(update))
    assert isinstance(message, OadrUpdateReport)
    payload = message.reports[0].intervals[1].payloads[0]
    assert payload.status is not None
    assert (payload.status.online, payload.quality) == (True, "bad")


@pytest.mark.parametrize("change", [{"r_id": ""}, {"duration_s": -1}, {"start_ms": -1}, {"value_wh": 2**53}])
def test_a_reading_out_of_range_cannot_be_made(change: dict[str, object]) -> None:
    with pytest.raises(InvalidReport):
        Reading(**{"r_id": "m", "start_ms": 0, "duration_s": 1, "value_wh": 1, **change})  # type: ignore[arg-type]


def test_an_infinite_value_is_refused() -> None:
    body = render(OadrUpdateReport("r", (a_report(an_interval("1")),))).replace(b"<ei:value>1<", b"<ei:value>INF<")
    with pytest.raises(MessageError):
        parse(body)


@pytest.mark.parametrize("feed", ["", "no xml", "<a/>", '<entry xmlns="http://www.w3.org/2005/Atom"/>', "<feed/>"])
def test_what_is_no_atom_feed_is_not_written_into_a_message(feed: str) -> None:
    interval = ReportInterval((), 0, 3600, green_button=(GreenButton(feed),))
    with pytest.raises(OpenAdrError):
        render(OadrUpdateReport("r", (OadrReport("rr", "green", 0, intervals=(interval,)),)))


def test_a_feed_keeps_the_names_it_uses_in_values() -> None:
    feed = (
        '<feed xmlns="http://www.w3.org/2005/Atom" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
        "<id>urn:uuid:1</id><title>a &amp; b</title><updated>2026-01-01T00:00:00Z</updated></feed>"
    )
    interval = ReportInterval((), 0, 3600, green_button=(GreenButton(feed),))
    sent = OadrUpdateReport("r", (OadrReport("rr", "green", 0, intervals=(interval,)),))
    assert parse(render(sent)) == sent
