"""Rule 7: an event has one signal named SIMPLE; others may stand beside it."""

from __future__ import annotations

from tests.conformance.v2.ven import said
from tests.conformance.v2.ven.judged import HOUR_MS

PRICE = said.signal(("PT1H", "0.25"), name="ELECTRICITY_PRICE", type="price", signal_id="price", unit=said.PRICE_UNIT)


async def test_two_simple_signals_are_a_compliance_error(ven):
    twice = [said.signal(("PT1H", level), signal_id=f"signal-{level}") for level in ("1", "2")]
    event = said.event("evt-1", ven.clock.now_ms() + HOUR_MS, *twice)
    created = await ven.hear(said.distribute(event), "oadrCreatedEvent")
    assert (created.opts, created.event_codes) == ([("evt-1", "0", "optOut")], ["459"])


async def test_the_simple_signal_is_found_among_others(ven):
    start_ms = ven.clock.now_ms() + HOUR_MS
    event = said.event("evt-1", start_ms, PRICE, said.signal(("PT1H", "1"), signal_id="level"))
    created = await ven.hear(said.distribute(event), "oadrCreatedEvent")
    assert created.opts == [("evt-1", "0", "optIn")]
    await ven.at(start_ms)
    await ven.until(lambda: ven.shed_w == 300)
