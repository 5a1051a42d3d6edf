"""Rule 14: currentValue is 0 while an event is not active, and the value in force while it is."""

from __future__ import annotations

from tests.conformance.v2.running import EUR, HOUR_MS, a_signal


def test_the_current_value_follows_the_intervals_of_every_signal(vtn, device):
    simple = a_signal(("1", 1800), ("2", 1800))
    price = a_signal(("0.45", 3600), name="ELECTRICITY_PRICE", type="price", signal_id="signal-1", unit=EUR)
    event_id = vtn.event(device, signals=(simple, price))

    def values():
        answer = device.events()
        return answer.texts(".//ei:currentValue//ei:value", answer.event(event_id)), answer.event_status(event_id)

    assert values() == (["0", "0"], "far")
    vtn.clock.advance(HOUR_MS)
    assert values() == (["1", "0.45"], "active")
    vtn.clock.advance(1_800_000)
    assert values() == (["2", "0.45"], "active")
    vtn.clock.advance(1_800_000)
    assert values() == (["0", "0"], "completed")


def test_it_is_0_during_ramp_up_and_in_a_cancelled_event(vtn, device):
    event_id = vtn.event(device, ramp_up_s=1800)
    vtn.clock.advance(HOUR_MS - 600_000)
    near = device.events()
    assert (near.event_status(event_id), near.texts(".//ei:currentValue//ei:value")) == ("near", ["0"])
    vtn.clock.advance(1_200_000)
    vtn.do(vtn.inside.dr_events.cancel(event_id))
    assert device.events().texts(".//ei:currentValue//ei:value") == ["0"]
