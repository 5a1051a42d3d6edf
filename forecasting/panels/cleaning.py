"""What meters really send, made into a series: each fault is mended, left out or refused, and always named.

    stamps   off the grid: a little is snapped, a few left out, many refused     twice: once if equal, else a gap
             in the future: left out      local time instead of UTC: refused when both clock changes show it
             of the end of an interval: moved to its start if that is said       hours among quarters: left out
    values   not finite, beyond the connection, spikes: a gap     a register that only grows: its differences
             days like the others but a thousand times off: a gap (unit change); all of them: refused
             negative where only load is measured: a gap; many: refused (net metering?); a roof's draw at night: 0
             frozen for a day or more: a gap; the whole series: kept, and said

Nothing is interpolated: what is left out is a gap, and models pass over gaps. A house nobody is in is no fault.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from forecasting.calendar import DAY_S
from forecasting.errors import BadReadings
from forecasting.panels.panel import Floats
from forecasting.panels.registers import differences, is_register
from forecasting.panels.stamps import coarse, local_stamps, snapped
from forecasting.panels.units import UNITS, Kind, refuse_other_units, without_unit_changes
from forecasting.series import IntervalSeries

Stamped = Literal["start", "end"]

_NEGATIVE_SHARE_MAX = 0.05
_NIGHT_DRAW = 0.03
_SPIKE_RUN_MAX = 3
_STANDBY = 0.05


@dataclass(frozen=True)
class Finding:
    """One kind of fault: how many readings it touched, and what was done."""

    fault: str
    count: int
    done: str


@dataclass(frozen=True)
class Cleaned:
    """The usable readings in Wh, and what was found on the way."""

    series: IntervalSeries
    findings: tuple[Finding, ...]


def cleaned(
    rows: Iterable[tuple[int, float]],
    interval_s: int,
    *,
    unit: str = "Wh",
    kind: Kind = "load",
    zone: str = "UTC",
    now_ms: int | None = None,
    mean_w: tuple[float, float] = (3.0, 50_000.0),
    power_w_max: float | None = None,
    stamped: Stamped = "start",
) -> Cleaned:
    """(start in UTC epoch ms, value) in order of arrival, as a series of Wh.

    kind: "load" is never negative, "net" may be, "generation" is given as a positive number. mean_w: range in which the
    mean power of a site lies; widen it for a virtual node or a factory. power_w_max: what the connection can carry.
    stamped: "end" where the stamps are those of the ends of intervals. Raises BadReadings where the series as a whole
    is wrong, ValueError for an unknown unit.
    """
    if unit not in UNITS:
        raise ValueError(f"unit is {unit}; known are {', '.join(UNITS)}")
    pairs = list(rows)
    stamps = np.array([each[0] for each in pairs], dtype=np.int64) - (interval_s * 1000 if stamped == "end" else 0)
    factor, power = UNITS[unit]
    values: Floats = np.array([each[1] for each in pairs], dtype=np.float64)
    values = values * factor * (interval_s / 3600 if power else 1.0)
    found: list[Finding] = []
    note = found_into(found)
    stamps, values = snapped(stamps, values, interval_s, note)
    stamps, values = _in_time(stamps, values, interval_s, now_ms, note)
    stamps, values = _once(stamps, values, interval_s, zone, note)
    if not power and is_register(values):
        stamps, values = differences(stamps, values, interval_s, note)
        stamps = stamps + (interval_s * 1000 if stamped == "end" else 0)  # a register's stamp is the moment it is read
    if len(stamps):
        values = _plausible(values, interval_s, kind, power_w_max, note)
        values = coarse(stamps, values, interval_s, note)
        values = without_unit_changes(stamps, values, interval_s, mean_w, note)
        refuse_other_units(values, interval_s, unit, mean_w)
        values = _frozen(stamps, values, interval_s, note)
    kept = ~np.isnan(values)
    readings = {int(at): float(value) for at, value in zip(stamps[kept], values[kept], strict=True)}
    return Cleaned(IntervalSeries(interval_s, readings), tuple(found))


def found_into(found: list[Finding]) -> _Note:
    """A function that notes a finding if there is anything to note."""
    return _Note(found)


class _Note:
    def __init__(self, found: list[Finding]) -> None:
        self._found = found

    def __call__(self, fault: str, count: int, done: str) -> None:
        if count:
            self._found.append(Finding(fault, int(count), done))


def _in_time(
    stamps: NDArray[np.int64], values: Floats, interval_s: int, now_ms: int | None, note: _Note
) -> tuple[NDArray[np.int64], Floats]:
    if now_ms is None:
        return stamps, values
    early = stamps + interval_s * 1000 > now_ms
    note("in the future", early.sum(), "left out: the sender's clock is ahead, or the interval still runs")
    return stamps[~early], values[~early]


def _once(
    stamps: NDArray[np.int64], values: Floats, interval_s: int, zone: str, note: _Note
) -> tuple[NDArray[np.int64], Floats]:
    note("out of order", int((np.diff(stamps) < 0).sum()), "sorted")
    order = np.argsort(stamps, kind="stable")
    stamps, values = stamps[order], values[order]
    unique, first, counts = np.unique(stamps, return_index=True, return_counts=True)
    kept = values[first]
    equal = contradicting = 0
    contradicted = []
    for position in np.flatnonzero(counts > 1):
        several = values[first[position] : first[position] + counts[position]]
        if np.all(several == several[0]):
            equal += 1
        else:
            contradicting += 1
            contradicted.append(int(unique[position]))
    evidence = local_stamps(unique, contradicted, interval_s, zone)
    if evidence:
        raise BadReadings(f"the stamps are local time of {zone} and not UTC: {evidence}")
    note("given twice", equal, "kept once")
    note("given twice with different values", contradicting, "left out: nobody knows which is right")
    right = ~np.isin(unique, contradicted)
    return unique[right], kept[right]


def _plausible(values: Floats, interval_s: int, kind: Kind, power_w_max: float | None, note: _Note) -> Floats:
    bad = ~np.isfinite(values)
    note("no number", bad.sum(), "left out")
    values = np.where(bad, np.nan, values)
    if kind == "generation":
        values = _without_night_draw(values, note)
    if kind != "net":
        negative = values < 0
        share = negative.sum() / max(len(values), 1)
        if share > _NEGATIVE_SHARE_MAX:
            raise BadReadings(
                f"{share:.0%} of the readings are negative, which no {kind} is: if the meter nets generation, "
                "give kind net; if the sign is turned, turn it"
            )
        note("negative", negative.sum(), f"left out: a {kind} is never negative")
        values = np.where(negative, np.nan, values)
    if power_w_max is not None:
        beyond = np.abs(values) > power_w_max * interval_s / 3600
        note("beyond the connection", beyond.sum(), f"left out: more than {power_w_max:g} W")
        values = np.where(beyond, np.nan, values)
    return _without_spikes(values, note)


def _without_night_draw(values: Floats, note: _Note) -> Floats:
    """An inverter that waits for the sun draws a little: no generation, and no fault."""
    known = values[~np.isnan(values)]
    draw = (values < 0) & (values >= -_NIGHT_DRAW * float(known.max(initial=0.0)))
    note("a roof's draw at night", draw.sum(), "taken as no generation")
    return np.where(draw, 0.0, values)


def _without_spikes(values: Floats, note: _Note) -> Floats:
    """Single readings far beyond all others. A stretch of them is use: a house that is empty but for a week."""
    size = np.abs(values[~np.isnan(values)])
    if len(size) < 24:
        return values
    level = float(np.quantile(size, 0.99)) if len(size) >= 200 else 2 * float(np.quantile(size, 0.9))
    spikes = np.abs(values) > 25 * max(level, 1.0)
    runs = np.cumsum(np.concatenate([[False], spikes[1:] != spikes[:-1]]))
    spikes &= (np.bincount(runs)[runs] <= _SPIKE_RUN_MAX) & (spikes.sum() < max(0.005 * len(size), 2))
    note("spike", spikes.sum(), "left out: 25 times what 99 of 100 readings stay below")
    return np.where(spikes, np.nan, values)


def _frozen(stamps: NDArray[np.int64], values: Floats, interval_s: int, note: _Note) -> Floats:
    """The same value for a day or longer, neither zero nor what an empty house draws: a meter that repeats itself."""
    known = values[~np.isnan(values)]
    if len(known) and np.all(known == known[0]):
        note("constant", len(known), "kept: every reading is the same, forecasts will be too")
        return values
    same = np.concatenate([[False], (np.diff(values) == 0) & (np.diff(stamps) == interval_s * 1000)])
    runs = np.cumsum(~same)
    lengths = np.bincount(runs)[runs]
    standby = float(np.quantile(np.abs(known), _STANDBY)) if len(known) else 0.0
    frozen = (lengths >= DAY_S // interval_s) & (np.abs(values) > standby)
    note("frozen", frozen.sum(), "left out: the same value for a day or longer")
    return np.where(frozen, np.nan, values)
