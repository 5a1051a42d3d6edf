"""Rules 314 and 342: an interval without dtstart inherits that of its report; so a report always says when."""

from __future__ import annotations

from tests.conformance.v2.ven.report.requested import QUARTER_MS, ask, values


async def test_the_start_of_every_interval_can_be_told(judge, ven):
    start_ms = ven.clock.now_ms() - 6 * QUARTER_MS
    await ask(ven, start_ms=start_ms)
    await ven.until(lambda: judge.of("oadrUpdateReport"), moving=True, step_ms=QUARTER_MS // 3)
    first = judge.of("oadrUpdateReport")[0]
    assert list(values(first)) == [start_ms + n * QUARTER_MS for n in range(6)]
    report_start = first.text("./oadr:oadrReport/xcal:dtstart/xcal:date-time")
    own_starts = first.texts(".//ei:interval/xcal:dtstart/xcal:date-time")
    assert report_start is not None or len(own_starts) == 6
