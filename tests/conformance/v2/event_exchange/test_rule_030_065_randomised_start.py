"""Rules 30 and 65: with startafter each VEN randomises its start and its end, and the end of a cancelled event too: the
window is sent with the event and stays in its cancellation."""

from __future__ import annotations


def tolerance(answer, event_id):
    return answer.text(".//xcal:tolerance/xcal:tolerate/xcal:startafter", answer.event(event_id))


def test_the_window_is_sent_and_stays_in_a_cancellation_during_the_event(vtn, device):
    event_id = vtn.event(device, start_after_s=300)
    assert tolerance(device.events(), event_id) == "PT5M"
    vtn.clock.advance(3_660_000)
    vtn.do(vtn.inside.dr_events.cancel(event_id))
    cancelled = device.poll_for("oadrDistributeEvent")
    assert cancelled.event_status(event_id) == "cancelled"
    assert tolerance(cancelled, event_id) == "PT5M"


def test_an_event_without_a_window_has_no_tolerance(vtn, device):
    event_id = vtn.event(device)
    assert tolerance(device.events(), event_id) is None


def test_notification_ramp_up_and_recovery_are_sent(vtn, device):
    event_id = vtn.event(device, notification_s=1800, ramp_up_s=600, recovery_s=900)
    answer = device.events()
    event = answer.event(event_id)
    found = [
        answer.text(f".//ei:{name}/xcal:duration", event) for name in ("x-eiNotification", "x-eiRampUp", "x-eiRecovery")
    ]
    assert found == ["PT30M", "PT10M", "PT15M"]


def test_an_event_is_listed_until_the_latest_end_of_its_window(vtn, device):
    """Left out it would be cancelled for a VEN that began last (rule 58)."""
    event_id = vtn.event(device, start_after_s=1800)
    device.answer((event_id, 0, "optIn"))
    vtn.clock.advance(7_200_000 + 1_800_000)
    assert device.events().event_status(event_id) == "completed"
    vtn.clock.advance(301_000)
    assert event_id not in device.events().event_ids
