"""What a home does in each slot, what that comes to, and where it falls short of what was asked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scheduling.home import Home
from scheduling.thermal import Dynamics, of_room, of_tank

TOLERANCE_K = 0.05
"""Temperatures are met as near as that: whole Wh move a tank by a hundredth of a Kelvin."""
_TOLERANCE_SOC_WH = 1.0


@dataclass(frozen=True)
class Plan:
    """Whole Wh in each slot, and the states they lead to at the end of each.

    import_wh, export_wh (never both), curtailed_wh >= 0; battery_wh: charged, or discharged if negative; devices_wh by
    name of the others; starts: first slot of each appliance, None if it does not run; soc_wh; temperatures_c by name.
    """

    import_wh: tuple[int, ...]
    export_wh: tuple[int, ...]
    curtailed_wh: tuple[int, ...]
    battery_wh: tuple[int, ...]
    devices_wh: Mapping[str, tuple[int, ...]]
    starts: Mapping[str, int | None]
    soc_wh: tuple[float, ...]
    temperatures_c: Mapping[str, tuple[float, ...]]

    @property
    def net_wh(self) -> tuple[int, ...]:
        """Import, export negative."""
        return tuple(a - b for a, b in zip(self.import_wh, self.export_wh, strict=True))


@dataclass(frozen=True)
class Figures:
    """What a plan comes to. Money in minor units, a forecast and no bill: not rounded.

    total_minor = energy (negative: earned) + peak charge + wear + penalty of an obligation + comfort (delays and
    degrees at what they are worth).
    par_net: highest import over mean import; par_gross: the same of all that is used, whoever made it; None without
    any. own_pv_percent: of the PV that could be made, what did not leave the home and was not turned down; None without
    PV. comfort_kh: Kelvin hours away from what was wished.
    """

    total_minor: float
    energy_minor: float
    peak_minor: float
    wear_minor: float
    penalty_minor: float
    comfort_minor: float
    comfort_kh: float
    import_wh: int
    export_wh: int
    used_wh: int
    peak_import_w: float
    par_net: float | None
    par_gross: float | None
    own_pv_percent: float | None


@dataclass(frozen=True)
class Shortfall:
    """What is not met: of which device (or "connection", "obligation"), by how much (Wh, W or K), in `count` slots from
    `first` on; `text` says it as a sentence."""

    device: str
    amount: float
    unit: str
    first: int
    count: int
    text: str


def plan_of(
    home: Home,
    devices_wh: Mapping[str, tuple[int, ...]],
    starts: Mapping[str, int | None],
    battery_wh: tuple[int, ...],
    curtailed_wh: tuple[int, ...],
) -> Plan:
    """The plan in which devices take these energies (appliances by their starts); the connection takes the rest."""
    taken = dict(devices_wh)
    for appliance in home.appliances:
        row = [0] * home.count
        start = starts[appliance.name]
        if start is not None:
            row[start : start + len(appliance.profile_wh)] = appliance.profile_wh
        taken[appliance.name] = tuple(row)
    sums = [sum(column) for column in zip(home.load(), battery_wh, curtailed_wh, *taken.values(), strict=True)]
    net = [used - made for used, made in zip(sums, home.pv(), strict=True)]
    temperatures = {
        name: dynamics.temperatures(start, taken[name]) for name, (dynamics, start) in thermal(home).items()
    }
    return Plan(
        tuple(max(each, 0) for each in net), tuple(max(-each, 0) for each in net), curtailed_wh, battery_wh, taken,
        dict(starts), states_of_charge(home, battery_wh), temperatures,
    )  # fmt: skip


def thermal(home: Home) -> dict[str, tuple[Dynamics, float]]:
    """Dynamics and temperature at the begin, of each device that heats or cools."""
    tanks = {each.name: (of_tank(each, home.hours), each.c_start) for each in home.water_heaters}
    return tanks | {each.name: (of_room(each, home.hours), each.c_start) for each in home.hvacs}


def states_of_charge(home: Home, battery_wh: Sequence[int]) -> tuple[float, ...]:
    """At the end of each slot, Wh; empty without a battery."""
    if home.battery is None:
        return ()
    soc, found = home.battery.soc_start_wh, []
    for energy in battery_wh:
        soc += energy * home.battery.one_way if energy > 0 else energy / home.battery.one_way
        found.append(soc)
    return tuple(found)


def figures(home: Home, plan: Plan) -> Figures:
    """What a plan comes to."""
    tariff = home.tariff
    energy = sum(
        (taken * buy - given * sell) / 1000
        for taken, given, buy, sell in zip(
            plan.import_wh, plan.export_wh, tariff.import_minor_per_kwh, tariff.export_minor_per_kwh, strict=True
        )
    )
    peak_w = max(plan.import_wh) / home.hours
    peak = tariff.peak_minor_per_kw * max(peak_w - tariff.peak_so_far_w, 0) / 1000
    discharged = -sum(min(each, 0) for each in plan.battery_wh)
    wear = 0.0 if home.battery is None else home.battery.wear_minor_per_kwh * discharged / 1000
    penalty = (home.obligation.penalty_minor_per_kwh or 0.0) * home.obligation.beyond_wh(plan.net_wh) / 1000
    comfort, kelvin_hours = _comfort(home, plan)
    gross = [load + max(stored, 0) + sum(row[slot] for row in plan.devices_wh.values())
             for slot, (load, stored) in enumerate(zip(home.load(), plan.battery_wh, strict=True))]  # fmt: skip
    pv = home.pv()
    own = sum(made - less - min(given, made - less)
              for made, less, given in zip(pv, plan.curtailed_wh, plan.export_wh, strict=True))  # fmt: skip
    return Figures(
        total_minor=energy + peak + wear + penalty + comfort, energy_minor=energy, peak_minor=peak, wear_minor=wear,
        penalty_minor=penalty,
        comfort_minor=comfort, comfort_kh=kelvin_hours, import_wh=sum(plan.import_wh), export_wh=sum(plan.export_wh),
        used_wh=sum(gross), peak_import_w=peak_w, par_net=_peak_to_average(plan.import_wh),
        par_gross=_peak_to_average(gross), own_pv_percent=100 * own / sum(pv) if sum(pv) else None,
    )  # fmt: skip


def shortfalls(home: Home, plan: Plan) -> tuple[Shortfall, ...]:
    """All that a plan does not meet, by an own computation from its energies; empty where it keeps every limit."""
    found = [*_at_the_connection(home, plan), *_of_battery(home, plan)]
    for ev in home.evs:
        short = ev.energy_wh - sum(plan.devices_wh[ev.name])
        if short:
            text = f"{ev.name} leaves with {short:,} Wh less than the {ev.energy_wh:,} Wh it asked for"
            found.append(Shortfall(ev.name, short, "Wh", ev.arrival, ev.departure - ev.arrival, text))
    for appliance in home.appliances:
        if plan.starts[appliance.name] is None:
            length = appliance.latest_end - appliance.earliest
            why = (
                f"its window of {length} slots is shorter than its run of {len(appliance.profile_wh)}"
                if not appliance.starts
                else "no start in its window leaves the others what they need"
            )
            short = sum(appliance.profile_wh)
            text = f"{appliance.name} does not run ({short:,} Wh): {why}"
            found.append(Shortfall(appliance.name, short, "Wh", appliance.earliest, length, text))
    for heater in home.water_heaters:
        lows, highs = (heater.c_min,) * home.count, (heater.c_max,) * home.count
        found += _of_band(heater.name, plan.temperatures_c[heater.name], lows, highs)
        found += _of_end(heater.name, plan.temperatures_c[heater.name][-1], heater.final, 1)
    for hvac in home.hvacs:
        temperatures = plan.temperatures_c[hvac.name]
        found += _of_band(hvac.name, temperatures, hvac.lows(home.count), hvac.highs(home.count))
        found += _of_end(hvac.name, temperatures[-1], hvac.final(home.count), 1 if hvac.mode == "heat" else -1)
    return tuple(found)


def _at_the_connection(home: Home, plan: Plan) -> list[Shortfall]:
    found = []
    asked = set(home.obligation.slots())
    over = [max(net - most, 0) for net, most in zip(plan.net_wh, home.net_max_wh(), strict=True)]
    under = [max(least - net, 0) for net, least in zip(plan.net_wh, home.net_min_wh(), strict=True)]
    for excess, words in ((over, "above the highest"), (under, "below the lowest")):
        for who, slots in (("obligation", asked), ("connection", set(range(home.count)) - asked)):
            where = [slot for slot, each in enumerate(excess) if each > 0 and slot in slots]
            if where:
                worst = max(excess[slot] for slot in where)
                total = sum(excess[slot] for slot in where)
                text = (
                    f"{who}: net import is {words} that is allowed in {_slots(where)}, by up to "
                    f"{worst / home.hours:,.0f} W, {total:,.0f} Wh in all"
                )
                found.append(Shortfall(who, total, "Wh", where[0], len(where), text))
    return found


def _of_battery(home: Home, plan: Plan) -> list[Shortfall]:
    if home.battery is None:
        return []
    short = home.battery.soc_final - plan.soc_wh[-1]
    if short <= _TOLERANCE_SOC_WH:
        return []
    text = f"{home.battery.name} ends {short:,.0f} Wh below the {home.battery.soc_final:,.0f} Wh it is to end with"
    return [Shortfall(home.battery.name, short, "Wh", home.count - 1, 1, text)]


def _of_band(
    name: str, temperatures: Sequence[float], lows: Sequence[float], highs: Sequence[float]
) -> list[Shortfall]:
    found = []
    for beyond, words in (
        ([low - now for now, low in zip(temperatures, lows, strict=True)], "colder"),
        ([now - high for now, high in zip(temperatures, highs, strict=True)], "warmer"),
    ):
        where = [slot for slot, each in enumerate(beyond) if each > TOLERANCE_K]
        if where:
            worst = max(beyond[slot] for slot in where)
            text = f"{name} is up to {worst:.1f} K {words} than its band in {_slots(where)}"
            found.append(Shortfall(name, worst, "K", where[0], len(where), text))
    return found


def _of_end(name: str, last: float, final: float, sign: int) -> list[Shortfall]:
    short = sign * (final - last)
    if short <= TOLERANCE_K:
        return []
    text = f"{name} ends {short:.1f} K {'below' if sign > 0 else 'above'} the {final:.1f} C it is to end with"
    return [Shortfall(name, short, "K", -1, 1, text)]


def _comfort(home: Home, plan: Plan) -> tuple[float, float]:
    """Minor units, and Kelvin hours."""
    cost, kelvin_hours = 0.0, 0.0
    for appliance in home.appliances:
        start = plan.starts[appliance.name]
        if start is not None:
            cost += (start - appliance.earliest) * home.hours * appliance.delay_minor_per_h
    for heater in home.water_heaters:
        away = home.hours * sum(max(heater.wished - now, 0) for now in plan.temperatures_c[heater.name])
        cost, kelvin_hours = cost + away * heater.discomfort_minor_per_kh, kelvin_hours + away
    for hvac in home.hvacs:
        pairs = zip(plan.temperatures_c[hvac.name], hvac.wishes(home.count), strict=True)
        away = home.hours * sum(abs(now - wished) for now, wished in pairs)
        cost, kelvin_hours = cost + away * hvac.discomfort_minor_per_kh, kelvin_hours + away
    return cost, kelvin_hours


def _peak_to_average(energies: Sequence[int]) -> float | None:
    total = math.fsum(energies)
    return max(energies) * len(energies) / total if total else None


def _slots(where: Sequence[int]) -> str:
    if len(where) == 1:
        return f"slot {where[0]}"
    return f"{len(where)} slots from {where[0]} to {where[-1]}"
