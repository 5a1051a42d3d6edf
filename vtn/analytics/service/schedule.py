"""When analytics are due, by the domain clock alone: pure, so that every hour of every zone can be tried.

    day_ahead   each local midnight of the program                        (days have 23 to 25 hours)
    intraday    every few hours after it, counted from that midnight
    choice      the midnight of every n-th day

Only the latest slot of each is due, however long nobody looked: what was missed is skipped, never made up for. What was
done for a slot that is yet to come was done by a clock that was ahead: it counts for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from forecasting.calendar import SiteCalendar

DAY_AHEAD, INTRADAY, CHOICE = "day_ahead", "intraday", "choice"
_HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Due:
    """Something to do, and the slot it is for."""

    kind: str
    slot_ms: int


def due(
    calendar: SiteCalendar, now_ms: int, done: Mapping[str, int], *, intraday_h: int, choice_days: int
) -> list[Due]:
    """What is to be done now, in this order: choice, day_ahead, intraday. done: kind -> the last slot that was done.
    intraday_h and choice_days: 0 for never."""
    today = calendar.day_of(now_ms)
    midnight_ms = calendar.start_ms(today)
    slots = {DAY_AHEAD: midnight_ms}
    if choice_days:
        slots = {CHOICE: calendar.start_ms(today - timedelta(days=today.toordinal() % choice_days)), **slots}
    if intraday_h and (steps := (now_ms - midnight_ms) // (intraday_h * _HOUR_MS)):
        slots[INTRADAY] = midnight_ms + steps * intraday_h * _HOUR_MS
    return [Due(kind, slot_ms) for kind, slot_ms in slots.items() if not slot_ms <= done.get(kind, -1) <= now_ms]
