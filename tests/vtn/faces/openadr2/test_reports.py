"""EiReport: METADATA in, requests out, readings in."""

from __future__ import annotations

import msgspec

from openadr import v2
from openadr.model import Reading, Report
from tests.builders import START_MS
from tests.vtn.faces.peer import facing
from tests.vtn.opened import opened

STEP_MS = 900_000


def metadata():
    return v2.usage_metadata("spec-1", ["meter"], period_s=900, created_ms=START_MS, resource_ids={"meter": "home-1"})


async def registered_report(peer):
    answer = await peer.send(v2.OadrRegisterReport("reg-r", (metadata(),), peer.ven_id))
    assert isinstance(answer, v2.OadrRegisteredReport)
    assert answer.response.response_code == 200
    return answer


def update(peer, request_id, readings, message_id="u-1"):
    report = Report("report-1", request_id, "spec-1", START_MS, tuple(readings))
    return v2.OadrUpdateReport(message_id, (v2.from_report(report),), peer.ven_id)


def a_day(end_ms=START_MS):
    return [Reading("meter", end_ms - n * STEP_MS, 900, 100 + n) for n in range(96, 0, -1)]


async def test_rule_311_registering_gets_a_request_for_history_and_periodic_readings(peer):
    [request] = (await registered_report(peer)).report_requests
    assert request.report_specifier_id == "spec-1"
    assert (request.granularity_s, request.report_back_s) == (900, 900)
    assert (request.start_ms, request.duration_s) == (START_MS - 15 * 86_400_000, 0)
    assert request.payloads == (v2.SpecifierPayload("meter", "Net"),)


async def test_readings_are_stored_and_the_same_report_again_changes_nothing(opened_vtn, peer):
    [request] = (await registered_report(peer)).report_requests
    message = update(peer, request.report_request_id, a_day())
    for _ in range(2):
        answer = await peer.send(message)
        assert (type(answer), answer.response.response_code) == (v2.OadrUpdatedReport, 200)
    history = await opened_vtn.vtn.telemetry.history(peer.ven_id, START_MS - 86_400_000, START_MS)
    assert len(history) == 96
    assert history[START_MS - STEP_MS] == 101


async def test_rule_304_an_unknown_report_request_is_452_and_does_not_spoil_the_others(opened_vtn, peer):
    [request] = (await registered_report(peer)).report_requests
    good = update(peer, request.report_request_id, a_day())
    bad = update(peer, "another VEN's", a_day())
    both = msgspec.structs.replace(good, reports=bad.reports + good.reports)
    answer = await peer.send(both)
    assert (answer.response.response_code, answer.response.request_id) == (452, "u-1")
    assert len(await opened_vtn.vtn.telemetry.history(peer.ven_id, 0, START_MS)) == 96


async def test_an_undescribed_rid_is_452(peer):
    [request] = (await registered_report(peer)).report_requests
    wrong = update(peer, request.report_request_id, [Reading("other", START_MS - STEP_MS, 900, 1)])
    assert (await peer.send(wrong)).response.response_code == 452


async def test_rules_314_and_342_an_interval_without_start_inherits_the_reports(opened_vtn, peer):
    [request] = (await registered_report(peer)).report_requests
    intervals = tuple(v2.ReportInterval((v2.ReportPayload("meter", value),)) for value in ("10", "11.5"))
    report = v2.OadrReport(
        request.report_request_id,
        "spec-1",
        START_MS,
        "TELEMETRY_USAGE",
        "r",
        START_MS - 2 * STEP_MS,
        None,
        (),
        intervals,
    )
    answer = await peer.send(v2.OadrUpdateReport("u-1", (report,), peer.ven_id))
    assert answer.response.response_code == 200
    history = await opened_vtn.vtn.telemetry.history(peer.ven_id, 0, START_MS)
    assert history == {START_MS - 2 * STEP_MS: 10, START_MS - STEP_MS: 12}


async def test_a_ven_that_ignores_the_requests_in_the_answer_gets_them_on_a_poll(peer, clock):
    [request] = (await registered_report(peer)).report_requests
    assert isinstance(await peer.poll(), v2.OadrResponse), "it was just told"
    clock.advance(30_000)
    created = await peer.poll_for(v2.OadrCreateReport)
    assert created.report_requests == (request,)
    response = v2.EiResponse(request_id=created.request_id)
    confirmed = v2.OadrCreatedReport(response, (request.report_request_id,), peer.ven_id)
    assert (await peer.send(confirmed)).response.response_code == 200
    clock.advance(30_000)
    assert isinstance(await peer.poll(), v2.OadrResponse)


async def test_delivering_is_as_good_as_confirming(peer, clock):
    [request] = (await registered_report(peer)).report_requests
    await peer.send(update(peer, request.report_request_id, a_day()))
    clock.advance(30_000)
    assert isinstance(await peer.poll(), v2.OadrResponse)


async def test_a_cancelled_request_is_told_until_confirmed_and_takes_no_more(opened_vtn, peer, clock):
    [request] = (await registered_report(peer)).report_requests
    await opened_vtn.vtn.reports.cancel(peer.ven_id, request.report_request_id)
    cancel = await peer.poll_for(v2.OadrCancelReport)
    assert cancel.report_request_ids == (request.report_request_id,)
    answer = await peer.send(update(peer, request.report_request_id, a_day()))
    assert answer.response.response_code == 452
    done = v2.OadrCanceledReport(v2.EiResponse(request_id=cancel.request_id), (), peer.ven_id)
    assert (await peer.send(done)).response.response_code == 200
    clock.advance(30_000)
    assert isinstance(await peer.poll(), v2.OadrResponse)


async def test_reporting_goes_on_after_a_restart(vtn_url, clock, tmp_path, opened_vtn, peer):
    [request] = (await registered_report(peer)).report_requests
    async with opened(vtn_url, clock, tmp_path, opened_vtn.ledger) as restarted, facing(restarted.vtn) as url:
        peer.url = url
        answer = await peer.send(update(peer, request.report_request_id, a_day()))
        assert answer.response.response_code == 200
        [running] = await restarted.vtn.reports.requests(peer.ven_id)
        assert running.status == "running"
