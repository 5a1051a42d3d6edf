"""Why a home is called or not, in numbers that can be checked: what its energy is worth at the plan's prices, what it
costs, or what keeps it out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vtn.dispatching.fleet import Fleet, Floats, Ints
from vtn.dispatching.optimise import Plan


@dataclass(frozen=True)
class Reason:
    """One home of a plan. option: index in its fleet, -1 if none; energy in Wh expected, cost and worth in minor
    units: worth is what the plan would have to pay elsewhere for the same energy."""

    home: str
    called: bool
    option: int
    start: int
    energy_wh: float
    cost: float
    worth: float
    answers: float
    text: str


def reasons(fleet: Fleet, called: Ints, plan: Plan) -> Iterator[Reason]:
    """Every home of a fleet in its order, with the options of it that are called."""
    worth = fleet.mean_wh @ plan.prices - fleet.weight * (fleet.mean_wh**2 @ (plan.prices * plan.slopes))
    energy = np.maximum(0.0, fleet.mean_wh).sum(axis=1)
    best = _best(fleet, worth)
    chosen = np.full(fleet.homes, -1)
    chosen[fleet.home[called[::-1]]] = called[::-1]
    for n, name in enumerate(fleet.names):
        option = int(chosen[n]) if chosen[n] >= 0 else int(best[n])
        if option < 0:
            text = fleet.reasons[int(fleet.blocked[n])] or "has nothing to offer in these intervals"
            yield Reason(name, False, -1, -1, 0.0, 0.0, 0.0, float(fleet.answers[n]), text)
            continue
        costs, value = float(fleet.cost[option]), float(worth[option])
        yield Reason(
            home=name,
            called=bool(chosen[n] >= 0),
            option=option if chosen[n] >= 0 else -1,
            start=int(fleet.start[option]),
            energy_wh=float(energy[option]),
            cost=costs,
            worth=value,
            answers=float(fleet.answers[n]),
            text=_text(fleet, n, bool(chosen[n] >= 0), costs, value),
        )


def _best(fleet: Fleet, worth: Floats) -> Ints:
    found = np.full(fleet.homes, -1)
    order = np.argsort(worth - fleet.cost, kind="stable")
    found[fleet.home[order]] = order
    return found


def _text(fleet: Fleet, home: int, called: bool, cost: float, worth: float) -> str:
    answers = f"answers {fleet.answers[home]:.0%} of its calls"
    if called and worth >= cost:
        return f"costs {cost:.1f}, its energy is worth {worth:.1f} in this plan; {answers}"
    if called:
        return f"costs {cost:.1f} where the last Wh are worth {worth:.1f}: a whole home closes the gap; {answers}"
    if fleet.blocked[home]:
        return fleet.reasons[int(fleet.blocked[home])]
    if fleet.calls_left[home] <= 0:
        return "has no call left"
    if worth < cost:
        return f"would cost {cost:.1f}, others give the same energy for {worth:.1f}; {answers}"
    return f"costs {cost:.1f} for what is worth {worth:.1f}, but the target was met without a further call; {answers}"
