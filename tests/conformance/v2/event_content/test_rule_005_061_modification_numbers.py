"""Rules 5 and 61: any change but createdDateTime, eventStatus and currentValue increments modificationNumber and sends
the event again, cancelling too, before the event and while it is active."""

from __future__ import annotations

import msgspec
import pytest

from openadr.model import Target
from tests.conformance.v2.running import HOUR_MS, a_signal


def change(vtn, event_id, **changes):
    event = vtn.do(vtn.inside.dr_events.get(event_id)).event
    return vtn.do(vtn.inside.dr_events.modify(msgspec.structs.replace(event, **changes)))


def settled(device, event_id, number):
    """Answer the event, so that nothing is left to poll."""
    distributed = device.poll_for("oadrDistributeEvent")
    assert distributed.modification(event_id) == number
    assert device.answer((event_id, number, "optIn"), request_id=distributed.request_id).code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"priority": 4},
        {"vtn_comment": "later"},
        {"test_event": True},
        {"targets": (Target("group", "others"),)},
        {"notification_s": 600},
        {"ramp_up_s": 600},
        {"recovery_s": 600},
        {"start_after_s": 600},
        {"response_required": False},
        {"signals": (a_signal(("2", 3600)),)},
        {"duration_s": 1800, "signals": (a_signal(("1", 1800)),)},
    ],
    ids=lambda changes: "+".join(changes),
)
def test_every_change_increments_the_number_and_sends_the_event_again(vtn, device, changes):
    event_id = vtn.event(device)
    settled(device, event_id, 0)
    change(vtn, event_id, **changes)
    assert device.poll_for("oadrDistributeEvent").modification(event_id) == 1


def test_the_passing_of_time_changes_status_and_current_value_but_not_the_number(vtn, device):
    event_id = vtn.event(device)
    settled(device, event_id, 0)
    before = device.events()
    vtn.clock.advance(HOUR_MS)
    during = device.events()
    assert (before.event_status(event_id), during.event_status(event_id)) == ("far", "active")
    assert (before.modification(event_id), during.modification(event_id)) == (0, 0)
    assert vtn.delivery(event_id, device).state == "opted_in"


def test_a_change_that_changes_nothing_does_not_count(vtn, device):
    event_id = vtn.event(device, vtn_comment="evening")
    settled(device, event_id, 0)
    change(vtn, event_id, vtn_comment="evening ", created_ms=5)
    assert device.events().modification(event_id) == 0


def test_an_active_event_is_changed_and_cancelled_under_new_numbers(vtn, device):
    event_id = vtn.event(device)
    settled(device, event_id, 0)
    vtn.clock.advance(HOUR_MS + 60_000)
    change(vtn, event_id, signals=(a_signal(("3", 3600)),))
    changed = device.poll_for("oadrDistributeEvent")
    assert (changed.modification(event_id), changed.event_status(event_id)) == (1, "active")
    assert changed.text(".//ei:currentValue//ei:value", changed.event(event_id)) == "3"
    vtn.do(vtn.inside.dr_events.cancel(event_id))
    cancelled = device.poll_for("oadrDistributeEvent")
    assert (cancelled.modification(event_id), cancelled.event_status(event_id)) == (2, "cancelled")
