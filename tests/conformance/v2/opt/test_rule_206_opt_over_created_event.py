"""Rule 206: after an oadrCreateOpt for an event, a later oadrCreatedEvent about it is ignored."""

from __future__ import annotations

from tests.conformance.v2 import wire


def opt(device, opt_id, opt_type, event):
    return device.post("EiOpt", wire.create_opt(device.ven_id, opt_id, opt_type, event=event, request_id="opt-7"))


def test_the_opt_stands_against_later_answers_until_it_is_cancelled(vtn, device):
    event_id = vtn.event(device)
    distributed = device.poll_for("oadrDistributeEvent")
    device.answer((event_id, 0, "optIn"), request_id=distributed.request_id)
    answer = opt(device, "opt-1", "optOut", (event_id, 0))
    assert (answer.name, answer.code, answer.answered) == ("oadrCreatedOpt", 200, "opt-7")
    assert answer.text("./ei:optID") == "opt-1"
    assert vtn.delivery(event_id, device).state == "opted_out"
    assert device.answer((event_id, 0, "optIn"), request_id=distributed.request_id).code == 200
    assert vtn.delivery(event_id, device).state == "opted_out"
    cancelled = device.post("EiOpt", wire.cancel_opt(device.ven_id, "opt-1", request_id="opt-8"))
    assert (cancelled.name, cancelled.code, cancelled.answered) == ("oadrCanceledOpt", 200, "opt-8")
    device.answer((event_id, 0, "optIn"), request_id=distributed.request_id)
    assert vtn.delivery(event_id, device).state == "opted_in"


def test_a_later_opt_replaces_an_earlier_one(vtn, device):
    event_id = vtn.event(device)
    opt(device, "opt-1", "optOut", (event_id, 0))
    assert opt(device, "opt-2", "optIn", (event_id, 0)).code == 200
    assert vtn.delivery(event_id, device).state == "opted_in"


def test_an_opt_answers_an_event_that_was_not_answered(vtn, device):
    event_id = vtn.event(device)
    device.poll_for("oadrDistributeEvent")
    opt(device, "opt-1", "optOut", (event_id, 0))
    vtn.clock.advance(60_000)
    assert device.poll().name == "oadrResponse"


def test_an_opt_for_an_unknown_event_or_a_wrong_modification_is_refused(vtn, device):
    event_id = vtn.event(device)
    assert opt(device, "opt-1", "optOut", ("evt-nobody-knows", 0)).code == 452
    assert opt(device, "opt-2", "optOut", (event_id, 3)).code == 450
    assert vtn.do(vtn.inside.opts.list(device.ven_id)) == []
