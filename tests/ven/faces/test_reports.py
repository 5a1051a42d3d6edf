"""What a home reports: coarser than its meter, with gaps marked, once or again and again, energy and state."""

from __future__ import annotations

import pytest

from openadr.model import Reading
from openadr.v2 import ReportRequest, ResourceStatus, SpecifierPayload
from tests.builders import START_MS
from tests.ven.faces.scripted import (
    cancel_report,
    create_report,
    registered,
    registered_report,
    report_request,
    time_text,
)
from tests.ven.faces.scripted import updated_report as updated
from tests.ven.faces.ven import Ven, until
from tests.ven.homes import STEP_MS, a_store
from ven.faces.openadr2.reporting.statuses import StatusReports
from ven.faces.openadr2.reporting.usage import batch
from ven.home.owner import Owner, write_owner
from ven.home.telemetry import UNTIL_NOTE

MISSING, UNCERTAIN = "No Quality - No Value", "Quality Uncertain - Non Specific"


def a_request(granularity_s: int = 900, start_ms: int | None = None) -> ReportRequest:
    return ReportRequest("rr-1", "usage", granularity_s, 900, (SpecifierPayload("meter", "Net"),), start_ms)


def rows(*starts: int) -> list[tuple[int, int, int]]:
    return [(n * STEP_MS, 900, 100 + n) for n in starts]


def sent(request: ReportRequest, owed: list[tuple[int, int, int]], stored: list[int], until: int) -> list[tuple]:
    metered = {n * STEP_MS: 100 + n for n in stored}
    found = batch(request, owed, metered, until * STEP_MS, "meter")
    return [(each.start_ms // STEP_MS, each.duration_s, each.value_wh, each.quality) for each in found.readings]


def test_an_interval_the_meter_gave_no_reading_for_is_marked_once():
    owed = rows(5, 6, 9)
    assert sent(a_request(), owed, [3, 4, 5, 6, 9], 10) == [
        (5, 900, 105, "ok"),
        (6, 900, 106, "ok"),
        (7, 900, 0, "missing"),
        (8, 900, 0, "missing"),
        (9, 900, 109, "ok"),
    ]
    assert [each[0] for each in sent(a_request(), rows(5), [3, 5], 6)] == [4, 5], "the gap before it too"
    assert [each[0] for each in sent(a_request(start_ms=5 * STEP_MS), rows(5), [3, 5], 6)] == [5], (
        "not before the start"
    )


def test_coarser_intervals_are_sums_sent_when_the_meter_was_read_to_their_end():
    request = a_request(1800, start_ms=0)
    stored = [0, 1, 2, 3, 5, 6]
    assert sent(request, rows(*stored), stored, 7) == [
        (0, 1800, 201, "ok"),
        (2, 1800, 205, "ok"),
        (4, 1800, 105, "estimated"),
    ]
    found = batch(request, rows(*stored), {n * STEP_MS: 1 for n in stored}, 7 * STEP_MS, "meter")
    assert found.settled_ms == tuple(n * STEP_MS for n in (0, 1, 2, 3, 5)), "what is not sent stays owed"
    assert found.readings[0] == Reading("meter", 0, 1800, 2)


@pytest.mark.parametrize("granularity_s", [0, 60, 1000])
def test_what_the_meter_cannot_give_is_given_as_it_measures(granularity_s):
    assert [each[:2] for each in sent(a_request(granularity_s), rows(5, 6), [5, 6], 7)] == [(5, 900), (6, 900)]


def asked_for(specifier: str, r_id: str, **given: str) -> str:
    return report_request(r_id=r_id, **given).replace(">usage<", f">{specifier}<")


async def test_history_is_all_that_is_stored_sent_once(vtn, ven):
    ven.store.meter.add(900, [(START_MS - n * STEP_MS, n) for n in (3, 1)])
    vtn.queued.append(create_report(asked_for("history", "meter", back="PT0S")))
    async with ven.running():
        await until(lambda: vtn.of("oadrUpdateReport"))
        await until(lambda: not ven.store.reports.running())
    [report] = vtn.of("oadrUpdateReport")
    assert (report.value("reportName"), report.value("reportSpecifierID")) == ("HISTORY_USAGE", "history")
    assert report.values("value") == ["3", "0", "1"]
    assert report.values("oadrDataQuality")[1] == MISSING


async def test_one_report_of_a_time_to_come_is_sent_when_the_time_is_over(vtn, ven):
    period = report_request(back="PT0S", start=time_text(START_MS)).replace(
        "PT0S</xcal:duration></xcal:duration></xcal:p", "PT30M</xcal:duration></xcal:duration></xcal:p"
    )
    vtn.queued.append(create_report(period))
    async with ven.running():
        await until(lambda: vtn.of("oadrCreatedReport"))
        for n in range(2):
            ven.store.meter.add(900, [(START_MS + n * STEP_MS, 10 + n)])
            ven.store.reports.owe([START_MS + n * STEP_MS])
            ven.store.notes.write(UNTIL_NOTE, START_MS + (n + 1) * STEP_MS)
            polls = len(vtn.of("oadrPoll"))
            await until(lambda polls=polls: len(vtn.of("oadrPoll")) >= polls + 2)
            assert len(vtn.of("oadrUpdateReport")) == n
        await until(lambda: not ven.store.reports.running())
    assert vtn.of("oadrUpdateReport")[0].values("value") == ["10", "11"]


async def test_the_state_is_taken_and_sent_as_often_as_asked(vtn, tmp_path, session):
    """TELEMETRY_STATUS: what the owner does shows."""
    ven = Ven(tmp_path, vtn.url, session, speed=6000)
    vtn.script("oadrCreatePartyRegistration", registered(poll="PT10M"))
    asked = asked_for("status", "device", back="PT30M")
    vtn.script("oadrRegisterReport", registered_report(asked))
    async with ven.running():
        await until(lambda: len(vtn.of("oadrUpdateReport")) >= 2)
        write_owner(ven.store.notes, Owner(opt_out=True))
        await until(lambda: len(vtn.of("oadrUpdateReport")) >= 4)
        vtn.queued.append(cancel_report())
        await until(lambda: vtn.of("oadrCanceledReport"))
        count = len(vtn.of("oadrUpdateReport"))
        now_ms = ven.clock.now_ms()
        await until(lambda: ven.clock.now_ms() > now_ms + 3_600_000)
    first, second, *_, last = vtn.of("oadrUpdateReport")
    assert len(vtn.of("oadrUpdateReport")) == count
    assert first.value("reportName") == "TELEMETRY_STATUS"
    assert len(first.values("oadrOnline")) == 1, "the state at once"
    assert 1 <= len(second.values("oadrOnline")) <= 2, "one each quarter of an hour, if the machine keeps up"
    assert set(first.values("oadrOnline")) == {"true"}
    assert (first.values("oadrManualOverride"), last.values("oadrManualOverride")[-1]) == (["false"], "true")
    assert vtn.of("oadrCreatedReport")[0].values("reportRequestID") == ["rr-1"]


def test_states_are_taken_each_granularity_and_sent_each_report_back(tmp_path):
    online = ResourceStatus(online=True, manual_override=False)
    reports = StatusReports(a_store(tmp_path).notes, lambda: online, kept=3)
    payloads = (SpecifierPayload("device", "x-notApplicable"),)
    reports.begin(ReportRequest("rr-1", "status", 900, 1800, payloads), START_MS + 1)
    assert reports.next_ms() == START_MS + 1
    [first] = reports.take(START_MS + 1)
    assert [each.start_ms for each in first.taken] == [START_MS + 1]
    reports.acknowledged(first, START_MS + 1)
    assert reports.next_ms() == START_MS + STEP_MS
    assert reports.take(START_MS + STEP_MS) == []
    [second] = reports.take(START_MS + 2 * STEP_MS)
    assert [each.start_ms for each in second.taken] == [START_MS + STEP_MS, START_MS + 2 * STEP_MS]
    reports.keep(second)
    for n in (3, 4):
        [waiting] = reports.take(START_MS + n * STEP_MS)
        reports.keep(waiting)
    assert [each.start_ms for each in waiting.taken] == [START_MS + n * STEP_MS for n in (2, 3, 4)], "the newest"
    reports.end("rr-1")
    reports.acknowledged(waiting, START_MS + 4 * STEP_MS)
    assert (reports.running(), reports.next_ms()) == ([], None)


async def test_states_wait_for_a_vtn_that_does_not_take_them(vtn, tmp_path, session):
    vtn.script("oadrRegisterReport", registered_report(asked_for("status", "device", back="PT0S")))
    vtn.script("oadrUpdateReport", 503)
    ven = Ven(tmp_path, vtn.url, session)
    async with ven.running():
        await until(lambda: vtn.of("oadrUpdateReport"))
    ven.store.close()
    again = Ven(tmp_path, vtn.url, session)
    async with again.running():
        await until(lambda: len(vtn.of("oadrUpdateReport")) >= 2)
        await until(lambda: not again.store.notes.read("status_reports", list))
    lost, taken = vtn.of("oadrUpdateReport")[:2]
    assert lost.values("date-time")[0] == taken.values("date-time")[0], "the state of then"


async def test_a_last_report_follows_a_cancellation_also_if_there_is_nothing_in_it(vtn, ven):
    vtn.script("oadrRegisterReport", registered_report(report_request(start=time_text(START_MS), back="PT24H")))
    async with ven.running():
        await until(lambda: ven.store.reports.running())
        vtn.queued.append(cancel_report(follow="true"))
        await until(lambda: not ven.store.reports.running())
    assert [each.name for each in vtn.of("oadrCanceledReport", "oadrUpdateReport")] == [
        "oadrCanceledReport",
        "oadrUpdateReport",
    ]
    assert vtn.of("oadrUpdateReport")[0].values("oadrDataQuality") == [MISSING]


async def test_a_report_ends_with_its_time(vtn, ven):
    period = report_request(start=time_text(START_MS - STEP_MS)).replace(
        "PT0S</xcal:duration></xcal:duration></xcal:p", "PT15M</xcal:duration></xcal:duration></xcal:p"
    )
    ven.store.meter.add(900, [(START_MS - STEP_MS, 5)])
    ven.store.notes.write(UNTIL_NOTE, START_MS)
    vtn.script("oadrRegisterReport", registered_report(period))
    vtn.script("oadrUpdateReport", updated())
    async with ven.running():
        await until(lambda: vtn.of("oadrUpdateReport"))
        await until(lambda: not ven.store.reports.running())
