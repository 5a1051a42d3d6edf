"""Rules 301, 306 and 327: both sides describe their reports with METADATA when they register, also if there are none;
METADATA in place of a reportSpecifierID asks for the description again; a new one replaces the old one."""

from __future__ import annotations

import pytest

from tests.conformance.v2 import reporting, wire


def register(device, *reports):
    return device.post("EiReport", reporting.register_report(device.ven_id, *reports, request_id="register-7"))


def confirmed(device, registered):
    """The VEN follows what the answer to its registration asked for."""
    pending = registered.texts(".//ei:reportRequestID")
    device.post("EiReport", reporting.created_report(device.ven_id, *pending))


def usage(*r_ids, specifier="usage"):
    return reporting.metadata(specifier, "TELEMETRY_USAGE", *map(reporting.description, r_ids))


def test_a_ven_without_reports_registers_an_empty_list(device):
    answer = register(device)
    assert (answer.name, answer.code, answer.answered) == ("oadrRegisteredReport", 200, "register-7")
    assert answer.elements("./oadr:oadrReportRequest") == []


def test_the_answer_asks_for_the_energy_that_was_described(device):
    answer = register(device, usage("meter"))
    assert answer.texts(".//ei:reportSpecifierID") == ["usage"]
    assert answer.texts(".//ei:specifierPayload/ei:rID") == ["meter"]
    assert answer.texts(".//ei:reportBackDuration/xcal:duration") == ["PT15M"]


def test_a_new_description_replaces_the_old_one(vtn, device):
    first = register(device, usage("meter"), usage("pump", specifier="pump"))
    [gone] = [
        each for each in first.texts(".//ei:reportRequestID") if each not in first.texts("(.//ei:reportRequestID)[1]")
    ]
    again = register(device, usage("meter"))
    assert again.texts(".//ei:reportSpecifierID") == ["usage"]
    body = reporting.report(
        gone, "pump", "TELEMETRY_USAGE", reporting.interval(reporting.number("pump", 1)), start_ms=0
    )
    assert device.post("EiReport", reporting.update_report(device.ven_id, body)).code == 452
    assert [each.report_specifier_id for each in vtn.do(vtn.inside.reports.specifiers(device.ven_id))] == ["usage"]


def test_the_vtn_asks_for_the_description_again_until_it_comes(vtn, device):
    confirmed(device, register(device, usage("meter")))
    vtn.do(vtn.inside.reports.ask_metadata(device.ven_id))
    asked = device.poll_for("oadrCreateReport")
    assert asked.texts(".//ei:reportSpecifierID") == ["METADATA"]
    vtn.clock.advance(30_000)
    assert device.poll_for("oadrCreateReport").texts(".//ei:reportSpecifierID") == ["METADATA"]
    confirmed(device, register(device, usage("meter")))
    vtn.clock.advance(30_000)
    assert device.poll().name == "oadrResponse"


def test_a_ven_asks_the_vtn_for_its_description(vtn, device):
    request = reporting.report_request("ask-1", "METADATA", r_id="METADATA", granularity="PT0S", back="PT0S")
    answer = device.post("EiReport", reporting.create_report(device.ven_id, request, request_id="create-7"))
    assert (answer.name, answer.code, answer.answered) == ("oadrCreatedReport", 200, "create-7")
    described = device.poll_for("oadrRegisterReport")
    assert described.texts(".//ei:reportName") == ["METADATA_HISTORY_USAGE", "METADATA_TELEMETRY_USAGE"]
    assert set(described.texts(".//oadr:oadrReportDescription/ei:rID")) == {"energy"}
    taken = device.post("EiReport", reporting.registered_report(device.ven_id, described.request_id))
    assert taken.code == 200
    vtn.clock.advance(60_000)
    assert device.poll().name == "oadrResponse"


def test_a_vtn_that_offers_its_reports_does_so_when_a_ven_registers(vtn, device):
    kept, vtn.inside.registrations.offer_reports = vtn.inside.registrations.offer_reports, True
    try:
        device.post("EiRegisterParty", wire.create_party_registration(device.ven_name))
    finally:
        vtn.inside.registrations.offer_reports = kept
    assert device.poll_for("oadrRegisterReport").texts(".//ei:reportName") != []


@pytest.mark.parametrize("period", ["P1M", "P1Y", "P999999999D"])
def test_the_longest_period_of_a_point_may_be_a_month_or_more(device, period):
    described = reporting.description("meter").replace("<oadr:oadrMaxPeriod>PT15M", f"<oadr:oadrMaxPeriod>{period}")
    body = reporting.register_report(device.ven_id, reporting.metadata("usage", "TELEMETRY_USAGE", described))
    answer = device.post("EiReport", body)
    assert (answer.code, answer.texts(".//xcal:granularity/xcal:duration")) == (200, ["PT15M"])


def test_a_point_that_is_measured_once_in_centuries_is_described_and_not_asked_for(device):
    described = reporting.description("meter", period="P99999D")
    body = reporting.register_report(device.ven_id, reporting.metadata("usage", "TELEMETRY_USAGE", described))
    answer = device.post("EiReport", body)
    assert (answer.code, answer.elements(".//oadr:oadrReportRequest")) == (200, [])
