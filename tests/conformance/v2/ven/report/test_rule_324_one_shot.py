"""Rule 324: a reportBackDuration of 0 asks for one report."""

from __future__ import annotations

from tests.conformance.v2.ven.report.requested import QUARTER_MS, ask, values


async def test_one_report_comes_and_the_request_ends(judge, ven):
    start_ms = ven.clock.now_ms() - 4 * QUARTER_MS
    created = await ask(ven, start_ms=start_ms, length="PT1H", back="PT0S")
    assert created.code == 200
    await ven.until(lambda: judge.of("oadrUpdateReport"), moving=True, step_ms=QUARTER_MS // 3)
    await ven.at(ven.clock.now_ms() + 3 * QUARTER_MS)
    await ven.poll()
    [only] = judge.of("oadrUpdateReport")
    assert list(values(only)) == [start_ms + n * QUARTER_MS for n in range(4)]
    pending = await ask(ven, "rr-2", back="PT15M")
    assert pending.texts("./oadr:oadrPendingReports/ei:reportRequestID") == ["rr-2"]


async def test_it_is_not_sent_again_when_only_the_answer_was_lost(judge, ven):
    judge.reply("oadrUpdateReport", 503)
    start_ms = ven.clock.now_ms() - QUARTER_MS
    await ask(ven, start_ms=start_ms, length="PT15M", back="PT0S")
    await ven.until(lambda: len(judge.of("oadrUpdateReport")) == 2, moving=True, step_ms=QUARTER_MS // 3)
    first, second = judge.of("oadrUpdateReport")
    assert values(first) == values(second)
    await ven.poll()
    assert len(judge.of("oadrUpdateReport")) == 2
