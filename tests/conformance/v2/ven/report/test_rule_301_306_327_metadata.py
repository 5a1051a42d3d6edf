"""Rules 301, 306 and 327: a VEN describes its reports with METADATA when it registers, and again when METADATA is asked
for; it takes the VTN's description too."""

from __future__ import annotations

from tests.conformance.v2 import reporting, wire
from tests.conformance.v2.ven import said
from tests.conformance.v2.ven.judged import RESOURCE, a_ven


def described(heard):
    """(reportName, reportSpecifierID, rIDs) of each report."""
    return [
        (
            heard.text("./ei:reportName", each),
            heard.text("./ei:reportSpecifierID", each),
            heard.texts("./oadr:oadrReportDescription/ei:rID", each),
        )
        for each in heard.elements("./oadr:oadrReport")
    ]


async def test_reports_are_described_once_after_the_registration(judge, ven):
    names = [each.name for each in judge.heard]
    assert names.index("oadrRegisterReport") == names.index("oadrCreatePartyRegistration") + 1
    [metadata] = judge.of("oadrRegisterReport")
    reports = described(metadata)
    assert reports
    assert all(name.startswith("METADATA_") and r_ids for name, _, r_ids in reports)
    energy = [
        each
        for each in metadata.elements(".//oadr:oadrReportDescription")
        if metadata.texts("./power:energyReal", each)
    ]
    assert energy
    assert metadata.text(".//ei:reportDataSource/ei:resourceID", energy[0]) == RESOURCE
    assert metadata.text(".//oadr:oadrMinPeriod", energy[0]) == "PT15M"


async def test_a_restart_does_not_describe_them_again(judge, ven):
    await ven.restart()
    await ven.poll()
    assert len(judge.of("oadrRegisterReport")) == 1


async def test_metadata_asked_for_is_confirmed_and_given(judge, ven):
    request = reporting.report_request("meta-1", "METADATA", r_id="METADATA", granularity="PT0S", back="PT0S")
    created = await ven.hear(reporting.create_report(said.VEN, request, request_id="create-7"), "oadrCreatedReport")
    assert (created.code, created.answered) == (200, "create-7")
    await ven.until(lambda: len(judge.of("oadrRegisterReport")) == 2)
    assert described(judge.of("oadrRegisterReport")[0]) == described(judge.of("oadrRegisterReport")[1])


async def test_the_vtn_s_description_is_taken(ven):
    for reports in ((), (reporting.metadata("history", "HISTORY_USAGE", reporting.description("energy")),)):
        taken = await ven.hear(
            reporting.register_report(said.VEN, *reports, request_id="register-07"), "oadrRegisteredReport"
        )
        assert (taken.code, taken.answered) == (200, "register-07")
        assert taken.elements("./oadr:oadrReportRequest") == []


async def test_a_vtn_that_wants_no_reports_still_gets_polls(judge, tmp_path):
    judge.reply("oadrRegisterReport", wire.response("", said.VEN, 461))
    async with a_ven(judge, tmp_path) as ven:
        await ven.poll()


async def test_a_new_registration_describes_them_again(judge, ven):
    await ven.poll(said.request_reregistration())
    first, second = judge.of("oadrRegisterReport")
    assert described(first) == described(second)
    assert first.own_id != second.own_id
