"""Rule 15: active events first, by priority (1 is the highest, 0 the lowest) and then start; then pending ones by
start; completed ones last."""

from __future__ import annotations

from tests.conformance.v2.running import HOUR_MS, a_signal


def test_events_come_in_the_order_of_the_rule(vtn, device):
    now_ms = vtn.clock.now_ms()

    def at(minutes, **given):
        return vtn.event(device, start_ms=now_ms + minutes * 60_000, **given)

    long = {"duration_s": 7200, "signals": (a_signal(("1", 7200)),)}
    over = at(1, duration_s=60, signals=(a_signal(("1", 60)),))
    lowest = at(2, priority=0, **long)
    second = at(3, priority=2, **long)
    first_but_later = at(30, priority=1, **long)
    second_but_later = at(20, priority=2, **long)
    far = at(600, priority=1)
    sooner = at(500, priority=0)
    vtn.clock.advance(HOUR_MS)
    assert device.events().event_ids == [first_but_later, second, second_but_later, lowest, sooner, far]
    assert over not in device.events().event_ids


def test_a_completed_event_comes_last(vtn, device):
    now_ms = vtn.clock.now_ms()
    completed = vtn.event(device, start_ms=now_ms + 1000, duration_s=60, signals=(a_signal(("1", 60)),), priority=1)
    pending = vtn.event(device)
    vtn.clock.advance(120_000)
    answer = device.events()
    assert answer.event_ids == [pending, completed]
    assert answer.event_status(completed) == "completed"
