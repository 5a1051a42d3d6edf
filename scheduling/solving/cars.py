"""In which slots a car charges, where the solution let it take less than its least power."""

from __future__ import annotations

import math

from scheduling.devices import Ev
from scheduling.home import Home
from scheduling.solving.formulation import Formulation, value
from scheduling.wished import ev_limits_wh

Pattern = dict[int, tuple[int, int]]
_EPS = 1e-4
_PATTERNS = 1


def below_least(made: Formulation, ev: Ev) -> bool:
    """Whether the solution charges it somewhere with less than its least power."""
    least, _ = ev_limits_wh(ev, made.home.hours)
    return any(_EPS < value(column) < least - _EPS for column in made.cars[ev.name].values())


def whole_slots(ev: Ev, home: Home) -> bool:
    """Whether its energy can be met by slots of nothing or at least its least power; a few Wh cannot."""
    least, most = ev_limits_wh(ev, home.hours)
    slots = ev.departure - ev.arrival
    return any(count * least <= ev.energy_wh <= count * most for count in range(slots + 1))


def patterns(made: Formulation, ev: Ev) -> list[Pattern]:
    """Slots with the Wh it may take there, nearest to the solution first. Where its energy fits no whole slots, one of
    them may be cut short: the car stops within it."""
    least, most = ev_limits_wh(ev, made.home.hours)
    taken = {slot: value(column) for slot, column in made.cars[ev.name].items()}
    energy = math.floor(sum(taken.values()) + 0.5)
    order = sorted(taken, key=lambda slot: (-taken[slot], slot))
    full = sum(1 for each in taken.values() if each >= least - _EPS)
    joined = full + sum(each for each in taken.values() if each < least - _EPS) / max(least, 1)
    counts = [count for count in range(len(order) + 1) if count * least <= energy <= count * most]
    if counts:
        counts.sort(key=lambda count: abs(count - joined))
        return [dict.fromkeys(order[:count], (least, most)) for count in counts[:_PATTERNS]]
    count = min(-(-energy // max(most, 1)), len(order))
    return [{slot: (0 if place == count - 1 else least, most) for place, slot in enumerate(order[:count])}]
