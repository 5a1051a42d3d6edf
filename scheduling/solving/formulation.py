"""A home as columns and rows: energies in Wh a slot, costs in minor units.

Only starts of appliances are whole numbers at first. Charging and discharging at once, or importing and exporting, can
pay where prices are negative or exports earn more than imports cost: `clashes` finds the slots, `separate` forbids it
there. Cars may take less than their least power until `only_when` or `on_off` has settled where they charge.

elastic: every demand may fall short, and the shortage is a cost of its own; such a programme always has a solution.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from scheduling.devices import Battery, Ev, Hvac, WaterHeater
from scheduling.home import Home
from scheduling.solving.model import Model
from scheduling.thermal import Dynamics, of_room, of_tank
from scheduling.wished import ev_limits_wh

_TIE = 1e-7
"""Minor units per Wh: moving energy for nothing loses against leaving it."""
_TIE_STARTS = 1e-3
"""Minor units: starts of equal cost are told apart by the seed, so that a street does not start as one."""
_CONNECTION_WEIGHT = 100.0
_SEEN_WH = 1e-3


@dataclass
class Formulation:
    """Columns of a home by what they stand for; lists hold one a slot, None where it can only be zero."""

    home: Home
    model: Model
    imports: list[Any] = field(default_factory=list)
    exports: list[Any] = field(default_factory=list)
    curtailed: list[Any] = field(default_factory=list)
    charge: list[Any] = field(default_factory=list)
    discharge: list[Any] = field(default_factory=list)
    soc: list[Any] = field(default_factory=list)
    cars: dict[str, dict[int, Any]] = field(default_factory=dict)
    starts: dict[str, dict[int, Any]] = field(default_factory=dict)
    heat: dict[str, list[Any]] = field(default_factory=dict)
    shortages: list[tuple[Any, float]] = field(default_factory=list)
    priced: list[tuple[int, float, Any]] = field(default_factory=list)
    impossible: bool = False
    _separated: set[tuple[str, int]] = field(default_factory=set)

    def clashes(self) -> list[tuple[str, int]]:
        """Slots of the solution in which the battery, or the connection, goes both ways and that matters."""
        found = []
        tariff, battery = self.home.tariff, self.home.battery
        lossy = battery is not None and battery.round_trip_efficiency < 1
        for slot in range(self.home.count):
            if lossy and min(value(self.charge[slot]), value(self.discharge[slot])) > _SEEN_WH:
                found.append(("battery", slot))
            gains = tariff.export_minor_per_kwh[slot] > tariff.import_minor_per_kwh[slot]
            if gains and min(value(self.imports[slot]), value(self.exports[slot])) > _SEEN_WH:
                found.append(("connection", slot))
        return found

    def separate(self, clashes: Sequence[tuple[str, int]]) -> None:
        """From now on one way alone in these slots."""
        for what, slot in clashes:
            if (what, slot) in self._separated:
                continue
            self._separated.add((what, slot))
            one, other = (self.charge, self.discharge) if what == "battery" else (self.imports, self.exports)
            forth = self.model.column(0, 1, whole=True)
            self.model.at_most([(one[slot], 1), (forth, -one[slot].upBound)], 0)
            self.model.at_most([(other[slot], 1), (forth, other[slot].upBound)], other[slot].upBound)

    def only_when(self, ev: Ev, on: dict[int, tuple[int, int]]) -> None:
        """The car charges in these slots, between these Wh, and in no other."""
        for slot, column in self.cars[ev.name].items():
            column.lowBound, column.upBound = on.get(slot, (0, 0))

    def whenever(self, ev: Ev) -> None:
        """The car may again take anything up to its power in each slot."""
        for column in self.cars[ev.name].values():
            column.lowBound, column.upBound = 0, ev_limits_wh(ev, self.home.hours)[1]

    def on_off(self, ev: Ev) -> None:
        """From now on the car takes nothing or at least its least power, decided by the solver."""
        least, most = ev_limits_wh(ev, self.home.hours)
        for column in self.cars[ev.name].values():
            charging = self.model.column(0, 1, whole=True)
            self.model.at_most([(column, 1), (charging, -most)], 0)
            self.model.at_least([(column, 1), (charging, -least)], 0)

    def marginals(self, limit_s: float) -> tuple[float, ...]:
        """What a kWh more of what a priced obligation leaves would be worth in each slot, minor units, negative where
        it is the lowest net import that binds: of the relaxation with the starts of the solution."""
        self.hold_starts(True)
        for ev in self.home.evs:
            self.whenever(ev)
        found = [0.0] * self.home.count
        worths = self.model.marginals([row for _, _, row in self.priced], limit_s)
        for (slot, sign, _), worth in zip(self.priced, worths, strict=True):
            found[slot] += 1000 * sign * worth
        return tuple(found)

    def hold_starts(self, held: bool) -> None:
        """Appliances start as in the solution, or may start anew."""
        for columns in self.starts.values():
            for column in columns.values():
                chosen = round(value(column))
                column.lowBound, column.upBound = (chosen, chosen) if held else (0, 1)


def value(column: Any) -> float:
    """Of a column in the solution; 0 for one that is not there."""
    return 0.0 if column is None else float(column.varValue or 0.0)


def formulate(home: Home, seed: int, *, elastic: bool = False) -> Formulation:
    """The programme of a home. `impossible`: an appliance has no start, so without `elastic` there is no solution."""
    made = Formulation(home, Model())
    ties = random.Random(f"{seed}/{home.name}")
    net: list[list[tuple[Any, float]]] = [[] for _ in range(home.count)]
    most = [float(each) for each in home.load()]
    least = [-float(each) for each in home.pv()]
    if home.battery is not None:
        _battery(made, home.battery, net, most, least, elastic)
    for ev in home.evs:
        _ev(made, ev, net, most, ties, elastic)
    _appliances(made, net, most, ties, elastic)
    for heater in home.water_heaters:
        bands = (heater.c_min,) * home.count, (heater.c_max,) * home.count
        _thermal(made, heater, of_tank(heater, home.hours), bands, net, most, elastic)
    for hvac in home.hvacs:
        bands = hvac.lows(home.count), hvac.highs(home.count)
        _thermal(made, hvac, of_room(hvac, home.hours), bands, net, most, elastic)
    _connection(made, net, most, least, elastic)
    return made


def _short(made: Formulation, weight: float, high: float | None = None, *, whole: bool = False) -> Any:
    column = made.model.column(0, high, whole=whole)
    made.shortages.append((column, weight))
    return column


def _battery(made: Formulation, battery: Battery, net: list[list[tuple[Any, float]]], most: list[float],
             least: list[float], elastic: bool) -> None:  # fmt: skip
    model, hours = made.model, made.home.hours
    charge, discharge = math.floor(battery.charge_w * hours + 1e-9), math.floor(battery.discharge_w * hours + 1e-9)
    wear = battery.wear_minor_per_kwh / 1000 + _TIE
    before = None
    for slot in range(made.home.count):
        last = slot == made.home.count - 1
        floor = battery.soc_final if last and not elastic else battery.soc_min_wh
        made.charge.append(model.column(0, charge, _TIE))
        made.discharge.append(model.column(0, discharge, wear))
        made.soc.append(model.column(floor, battery.soc_max))
        step = [
            (made.soc[slot], 1.0),
            (made.charge[slot], -battery.one_way),
            (made.discharge[slot], 1 / battery.one_way),
        ]
        if before is None:
            model.equal(step, battery.soc_start_wh)
        else:
            model.equal([*step, (before, -1.0)], 0)
        before = made.soc[slot]
        net[slot] += [(made.charge[slot], 1.0), (made.discharge[slot], -1.0)]
        most[slot] += charge
        least[slot] -= discharge
    if elastic:
        model.at_least([(made.soc[-1], 1), (_short(made, 1.0), 1)], battery.soc_final)


def _ev(made: Formulation, ev: Ev, net: list[list[tuple[Any, float]]], most: list[float], ties: random.Random,
        elastic: bool) -> None:  # fmt: skip
    high = ev_limits_wh(ev, made.home.hours)[1]
    columns = {slot: made.model.column(0, high, _TIE * ties.random()) for slot in range(ev.arrival, ev.departure)}
    made.cars[ev.name] = columns
    for slot, column in columns.items():
        net[slot].append((column, 1.0))
        most[slot] += high
    terms = [(column, 1.0) for column in columns.values()]
    if elastic:
        terms.append((_short(made, ev.priority, ev.energy_wh), 1.0))
    elif high * len(columns) < ev.energy_wh:
        made.impossible = True
        return
    if terms:
        made.model.equal(terms, ev.energy_wh)


def _appliances(made: Formulation, net: list[list[tuple[Any, float]]], most: list[float], ties: random.Random,
                elastic: bool) -> None:  # fmt: skip
    for appliance in made.home.appliances:
        delay = appliance.delay_minor_per_h * made.home.hours
        columns: dict[int, Any] = {}
        for start in appliance.starts:
            cost = (start - appliance.earliest) * delay + _TIE_STARTS * ties.random()
            columns[start] = made.model.column(0, 1, cost, whole=True)
            for offset, energy in enumerate(appliance.profile_wh):
                if energy:
                    net[start + offset].append((columns[start], float(energy)))
        if columns:
            top = max(appliance.profile_wh)
            for slot in range(appliance.earliest, appliance.latest_end):
                most[slot] += top
        made.starts[appliance.name] = columns
        terms = [(column, 1.0) for column in columns.values()]
        if elastic:
            weight = appliance.priority * (sum(appliance.profile_wh) or 1)
            terms.append((_short(made, weight, 1, whole=True), 1.0))
        elif not columns:
            made.impossible = True
            continue
        made.model.equal(terms, 1)


def _thermal(made: Formulation, device: WaterHeater | Hvac, dynamics: Dynamics,
             bands: tuple[tuple[float, ...], tuple[float, ...]], net: list[list[tuple[Any, float]]], most: list[float],
             elastic: bool) -> None:  # fmt: skip
    model, home = made.model, made.home
    power = math.floor(device.power_w * home.hours + 1e-9)
    wh_per_k = device.priority / abs(dynamics.per_wh)
    price = device.discomfort_minor_per_kh * home.hours
    heater = isinstance(device, WaterHeater)
    wishes = (device.wished,) * home.count if isinstance(device, WaterHeater) else device.wishes(home.count)
    up = heater or device.mode == "heat"  # type: ignore[union-attr]
    final = device.final if isinstance(device, WaterHeater) else device.final(home.count)
    energies: list[Any] = []
    before: Any = None
    for slot, (low, high) in enumerate(zip(*bands, strict=True)):
        last = slot == home.count - 1
        if last and up:
            low = max(low, final)
        elif last:
            high = min(high, final)
        energies.append(model.column(0, power))
        now = model.column(None if elastic else low, None if elastic else high)
        step = [(now, 1.0), (energies[slot], -dynamics.per_wh)]
        if before is None:
            model.equal(step, dynamics.keep * device.c_start + dynamics.drift[slot])
        else:
            model.equal([*step, (before, -dynamics.keep)], dynamics.drift[slot])
        before = now
        if elastic:
            model.at_least([(now, 1), (_short(made, wh_per_k), 1)], low)
            model.at_most([(now, 1), (_short(made, wh_per_k), -1)], high)
        if price:
            away = model.column(0, None, price)
            model.at_least([(now, 1), (away, 1)], wishes[slot])
            if not heater:
                model.at_most([(now, 1), (away, -1)], wishes[slot])
        net[slot].append((energies[slot], 1.0))
        most[slot] += power
    made.heat[device.name] = energies


def _connection(made: Formulation, net: list[list[tuple[Any, float]]], most: list[float], least: list[float],
                elastic: bool) -> None:  # fmt: skip
    home, model, tariff = made.home, made.model, made.home.tariff
    load, pv, highest, lowest = home.load(), home.pv(), home.net_max_wh(), home.net_min_wh()
    asked = set(home.obligation.slots())
    peak = None
    if tariff.peak_minor_per_kw:
        paid_wh = tariff.peak_so_far_w * home.hours
        peak = model.column(0, None, tariff.peak_minor_per_kw / home.hours / 1000)
    for slot in range(home.count):
        buy, sell = tariff.import_minor_per_kwh[slot] / 1000, tariff.export_minor_per_kwh[slot] / 1000
        weight = home.obligation.weight if slot in asked else _CONNECTION_WEIGHT
        top, bottom = max(most[slot], 0.0), max(-least[slot], 0.0)
        bounded = not elastic and 0 <= highest[slot] < top
        taken = model.column(0, highest[slot] if bounded else top, buy)
        given = model.column(0, bottom, -sell) if bottom else None
        terms = [(taken, 1.0)] if given is None else [(taken, 1.0), (given, -1.0)]
        made.imports.append(taken)
        made.exports.append(given)
        less = None
        limited = lowest[slot] > -bottom or (
            home.obligation.net_wh_min and home.obligation.net_wh_min[slot] is not None
        )
        # where importing earns, what the roof gives is in the way
        if pv[slot] and home.pv_curtailable and (elastic or sell < 0 or buy < 0 or limited):
            less = model.column(0, pv[slot], _TIE)
        made.curtailed.append(less)
        turned_down = [] if less is None else [(less, -1.0)]
        model.equal([*terms, *((column, -factor) for column, factor in net[slot]), *turned_down], load[slot] - pv[slot])
        if highest[slot] < math.inf and (elastic or highest[slot] < 0 or given is not None):
            model.at_most([*terms, *([(_short(made, weight), -1.0)] if elastic else [])], highest[slot])
        if lowest[slot] > -math.inf:
            model.at_least([*terms, *([(_short(made, weight), 1.0)] if elastic else [])], lowest[slot])
        if peak is not None:
            model.at_most([(taken, 1.0), (peak, -1.0)], paid_wh)
        _penalty(made, slot, terms)


def _penalty(made: Formulation, slot: int, terms: list[tuple[Any, float]]) -> None:
    """What is beyond an obligation that may be broken at a price."""
    asked, price = made.home.obligation, made.home.obligation.penalty_minor_per_kwh
    if price is None:
        return
    for limits, sign in ((asked.net_wh_max, 1.0), (asked.net_wh_min, -1.0)):
        limit = limits[slot] if limits else None
        if limit is not None:
            beyond = made.model.column(0, None, price / 1000)
            row = made.model.at_most(
                [*((column, sign * factor) for column, factor in terms), (beyond, -1.0)], sign * limit
            )
            made.priced.append((slot, sign, row))
