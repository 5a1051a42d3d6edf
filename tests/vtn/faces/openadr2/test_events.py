"""EiEvent and OadrPoll: events reach the VEN until it answers, and never alone."""

from __future__ import annotations

import msgspec

from openadr import v2
from openadr.model import digest
from tests.vtn.faces.peer import facing
from tests.vtn.opened import PROGRAM, opened
from tests.vtn.services.test_dr_events import LATER_MS, an_event


async def publish(vtn, peer, event_id="evt-1", **given):
    record = await vtn.dr_events.create(an_event(event_id, **given), PROGRAM)
    await vtn.dr_events.publish(event_id, [peer.ven_id])
    return record


def event_ids(distributed):
    return [each.dr_event.event_id for each in distributed.events]


async def state(vtn, event_id="evt-1"):
    [delivery] = await vtn.dr_events.deliveries(event_id)
    return delivery.state


async def test_an_empty_poll_gets_a_plain_response_with_the_ven_id(peer):
    answer = await peer.poll()
    assert isinstance(answer, v2.OadrResponse)
    assert (answer.response.response_code, answer.ven_id) == (200, peer.ven_id)


async def test_a_request_without_events_gets_an_empty_distribute_event(peer):
    """A plain response there crashes an independent VEN."""
    answer = await peer.send(v2.OadrRequestEvent("r-1", peer.ven_id))
    assert isinstance(answer, v2.OadrDistributeEvent)
    assert answer.events == ()
    assert answer.response.request_id == "r-1"


async def test_the_ven_gets_the_digest_the_vtn_stored(opened_vtn, peer):
    record = await publish(opened_vtn.vtn, peer)
    distributed = await peer.poll_for(v2.OadrDistributeEvent)
    assert [digest(each.dr_event) for each in distributed.events] == [record.digest]
    assert await state(opened_vtn.vtn) == "delivered"


async def test_an_event_is_delivered_again_until_the_ven_answers(opened_vtn, peer, clock):
    """An answer that was lost on the way costs nothing."""
    await publish(opened_vtn.vtn, peer)
    await peer.poll_for(v2.OadrDistributeEvent)
    assert isinstance(await peer.poll(), v2.OadrResponse), "not on every poll"
    clock.advance(30_000)
    distributed = await peer.poll_for(v2.OadrDistributeEvent)
    assert (await peer.answer(distributed)).response.response_code == 200
    assert await state(opened_vtn.vtn) == "opted_in"
    clock.advance(3_000_000)
    assert isinstance(await peer.poll(), v2.OadrResponse)


async def test_rule_58_every_answer_carries_all_applicable_events(opened_vtn, peer):
    vtn = opened_vtn.vtn
    await publish(vtn, peer, "evt-1")
    await peer.answer(await peer.poll_for(v2.OadrDistributeEvent))
    await publish(vtn, peer, "evt-2", start_ms=LATER_MS - 3_600_000)
    assert event_ids(await peer.poll_for(v2.OadrDistributeEvent)) == ["evt-2", "evt-1"]
    limited = await peer.send(v2.OadrRequestEvent("r-1", peer.ven_id, reply_limit=1))
    assert event_ids(limited) == ["evt-2", "evt-1"]


async def test_rule_48_wrong_modification_450_unknown_event_452(opened_vtn, peer):
    vtn = opened_vtn.vtn
    await publish(vtn, peer)
    distributed = await peer.poll_for(v2.OadrDistributeEvent)
    [event] = distributed.events
    changed = msgspec.structs.replace(event.dr_event, modification_number=7)
    wrong = msgspec.structs.replace(distributed, events=(msgspec.structs.replace(event, dr_event=changed),))
    assert (await peer.answer(wrong)).response.response_code == 450
    unknown = msgspec.structs.replace(event.dr_event, event_id="evt-unknown")
    both = msgspec.structs.replace(distributed, events=(msgspec.structs.replace(event, dr_event=unknown), event))
    answer = await peer.answer(both)
    assert answer.response.response_code == 452
    assert answer.response.request_id == distributed.request_id
    assert await state(vtn) == "opted_in", "rule 19: each event is answered on its own"


async def test_rule_12_an_event_without_response_is_sent_twice_for_one_answer_may_be_lost(opened_vtn, peer, clock):
    await publish(opened_vtn.vtn, peer, response_required=False)
    for _ in range(2):
        await peer.poll_for(v2.OadrDistributeEvent)
        clock.advance(30_000)
    assert isinstance(await peer.poll(), v2.OadrResponse)
    assert await state(opened_vtn.vtn) == "acknowledged"


async def test_rules_5_and_36_a_cancelled_event_is_sent_and_confirmed_with_opt_in(opened_vtn, peer):
    vtn = opened_vtn.vtn
    await publish(vtn, peer)
    await peer.answer(await peer.poll_for(v2.OadrDistributeEvent))
    await vtn.dr_events.cancel("evt-1")
    [event] = (distributed := await peer.poll_for(v2.OadrDistributeEvent)).events
    assert (event.status, event.dr_event.modification_number) == ("cancelled", 1)
    await peer.answer(distributed)
    assert (await peer.send(v2.OadrRequestEvent("r-1", peer.ven_id))).events == ()


async def test_rule_14_the_current_value_follows_the_clock(opened_vtn, peer, clock):
    await publish(opened_vtn.vtn, peer)
    await peer.answer(await peer.poll_for(v2.OadrDistributeEvent))
    [before] = (await peer.send(v2.OadrRequestEvent("r-1", peer.ven_id))).events
    clock.advance(LATER_MS - clock.now_ms())
    [during] = (await peer.send(v2.OadrRequestEvent("r-2", peer.ven_id))).events
    assert (before.status, before.current_values) == ("far", ("0",))
    assert during.status == "active"
    assert during.current_values == (during.dr_event.signals[0].intervals[0].payload,)


async def test_a_created_event_without_responses_is_no_error(peer):
    answer = await peer.send(v2.OadrCreatedEvent(peer.ven_id, (), v2.EiResponse(request_id="x")))
    assert answer.response.response_code == 200


async def test_an_event_survives_that_the_vtn_dies_between_poll_and_answer(vtn_url, clock, tmp_path, opened_vtn, peer):
    vtn = opened_vtn.vtn
    await publish(vtn, peer)
    distributed = await peer.poll_for(v2.OadrDistributeEvent)
    async with opened(vtn_url, clock, tmp_path, opened_vtn.ledger) as restarted, facing(restarted.vtn) as url:
        peer.url = url
        assert isinstance(await peer.poll(), v2.OadrResponse)
        clock.advance(30_000)
        again = await peer.poll_for(v2.OadrDistributeEvent)
        assert event_ids(again) == ["evt-1"]
        assert (await peer.answer(distributed)).response.response_code == 200
        assert await state(restarted.vtn) == "opted_in"


async def test_two_workers_share_one_queue(vtn_url, clock, tmp_path, opened_vtn, peer):
    """An event published by one worker is handed out by the other."""
    async with opened(vtn_url, clock, tmp_path, opened_vtn.ledger) as other, facing(other.vtn) as url:
        first, peer.url = peer.url, url
        assert isinstance(await peer.poll(), v2.OadrResponse)
        await publish(opened_vtn.vtn, peer)
        distributed = await peer.poll_for(v2.OadrDistributeEvent)
        peer.url = first
        await peer.answer(distributed)
        assert await state(other.vtn) == "opted_in"
        clock.advance(60_000)
        peer.url = url
        assert isinstance(await peer.poll(), v2.OadrResponse)
