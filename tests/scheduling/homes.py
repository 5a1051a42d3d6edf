"""Homes to schedule, and what must hold for the schedule of any home."""

from __future__ import annotations

import random

from hypothesis import strategies as st

from scheduling.devices import Appliance, Battery, Ev, Hvac, WaterHeater
from scheduling.home import Connection, Home, Tariff
from scheduling.schedule import Schedule
from scheduling.thermal import of_room, of_tank
from scheduling.wished import ev_limits_wh


def a_home(prices, *, export=0.0, interval_s=3600, load=0.0, pv=(), peak=0.0, name="home", **devices):
    """A home with these import prices; one number for load or export stands for every slot."""
    count = len(prices)
    exports = [export] * count if isinstance(export, int | float) else export
    loads = [load] * count if isinstance(load, int | float) else load
    tariff = Tariff(import_minor_per_kwh=list(prices), export_minor_per_kwh=exports, peak_minor_per_kw=peak)
    return Home(name=name, interval_s=interval_s, load_wh=loads, pv_wh=pv, tariff=tariff, **devices)


def a_family(seed, *, count=48, interval_s=1800, **terms):
    """A home with a device of each kind on a day with a dear evening."""
    choose = random.Random(seed)
    per_day = count / 24
    prices = [55 if 16 <= slot / per_day < 21 else 22 if slot / per_day < 7 else 33 for slot in range(count)]
    sun = [max(0.0, 1 - abs(slot / per_day - 13) / 5) * 1500 * interval_s / 1800 for slot in range(count)]
    hour = 3600 // interval_s
    return a_home(
        prices, export=8.0, interval_s=interval_s, load=[choose.uniform(80, 300) * interval_s / 1800 for _ in prices],
        pv=sun, name=f"family-{seed}",
        battery=Battery(capacity_wh=8000, charge_w=4000, discharge_w=4000, soc_start_wh=2000, soc_min_wh=800),
        evs=(Ev(arrival=0, departure=8 * hour, energy_wh=choose.randrange(4000, 12000)),),
        appliances=(Appliance(name="dishwasher", earliest=17 * hour, latest_end=count, profile_wh=(600, 300, 500)),),
        water_heaters=(WaterHeater(litres=150, power_w=2000, c_start=55, draws_wh=(40.0,) * count),),
        hvacs=(Hvac(power_w=1500, k_per_w=0.008, wh_per_k=2000, c_outdoor=(5.0,) * count, c_start=21.0),), **terms,
    )  # fmt: skip


def assert_sound(home: Home, made: Schedule) -> None:
    """What holds for every schedule without a shortfall, computed from its energies alone."""
    plan, load, pv = made.plan, home.load(), home.pv()
    for slot in range(home.count):
        used = load[slot] + plan.battery_wh[slot] + sum(row[slot] for row in plan.devices_wh.values())
        assert plan.import_wh[slot] - plan.export_wh[slot] == used - pv[slot] + plan.curtailed_wh[slot]
        assert plan.import_wh[slot] == 0 or plan.export_wh[slot] == 0
        assert 0 <= plan.curtailed_wh[slot] <= pv[slot]
        assert all(isinstance(each, int) for each in (plan.import_wh[slot], plan.battery_wh[slot]))
    if home.connection.import_limit_w is not None:
        assert max(plan.net_wh) <= home.connection.import_limit_w * home.hours + 1e-6
    if home.connection.export_limit_w is not None:
        assert -min(plan.net_wh) <= home.connection.export_limit_w * home.hours + 1e-6
    if home.battery is not None:
        soc = home.battery.soc_start_wh
        for moved in plan.battery_wh:
            assert -home.battery.discharge_w * home.hours - 1e-6 <= moved <= home.battery.charge_w * home.hours + 1e-6
            soc += moved * home.battery.one_way if moved > 0 else moved / home.battery.one_way
            assert home.battery.soc_min_wh - 1e-6 <= soc <= home.battery.soc_max + 1e-6
        assert soc >= home.battery.soc_final - 1
    for ev in home.evs:
        least, most = ev_limits_wh(ev, home.hours)
        row = plan.devices_wh[ev.name]
        assert sum(row) == ev.energy_wh
        assert not any(row[: ev.arrival])
        assert not any(row[ev.departure :])
        short = [each for each in row if each and not least <= each <= most]
        assert short == [] or any("stops early" in note for note in made.notes), (row, made.notes)
    for appliance in home.appliances:
        row, start = plan.devices_wh[appliance.name], plan.starts[appliance.name]
        assert start in appliance.starts
        assert row[start : start + len(appliance.profile_wh)] == appliance.profile_wh
        assert sum(row) == sum(appliance.profile_wh)
    for heater in home.water_heaters:
        now = of_tank(heater, home.hours).temperatures(heater.c_start, plan.devices_wh[heater.name])
        assert all(heater.c_min - 0.05 <= each <= heater.c_max + 0.05 for each in now)
    for hvac in home.hvacs:
        now = of_room(hvac, home.hours).temperatures(hvac.c_start, plan.devices_wh[hvac.name])
        bands = zip(now, hvac.lows(home.count), hvac.highs(home.count), strict=True)
        assert all(low - 0.05 <= each <= high + 0.05 for each, low, high in bands)
    if not made.wished_shortfalls:
        assert made.after.total_minor <= made.before.total_minor + 1e-6
    if made.bound_minor is not None:
        assert made.after.total_minor >= made.bound_minor - 1.0  # whole Wh and ties: less than a minor unit


@st.composite
def small_homes(draw):
    """Homes of any shape: slots of 5 to 60 minutes, prices of any sign, exports dearer than imports, no loss."""
    count = draw(st.integers(1, 10))
    price = st.integers(-30, 60)
    prices = draw(st.lists(price, min_size=count, max_size=count))
    exports = draw(st.lists(price, min_size=count, max_size=count))
    battery = None
    if draw(st.booleans()):
        start = draw(st.integers(0, 3000))
        battery = Battery(capacity_wh=3000, charge_w=2000, discharge_w=2500, soc_start_wh=start,
                          round_trip_efficiency=draw(st.sampled_from([0.8, 0.93, 1.0])))  # fmt: skip
    interval_s = draw(st.sampled_from([300, 900, 1800, 3600]))
    evs = ()
    if draw(st.booleans()):
        arrival = draw(st.integers(0, count - 1))
        departure = draw(st.integers(arrival + 1, count))
        most = int(7400 * interval_s / 3600) * (departure - arrival)
        evs = (Ev(arrival=arrival, departure=departure, energy_wh=draw(st.integers(0, most))),)
    appliances = ()
    if count > 2 and draw(st.booleans()):
        appliances = (
            Appliance(name="washer", earliest=draw(st.integers(0, 1)), latest_end=count, profile_wh=(400, 100)),
        )
    return a_home(
        prices, export=exports, interval_s=interval_s, load=draw(st.integers(0, 500)),
        pv=draw(st.lists(st.integers(0, 900), min_size=count, max_size=count)), battery=battery, evs=evs,
        appliances=appliances, peak=draw(st.sampled_from([0, 0, 200])),
        connection=Connection(export_limit_w=draw(st.sampled_from([None, 3000]))),
    )  # fmt: skip
