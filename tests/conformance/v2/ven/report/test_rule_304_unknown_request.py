"""Rule 304: a report nobody asked for is answered with 452; and a VEN whose report is answered so describes its reports
again instead of losing what it measured."""

from __future__ import annotations

from tests.conformance.v2 import reporting, wire
from tests.conformance.v2.ven import said
from tests.conformance.v2.ven.report.requested import QUARTER_MS, ask, energy, values


async def test_a_report_of_the_vtn_nobody_asked_for_is_an_invalid_id(ven):
    stretch = reporting.interval(reporting.number("energy", 1), start_ms=0, length="PT15M")
    report = reporting.report("nobody-asked", "history", "HISTORY_USAGE", stretch)
    updated = await ven.hear(reporting.update_report(said.VEN, report, request_id="update-07"), "oadrUpdatedReport")
    assert (updated.code, updated.answered) == (452, "update-07")


async def test_a_vtn_that_forgot_the_request_gets_every_interval_all_the_same(judge, ven):
    start_ms = ven.clock.now_ms()
    judge.reply("oadrUpdateReport", wire.element("oadrUpdatedReport", wire.response_element("x", 452)))
    specifier, r_id = energy(judge)
    judge.reply(
        "oadrRegisterReport",
        lambda heard: reporting.registered_report(
            said.VEN, heard.own_id, reporting.report_request("rr-2", specifier, r_id=r_id, start_ms=start_ms)
        ),
    )
    await ask(ven, start_ms=start_ms)
    await ven.until(lambda: len(judge.of("oadrUpdateReport")) >= 2, moving=True, step_ms=QUARTER_MS // 3)
    lost, again = judge.of("oadrUpdateReport")[:2]
    assert len(judge.of("oadrRegisterReport")) == 2
    assert again.texts(".//oadr:oadrReport/ei:reportRequestID") == ["rr-2"]
    assert values(again)[start_ms] == values(lost)[start_ms]
    assert min(values(again)) == start_ms
    assert start_ms % QUARTER_MS == 0
