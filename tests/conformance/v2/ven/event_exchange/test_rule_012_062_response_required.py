"""Rules 12 and 62: oadrResponseRequired always wants one eventResponse in an oadrCreatedEvent each time the event
comes, also for one that did not change and for a cancelled one; never wants none."""

from __future__ import annotations

from tests.conformance.v2.ven import said
from tests.conformance.v2.ven.judged import HOUR_MS


async def test_an_unchanged_event_is_answered_each_time_it_comes(judge, ven):
    event = said.event("evt-1", ven.clock.now_ms() + HOUR_MS)
    for n in range(3):
        created = await ven.hear(said.distribute(event, request_id=f"dist-{n}"), "oadrCreatedEvent")
        assert created.opts == [("evt-1", "0", "optIn")]
        assert created.texts(".//ei:eventResponse/pyld:requestID") == [f"dist-{n}"]
    await ven.poll()
    assert len(judge.of("oadrCreatedEvent")) == 3, "one each"


async def test_a_cancelled_event_is_answered_too(ven):
    start_ms = ven.clock.now_ms() + HOUR_MS
    await ven.hear(said.distribute(said.event("evt-1", start_ms)), "oadrCreatedEvent")
    cancelled = said.event("evt-1", start_ms, number=1, status="cancelled")
    for n in range(2):
        created = await ven.hear(said.distribute(cancelled, request_id=f"dist-{n}"), "oadrCreatedEvent")
        assert created.opts == [("evt-1", "1", "optIn")]


async def test_never_is_acted_on_and_not_answered(judge, ven):
    start_ms = ven.clock.now_ms() + HOUR_MS
    await ven.poll(said.distribute(said.event("evt-1", start_ms, required="never")))
    await ven.at(start_ms)
    await ven.until(lambda: ven.shed_w == 600)
    cancelled = said.event("evt-1", start_ms, number=1, status="cancelled", required="never")
    await ven.poll(said.distribute(cancelled))
    await ven.until(lambda: ven.shed_w == 0)
    assert judge.of("oadrCreatedEvent") == []


async def test_never_is_not_answered_where_it_cannot_be_taken_either(judge, ven):
    broken = said.signal(("PT1H", "9"))
    await ven.poll(said.distribute(said.event("evt-1", ven.clock.now_ms() + HOUR_MS, broken, required="never")))
    assert judge.of("oadrCreatedEvent") == []
