"""What meters really send, made into a series: each fault is mended, left out or refused, and always named.

    stamps   off the grid: a little is snapped, a few left out, many refused     twice: once if equal, else a gap
             in the future: left out      local time instead of UTC: refused when both clock changes show it
    values   not finite, beyond the connection: a gap     a thousand times the rest for days: a gap (unit change)
             negative where only load is measured: a gap; many: refused (net metering?)
             frozen for a day or more: a gap; the whole series: kept, and said
             all of it a thousand times off, or a meter's register: refused

Nothing is interpolated: what is left out is a gap, and models pass over gaps.
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
from forecasting.panels.stamps import local_stamps, snapped
from forecasting.series import IntervalSeries

Kind = Literal["load", "net", "generation"]

UNITS: dict[str, tuple[float, bool]] = {
    "Wh": (1.0, False),
    "kWh": (1e3, False),
    "MWh": (1e6, False),
    "W": (1.0, True),
    "kW": (1e3, True),
    "MW": (1e6, True),
}
"""Factor to Wh or W, and whether it is power."""

_NEGATIVE_SHARE_MAX = 0.05
_FAR_OFF = (300.0, 3000.0)


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
) -> Cleaned:
    """(start in UTC epoch ms, value) in order of arrival, as a series of Wh.

    kind: "load" is never negative, "net" may be, "generation" is given as a positive number. mean_w: range in which the
    mean power of a site lies; widen it for a virtual node or a factory. power_w_max: what the connection can carry.
    Raises BadReadings where the series as a whole is wrong, ValueError for an unknown unit.
    """
    if unit not in UNITS:
        raise ValueError(f"unit is {unit}; known are {', '.join(UNITS)}")
    pairs = list(rows)
    stamps = np.array([each[0] for each in pairs], dtype=np.int64)
    factor, power = UNITS[unit]
    values: Floats = np.array([each[1] for each in pairs], dtype=np.float64)
    values = values * factor * (interval_s / 3600 if power else 1.0)
    found: list[Finding] = []
    stamps, values = snapped(stamps, values, interval_s, found_into(found))
    stamps, values = _in_time(stamps, values, interval_s, now_ms, found)
    stamps, values = _once(stamps, values, interval_s, zone, found)
    if len(stamps):
        values = _plausible(values, interval_s, kind, power_w_max, found)
        values = _unit_changes(stamps, values, found)
        _whole(stamps, values, interval_s, unit, kind, mean_w)
        values = _frozen(stamps, values, interval_s, kind, found)
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
    stamps: NDArray[np.int64], values: Floats, interval_s: int, now_ms: int | None, found: list[Finding]
) -> tuple[NDArray[np.int64], Floats]:
    if now_ms is None:
        return stamps, values
    early = stamps + interval_s * 1000 > now_ms
    _Note(found)("in the future", early.sum(), "left out: the sender's clock is ahead, or the interval still runs")
    return stamps[~early], values[~early]


def _once(
    stamps: NDArray[np.int64], values: Floats, interval_s: int, zone: str, found: list[Finding]
) -> tuple[NDArray[np.int64], Floats]:
    _Note(found)("out of order", int((np.diff(stamps) < 0).sum()), "sorted")
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
    _Note(found)("given twice", equal, "kept once")
    _Note(found)("given twice with different values", contradicting, "left out: nobody knows which is right")
    right = ~np.isin(unique, contradicted)
    return unique[right], kept[right]


def _plausible(values: Floats, interval_s: int, kind: Kind, power_w_max: float | None, found: list[Finding]) -> Floats:
    note = _Note(found)
    bad = ~np.isfinite(values)
    note("no number", bad.sum(), "left out")
    values = np.where(bad, np.nan, values)
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
    size = np.abs(values[~np.isnan(values)])
    if len(size) >= 200:
        spikes = np.abs(values) > 25 * max(float(np.quantile(size, 0.99)), 1.0)
        note("spike", spikes.sum(), "left out: 25 times what 99 of 100 readings stay below")
        values = np.where(spikes & (spikes.mean() < 0.005), np.nan, values)
    return values


def _whole(
    stamps: NDArray[np.int64], values: Floats, interval_s: int, unit: str, kind: Kind, mean_w: tuple[float, float]
) -> None:
    """Refuses what is not energy by interval in the unit that was named."""
    known = values[~np.isnan(values)]
    if len(known) >= 48 and kind != "net":
        steps = np.diff(known)
        if (steps >= 0).mean() > 0.995 and known[-1] - known[0] > 10 * max(float(np.abs(steps).max()), 1e-9):
            raise BadReadings("the values only ever grow: a meter's register; give the differences between readings")
    size = np.abs(known)
    power = float(size.mean()) * 3600 / interval_s if len(size) else 0.0
    for factor, wrong in ((1000.0, "smaller"), (0.001, "larger")):
        outside = 0 < power < mean_w[0] if factor > 1 else power > mean_w[1]
        if outside and mean_w[0] <= power * factor <= mean_w[1]:
            raise BadReadings(
                f"a mean of {power:.3g} W is a thousand times {wrong} than a site's: the values are not in {unit}; "
                "name their unit, or the range of the mean if it is right"
            )


def _unit_changes(stamps: NDArray[np.int64], values: Floats, found: list[Finding]) -> Floats:
    """Days a thousand times above or below the others: somebody changed the unit for a while."""
    days = stamps // (DAY_S * 1000)
    names, place = np.unique(days, return_inverse=True)
    there = ~np.isnan(values)
    counts = np.bincount(place, there, len(names))
    means = np.bincount(place, np.where(there, np.abs(values), 0), len(names)) / np.maximum(counts, 1)
    usual = float(np.median(means[counts > 0])) if (counts > 0).any() else 0.0
    if usual <= 0 or len(names) < 3:
        return values
    ratio = means / usual
    above = (ratio > _FAR_OFF[0]) & (ratio < _FAR_OFF[1])
    below = (means > 0) & (ratio > 1 / _FAR_OFF[1]) & (ratio < 1 / _FAR_OFF[0])
    wrong = (above | below)[place] & there
    _Note(found)("unit changed", wrong.sum(), "left out: whole days a thousand times off the others")
    return np.where(wrong, np.nan, values)


def _frozen(stamps: NDArray[np.int64], values: Floats, interval_s: int, kind: Kind, found: list[Finding]) -> Floats:
    """The same value for a day or longer, not zero: a meter that repeats itself."""
    known = values[~np.isnan(values)]
    if len(known) and np.all(known == known[0]):
        _Note(found)("constant", len(known), "kept: every reading is the same, forecasts will be too")
        return values
    same = np.concatenate([[False], (np.diff(values) == 0) & (np.diff(stamps) == interval_s * 1000)])
    runs = np.cumsum(~same)
    lengths = np.bincount(runs)[runs]
    frozen = (lengths >= DAY_S // interval_s) & (values != 0)
    _Note(found)("frozen", frozen.sum(), "left out: the same value for a day or longer")
    return np.where(frozen, np.nan, values)
