"""What a home can shift, what it really gives, and how often it is asked."""

from __future__ import annotations

import random
from statistics import mean

import pytest

from vtn.flexibility.calls import DAY, FAIR, WEEK, CallLimits, CallsMade, allowance, gini, weariness
from vtn.flexibility.envelope import Device, Kind, declared, envelope_of, profile_wh
from vtn.flexibility.learning import Learnt


def test_an_envelope_is_the_sum_of_what_its_devices_can_do() -> None:
    """Water heater 1.5 kW for 2 h and a half-full battery of 10 kWh and 5 kW: 6.5 kW, 3 + 5 = 8 kWh, 1.23 h."""
    heater = Device(kind=Kind.WATER_HEATER, power_w=1_500)
    battery = Device(kind=Kind.BATTERY, power_w=5_000, energy_wh=10_000, level_percent=50)
    found = envelope_of([heater, battery])
    assert (found.down_w, found.up_w, found.energy_wh) == (6_500, 6_500, 8_000)
    assert found.duration_s == 8_000 * 3600 // 6_500
    assert found.rebound_percent == round((3_000 * 1.00 + 5_000 * 1.15) / 80)


def test_an_empty_battery_takes_nothing_away() -> None:
    empty = Device(kind=Kind.BATTERY, power_w=5_000, energy_wh=10_000, level_percent=0)
    assert envelope_of([empty]).down_w == 0
    assert envelope_of([]).energy_wh == 0


def test_a_profile_ends_with_the_energy_and_never_exceeds_power_or_load() -> None:
    """1 kW is 250 Wh a quarter-hour, half of 400 Wh of load is 200, 600 Wh in all; export sheds nothing."""
    envelope = declared(1_000, hours=0.6)
    assert profile_wh(envelope, [400.0, -300.0, 900.0, 900.0, 900.0], 50, 900) == (200, 0, 250, 150, 0)


def test_the_bias_of_what_is_offered_shrinks_over_twenty_events() -> None:
    """Homes that give 40 to 130 % of what they say, each event measured with 30 % noise: forty of them, one seed."""
    rng = random.Random(4)
    errors: list[list[float]] = [[] for _ in range(20)]
    for _ in range(40):
        true, learnt = rng.uniform(0.4, 1.3), Learnt()
        for event in range(20):
            errors[event].append(abs(learnt.part - true))
            learnt = learnt.after(1_000, 1_000 * (true + rng.gauss(0, 0.3)))
    first, tenth, last = (mean(errors[event]) for event in (0, 9, 19))
    assert tenth < 0.6 * first
    assert last < 0.4 * first


def test_one_broken_reading_moves_little_and_a_new_habit_gets_through() -> None:
    learnt = Learnt()
    for _ in range(10):
        learnt = learnt.after(1_000, 1_000)
    assert learnt.after(1_000, -50_000).part > 0.75
    for _ in range(30):
        learnt = learnt.after(1_000, 500)
    assert learnt.part == pytest.approx(0.5, abs=0.08)


def test_a_home_that_opts_out_answers_less_but_does_not_look_weak() -> None:
    learnt = Learnt()
    for _ in range(10):
        learnt = learnt.away()
    assert learnt.part == 1.0
    assert learnt.answers() == pytest.approx(0.45)
    assert Learnt().answers() == pytest.approx(0.9)


def test_the_tightest_limit_names_itself() -> None:
    limits = CallLimits(day=2, week=5, season=40)
    assert allowance(CallsMade(), limits, 0.0).calls == 2
    assert allowance(CallsMade(day=2, week=2, season=2), limits, 2.0).reason == DAY
    assert allowance(CallsMade(day=0, week=3, season=9, week_most=3), limits, 9.0).reason == WEEK
    fair = CallLimits(day=2, week=5, season=40, fair_extra=1)
    assert allowance(CallsMade(season=6), fair, 5.2).reason == FAIR
    assert allowance(CallsMade(season=5), fair, 5.2).calls == 1


def test_weariness_grows_with_the_calls_of_the_season() -> None:
    limits = CallLimits(season=40)
    assert [weariness(CallsMade(season=n), limits) for n in (0, 20, 80)] == [0.0, 0.5, 1.0]


def test_gini_is_0_for_equal_calls_and_near_1_for_one_home_alone() -> None:
    """Of 4 homes with 0, 0, 0, 8 calls it is 3/4; with 1, 2, 3, 4 it is 1/4."""
    assert gini([3, 3, 3]) == 0
    assert gini([0, 0, 0, 8]) == pytest.approx(0.75)
    assert gini([4, 1, 3, 2]) == pytest.approx(0.25)
    assert gini([0, 0]) == gini([]) == 0
