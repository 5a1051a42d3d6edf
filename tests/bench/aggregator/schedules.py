"""Schedules of homes: time of one by CBC and by HiGHS, what 50 homes with 2.5 kW of PV gain, and a feeder's limit.

Milliseconds are CPU of this process and of the solver's, since the machine may have other work; wall clock beside them.
"""

from __future__ import annotations

import math
import random
import resource
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from scheduling.devices import Appliance, Battery, Ev
from scheduling.fleet.nodes import Node, schedule_nodes
from scheduling.home import Home, Tariff
from scheduling.schedule import schedule
from scheduling.solving.model import Solver

_SLOTS = 96
_HOMES = 50
_PV_KW = 2.5


def measured(data: Path | None, homes: int, quick: bool) -> dict[str, Any]:
    """Figures of schedules; `homes` is not used: a home is scheduled by itself."""
    del homes
    street = _street(data)
    timed = street[: 10 if quick else 40]
    found: dict[str, Any] = {"schedule_homes": len(timed)}
    for peak in (0.0, 300.0):
        for solver in ("cbc", "highs"):
            suffix = solver + ("_peak_charge" if peak else "")
            found |= _times([_home(*each, peak=peak) for each in timed], solver, suffix)  # type: ignore[arg-type]
    bare = [_home(*each, ev=False) for each in timed]
    found |= _times(bare, "cbc", "cbc_no_car")
    return (
        found
        | _gains([_home(*each, battery=False) for each in street])
        | _limited([_home(*each) for each in timed[:20]])
    )


def _times(homes: list[Home], solver: Solver, suffix: str) -> dict[str, Any]:
    cpu, wall, gaps = [], [], []
    for home in homes:
        began, at = _cpu_s(), time.perf_counter()
        made = schedule(home, solver=solver)
        cpu.append(1000 * (_cpu_s() - began))
        wall.append(1000 * (time.perf_counter() - at))
        gaps.append(made.gap_percent or 0.0)
    return {
        f"schedule_{suffix}_mean_ms": round(statistics.mean(cpu), 1),
        f"schedule_{suffix}_p95_ms": round(sorted(cpu)[math.ceil(0.95 * len(cpu)) - 1], 1),
        f"schedule_{suffix}_wall_mean_ms": round(statistics.mean(wall), 1),
        f"schedule_{suffix}_gap_percent": round(statistics.mean(gaps), 3),
    }


def _gains(homes: list[Home]) -> dict[str, Any]:
    """Cars and appliances moved, no battery: the cost of all, and the peak over the mean of all together and of one."""
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(schedule, homes))
    before, after = (sum(getattr(each, side).total_minor for each in made) for side in ("before", "after"))
    wished = [sum(column) for column in zip(*(each.wished.net_wh for each in made), strict=True)]
    planned = [sum(column) for column in zip(*(each.plan.net_wh for each in made), strict=True)]
    return {
        "schedule_cost_percent": round(100 * (after / before - 1), 1),
        "schedule_homes_par_net_percent": _change(made, "par_net"),
        "schedule_homes_par_gross_percent": _change(made, "par_gross"),
        "schedule_street_par_net_percent": round(100 * (_par(planned) / _par(wished) - 1), 1),
        "schedule_own_pv_percent": [
            round(statistics.mean(getattr(each, side).own_pv_percent or 0.0 for each in made), 1)
            for side in ("before", "after")
        ],
    }


def _limited(homes: list[Home]) -> dict[str, Any]:
    """A feeder that bears two kilowatts a home."""
    at = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        (made,) = schedule_nodes([Node(name="feeder", homes=tuple(homes), import_limit_w=2000 * len(homes))], pool.map)
    return {
        "schedule_feeder_homes": len(homes),
        "schedule_feeder_s": round(time.perf_counter() - at, 1),
        "schedule_feeder_answers": made.answered,
        "schedule_feeder_beyond_wh": made.beyond_wh,
        "schedule_feeder_wished_beyond_wh": made.wished_beyond_wh,
        "schedule_feeder_gap_percent": None if made.gap_minor is None or not made.bound_minor
        else round(100 * made.gap_minor / abs(made.bound_minor), 2),
        "schedule_feeder_par_net_percent": round(100 * (_par(made.net_wh) / _par(made.wished_net_wh) - 1), 1),
    }  # fmt: skip


def _street(data: Path | None) -> list[tuple[int, list[float], list[float]]]:
    """Number, load and PV (Wh a quarter of an hour) of each home on one day: measured, or made up."""
    if data is None:
        choose = random.Random(11)
        load = [
            [choose.uniform(40, 160) * (2 if 68 <= slot < 88 else 1) for slot in range(_SLOTS)] for _ in range(_HOMES)
        ]
        sun = [
            max(0.0, math.sin((slot - 26) / 44 * math.pi)) * _PV_KW * 200 if 26 < slot < 70 else 0.0
            for slot in range(_SLOTS)
        ]
        return [(number, row, sun) for number, row in enumerate(load)]
    import pandas as pd

    loads, pvs = pd.read_parquet(data / "load_hourly.parquet"), pd.read_parquet(data / "pv_hourly.parquet")
    kwp = pd.read_csv(data / "homes.csv").set_index("home_id")["pv_kwp"]
    day = slice("2017-03-15 07:00+00:00", "2017-03-16 06:00+00:00")  # a local Wednesday
    with_pv = [home for home in sorted(loads.columns) if kwp[home] > 0]
    rows = []
    for number, home in enumerate(sorted(loads.columns)[:_HOMES]):
        roof = home if kwp[home] > 0 else with_pv[number % len(with_pv)]
        load = [250 * float(each) for each in loads[home][day] for _ in range(4)]
        rows.append(
            (number, load, [250 * float(each) * _PV_KW / kwp[roof] for each in pvs[roof][day] for _ in range(4)])
        )
    return rows


def _home(
    number: int, load: list[float], pv: list[float], *, peak: float = 0.0, ev: bool = True, battery: bool = True
) -> Home:
    """Battery of 10 kWh, a car from the evening or the night, three appliances, a time-of-use tariff."""
    choose = random.Random(number)
    prices = [54.0 if 64 <= slot < 84 else 21.0 if slot < 32 else 33.0 for slot in range(_SLOTS)]
    runs = {"dishwasher": (450, 450, 100, 300), "washer": (500, 150, 150, 100, 200, 50), "dryer": (600, 600, 500, 400)}
    arrival = choose.choice([0, 0, 70])
    return Home(
        name=f"home-{number}", interval_s=900, load_wh=load, pv_wh=pv,
        tariff=Tariff(import_minor_per_kwh=prices, export_minor_per_kwh=[8.0] * _SLOTS, peak_minor_per_kw=peak),
        battery=Battery(capacity_wh=10_000, charge_w=5000, discharge_w=5000, soc_start_wh=3000, soc_min_wh=1000,
                        wear_minor_per_kwh=2.0) if battery else None,
        evs=(Ev(arrival=arrival, departure=arrival + 26, energy_wh=choose.randrange(4000, 12_000)),) if ev else (),
        appliances=tuple(Appliance(name=name, earliest=choose.randrange(28, 72), latest_end=_SLOTS, profile_wh=run)
                         for name, run in runs.items()),
    )  # fmt: skip


def _change(made: list[Any], name: str) -> float:
    """Percent, mean of the homes before and after."""
    before, after = (
        statistics.mean(getattr(getattr(each, side), name) for each in made) for side in ("before", "after")
    )
    return round(100 * (after / before - 1), 1)


def _par(net_wh: Any) -> float:
    taken = [max(each, 0) for each in net_wh]
    return max(taken) * len(taken) / sum(taken)


def _cpu_s() -> float:
    uses = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in uses)
