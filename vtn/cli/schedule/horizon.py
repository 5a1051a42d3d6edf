"""The slots that are scheduled: their instants, their local labels, and series of other intervals brought onto them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from runtime.errors import SettingsError

_LABEL = re.compile(r"([01]\d|2[0-4]):([0-5]\d)")
_DAY_MINUTES = 24 * 60


@dataclass(frozen=True)
class Horizon:
    """`count` slots of interval_s seconds from start_ms on, in a site's zone."""

    zone: str
    start_ms: int
    interval_s: int
    count: int

    @cached_property
    def starts_ms(self) -> tuple[int, ...]:
        return tuple(self.start_ms + slot * self.interval_s * 1000 for slot in range(self.count))

    @property
    def end_ms(self) -> int:
        return self.start_ms + self.count * self.interval_s * 1000

    @cached_property
    def minutes(self) -> tuple[int, ...]:
        """Local minute of the day in which each slot starts."""
        local = [self.local(at) for at in self.starts_ms]
        return tuple(each.hour * 60 + each.minute for each in local)

    def local(self, at_ms: int) -> datetime:
        return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(ZoneInfo(self.zone))

    def slot(self, label: str, what: str, *, after: int = 0, up: bool = False) -> int:
        """The first slot from `after` on that holds the local time HH:MM (`up`: begins then or later), or the first
        behind it on a day that skips it; `count` where the horizon ends before. Raises SettingsError for no time."""
        match = _LABEL.fullmatch(label)
        if match is None or (label > "24:00"):
            raise SettingsError(f"{what} is {label!r}: write a local time like 18:30, or 24:00 for the end of the day")
        minute = (int(match[1]) * 60 + int(match[2])) % _DAY_MINUTES
        if label == "24:00" and after == 0:
            after = 1
        length = self.interval_s // 60
        for slot in range(after, self.count):
            now = self.minutes[slot]
            if now <= minute < now + length:
                return slot + 1 if up and minute > now else slot
            skipped = slot > after and self.minutes[slot - 1] + length <= minute < now
            if skipped:
                return slot
        return self.count

    def over_slots(self, values: float | Sequence[float], what: str, *, energy: bool) -> tuple[float, ...]:
        """One number, a value a slot, or a value an hour, as a value a slot; an hour's energy is shared by its slots.
        Raises SettingsError for another number of values."""
        if isinstance(values, int | float):
            return (float(values),) * self.count
        if len(values) == self.count:
            return tuple(float(each) for each in values)
        hours, rest = divmod(self.count * self.interval_s, 3600)
        if rest == 0 and len(values) == hours and 3600 % self.interval_s == 0:
            within = 3600 // self.interval_s
            return tuple(float(values[slot // within]) / (within if energy else 1) for slot in range(self.count))
        raise SettingsError(
            f"{what} has {len(values)} values; give one number, one for each of the {self.count} slots, or one for "
            f"each of the {hours} hours"
        )

    def onto(self, start_ms: int, interval_s: int, values: Sequence[float], what: str) -> tuple[float, ...]:
        """Energies of another grid as those of the slots. Raises SettingsError where they do not cover the slots, have
        a gap there, or neither interval divides the other."""
        longer, shorter = max(interval_s, self.interval_s), min(interval_s, self.interval_s)
        if longer % shorter or (self.start_ms - start_ms) % (shorter * 1000):
            raise SettingsError(
                f"{what} has intervals of {interval_s // 60} minutes, which do not fit slots of "
                f"{self.interval_s // 60}: choose --interval-minutes so that one divides the other"
            )
        found = []
        for at in self.starts_ms:
            first = (at - start_ms) // (interval_s * 1000)
            if interval_s >= self.interval_s:
                part = [values[first]] if 0 <= first < len(values) else []
                energy = part[0] * self.interval_s / interval_s if part else float("nan")
            else:
                part = list(values[first : first + self.interval_s // interval_s]) if first >= 0 else []
                energy = sum(part) if len(part) == self.interval_s // interval_s else float("nan")
            if energy != energy:
                raise SettingsError(
                    f"{what} has no reading at {self.local(at):%Y-%m-%d %H:%M}: forecast it with --model"
                )
            found.append(energy)
        return tuple(found)


def horizon_of(
    zone: str, day: date, interval_minutes: int, begin: str | None = None, hours: int | None = None
) -> Horizon:
    """The local day (23 to 25 hours), or `hours` from HH:MM of it on. Raises SettingsError."""
    try:
        info = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError):
        raise SettingsError(f"--zone {zone} is no time zone: write Europe/Paris") from None
    if 60 % interval_minutes:
        raise SettingsError(f"--interval-minutes is {interval_minutes}; it divides an hour: 5, 10, 15, 20, 30 or 60")
    match = _LABEL.fullmatch(begin or "00:00")
    if match is None or int(match[1]) == 24:
        raise SettingsError(f"--from is {begin!r}: write a local time like 12:00")
    first = datetime.combine(day, time(int(match[1]), int(match[2])), info)
    start_ms, step_ms = int(first.timestamp() * 1000), interval_minutes * 60_000
    start_ms = -(-start_ms // step_ms) * step_ms
    end_ms = start_ms + (hours or 24) * 3_600_000
    if hours is None:
        end_ms = int((datetime.combine(day + timedelta(days=1), first.time(), info)).timestamp() * 1000)
    return Horizon(zone, start_ms, interval_minutes * 60, (end_ms - start_ms) // step_ms)
