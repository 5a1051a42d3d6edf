"""Status, intervals in force and overlap, by the clock value alone."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openadr.model import DrEvent, SignalInterval
from openadr.timeline import EventStatus, current_value, ordered, plan, status, step_at, steps
from tests.builders import START_MS, a_dr_event, a_signal

HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-601, EventStatus.FAR),
        (-600, EventStatus.NEAR),
        (-1, EventStatus.NEAR),
        (0, EventStatus.ACTIVE),
        (3599, EventStatus.ACTIVE),
        (3600, EventStatus.COMPLETED),
    ],
)
def test_status_changes_at_the_edges(seconds: int, expected: EventStatus) -> None:
    assert status(a_dr_event(ramp_up_s=600), START_MS + 1000 * seconds) is expected


def test_no_event_has_status_none_and_a_cancelled_one_is_cancelled_at_any_time() -> None:
    assert status(None, START_MS) is EventStatus.NONE
    for now_ms in (0, START_MS, START_MS + HOUR_MS):
        assert status(a_dr_event(cancelled=True), now_ms) is EventStatus.CANCELLED


def test_an_open_ended_event_never_completes() -> None:
    """Rule 47: duration 0."""
    event = a_dr_event(duration_s=0, signals=(a_signal(intervals=(SignalInterval(60, "1"), SignalInterval(0, "2"))),))
    assert status(event, START_MS + 10**12) is EventStatus.ACTIVE
    assert event.end_ms is None
    assert current_value(event, event.signals[0], START_MS + 59_999) == "1"
    assert current_value(event, event.signals[0], START_MS + 10**12) == "2"


def test_the_current_value_is_that_of_the_interval_and_0_outside() -> None:
    """Rule 14."""
    event = a_dr_event(signals=(a_signal(intervals=(SignalInterval(1200, "1"), SignalInterval(2400, "3"))),))
    signal = event.signals[0]
    values = [current_value(event, signal, START_MS + 1000 * s) for s in (-1, 0, 1199, 1200, 3599, 3600)]
    assert values == ["0", "1", "1", "3", "3", "0"]


def test_the_drawn_offset_moves_start_and_end_alike() -> None:
    """Rules 30 and 65."""
    event = a_dr_event(start_after_s=300)
    assert status(event, START_MS + 119_000, 120) is EventStatus.FAR
    assert status(event, START_MS + HOUR_MS + 119_000, 120) is EventStatus.ACTIVE
    assert status(event, START_MS + HOUR_MS + 120_000, 120) is EventStatus.COMPLETED
    step = step_at(event, event.signals[0], START_MS + 120_000, 120)
    assert step is not None
    assert (step.start_ms, step.end_ms) == (START_MS + 120_000, START_MS + HOUR_MS + 120_000)


def test_events_are_ordered_active_by_priority_then_pending_then_completed() -> None:
    """Rule 15; priority decides before start date, and 0 is the lowest."""
    now_ms = START_MS
    given_events = [
        a_dr_event("completed", start_ms=now_ms - 5 * HOUR_MS),
        a_dr_event("pending late", start_ms=now_ms + 2 * HOUR_MS, priority=1),
        a_dr_event("active none", start_ms=now_ms - 3000),
        a_dr_event("active second", start_ms=now_ms - 2000, priority=2),
        a_dr_event("cancelled", start_ms=now_ms - 1000, cancelled=True),
        a_dr_event("active first", start_ms=now_ms - 1000, priority=1),
        a_dr_event("active none earlier", start_ms=now_ms - 4000),
        a_dr_event("pending", start_ms=now_ms + HOUR_MS),
    ]
    assert [event.event_id for event in ordered(given_events, now_ms)] == [
        "active first",
        "active second",
        "active none earlier",
        "active none",
        "pending",
        "pending late",
        "cancelled",
        "completed",
    ]


def test_a_better_priority_interrupts_and_hands_back() -> None:
    low = a_dr_event("low", priority=2, duration_s=7200)
    high = a_dr_event("high", priority=1, start_ms=START_MS + HOUR_MS // 2, duration_s=1800)
    assert [(s.event.event_id, (s.start_ms - START_MS) // 1000, s.end_ms) for s in plan([low, high])] == [
        ("low", 0, START_MS + HOUR_MS // 2),
        ("high", 1800, START_MS + HOUR_MS),
        ("low", 3600, START_MS + 2 * HOUR_MS),
    ]


def test_an_event_without_priority_yields_and_a_cancelled_one_takes_no_part() -> None:
    none, some = a_dr_event("none", priority=0), a_dr_event("some", priority=9)
    gone = a_dr_event("gone", priority=1, cancelled=True)
    assert [segment.event.event_id for segment in plan([none, some, gone])] == ["some"]


a_few = st.lists(
    st.tuples(st.integers(0, 20), st.integers(0, 10), st.integers(0, 3), st.booleans()), min_size=1, max_size=6
).map(
    lambda rows: [
        a_dr_event(f"e{n}", start_ms=1000 * start, duration_s=length, priority=priority, cancelled=cancelled)
        for n, (start, length, priority, cancelled) in enumerate(rows)
    ]
)


@given(a_few, st.integers(0, 40))
def test_the_plan_agrees_with_the_definition_at_every_moment(events: list[DrEvent], second: int) -> None:
    """Judge: of the events active at that moment, the one that `ordered` puts first."""
    now_ms = 1000 * second
    active = [event for event in ordered(events, now_ms) if status(event, now_ms) is EventStatus.ACTIVE]
    found = [s for s in plan(events) if s.start_ms <= now_ms and (s.end_ms is None or now_ms < s.end_ms)]
    assert [segment.event.event_id for segment in found] == [event.event_id for event in active[:1]]


def test_steps_fill_the_active_period() -> None:
    event = a_dr_event(signals=(a_signal(intervals=tuple(SignalInterval(900, str(n)) for n in range(4))),))
    found = steps(event, event.signals[0])
    assert found[0].start_ms == START_MS
    assert found[-1].end_ms == event.end_ms
    assert all(a.end_ms == b.start_ms for a, b in itertools.pairwise(found))
