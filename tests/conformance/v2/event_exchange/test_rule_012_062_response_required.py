"""Rules 12 and 62: oadrResponseRequired always wants one eventResponse in an oadrCreatedEvent, also for an event that
did not change and for a cancelled one; never wants none."""

from __future__ import annotations


def required(answer, event_id):
    return answer.text("./oadr:oadrResponseRequired", answer.event(event_id))


def test_always_is_asked_for_until_it_is_answered_and_repeated_where_it_was(vtn, device):
    event_id = vtn.event(device)
    first = device.poll_for("oadrDistributeEvent")
    assert required(first, event_id) == "always"
    assert device.answer((event_id, 0, "optIn"), request_id=first.request_id).code == 200
    again = device.events()
    assert required(again, event_id) == "always"
    assert device.answer((event_id, 0, "optIn"), request_id=again.request_id).code == 200
    assert vtn.delivery(event_id, device).state == "opted_in"


def test_a_cancelled_event_is_answered_too(vtn, device):
    event_id = vtn.event(device)
    vtn.do(vtn.inside.dr_events.cancel(event_id))
    cancelled = device.poll_for("oadrDistributeEvent")
    assert required(cancelled, event_id) == "always"
    assert device.answer((event_id, 1, "optIn"), request_id=cancelled.request_id).code == 200
    assert vtn.delivery(event_id, device).state == "acknowledged"


def test_never_is_sent_and_done_without_an_answer(vtn, device):
    event_id = vtn.event(device, response_required=False)
    for _ in range(2):  # one answer to a poll may be lost
        assert required(device.poll_for("oadrDistributeEvent"), event_id) == "never"
        vtn.clock.advance(30_000)
    assert device.poll().name == "oadrResponse"
    assert vtn.delivery(event_id, device).state == "acknowledged"
    assert event_id in device.events().event_ids
