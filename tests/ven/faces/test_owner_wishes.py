"""What the owner plans or wants of the VTN, told over 2.0b: opt schedules, reports of the VTN's, the registration."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from runtime.errors import SettingsError
from tests.builders import START_MS
from tests.ven.faces.scripted import VEN, ei_response, payload, plain, time_text
from tests.ven.faces.ven import Ven, until
from tests.ven.homes import a_store
from ven.cli import app
from ven.home.store import Opt, OptSchedule

HOUR_MS = 3_600_000


def opted(name: str, code: int = 200) -> str:
    return payload(
        f'<oadr:{name} ei:schemaVersion="2.0b">{ei_response(code)}<ei:optID>absence</ei:optID></oadr:{name}>'
    )


def an_absence(**given):
    windows = ((START_MS + HOUR_MS, START_MS + 3 * HOUR_MS), (START_MS + 5 * HOUR_MS, START_MS + 6 * HOUR_MS))
    return OptSchedule(opt_id="absence", opt=Opt.OUT, windows=windows, created_ms=START_MS, **given)


async def test_a_schedule_is_told_and_taken_back(vtn, ven):
    vtn.script("oadrCreateOpt", 503, opted("oadrCreatedOpt"))
    vtn.script("oadrCancelOpt", opted("oadrCanceledOpt"))
    ven.store.schedules.add(an_absence(market_context="http://programs.example/peak"))
    async with ven.running():
        await until(lambda: not ven.store.schedules.untold())
        ven.store.schedules.cancel("absence")
        await until(lambda: vtn.of("oadrCancelOpt"))
        await until(lambda: not ven.store.schedules.untold())
    lost, told = vtn.of("oadrCreateOpt")
    assert lost.value("optID") == told.value("optID") == "absence"
    assert (told.service, told.value("optType"), told.value("optReason")) == ("EiOpt", "optOut", "notParticipating")
    assert told.value("marketContext") == "http://programs.example/peak"
    assert set(told.values("venID")) == {VEN}
    starts = [START_MS + HOUR_MS, START_MS + 5 * HOUR_MS]
    assert told.values("date-time") == [time_text(each) for each in starts]
    assert [each for each in told.values("duration") if each.strip()] == ["PT2H", "PT1H"]
    [cancelled] = vtn.of("oadrCancelOpt")
    assert (cancelled.service, cancelled.value("optID")) == ("EiOpt", "absence")


async def test_a_vtn_without_the_service_is_asked_again_later_and_heard_all_the_same(vtn, ven):
    """Stock openleadr has no EiOpt: 404."""
    vtn.script("oadrCreateOpt", 404, opted("oadrCreatedOpt"))
    ven.store.schedules.add(an_absence())
    async with ven.running():
        await until(lambda: len(vtn.of("oadrPoll")) >= 4)
        assert ven.engine.reached
        assert len(vtn.of("oadrCreateOpt")) == 1
        await until(lambda: not ven.store.schedules.untold())


async def test_a_schedule_for_a_resource_names_it_and_a_refusal_is_final(vtn, ven):
    vtn.script("oadrCreateOpt", opted("oadrCreatedOpt", 452))
    ven.store.schedules.add(an_absence(resource="boiler"))
    async with ven.running():
        await until(lambda: len(vtn.of("oadrPoll")) >= 3)
    [told] = vtn.of("oadrCreateOpt")
    assert told.value("resourceID") == "boiler"
    assert ven.store.schedules.untold() == []


async def test_a_vtn_that_forgot_the_home_hears_of_its_schedules_again(vtn, ven):
    vtn.script("oadrCreateOpt", plain(463), opted("oadrCreatedOpt"), opted("oadrCreatedOpt"))
    ven.store.schedules.add(an_absence())
    async with ven.running():
        await until(lambda: len(vtn.of("oadrCreatePartyRegistration")) == 2)
        await until(lambda: not ven.store.schedules.untold())
        vtn.queued.append(plain(463))
        await until(lambda: len(vtn.of("oadrCreateOpt")) == 3)


OFFERED = payload(
    '<oadr:oadrRegisterReport ei:schemaVersion="2.0b"><pyld:requestID>offer-1</pyld:requestID><oadr:oadrReport>'
    "<xcal:duration><xcal:duration>PT24H</xcal:duration></xcal:duration><oadr:oadrReportDescription><ei:rID>forecast"
    "</ei:rID><ei:reportType>demand</ei:reportType><ei:readingType>Projected</ei:readingType>"
    "</oadr:oadrReportDescription><ei:reportRequestID>0</ei:reportRequestID><ei:reportSpecifierID>feeder"
    "</ei:reportSpecifierID><ei:reportName>METADATA_HISTORY_USAGE</ei:reportName><ei:createdDateTime>"
    "2026-01-01T00:00:00Z</ei:createdDateTime></oadr:oadrReport></oadr:oadrRegisterReport>"
)
CREATED = payload(
    f'<oadr:oadrCreatedReport ei:schemaVersion="2.0b">{ei_response()}<oadr:oadrPendingReports/>'
    "</oadr:oadrCreatedReport>"
)


def brought(request_id: str, *values: str) -> str:
    """Quarter-hours from the start on; only the first says when it begins (rules 314, 342)."""
    intervals = "".join(
        "<ei:interval><oadr:oadrReportPayload><ei:rID>forecast</ei:rID><ei:payloadFloat><ei:value>"
        f"{value}</ei:value></ei:payloadFloat></oadr:oadrReportPayload></ei:interval>"
        for value in values
    )
    return payload(
        '<oadr:oadrUpdateReport ei:schemaVersion="2.0b"><pyld:requestID>up-1</pyld:requestID><oadr:oadrReport>'
        f"<xcal:dtstart><xcal:date-time>{time_text(START_MS)}</xcal:date-time></xcal:dtstart><strm:intervals>{intervals}"
        f"</strm:intervals><ei:reportRequestID>{request_id}</ei:reportRequestID><ei:reportSpecifierID>feeder"
        "</ei:reportSpecifierID><ei:reportName>HISTORY_USAGE</ei:reportName><ei:createdDateTime>2026-01-01T00:00:00Z"
        f"</ei:createdDateTime></oadr:oadrReport><ei:venID>{VEN}</ei:venID></oadr:oadrUpdateReport>"
    )


def command(ven: Ven, *words: str, code: int = 0) -> str:
    """The words of `dr-ven`, beside the running engine."""
    result = CliRunner().invoke(app, [*words, "--data-dir", str(ven.store.database.path.parent)])
    if code:
        assert isinstance(result.exception, SettingsError), result.output
    else:
        assert result.exit_code == 0, result.output
    return result.output.strip()


async def test_a_report_of_the_vtn_is_offered_asked_for_taken_and_cancelled(vtn, ven):
    vtn.script("oadrCreateReport", CREATED)
    vtn.queued.append(OFFERED)
    async with ven.running():
        await until(lambda: vtn.of("oadrRegisteredReport"))
        assert "offered: feeder" in command(ven, "vtn-reports", "list")
        request_id = command(ven, "vtn-reports", "ask", "feeder", "--every", "PT1H")
        await until(lambda: vtn.of("oadrCreateReport"))
        vtn.queued.append(brought(request_id, "1.5", "2"))
        await until(lambda: vtn.of("oadrUpdatedReport"))
        found = json.loads(command(ven, "vtn-reports", "list", "--json"))
        assert [(each["start_ms"] - START_MS, each["value"]) for each in found["values"][request_id]] == [
            (0, "1.5"),
            (900_000, "2"),
        ]
        command(ven, "vtn-reports", "cancel", request_id)
        await until(lambda: vtn.of("oadrCancelReport"))
        await until(lambda: not json.loads(command(ven, "vtn-reports", "list", "--json"))["asked"])
    [asked] = vtn.of("oadrCreateReport")
    assert (asked.service, asked.value("reportSpecifierID"), asked.value("rID")) == ("EiReport", "feeder", "forecast")
    assert asked.value("readingType") == "Projected"
    [taken] = vtn.of("oadrUpdatedReport")
    assert (taken.value("responseCode"), taken.value("requestID")) == ("200", "up-1")
    assert vtn.of("oadrCancelReport")[0].value("reportRequestID") == request_id


async def test_a_report_nobody_asked_for_is_refused(vtn, ven):
    """Rule 304, from the other side."""
    vtn.queued.append(brought("rr-nobody", "1"))
    async with ven.running():
        await until(lambda: vtn.of("oadrUpdatedReport"))
    [refused] = vtn.of("oadrUpdatedReport")
    assert (refused.value("responseCode"), refused.value("requestID")) == ("452", "up-1")


async def test_a_report_that_is_wanted_once_is_not_asked_for_again(vtn, ven):
    """Rule 324."""
    vtn.script("oadrCreateReport", CREATED, CREATED)
    vtn.queued.append(OFFERED)
    async with ven.running():
        await until(lambda: vtn.of("oadrRegisteredReport"))
        request_id = command(ven, "vtn-reports", "ask", "feeder")
        await until(lambda: vtn.of("oadrCreateReport"))
        vtn.queued.extend([brought(request_id, "1"), plain(463)])
        await until(lambda: len(vtn.of("oadrCreatePartyRegistration")) == 2)
        polls = len(vtn.of("oadrPoll"))
        await until(lambda: len(vtn.of("oadrPoll")) > polls + 1)
    assert len(vtn.of("oadrCreateReport")) == 1
    assert "done, 1 values" in command(ven, "vtn-reports", "list")


def test_what_the_vtn_does_not_offer_cannot_be_asked_for(ven):
    command(ven, "vtn-reports", "ask", "weather", code=2)
    command(ven, "vtn-reports", "cancel", "rr-9", code=2)


async def test_the_owner_renews_and_ends_the_registration_and_begins_anew(vtn, ven):
    ended = payload(
        f'<oadr:oadrCanceledPartyRegistration ei:schemaVersion="2.0b">{ei_response()}<ei:registrationID>reg-1'
        f"</ei:registrationID><ei:venID>{VEN}</ei:venID></oadr:oadrCanceledPartyRegistration>"
    )
    vtn.script("oadrCancelPartyRegistration", 503, ended)
    async with ven.running():
        await until(lambda: vtn.of("oadrPoll"))
        assert "registrationID reg-1" in command(ven, "registration")
        command(ven, "registration", "--again")
        await until(lambda: len(vtn.of("oadrCreatePartyRegistration")) == 2)
        command(ven, "registration", "--end")
        await until(lambda: len(vtn.of("oadrCancelPartyRegistration")) == 2)
        await until(lambda: ven.registrar.current is None)
        assert "not to be" in command(ven, "registration")
        polls = len(vtn.of("oadrPoll"))
        command(ven, "registration", "--begin")
        await until(lambda: len(vtn.of("oadrCreatePartyRegistration")) == 3)
        await until(lambda: len(vtn.of("oadrPoll")) > polls)
    first, again, anew = vtn.of("oadrCreatePartyRegistration")
    assert [each.values("registrationID") for each in (first, again, anew)] == [[], ["reg-1"], []]
    assert vtn.of("oadrCancelPartyRegistration")[0].value("registrationID") == "reg-1"


def test_a_folder_without_a_home_is_said(tmp_path):
    a_store(tmp_path)
    result = CliRunner().invoke(app, ["registration", "--data-dir", str(tmp_path / "other")])
    assert "there is no home" in str(result.exception)
