"""Rule 14: currentValue is 0 while the event is not active. A VEN acts on the intervals and its own clock, whatever
currentValue says: an independent VTN leaves it at 0 in an active event."""

from __future__ import annotations

from tests.conformance.v2.ven import said
from tests.conformance.v2.ven.judged import HOUR_MS


async def test_a_value_that_stays_0_does_not_hide_the_interval(ven):
    start_ms = ven.clock.now_ms() + HOUR_MS
    await ven.hear(
        said.distribute(said.event("evt-1", start_ms, said.signal(("PT1H", "2"), current="0"))), "oadrCreatedEvent"
    )
    await ven.at(start_ms)
    await ven.until(lambda: ven.shed_w == 600)


async def test_a_value_before_the_event_does_not_begin_it(ven):
    start_ms = ven.clock.now_ms() + HOUR_MS
    await ven.hear(
        said.distribute(said.event("evt-1", start_ms, said.signal(("PT1H", "2"), current="3"))), "oadrCreatedEvent"
    )
    await ven.at(start_ms - 1000)
    assert ven.shed_w == 0
