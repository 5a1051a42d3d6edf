"""Rule 36: a cancellation is confirmed with optIn; until then the event stays in every list as cancelled."""

from __future__ import annotations


def test_a_cancelled_event_stays_until_it_is_confirmed_and_then_goes(vtn, device):
    event_id = vtn.event(device)
    device.answer((event_id, 0, "optIn"))
    vtn.do(vtn.inside.dr_events.cancel(event_id))
    for _ in range(3):
        assert device.events().event_status(event_id) == "cancelled"
    confirmed = device.answer((event_id, 1, "optIn"))
    assert confirmed.code == 200
    found = vtn.delivery(event_id, device)
    assert (found.state, found.modification_number) == ("acknowledged", 1)
    assert event_id not in device.events().event_ids


def test_the_old_modification_does_not_confirm_it(vtn, device):
    event_id = vtn.event(device)
    vtn.do(vtn.inside.dr_events.cancel(event_id))
    assert device.answer((event_id, 0, "optIn")).code == 450
    assert device.events().event_status(event_id) == "cancelled"


def test_an_event_withdrawn_from_one_ven_is_cancelled_for_it_alone(vtn, device):
    other = vtn.device()
    event_id = vtn.event(device, other)
    vtn.do(vtn.inside.dr_events.withdraw(event_id, [device.ven_id]))
    withdrawn = device.poll_for("oadrDistributeEvent")
    assert (withdrawn.event_status(event_id), withdrawn.modification(event_id)) == ("cancelled", 1)
    assert other.events().modification(event_id) == 0
    assert device.answer((event_id, 1, "optIn")).code == 200
    assert event_id not in device.events().event_ids
    assert other.answer((event_id, 0, "optIn")).code == 200
