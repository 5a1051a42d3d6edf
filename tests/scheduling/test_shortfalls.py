"""What cannot be met is said: which device, by how much, and the rest is scheduled all the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scheduling.devices import Appliance, Battery, Ev, Hvac, WaterHeater
from scheduling.errors import InvalidHome, SolverFailed
from scheduling.home import Connection, Home, Obligation, Tariff
from scheduling.schedule import schedule
from tests.scheduling.homes import a_family, a_home


def texts(made):
    return [each.text for each in made.shortfalls]


def test_a_car_that_leaves_too_early_gets_all_there_is():
    car = Ev(arrival=0, departure=1, energy_wh=9000)
    made = schedule(a_home([10.0, 50.0], load=100, evs=(car,)))
    assert made.status == "short"
    assert texts(made) == ["ev leaves with 1,600 Wh less than the 9,000 Wh it asked for"]
    assert (made.shortfalls[0].device, made.shortfalls[0].amount) == ("ev", 1600)
    assert made.plan.devices_wh["ev"] == (7400, 0)


@pytest.mark.parametrize(("window", "told"), [((2, 2), 0), ((2, 4), 2)])
def test_a_window_without_room_is_told_and_the_rest_still_runs(window, told):
    washer = Appliance(name="washer", earliest=window[0], latest_end=window[1], profile_wh=(500, 200, 100))
    dryer = Appliance(name="dryer", earliest=0, latest_end=6, profile_wh=(700,))
    made = schedule(a_home([30, 10, 30, 30, 30, 30], appliances=(washer, dryer)))
    assert texts(made) == [f"washer does not run (800 Wh): its window of {told} slots is shorter than its run of 3"]
    assert made.plan.starts == {"washer": None, "dryer": 1}


def test_a_connection_too_small_lets_the_least_urgent_wait():
    urgent = Ev(name="ambulance", arrival=0, departure=2, energy_wh=4000, priority=5.0)
    other = Ev(name="car", arrival=0, departure=2, energy_wh=4000)
    made = schedule(a_home([20.0, 20.0], evs=(urgent, other), connection=Connection(import_limit_w=3000)))
    assert max(made.plan.import_wh) <= 3000
    assert [each.device for each in made.shortfalls] == ["car"]
    # the ambulance takes 1.4 kW at least in both slots, which leaves 1.6 kW in one of them
    assert made.shortfalls[0].amount == 2400


def test_a_fixed_load_above_the_limit_is_the_connections_shortfall():
    made = schedule(a_home([20.0] * 3, load=[500, 2500, 500], connection=Connection(import_limit_w=2000)))
    assert texts(made) == [
        "connection: net import is above the highest that is allowed in slot 1, by up to 500 W, 500 Wh in all"
    ]


def test_a_dispatch_nobody_can_keep_names_what_lacks_and_comes_before_a_device():
    washer = Appliance(name="washer", earliest=0, latest_end=1, profile_wh=(1000,))
    home = a_home([20.0, 20.0], load=300, appliances=(washer,), obligation=Obligation(net_wh_max=(200.0, None)))
    made = schedule(home)
    assert [each.device for each in made.shortfalls] == ["obligation", "washer"]
    assert made.shortfalls[0].amount == 100
    lenient = schedule(replace(home, obligation=replace(home.obligation, weight=0.01)))
    assert [each.device for each in lenient.shortfalls] == ["obligation"]


def test_rooms_and_tanks_that_cannot_be_kept_warm_say_by_how_many_kelvin():
    room = Hvac(power_w=200, k_per_w=0.01, wh_per_k=1000, c_outdoor=(-10.0,) * 6, c_start=20.0, cop=1.0)
    heater = WaterHeater(litres=50, power_w=300, c_start=50, draws_wh=(900.0,) * 6)
    made = schedule(a_home([20.0] * 6, hvacs=(room,), water_heaters=(heater,)))
    assert {(each.device, each.unit) for each in made.shortfalls} == {("hvac", "K"), ("water heater", "K")}
    assert "K colder than its band in" in made.shortfalls[0].text
    assert min(made.plan.devices_wh["hvac"]) >= 199, "it heats all it can"


def test_a_battery_that_cannot_be_filled_in_time_says_what_lacks():
    battery = Battery(capacity_wh=5000, charge_w=1000, discharge_w=1000, soc_start_wh=0, soc_final_wh=5000,
                      round_trip_efficiency=1.0)  # fmt: skip
    made = schedule(a_home([20.0, 20.0], battery=battery))
    assert texts(made) == ["battery ends 3,000 Wh below the 5,000 Wh it is to end with"]


@pytest.fixture
def solver(monkeypatch, tmp_path):
    """Replaces the solver's program by a script; $CBC is the real one, temporary files are below tmp_path/temp."""
    import tempfile

    import pulp

    real = pulp.PULP_CBC_CMD.pulp_cbc_path
    temp = tmp_path / "temp"
    temp.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temp))

    def replaced(script):
        path = tmp_path / "cbc"
        path.write_text(f"#!/bin/sh\nCBC={real}\nfor last; do :; done\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(pulp.PULP_CBC_CMD, "pulp_cbc_path", str(path))
        return temp

    return replaced


def test_a_killed_solver_is_an_error_that_says_so_and_leaves_no_file(solver):
    temp = solver("kill -9 $$")
    with pytest.raises(SolverFailed, match="CBC ended before it had answered: its process was killed"):
        schedule(a_family(1))
    assert list(temp.iterdir()) == []


def test_a_solver_that_writes_nothing_is_an_error(solver):
    temp = solver("exit 0")
    with pytest.raises(SolverFailed, match="Try again, or choose HiGHS"):
        schedule(a_family(1))
    assert list(temp.iterdir()) == []


def test_out_of_time_with_a_solution_is_told_with_what_is_known(solver):
    temp = solver('"$CBC" "$@" && sed -i "1s/.*/Stopped on time - objective value 1/" "$last"')
    home = replace(a_family(1), evs=())
    made = schedule(home)
    assert made.status == "timed out"
    assert made.shortfalls == ()
    assert made.after.total_minor < made.before.total_minor
    assert list(temp.iterdir()) == []


def test_out_of_time_without_any_solution_the_home_runs_as_wished(solver):
    solver('echo "Stopped on time (no integer solution - continuous used) - objective value 1" > "$last"')
    made = schedule(a_family(1))
    assert made.status == "timed out"
    assert made.plan == made.wished
    assert made.gap_minor is None
    assert made.notes[-1] == "the solver found nothing in its time: the home runs as wished"


FLAT = Tariff(import_minor_per_kwh=[1.0] * 4, export_minor_per_kwh=[0.0] * 4)
WASHER = Appliance(name="washer", earliest=0, latest_end=9, profile_wh=(100,))
CAR = Ev(arrival=0, departure=1, energy_wh=1)


def battery(**terms):
    return Battery(**{"capacity_wh": 1, "charge_w": 1, "discharge_w": 1, "soc_start_wh": 1, **terms})


def car(**terms):
    return Ev(**{"arrival": 0, "departure": 3, "energy_wh": 100, **terms})


def home(load=(1, 1, 1, 1), **terms):
    return Home(**{"name": "h", "interval_s": 900, "load_wh": load, "tariff": FLAT, **terms})


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: battery(soc_start_wh=2), "soc_start_wh is 2, outside 0 to 1 Wh"),
        (lambda: battery(round_trip_efficiency=1.2), "a share above 0"),
        (lambda: car(arrival=5), "arrival is slot 5 and departure slot 3"),
        (lambda: car(power_w_min=9000), "give power_w_min <= power_w_max"),
        (lambda: car(energy_wh=-100), "energy_wh is -100; it is zero or more"),
        (lambda: Appliance(name="washer", earliest=0, latest_end=3, profile_wh=()), "profile_wh is empty"),
        (lambda: WaterHeater(litres=100, power_w=1, c_start=50, draws_wh=(), c_min=70), "out of order"),
        (
            lambda: Hvac(power_w=1, k_per_w=1, wh_per_k=1, c_outdoor=(1.0,), c_start=20, c_low=25.0),
            "give c_low <= c_wished",
        ),
        (lambda: home(interval_s=60), "it lasts 5 to 60 minutes"),
        (lambda: home([1, 1]), "4 values for 2 slots: give one for each"),
        (lambda: home([1, -5, 1, 1]), "load_wh is -5 in slot 1"),
        (lambda: home([1, float("nan"), 1, 1]), "load_wh is nan in slot 1"),
        (lambda: home(appliances=(WASHER,)), "behind the horizon of 4"),
        (lambda: home(evs=(CAR, CAR)), "two devices are called 'ev'"),
    ],
)
def test_a_home_that_is_none_is_refused_with_what_would_be_right(make, said):
    with pytest.raises(InvalidHome, match=said):
        make()


def test_a_limit_or_gap_out_of_range_is_refused():
    with pytest.raises(ValueError, match="give seconds above 0"):
        schedule(a_family(1), limit_s=0)
