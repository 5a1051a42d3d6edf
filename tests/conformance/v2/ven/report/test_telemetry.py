"""EiReport, telemetry: what was asked for comes each reportBackDuration, every interval until it is acknowledged, until
the request is cancelled; several requests stand beside each other."""

from __future__ import annotations

import pytest

from tests.conformance.v2 import reporting, wire
from tests.conformance.v2.ven import said
from tests.conformance.v2.ven.judged import a_ven
from tests.conformance.v2.ven.report.requested import QUARTER_MS, QUARTER_WH, ask, energy, values


async def sent(judge, ven, count=1):
    """Let time go on until so many oadrUpdateReport came; the values of all of them."""
    await ven.until(lambda: len(judge.of("oadrUpdateReport")) >= count, moving=True, step_ms=QUARTER_MS // 3)
    return [values(each) for each in judge.of("oadrUpdateReport")]


async def test_a_request_is_confirmed_with_what_is_pending(ven):
    created = await ask(ven, "rr-00")
    assert (created.code, created.answered, created.text("./ei:venID")) == (200, "create-7", said.VEN)
    assert created.texts("./oadr:oadrPendingReports/ei:reportRequestID") == ["rr-00"]
    created = await ask(ven, "rr-1")
    assert set(created.texts("./oadr:oadrPendingReports/ei:reportRequestID")) == {"rr-00", "rr-1"}


async def test_intervals_come_as_they_end_under_the_id_of_the_request(judge, ven):
    start_ms = ven.clock.now_ms()
    await ask(ven, start_ms=start_ms)
    found = await sent(judge, ven, 3)
    assert [value for each in found for value in each.values()] == [str(QUARTER_WH)] * 3
    assert [start for each in found for start in each] == [start_ms + n * QUARTER_MS for n in range(3)]
    for heard in judge.of("oadrUpdateReport"):
        assert heard.service == "EiReport"
        assert heard.texts("./oadr:oadrReport/ei:reportRequestID") == ["rr-1"]
        assert heard.texts("./oadr:oadrReport/ei:reportSpecifierID") == [energy(judge)[0]]
        assert heard.texts("./oadr:oadrReport/ei:reportName") == ["TELEMETRY_USAGE"]
        assert set(heard.texts(".//oadr:oadrReportPayload/ei:rID")) == {energy(judge)[1]}
    assert len({each.own_id for each in judge.of("oadrUpdateReport")}) == 3


async def test_a_longer_back_duration_brings_several_intervals_at_once(judge, ven):
    start_ms = ven.clock.now_ms()
    await ask(ven, start_ms=start_ms, back="PT1H")
    found = [start for each in await sent(judge, ven, 4) for start in each]
    assert found == [start_ms + n * QUARTER_MS for n in range(len(found))], "no gap, nothing twice"
    assert len(found) > 4, "several at once"


async def test_the_past_that_was_asked_for_comes_first(judge, ven):
    start_ms = ven.clock.now_ms() - 8 * QUARTER_MS
    await ask(ven, start_ms=start_ms)
    [found] = (await sent(judge, ven))[:1]
    assert list(found) == [start_ms + n * QUARTER_MS for n in range(8)]


@pytest.mark.parametrize("trouble", [503, b"nonsense", reporting.updated_report(said.VEN, "")[:-40]])
async def test_an_interval_comes_again_until_it_is_acknowledged(judge, ven, trouble):
    judge.reply("oadrUpdateReport", trouble, trouble)
    await ask(ven, start_ms=ven.clock.now_ms())
    found = await sent(judge, ven, 3)
    first = set(found[0])
    assert first <= set(found[1])
    assert first <= set(found[2])


async def test_nothing_is_lost_by_a_restart(judge, ven):
    start_ms = ven.clock.now_ms()
    await ask(ven, start_ms=start_ms)
    await sent(judge, ven)
    await ven.stop()
    ven.clock.advance(6 * 3_600_000)
    await ven.start()
    wanted = {start_ms + n * QUARTER_MS for n in range(25)}
    await ven.until(lambda: wanted <= {s for each in judge.of("oadrUpdateReport") for s in values(each)}, moving=True)


async def test_a_cancelled_request_ends(judge, ven):
    await ask(ven, start_ms=ven.clock.now_ms())
    canceled = await ven.hear(reporting.cancel_report(said.VEN, "rr-1", request_id="x-7"), "oadrCanceledReport")
    assert (canceled.code, canceled.answered) == (200, "x-7")
    assert canceled.texts("./oadr:oadrPendingReports/ei:reportRequestID") == []
    await ven.at(ven.clock.now_ms() + 2 * QUARTER_MS)
    await ven.poll()
    assert judge.of("oadrUpdateReport") == []


async def test_a_last_report_comes_where_it_is_wanted(judge, ven):
    start_ms = ven.clock.now_ms() - 4 * QUARTER_MS
    await ask(ven, start_ms=start_ms, back="PT24H")
    await sent(judge, ven)
    await ven.at(ven.clock.now_ms() + 2 * QUARTER_MS)
    await ven.until(lambda: ven.store.reports.count_owed() == 2)
    await ven.hear(reporting.cancel_report(said.VEN, "rr-1", to_follow=True), "oadrCanceledReport")
    await ven.until(lambda: len(judge.of("oadrUpdateReport")) == 2)
    assert len(values(judge.of("oadrUpdateReport")[-1])) == 2
    await ven.at(ven.clock.now_ms() + 2 * QUARTER_MS)
    await ven.poll()
    assert len(judge.of("oadrUpdateReport")) == 2


async def test_an_unknown_request_is_not_cancelled(ven):
    await ask(ven)
    canceled = await ven.hear(reporting.cancel_report(said.VEN, "rr-nobody"), "oadrCanceledReport")
    assert canceled.code == 452
    assert canceled.texts("./oadr:oadrPendingReports/ei:reportRequestID") == ["rr-1"]


async def test_a_cancellation_in_the_answer_to_a_report_is_followed(judge, ven):
    cancel = wire.payload(
        f'<oadr:oadrUpdatedReport ei:schemaVersion="2.0b">{wire.response_element("x")}<oadr:oadrCancelReport '
        f'ei:schemaVersion="2.0b">{wire.request_id_element("x-8")}<ei:reportRequestID>rr-1</ei:reportRequestID>'
        "<pyld:reportToFollow>false</pyld:reportToFollow></oadr:oadrCancelReport></oadr:oadrUpdatedReport>"
    )
    judge.reply("oadrUpdateReport", cancel)
    await ask(ven, start_ms=ven.clock.now_ms())
    await sent(judge, ven)
    await ven.at(ven.clock.now_ms() + 2 * QUARTER_MS)
    await ven.poll()
    assert len(judge.of("oadrUpdateReport")) == 1


@pytest.mark.parametrize(("specifier", "r_id"), [("of-nobody", "energy"), (None, "voltage")])
async def test_what_it_does_not_have_is_not_supported(judge, ven, specifier, r_id):
    """Code 461."""
    created = await ask(ven)
    assert created.code == 200
    request = reporting.report_request("rr-2", specifier or energy(judge)[0], r_id=r_id)
    created = await ven.hear(reporting.create_report(said.VEN, request), "oadrCreatedReport")
    assert created.code == 461
    assert created.texts("./oadr:oadrPendingReports/ei:reportRequestID") == ["rr-1"]


async def test_the_answer_to_the_description_may_ask_too(judge, tmp_path):
    def asking(heard):
        specifier = heard.texts("./oadr:oadrReport/ei:reportSpecifierID")[0]
        r_id = heard.texts(".//oadr:oadrReportDescription/ei:rID")[0]
        return reporting.registered_report(
            said.VEN, heard.own_id, reporting.report_request("rr-9", specifier, r_id=r_id)
        )

    judge.reply("oadrRegisterReport", asking)
    async with a_ven(judge, tmp_path):
        [created] = judge.of("oadrCreatedReport")
        assert created.texts("./oadr:oadrPendingReports/ei:reportRequestID") == ["rr-9"]
        assert created.answered == judge.of("oadrRegisterReport")[0].own_id
