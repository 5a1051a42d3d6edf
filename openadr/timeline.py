"""What events mean at one moment: status, interval in force, and one plan out of overlapping events.

          ramp-up       active period
       ├───────────┬──────────┬──────────┤
    far    near       interval 0   1        completed          (cancelled wins over all of them)

Every function gets the moment as `now_ms`; nothing here reads a clock or draws a random number. A VEN that draws its
own start inside the startafter window passes the result as `offset_s`: it shifts start and end alike (rules 30, 65).
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum

import msgspec

from openadr.model import DrEvent, Signal


class EventStatus(StrEnum):
    """eventStatus of OpenADR 2.0b, derived from time. `none` is the status where there is no event."""

    NONE = "none"
    FAR = "far"
    NEAR = "near"
    ACTIVE = "active"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


class Step(msgspec.Struct, frozen=True):
    """The interval of a signal in force: its place, its payload, its half-open time; `end_ms` None is open-ended."""

    index: int
    payload: str
    start_ms: int
    end_ms: int | None


class Segment(msgspec.Struct, frozen=True):
    """A stretch of the plan in which one event governs."""

    start_ms: int
    end_ms: int | None
    event: DrEvent


def status(event: DrEvent | None, now_ms: int, offset_s: int = 0) -> EventStatus:
    """Status of an event at `now_ms`. Near begins with the ramp-up period: without one an event goes far -> active."""
    if event is None:
        return EventStatus.NONE
    if event.cancelled:
        return EventStatus.CANCELLED
    start_ms, end_ms = span(event, offset_s)
    if end_ms is not None and now_ms >= end_ms:
        return EventStatus.COMPLETED
    if now_ms >= start_ms:
        return EventStatus.ACTIVE
    return EventStatus.NEAR if now_ms >= start_ms - 1000 * event.ramp_up_s else EventStatus.FAR


def span(event: DrEvent, offset_s: int = 0) -> tuple[int, int | None]:
    """Half-open active period of an event whose start was shifted by `offset_s` (0 to `event.start_after_s`)."""
    shift_ms = 1000 * offset_s
    return event.start_ms + shift_ms, None if event.end_ms is None else event.end_ms + shift_ms


def steps(event: DrEvent, signal: Signal, offset_s: int = 0) -> tuple[Step, ...]:
    """The intervals of a signal with their times. In an open-ended event one of 0 s lasts until further notice."""
    start_ms, end_ms = span(event, offset_s)
    found = []
    for index, interval in enumerate(signal.intervals):
        stop_ms = start_ms + 1000 * interval.duration_s if interval.duration_s else end_ms
        found.append(Step(index, interval.payload, start_ms, stop_ms))
        if stop_ms is None:
            break
        start_ms = stop_ms
    return tuple(found)


def step_at(event: DrEvent, signal: Signal, now_ms: int, offset_s: int = 0) -> Step | None:
    """The interval in force at `now_ms`, None when the event is not active."""
    if status(event, now_ms, offset_s) is not EventStatus.ACTIVE:
        return None
    for step in steps(event, signal, offset_s):
        if step.start_ms <= now_ms and (step.end_ms is None or now_ms < step.end_ms):
            return step
    return None


def current_value(event: DrEvent, signal: Signal, now_ms: int) -> str:
    """currentValue of a signal: the payload in force, 0 while the event is not active (rule 14)."""
    step = step_at(event, signal, now_ms)
    return "0" if step is None else step.payload


def ordered(events: Iterable[DrEvent], now_ms: int) -> list[DrEvent]:
    """Events in the order of rule 15.

    Active ones by priority (1 first, 0 last) and then start, pending ones by start, then cancelled, completed last.
    """

    def place(event: DrEvent) -> tuple[int, int, int, str]:
        match status(event, now_ms):
            case EventStatus.ACTIVE:
                return 0, _rank(event), event.start_ms, event.event_id
            case EventStatus.FAR | EventStatus.NEAR | EventStatus.NONE:
                return 1, 0, event.start_ms, event.event_id
            case EventStatus.CANCELLED:
                return 2, 0, event.start_ms, event.event_id
            case EventStatus.COMPLETED:
                return 3, 0, event.start_ms, event.event_id

    return sorted(events, key=place)


def plan(events: Sequence[DrEvent], offsets_s: dict[str, int] | None = None) -> tuple[Segment, ...]:
    """Overlapping events as one timeline: at each moment the event of the best priority governs.

    Equal priorities: the earlier start, then the smaller event id. Cancelled events take no part. `offsets_s` holds the
    drawn offset by event id.

        A prio 2   |-----------------|
        B prio 1         |-----|
        plan       |--A--|--B--|--A--|
    """
    offsets_s = offsets_s or {}
    spans = {event.event_id: span(event, offsets_s.get(event.event_id, 0)) for event in events if not event.cancelled}
    live = [event for event in events if event.event_id in spans]
    edges = sorted({edge for bounds in spans.values() for edge in bounds if edge is not None})
    segments: list[Segment] = []
    for index, start_ms in enumerate(edges):
        governing = [event for event in live if _covers(spans[event.event_id], start_ms)]
        if not governing:
            continue
        winner = min(governing, key=lambda event: (_rank(event), spans[event.event_id][0], event.event_id))
        end_ms = edges[index + 1] if index + 1 < len(edges) else None
        if segments and segments[-1].event is winner and segments[-1].end_ms == start_ms:
            segments[-1] = Segment(segments[-1].start_ms, end_ms, winner)
        else:
            segments.append(Segment(start_ms, end_ms, winner))
    return tuple(segments)


def _rank(event: DrEvent) -> int:
    return event.priority or 2**32


def _covers(bounds: tuple[int, int | None], moment_ms: int) -> bool:
    start_ms, end_ms = bounds
    return start_ms <= moment_ms and (end_ms is None or moment_ms < end_ms)
