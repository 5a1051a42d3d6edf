"""Stamps of readings: on the grid or not, in UTC or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from forecasting.errors import BadReadings
from forecasting.panels.panel import Floats

_SNAP_SHARE = 0.1
_ASTRAY_SHARE_MAX = 0.02
_HOUR_MS = 3_600_000
_COARSE_RUN_MIN = 12


def snapped(
    stamps: NDArray[np.int64], values: Floats, interval_s: int, note: Callable[[str, int, str], None]
) -> tuple[NDArray[np.int64], Floats]:
    """Stamps on the grid. Raises BadReadings where more than a few lie far from it."""
    if interval_s < 1 or 86_400 % interval_s:
        raise BadReadings(f"interval_s is {interval_s}; it must divide a day")
    step = interval_s * 1000
    nearest = (stamps + step // 2) // step * step
    off = np.abs(stamps - nearest)
    astray = off > _SNAP_SHARE * step
    if astray.mean() > _ASTRAY_SHARE_MAX if len(stamps) else False:
        typical = int(np.median(off[astray])) // 1000
        raise BadReadings(
            f"{astray.mean():.0%} of the stamps lie about {typical} s off the grid of {interval_s} s: "
            "is the interval another one, or are these stamps of its middle or end? Intervals begin on multiples of "
            "their length in UTC: of a zone half an hour off it give shorter ones"
        )
    note("off the grid", int(astray.sum()), "left out")
    note("near the grid", int(((off > 0) & ~astray).sum()), "moved to it")
    return nearest[~astray], values[~astray]


def coarse(stamps: NDArray[np.int64], values: Floats, interval_s: int, note: Callable[[str, int, str], None]) -> Floats:
    """Stretches whose stamps are all the same several intervals apart as gaps: their values are energy of longer
    intervals, and when in them it was used nobody knows. Stamps in the order of time. Raises BadReadings where that is
    most of the series."""
    steps = np.diff(stamps) // (interval_s * 1000)
    if not len(steps):
        return values
    runs = np.cumsum(np.concatenate([[False], steps[1:] != steps[:-1]]))
    long = (steps > 1) & (np.bincount(runs)[runs] >= _COARSE_RUN_MIN)
    wide = np.zeros(len(stamps), dtype=np.bool_)
    wide[:-1], wide[-1] = long, long[-1]
    if wide.mean() > 0.5:
        longer = int(np.median(steps[long])) * interval_s
        raise BadReadings(
            f"the stamps are {longer} s apart and the others' {interval_s} s: forecast them by themselves"
        )
    note("of longer intervals", int(wide.sum()), "left out: their stamps are several intervals apart")
    return np.where(wide, np.nan, values)


def local_stamps(stamps: NDArray[np.int64], contradicted: Sequence[int], interval_s: int, zone: str) -> str:
    """Evidence that stamps are wall-clock time read as UTC: an hour is missing where the clock goes forward, and one is
    there twice where it goes back. "" unless both are seen: an hour missing alone is a gap."""
    if not len(stamps):
        return ""
    there, twice = set(stamps.tolist()), set(contradicted)
    missing = doubled = ""
    for local_ms, forward in _changes(zone, int(stamps[0]), int(stamps[-1])):
        hour = range(local_ms, local_ms + _HOUR_MS, interval_s * 1000)
        day = datetime.fromtimestamp(local_ms / 1000, UTC).date().isoformat()
        around = {local_ms - _HOUR_MS, local_ms + _HOUR_MS} <= there
        if forward and around and not any(at in there for at in hour):
            missing = day
        if not forward and all(at in twice for at in hour):
            doubled = day
    return (
        f"the hour that clocks skip is missing on {missing}, and the one they repeat is there twice on {doubled}"
        if (missing and doubled)
        else ""
    )


def _changes(zone: str, first_ms: int, last_ms: int) -> list[tuple[int, bool]]:
    """(wall-clock start of the hour that is skipped or repeated, read as UTC ms; whether it is skipped)."""
    info, found = ZoneInfo(zone), []
    at = datetime.fromtimestamp(first_ms / 1000, UTC).replace(minute=0, second=0, microsecond=0)
    end = datetime.fromtimestamp(last_ms / 1000, UTC)
    while at < end:
        day_later = at + timedelta(days=1)
        if _offset(at, info) != _offset(day_later, info):
            hour = at
            while _offset(hour, info) == _offset(hour + timedelta(hours=1), info):
                hour += timedelta(hours=1)
            forward = _offset(hour + timedelta(hours=1), info) > _offset(hour, info)
            local = hour + timedelta(hours=1) + _offset(hour + timedelta(hours=1), info)
            start = local - timedelta(hours=1) if forward else local
            found.append((int(start.timestamp() * 1000), forward))
        at = day_later
    return found


def _offset(at: datetime, info: ZoneInfo) -> timedelta:
    return at.astimezone(info).utcoffset() or timedelta()
