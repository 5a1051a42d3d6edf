"""What the owner allows, changed at any time beside the running agent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import msgspec

from forecasting.calendar import SiteCalendar, slot_of
from ven.home.store import Notes

_NOTE = "owner"
_MINUTE_S = 60
_DAY_MINUTES = 1440


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """The owner's choices. None is no limit.

    opt_out, opt_out_until_ms: takes part in nothing (until then). hours: local wall-clock minutes of the day [from, to)
    in which the home may be asked; from > to runs over midnight. price_min_minor_per_mwh: the least a contract pays.
    deposit_max_minor: the most a contract may put at stake, and so the most a penalty can cost. price_levels: from
    which price per kWh (a decimal) the home follows which SIMPLE level, where an event names prices."""

    opt_out: bool = False
    opt_out_until_ms: int | None = None
    max_shed_w: int | None = None
    max_duration_s: int | None = None
    max_events_per_day: int | None = None
    hours: tuple[int, int] | None = None
    price_min_minor_per_mwh: int = 0
    deposit_max_minor: int = 500
    price_levels: tuple[tuple[str, int], ...] = ()

    def opted_out(self, now_ms: int) -> bool:
        """Whether the owner takes no part at this moment."""
        return self.opt_out and (self.opt_out_until_ms is None or now_ms < self.opt_out_until_ms)

    def refusal(
        self,
        *,
        calendar: SiteCalendar,
        start_ms: int,
        end_ms: int,
        reduction_w: int,
        other_starts_ms: Sequence[int],
    ) -> str | None:
        """Why the owner would not take part in such an event, None if the limits allow it.

        `other_starts_ms`: starts of the events the home has agreed to already."""
        if self.max_shed_w is not None and reduction_w > self.max_shed_w:
            return f"{reduction_w} W is more than the {self.max_shed_w} W the owner allows"
        if self.max_duration_s is not None and end_ms - start_ms > self.max_duration_s * 1000:
            return f"{(end_ms - start_ms) // 1000} s is longer than the {self.max_duration_s} s the owner allows"
        if self.max_events_per_day is not None:
            day = calendar.day_of(start_ms)
            agreed = sum(1 for other_ms in other_starts_ms if calendar.day_of(other_ms) == day)
            if agreed >= self.max_events_per_day:
                return f"the owner allows {self.max_events_per_day} events a day, {agreed} are agreed"
        if self.hours is not None and not self._within_hours(calendar, start_ms, end_ms):
            return "outside the hours the owner allows"
        return None

    def _within_hours(self, calendar: SiteCalendar, start_ms: int, end_ms: int) -> bool:
        first, last = self.hours or (0, _DAY_MINUTES)
        open_minutes = (last - first) % _DAY_MINUTES or _DAY_MINUTES
        into = (slot_of(calendar.zone, _MINUTE_S, start_ms) - first) % _DAY_MINUTES
        length = timedelta(milliseconds=end_ms - start_ms)
        return into < open_minutes and timedelta(minutes=into) + length <= timedelta(minutes=open_minutes)


def read_owner(notes: Notes) -> Owner:
    """The owner's choices as they stand."""
    return notes.read(_NOTE, Owner) or Owner()


def write_owner(notes: Notes, owner: Owner) -> None:
    notes.write(_NOTE, owner)
