"""The home as it would run if nobody scheduled it: each device at once when it may. What a schedule is compared with.

Appliances start when their window opens, cars charge at full power until they have what they asked for, thermostats
hold what is wished, the battery keeps PV that would leave and gives it back, never below what it is to end with.
Limits of the connection and obligations are not looked at; only PV is turned down where too much would leave.
"""

from __future__ import annotations

import math

from scheduling.devices import Battery, Ev, Hvac, WaterHeater
from scheduling.home import Home
from scheduling.plan import Plan, plan_of
from scheduling.thermal import Dynamics, of_room, of_tank


def as_wished(home: Home) -> Plan:
    """The plan of a home that is not scheduled."""
    starts = {each.name: each.earliest if each.starts else None for each in home.appliances}
    taken = {each.name: _ev(each, home) for each in home.evs}
    for heater in home.water_heaters:
        wishes = (heater.wished,) * home.count
        taken[heater.name] = _thermostat(of_tank(heater, home.hours), heater, wishes, home)
    for hvac in home.hvacs:
        taken[hvac.name] = _thermostat(of_room(hvac, home.hours), hvac, hvac.wishes(home.count), home)
    nothing = (0,) * home.count
    bare = plan_of(home, taken, starts, nothing, nothing)
    stored = nothing if home.battery is None else _self_consumption(home.battery, bare.net_wh, home.hours)
    net = [a + b for a, b in zip(bare.net_wh, stored, strict=True)]
    return plan_of(home, taken, starts, stored, _curtailed(home, net))


def ev_limits_wh(ev: Ev, hours: float) -> tuple[int, int]:
    """Least and most whole Wh in a slot in which it charges."""
    return math.ceil(ev.power_w_min * hours - 1e-9), math.floor(ev.power_w_max * hours + 1e-9)


def _ev(ev: Ev, home: Home) -> tuple[int, ...]:
    """Full power from its arrival; the last two slots share what is left, that none is below the least power."""
    least, most = ev_limits_wh(ev, home.hours)
    row, left = [0] * home.count, ev.energy_wh
    for slot in range(ev.arrival, ev.departure):
        row[slot] = min(left, most)
        left -= row[slot]
        if 0 < row[slot] < least and slot > ev.arrival:
            moved = min(least - row[slot], max(row[slot - 1] - least, 0))
            row[slot], row[slot - 1] = row[slot] + moved, row[slot - 1] - moved
    return tuple(row)


def _thermostat(
    dynamics: Dynamics, device: WaterHeater | Hvac, wishes: tuple[float, ...], home: Home
) -> tuple[int, ...]:
    now, row = device.c_start, []
    most = math.floor(device.power_w * home.hours + 1e-9)
    for slot, wished in enumerate(wishes):
        energy = min(max(math.ceil(dynamics.needed_wh(now, slot, wished) - 1e-9), 0), most)
        now = dynamics.keep * now + dynamics.per_wh * energy + dynamics.drift[slot]
        row.append(energy)
    return tuple(row)


def _self_consumption(battery: Battery, net_wh: tuple[int, ...], hours: float) -> tuple[int, ...]:
    soc, row = battery.soc_start_wh, []
    for net in net_wh:
        charge, discharge = 0, 0
        if soc < battery.soc_final - 1e-6:
            charge = math.ceil((battery.soc_final - soc) / battery.one_way - 1e-9)
        if net < 0:
            charge = max(charge, -net)
        elif charge == 0:
            kept = max(battery.soc_final, battery.soc_min_wh)
            discharge = min(
                net, math.floor(max(soc - kept, 0) * battery.one_way), math.floor(battery.discharge_w * hours)
            )
        room = math.floor(max(battery.soc_max - soc, 0) / battery.one_way)
        charge = min(charge, room, math.floor(battery.charge_w * hours))
        soc += charge * battery.one_way - discharge / battery.one_way
        row.append(charge - discharge)
    return tuple(row)


def _curtailed(home: Home, net_wh: list[int]) -> tuple[int, ...]:
    if not home.pv_curtailable or home.connection.export_limit_w is None:
        return (0,) * home.count
    limit = math.floor(home.connection.export_limit_w * home.hours + 1e-9)
    return tuple(min(max(-net - limit, 0), made) for net, made in zip(net_wh, home.pv(), strict=True))
