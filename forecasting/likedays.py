"""Past days cut to an event's wall-clock intervals: the integer input of a baseline.

The aggregator and the device both call `like_day_slots` on the readings each of them holds; equal readings give equal
rows, so the device can check the baseline it is asked to accept.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, timedelta

from forecasting.calendar import SiteCalendar, day_slots, slot_of


def like_day_slots(
    readings: Mapping[int, int],
    calendar: SiteCalendar,
    interval_s: int,
    starts_ms: Sequence[int],
    *,
    event_start_ms: int,
    look_back_days: int,
    excluded: Collection[date] = frozenset(),
) -> list[tuple[date, tuple[int | None, ...]]]:
    """For each like-day of the event's local day, most recent first: its Wh at the wall-clock label of each start.

    readings: interval start (UTC epoch ms) -> Wh. starts_ms: intervals of the event and its adjustment window; one that
    lies on another local day than the event's start is read that many days from the like-day. None: no reading.
    Days before the first reading are left out. Raises ValueError for an `interval_s` that does not divide a day.
    """
    if not readings:
        return []
    event_day = calendar.day_of(event_start_ms)
    first_day = calendar.day_of(min(readings))
    labels = [
        ((calendar.day_of(start) - event_day).days, slot_of(calendar.zone, interval_s, start)) for start in starts_ms
    ]
    rows: dict[date, tuple[int | None, ...]] = {}

    def value(day: date, slot: int) -> int | None:
        if day not in rows:
            rows[day] = day_slots(readings, calendar.zone, interval_s, day)
        return rows[day][slot]

    days = calendar.like_days(event_day, look_back_days, look_back_days, excluded)
    return [
        (day, tuple(value(day + timedelta(days=offset), slot) for offset, slot in labels))
        for day in days
        if day >= first_day
    ]
