"""From a solution in fractions to whole Wh: slot by slot, what is rounded away goes into the next slot.

Bounds that are whole are kept by that. Where the sum of several roundings would pass what the connection or a dispatch
allows, those rounded up furthest give a Wh back. The battery follows its state of charge, so it keeps its limits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scheduling.devices import Battery
from scheduling.home import Home
from scheduling.plan import Plan, plan_of
from scheduling.solving.formulation import Formulation, value
from scheduling.wished import ev_limits_wh

_EPS = 1e-6


@dataclass
class _Row:
    """A device on its way: what the solution takes in each slot, between which whole Wh, what is owed from before."""

    wanted: list[float]
    lows: list[int]
    highs: list[int]
    done: list[int]
    carried: float = 0.0


def whole_plan(made: Formulation) -> Plan:
    """The solution of a formulation as a plan."""
    home = made.home
    starts = {
        name: next((slot for slot, column in columns.items() if value(column) > 0.5), None)
        for name, columns in made.starts.items()
    }
    rows = _rows(made)
    runs = [0] * home.count
    for appliance in home.appliances:
        start = starts[appliance.name]
        for offset, energy in enumerate(appliance.profile_wh if start is not None else ()):
            runs[(start or 0) + offset] += energy
    stored, curtailed, soc = [], [], 0.0 if home.battery is None else home.battery.soc_start_wh
    load, pv = home.load(), home.pv()
    highest, lowest = _limits(made)
    for slot in range(home.count):
        less = min(math.floor(value(made.curtailed[slot]) + 0.5), pv[slot])
        fixed = load[slot] + runs[slot] - pv[slot] + less
        flow = 0.0 if home.battery is None else value(made.charge[slot]) - value(made.discharge[slot])
        _step(rows, slot, highest[slot] - fixed - math.floor(flow + _EPS))
        net = fixed + sum(row.done[slot] for row in rows.values())
        moved = 0
        if home.battery is not None:
            moved = _moved(
                home.battery, soc, value(made.soc[slot]), home.hours, highest[slot] - net, lowest[slot] - net
            )
            soc += moved * home.battery.one_way if moved > 0 else moved / home.battery.one_way
        if net + moved < lowest[slot] and home.pv_curtailable:
            less += int(min(lowest[slot] - net - moved, pv[slot] - less))
        stored.append(moved)
        curtailed.append(less)
    _settle_cars(home, rows, [load[slot] - pv[slot] + runs[slot] + stored[slot] + curtailed[slot]
                              for slot in range(home.count)], highest)  # fmt: skip
    return plan_of(home, {name: tuple(row.done) for name, row in rows.items()}, starts, tuple(stored), tuple(curtailed))


def _limits(made: Formulation) -> tuple[list[float], list[float]]:
    """Highest and lowest net import; what an obligation with a penalty leaves counts where the solution keeps it."""
    home = made.home
    highest, lowest = list(home.net_max_wh()), list(home.net_min_wh())
    if home.obligation.penalty_minor_per_kwh is not None:
        net = [value(taken) - value(given) for taken, given in zip(made.imports, made.exports, strict=True)]
        for slot, most in enumerate(home.obligation.net_wh_max):
            if most is not None and net[slot] <= most + _EPS:
                highest[slot] = min(highest[slot], math.floor(most + _EPS))
        for slot, least in enumerate(home.obligation.net_wh_min):
            if least is not None and net[slot] >= least - _EPS:
                lowest[slot] = max(lowest[slot], math.ceil(least - _EPS))
    return highest, lowest


def _rows(made: Formulation) -> dict[str, _Row]:
    home = made.home
    found = {}
    for ev in home.evs:
        least, most = ev_limits_wh(ev, home.hours)
        wanted = [value(made.cars[ev.name].get(slot)) for slot in range(home.count)]
        charging = [each > _EPS * 10 for each in wanted]
        lows = [least if on and each >= least - _EPS else 0 for on, each in zip(charging, wanted, strict=True)]
        found[ev.name] = _Row(wanted, lows, [most if on else 0 for on in charging], [])
    powers = {each.name: each.power_w for each in home.water_heaters} | {each.name: each.power_w for each in home.hvacs}
    for name, columns in made.heat.items():
        most = math.floor(powers[name] * home.hours + 1e-9)
        found[name] = _Row([value(each) for each in columns], [0] * home.count, [most] * home.count, [])
    return found


def _step(rows: dict[str, _Row], slot: int, room: float) -> None:
    """Rounds the slot of each row; together they take no more than `room`."""
    wants = {name: row.carried + row.wanted[slot] for name, row in rows.items()}
    took = {
        name: min(max(math.floor(wants[name] + 0.5), row.lows[slot]), row.highs[slot]) for name, row in rows.items()
    }
    excess = sum(took.values()) - room
    for name in sorted(took, key=lambda each: wants[each] - took[each]):
        if excess <= _EPS:
            break
        if took[name] > max(rows[name].lows[slot], 0) and took[name] > wants[name] - 1:
            took[name] -= 1
            excess -= 1
    for name, row in rows.items():
        row.done.append(took[name])
        row.carried = wants[name] - took[name]


def _moved(battery: Battery, soc: float, target: float, hours: float, room: float, least: float) -> int:
    """Whole Wh that bring the state of charge to the target, rounded to more rather than less, within the limits of the
    battery and between `least` and `room` at the connection."""
    most = math.floor(battery.charge_w * hours + 1e-9)
    away = math.floor(battery.discharge_w * hours + 1e-9)
    change = target - soc
    moved = math.ceil(change / battery.one_way - _EPS) if change >= 0 else math.ceil(change * battery.one_way - _EPS)
    moved = int(max(min(moved, most), -away))
    if moved > room:
        moved = math.floor(room)
    if moved < least:
        moved = math.ceil(least)
    moved = max(min(moved, most), -away)
    moved = min(moved, math.floor((battery.soc_max - soc) / battery.one_way + 1e-9))
    return max(moved, -math.floor((soc - battery.soc_min_wh) * battery.one_way + 1e-9))


def _settle_cars(home: Home, rows: dict[str, _Row], rest: list[int], highest: list[float]) -> None:
    """A Wh that a full slot could not take is put where there is room, that the car leaves with all of it."""
    for ev in home.evs:
        row = rows[ev.name]
        left = math.floor(sum(row.wanted) + 0.5) - sum(row.done)
        for slot in range(ev.arrival, ev.departure):
            if not left:
                break
            net = rest[slot] + sum(each.done[slot] for each in rows.values())
            if left > 0:
                more = int(max(min(left, row.highs[slot] - row.done[slot], highest[slot] - net), 0))
            else:
                more = max(left, row.lows[slot] - row.done[slot])
            row.done[slot] += more
            left -= more
