"""Rules 48, 58 and 59: an event left out of oadrDistributeEvent is cancelled by that; an older modificationNumber than
the one known is out of sequence (450)."""

from __future__ import annotations

from tests.conformance.v2 import wire
from tests.conformance.v2.ven import said
from tests.conformance.v2.ven.judged import HOUR_MS


async def running(ven, event_id="evt-1", number=0):
    start_ms = ven.clock.now_ms() + HOUR_MS
    await ven.hear(said.distribute(said.event(event_id, start_ms, number=number)), "oadrCreatedEvent")
    await ven.at(start_ms)
    await ven.until(lambda: ven.shed_w == 600)
    return start_ms


async def test_an_event_left_out_is_cancelled(ven):
    start_ms = await running(ven)
    await ven.poll(said.distribute(said.event("evt-2", start_ms + 5 * HOUR_MS)))
    await ven.until(lambda: ven.shed_w == 0)


async def test_an_empty_list_cancels_all(ven):
    await running(ven)
    await ven.poll(said.distribute())
    await ven.until(lambda: ven.shed_w == 0)


async def test_a_plain_response_cancels_nothing(ven):
    await running(ven)
    await ven.poll(wire.response("", said.VEN))
    assert ven.shed_w == 600


async def test_an_event_that_comes_back_is_followed_again(ven):
    start_ms = await running(ven)
    await ven.poll(said.distribute())
    await ven.until(lambda: ven.shed_w == 0)
    created = await ven.hear(said.distribute(said.event("evt-1", start_ms, status="active")), "oadrCreatedEvent")
    assert created.opts == [("evt-1", "0", "optIn")]
    await ven.until(lambda: ven.shed_w == 600)


async def test_a_refused_event_is_not_cancelled_by_being_refused(ven):
    """Its change cannot be taken, so what was agreed goes on until the VTN says otherwise."""
    start_ms = await running(ven)
    broken = said.event("evt-1", start_ms, said.signal(("P1M", "1")), length="P1M", number=1, status="active")
    created = await ven.hear(said.distribute(broken, request_id="dist-2"), "oadrCreatedEvent")
    assert (created.opts, created.event_codes) == ([("evt-1", "1", "optOut")], ["454"])


async def test_an_answer_found_out_of_sequence_is_not_repeated_for_ever(judge, ven):
    judge.reply("oadrCreatedEvent", *[wire.response("dist-1", said.VEN, 450)] * 3)
    await ven.hear(said.distribute(said.event("evt-1", ven.clock.now_ms() + HOUR_MS)), "oadrCreatedEvent")
    for _ in range(3):
        await ven.poll()
    assert len(judge.of("oadrCreatedEvent")) <= 2


async def test_an_older_number_is_out_of_sequence_and_not_followed(ven):
    start_ms = await running(ven, number=2)
    old = said.event("evt-1", start_ms, said.signal(("PT1H", "1")), number=1, status="active")
    created = await ven.hear(said.distribute(old, request_id="dist-2"), "oadrCreatedEvent")
    assert created.event_codes == ["450"]
    await ven.at(ven.clock.now_ms() + 60_000)
    assert ven.shed_w == 600
