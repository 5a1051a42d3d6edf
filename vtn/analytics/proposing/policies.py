"""From a forecast to the event it calls for: where a feeder will be out of balance, and what shifting load would bring.

    net forecast and its band ──▶ beyond the limit, with what chance? ──▶ imbalance
    every event that is possible: begins, lasts, how deep, its rebound before or after  ──▶ figures of the day
        └── those that take away half of what any event can take of the imbalance, rebound and all
    policy: renewable use, cost, peak, CO2 ──▶ the one best on its own figure, or none if none is better

All policies choose from the same events, so each is best on its own figure by construction, and the table shows what it
costs on the others. A proposal is no event: an operator approves it, or it stays a line in a table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from forecasting.panels.panel import Floats

_EVENT_HOURS_MAX = 4
_REBOUND_HOURS = (1, 2, 4)
_DEPTHS = (0.25, 0.5, 0.75, 1.0)
_EASED_MIN = 0.5
"""Least part of what the best event takes of an imbalance that another must take."""
_NOTHING_WH = 1e-6


class Policy(StrEnum):
    RENEWABLE = "renewable"
    COST = "cost"
    PEAK = "peak"
    CO2 = "co2"


@dataclass(frozen=True)
class Bounds:
    """What an area bears, Wh an interval (inf: no limit), and the highest and lowest net load that count with it."""

    high_wh: Floats
    low_wh: Floats
    import_wh: float
    export_wh: float

    def beyond_wh(self, changes_wh: Floats) -> Floats:
        """Wh beyond the limits over the day, for each of several changes (changes, intervals)."""
        above = np.maximum(self.high_wh + changes_wh - self.import_wh, 0)
        below = np.maximum(-self.export_wh - self.low_wh - changes_wh, 0)
        return np.asarray((above + below).sum(axis=-1))


@dataclass(frozen=True)
class Scenario:
    """A day of a feeder, an array each of equal length: load (Wh) without generation, generation (Wh), price and CO2 of
    imported energy (a kWh), and how much of the load can be shed (Wh).

    rebound: share of what was shed that is used at another time. bounds: limits an event has to bring the area back
    towards; None: any event will do. Raises ValueError for arrays of different lengths.
    """

    interval_s: int
    load_wh: Floats
    generation_wh: Floats
    price_per_kwh: Floats
    carbon_kg_per_kwh: Floats
    sheddable_wh: Floats
    rebound: float = 0.9
    bounds: Bounds | None = None

    def __post_init__(self) -> None:
        arrays = (self.load_wh, self.generation_wh, self.price_per_kwh, self.carbon_kg_per_kwh, self.sheddable_wh)
        if len({len(each) for each in arrays}) != 1:
            raise ValueError("the arrays of a scenario have different lengths")
        if not 0 <= self.rebound <= 2:
            raise ValueError(f"rebound is {self.rebound}; it is a share of what was shed")


@dataclass(frozen=True)
class Figures:
    """What a day comes to: own generation used at once (kWh), cost and CO2 (kg) of imports, highest import (W)."""

    renewable_kwh: float
    cost: float
    peak_w: float
    co2_kg: float

    def badness(self, policy: Policy) -> float:
        """The policy's own figure, smaller is better."""
        by_policy = {
            Policy.RENEWABLE: -self.renewable_kwh,
            Policy.COST: self.cost,
            Policy.PEAK: self.peak_w,
            Policy.CO2: self.co2_kg,
        }
        return by_policy[policy]


@dataclass(frozen=True)
class Proposal:
    """An event of `count` intervals from `first`, what it sheds and where that comes back (Wh by interval, negative is
    less load), and the day's figures with it and without. count 0: no event is better than none."""

    policy: Policy
    first: int
    count: int
    change_wh: tuple[float, ...]
    figures: Figures
    without: Figures
    reason: str


@dataclass(frozen=True)
class Imbalance:
    """An interval in which the net forecast may pass the limit: by how much at most (Wh), and with what chance."""

    position: int
    beyond_wh: float
    chance_min: float


def imbalances(
    net_wh: Floats, quantiles: Mapping[float, Floats], import_wh: float, export_wh: float | None = None
) -> list[Imbalance]:
    """Intervals whose import passes its limit, or whose export passes the other (None: the same), in the forecast or at
    one of its quantiles.

    chance_min is the largest chance the quantiles vouch for: 0.5 where the forecast itself passes.
    """
    export_wh = import_wh if export_wh is None else export_wh
    found = []
    for position, expected in enumerate(net_wh):
        passing = []
        for level, value in [
            (0.5, float(expected)),
            *((level, float(rows[position])) for level, rows in quantiles.items()),
        ]:
            if value > import_wh:
                passing.append((1 - level, value - import_wh))
            elif -value > export_wh:
                passing.append((level, -value - export_wh))
        if passing:
            found.append(Imbalance(position, max(by for _, by in passing), max(chance for chance, _ in passing)))
    return found


def bounds(
    net_wh: Floats, quantiles: Mapping[float, Floats], chance: float, import_wh: float, export_wh: float
) -> Bounds:
    """Limits with the net load that comes with a chance of `chance` at least, as `imbalances` tells it."""
    curves = [(0.5, net_wh), *quantiles.items()]
    high = [curve for level, curve in curves if round(1 - level, 9) >= chance] or [net_wh]
    low = [curve for level, curve in curves if level >= chance] or [net_wh]
    return Bounds(np.max(high, axis=0), np.min(low, axis=0), import_wh, export_wh)


def propose(scenario: Scenario, policy: Policy) -> Proposal:
    """The event that is best on the policy's figure, of those that ease the imbalance; the shortest of equals."""
    nothing: Floats = np.zeros(len(scenario.load_wh))
    without = figures(scenario, nothing)
    was_wh, wanted_wh = _beyond(scenario, nothing)
    if was_wh and wanted_wh >= was_wh - _NOTHING_WH:
        reason = f"no event takes any of the {was_wh / 1000:.2f} kWh beyond the limit"
        return Proposal(policy, 0, 0, tuple(nothing.tolist()), without, without, reason)
    least, best_span, best_change = without.badness(policy), (0, 0), nothing
    for first, count, changes in _events(scenario):
        badness = _badness(scenario, changes, policy)
        if scenario.bounds is not None:
            badness[scenario.bounds.beyond_wh(changes) > wanted_wh + _NOTHING_WH] = np.inf
        at = int(badness.argmin())
        if badness[at] < least - 1e-9:
            least, best_span, best_change = float(badness[at]), (first, count), changes[at]
    best = figures(scenario, best_change)
    if not best_span[1]:
        eases = " that eases the imbalance" if was_wh else ""
        reason = f"no event{eases} is better than none for {policy}"
    else:
        shed = -float(best_change[best_change < 0].sum()) / 1000
        was, will = abs(without.badness(policy)), abs(best.badness(policy))
        reason = f"{policy}: {shed:.2f} kWh less during the event take it from {was:.2f} to {will:.2f}"
        if scenario.bounds is not None and was_wh:
            left_wh = float(scenario.bounds.beyond_wh(best_change))
            reason += f", and from {was_wh / 1000:.2f} kWh beyond the limit to {left_wh / 1000:.2f}"
    return Proposal(policy, *best_span, tuple(float(each) for each in best_change), best, without, reason)


def _beyond(scenario: Scenario, nothing: Floats) -> tuple[float, float]:
    """Wh beyond the limits without an event, and at most with one; 0 and 0 without limits."""
    if scenario.bounds is None:
        return 0.0, 0.0
    was_wh = float(scenario.bounds.beyond_wh(nothing))
    if not was_wh:
        return 0.0, 0.0
    least_wh = min(float(scenario.bounds.beyond_wh(changes).min()) for _, _, changes in _events(scenario))
    return was_wh, was_wh - _EASED_MIN * max(was_wh - least_wh, 0.0)


def figures(scenario: Scenario, change_wh: Floats) -> Figures:
    """The figures of the day with a change of load."""
    load = scenario.load_wh + change_wh
    imported = np.maximum(load - scenario.generation_wh, 0)
    return Figures(
        renewable_kwh=float(np.minimum(load, scenario.generation_wh).sum()) / 1000,
        cost=float((imported * scenario.price_per_kwh).sum()) / 1000,
        peak_w=float(imported.max()) * 3600 / scenario.interval_s,
        co2_kg=float((imported * scenario.carbon_kg_per_kwh).sum()) / 1000,
    )


def _badness(scenario: Scenario, changes_wh: Floats, policy: Policy) -> Floats:
    """`Figures.badness` of each of several changes (changes, intervals)."""
    load = scenario.load_wh + changes_wh
    if policy is Policy.RENEWABLE:
        return np.asarray(-np.minimum(load, scenario.generation_wh).sum(axis=1) / 1000)
    imported = np.maximum(load - scenario.generation_wh, 0)
    if policy is Policy.PEAK:
        return np.asarray(imported.max(axis=1) * 3600 / scenario.interval_s)
    each = scenario.price_per_kwh if policy is Policy.COST else scenario.carbon_kg_per_kwh
    return np.asarray((imported * each).sum(axis=1) / 1000)


def _events(scenario: Scenario) -> Iterator[tuple[int, int, Floats]]:
    """(first, count, changes) of every event: a change for each depth and place of its rebound, on whole hours."""
    total, hour = len(scenario.load_wh), max(3600 // scenario.interval_s, 1)
    for hours in range(1, _EVENT_HOURS_MAX + 1):
        count = hours * hour
        for first in range(total - count + 1):
            rebounds = [
                (start, length)
                for length in (each * hour for each in _REBOUND_HOURS)
                for start in range(0, total - length + 1, hour)
                if start + length <= first or start >= first + count
            ]
            changes = np.zeros((len(_DEPTHS), len(rebounds), total))
            for place, depth in enumerate(_DEPTHS):
                shed = depth * scenario.sheddable_wh[first : first + count]
                energy = scenario.rebound * float(shed.sum())
                changes[place, :, first : first + count] = -shed
                for at, (start, length) in enumerate(rebounds):
                    changes[place, at, start : start + length] += energy / length
            if rebounds:
                yield first, count, changes.reshape(-1, total)
