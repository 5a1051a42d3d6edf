"""Rules 48, 58 and 59: an event left out of oadrDistributeEvent is cancelled by that, so every answer carries ALL that
apply; 452 for an unknown event, 450 for a wrong modificationNumber."""

from __future__ import annotations

import pytest

from tests.conformance.v2 import wire


def test_every_answer_carries_all_events_also_those_answered_before(vtn, device):
    first = vtn.event(device)
    device.answer((first, 0, "optIn"))
    second = vtn.event(device)
    polled = device.poll_for("oadrDistributeEvent")
    assert set(polled.event_ids) == {first, second}
    device.answer((second, 0, "optOut"))
    assert set(device.events().event_ids) == {first, second}


def test_a_reply_limit_leaves_nothing_out(vtn, device):
    both = {vtn.event(device), vtn.event(device)}
    answer = device.post("EiEvent", wire.request_event(device.ven_id, limit=1))
    assert set(answer.event_ids) == both


def test_a_request_without_events_gets_an_empty_list_not_a_response(device):
    """A plain oadrResponse there crashes an independent VEN."""
    answer = device.events()
    assert (answer.name, answer.code, answer.event_ids) == ("oadrDistributeEvent", 200, [])


@pytest.mark.parametrize(("number", "code"), [(1, 450), (7, 450)])
def test_a_modification_that_is_not_the_current_one_is_out_of_sequence(vtn, device, number, code):
    event_id = vtn.event(device)
    assert device.answer((event_id, number, "optIn")).code == code
    assert vtn.delivery(event_id, device).answered_ms is None


def test_an_answer_to_an_older_modification_is_out_of_sequence(vtn, device):
    event_id = vtn.event(device)
    vtn.do(vtn.inside.dr_events.cancel(event_id))
    assert device.answer((event_id, 0, "optIn")).code == 450


def test_an_unknown_event_is_an_invalid_id(device):
    answer = device.answer(("evt-nobody-knows", 0, "optIn"), request_id="dist-1")
    assert (answer.code, answer.answered) == (452, "dist-1")
