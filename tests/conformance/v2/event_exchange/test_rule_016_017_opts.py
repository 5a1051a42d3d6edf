"""Rules 16 and 17: a VEN answers optIn or optOut, and may change its mind later without being asked."""

from __future__ import annotations

import pytest

from tests.conformance.v2 import wire


@pytest.mark.parametrize(("opt_type", "state"), [("optIn", "opted_in"), ("optOut", "opted_out")])
def test_the_opt_is_taken(vtn, device, opt_type, state):
    event_id = vtn.event(device)
    distributed = device.poll_for("oadrDistributeEvent")
    assert vtn.delivery(event_id, device).state == "delivered"
    assert device.answer((event_id, 0, opt_type), request_id=distributed.request_id).code == 200
    assert vtn.delivery(event_id, device).state == state


def test_an_opt_out_after_an_opt_in_counts_and_the_other_way_round(vtn, device):
    event_id = vtn.event(device)
    distributed = device.poll_for("oadrDistributeEvent")
    for opt_type, state in (("optIn", "opted_in"), ("optOut", "opted_out"), ("optIn", "opted_in")):
        assert device.answer((event_id, 0, opt_type), request_id=distributed.request_id).code == 200
        assert vtn.delivery(event_id, device).state == state


def test_an_answer_after_the_start_is_taken_and_shown_as_late(vtn, device):
    event_id = vtn.event(device)
    device.poll_for("oadrDistributeEvent")
    vtn.clock.advance(3_600_000)
    assert vtn.delivery(event_id, device).late
    assert device.answer((event_id, 0, "optIn")).code == 200
    found = vtn.delivery(event_id, device)
    assert (found.state, found.late) == ("opted_in", True)


@pytest.mark.parametrize("opt_type", ["optIn", "optOut"])
def test_an_answer_with_an_error_code_is_no_opt_in(vtn, device, opt_type):
    event_id = vtn.event(device)
    distributed = device.poll_for("oadrDistributeEvent")
    body = wire.created_event(
        device.ven_id,
        (event_id, 0, opt_type),
        request_id=distributed.request_id,
        outer=distributed.request_id,
        code=460,
    )
    assert device.post("EiEvent", body).code == 200
    assert vtn.delivery(event_id, device).state == "opted_out"
