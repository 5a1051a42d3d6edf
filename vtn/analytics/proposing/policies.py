"""From a forecast to the event it calls for: where a feeder will be out of balance, and what shifting load would bring.

    net forecast and its band ──▶ beyond the limit, with what chance? ──▶ imbalance
    every event that is possible: begins, lasts, how deep, its rebound before or after  ──▶ figures of the day
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


class Policy(StrEnum):
    RENEWABLE = "renewable"
    COST = "cost"
    PEAK = "peak"
    CO2 = "co2"


@dataclass(frozen=True)
class Scenario:
    """A day of a feeder, an array each of equal length: load (Wh) without generation, generation (Wh), price and CO2 of
    imported energy (a kWh), and how much of the load can be shed (Wh).

    rebound: share of what was shed that is used at another time. Raises ValueError for arrays of different lengths.
    """

    interval_s: int
    load_wh: Floats
    generation_wh: Floats
    price_per_kwh: Floats
    carbon_kg_per_kwh: Floats
    sheddable_wh: Floats
    rebound: float = 0.9

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


def propose(scenario: Scenario, policy: Policy) -> Proposal:
    """The event that is best on the policy's figure; the shortest of equals."""
    without = figures(scenario, np.zeros(len(scenario.load_wh)))
    best, best_span = without, (0, 0)
    best_change: Floats = np.zeros(len(scenario.load_wh))
    for first, count, change in _events(scenario):
        found = figures(scenario, change)
        if found.badness(policy) < best.badness(policy) - 1e-9:
            best, best_change, best_span = found, change, (first, count)
    if not best_span[1]:
        reason = f"no event is better than none for {policy}"
    else:
        shed = -float(best_change[best_change < 0].sum()) / 1000
        was, will = abs(without.badness(policy)), abs(best.badness(policy))
        reason = f"{policy}: {shed:.2f} kWh less during the event take it from {was:.2f} to {will:.2f}"
    return Proposal(policy, *best_span, tuple(float(each) for each in best_change), best, without, reason)


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


def _events(scenario: Scenario) -> Iterator[tuple[int, int, Floats]]:
    """(first, count, change) of every event with every place of its rebound, on whole hours."""
    total, hour = len(scenario.load_wh), max(3600 // scenario.interval_s, 1)
    for hours in range(1, _EVENT_HOURS_MAX + 1):
        count = hours * hour
        for first in range(total - count + 1):
            for depth in _DEPTHS:
                shed = depth * scenario.sheddable_wh[first : first + count]
                energy = scenario.rebound * float(shed.sum())
                for length in (each * hour for each in _REBOUND_HOURS):
                    for start in range(0, total - length + 1, hour):
                        if start + length <= first or start >= first + count:
                            change = np.zeros(total)
                            change[first : first + count] = -shed
                            change[start : start + length] += energy / length
                            yield first, count, change
