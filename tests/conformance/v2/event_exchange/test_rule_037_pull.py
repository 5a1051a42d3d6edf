"""Rule 37: a VEN supports pull, so everything can be had by polling; an empty poll gets a plain oadrResponse."""

from __future__ import annotations

from tests.conformance.v2 import wire


def test_a_poll_with_nothing_to_tell_gets_a_response_with_the_venid(device):
    answer = device.poll()
    assert (answer.name, answer.code, answer.text("./ei:venID")) == ("oadrResponse", 200, device.ven_id)


def test_a_message_comes_again_until_it_is_acknowledged(vtn, device):
    event_id = vtn.event(device)
    first = device.poll_for("oadrDistributeEvent")
    assert device.poll().name == "oadrResponse", "not on every poll"
    for _ in range(3):
        vtn.clock.advance(30_000)
        assert device.poll_for("oadrDistributeEvent").event_ids == first.event_ids
    assert vtn.delivery(event_id, device).deliveries == 4
    device.answer((event_id, 0, "optIn"))
    vtn.clock.advance(60_000)
    assert device.poll().name == "oadrResponse"


def test_an_event_that_nobody_answered_is_no_longer_sent_when_it_is_over(vtn, device):
    vtn.event(device)
    device.poll_for("oadrDistributeEvent")
    vtn.clock.advance(3 * 3_600_000)
    assert device.poll().name == "oadrResponse"


def test_messages_come_one_by_one_the_oldest_first(vtn, device):
    vtn.do(vtn.inside.registrations.request_reregistration(device.ven_id))
    vtn.event(device)
    assert device.poll_for("oadrRequestReregistration").text("./ei:venID") == device.ven_id
    assert device.poll_for("oadrDistributeEvent").name == "oadrDistributeEvent"


def test_a_plain_response_of_a_ven_to_what_a_poll_brought_is_taken(vtn, device):
    vtn.event(device)
    brought = device.poll_for("oadrDistributeEvent")
    answer = device.post("EiEvent", wire.response(brought.request_id, device.ven_id))
    assert (answer.name, answer.code) == ("oadrResponse", 200)
