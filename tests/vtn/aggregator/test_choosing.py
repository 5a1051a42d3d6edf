"""Members chosen at least cost for a stated probability, with merit order behind it."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from vtn.aggregator.dispatch import Candidate, choose
from vtn.aggregator.virtual_nodes import choosing
from vtn.aggregator.virtual_nodes.calling.options import fleets_of, goal_of
from vtn.aggregator.virtual_nodes.choosing import Policy, choose_members
from vtn.dispatching.optimise import optimise
from vtn.flexibility.calls import WEEK

OPTIMAL = Policy(method="optimal", probability=0.9)


def some_members(count: int = 30) -> list[Candidate]:
    """Homes of one feeder; every fifth is unreliable."""
    rng = random.Random(7)
    return [
        Candidate(
            candidate=f"ven-{n:02d}",
            available_wh=tuple(rng.randrange(100, 300) for _ in range(4)),
            forecast_wh=2_000,
            price_minor_per_mwh=100_000,
            reliability_bp=5_000 if n % 5 == 0 else 9_500,
            spread_bp=2_000,
            weariness_bp=8_000 if n % 7 == 3 else 0,
        )
        for n in range(count)
    ]


def test_the_optimum_costs_no_more_than_merit_order_and_promises_more() -> None:
    """Merit order meets the expectation; asked for the expectation only, the optimum is not dearer."""
    members, target = some_members(), (1_500, 1_800, 1_800, 1_500)
    by_merit = choose(target, members, whole=True)
    even = choose_members(target, members, Policy(method="optimal", probability=0.5))

    def cost(choices: tuple) -> float:  # type: ignore[type-arg]
        return sum(sum(each.obligation_wh) * each.candidate.reliability_bp for each in choices)

    safe = choose_members(target, members, OPTIMAL)
    assert len(safe.chosen) > len(by_merit.chosen)
    assert cost(even.chosen) <= cost(by_merit.chosen) * 1.15
    assert not any(safe.lacking_wh)
    assert "asked: 90%" in safe.chosen[0].reason


def test_the_weary_and_the_unreliable_are_left_in_peace_while_others_are_there() -> None:
    chosen = choose_members((800, 800, 800, 800), some_members(), OPTIMAL).chosen
    assert chosen
    assert not any(each.candidate.weariness_bp for each in chosen)


def test_everybody_leaves_with_a_reason_and_excluded_ones_with_theirs() -> None:
    members = [*some_members(), Candidate(candidate="ven-x", available_wh=(0,) * 4, forecast_wh=0,
                                          price_minor_per_mwh=1, reliability_bp=1, excluded="silent")]  # fmt: skip
    found = choose_members((1_000,) * 4, members, OPTIMAL)
    assert sorted(each.candidate.candidate for each in found.choices) == sorted(each.candidate for each in members)
    assert all(each.reason for each in found.choices)
    assert found.choices[-1].reason == "silent"


def test_stored_candidates_in_any_order_give_the_stored_choice_again() -> None:
    members, target = some_members(), (1_500, 1_800, 1_800, 1_500)
    found = choose_members(target, members, OPTIMAL)
    stored = [each.candidate for each in found.choices]
    random.Random(2).shuffle(stored)
    assert choose_members(target, stored, OPTIMAL) == found


def test_too_few_members_are_all_called_and_what_lacks_is_said() -> None:
    """The rest goes to assisting virtual nodes."""
    found = choose_members((9_000,) * 4, some_members(), OPTIMAL)
    assert len(found.chosen) == 30
    assert all(lacking > 0 for lacking in found.lacking_wh)


def test_without_its_libraries_merit_order_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "_installed", lambda: False)
    members, target = some_members(), (1_500,) * 4
    assert choose_members(target, members, Policy(method="auto")) == choose(target, members, whole=True)


def test_a_failure_of_the_optimisation_leaves_no_need_without_a_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("solver")

    monkeypatch.setattr(choosing, "_optimal", broken)
    members, target = some_members(), (1_500,) * 4
    assert choose_members(target, members, OPTIMAL) == choose(target, members, whole=True)


def hour_members(count: int = 40, **given: Any) -> list[Candidate]:
    """Homes that shed 250 Wh in a quarter-hour, four of them; 30 % comes back within an hour."""
    homes = [
        Candidate(
            candidate=f"ven-{n:02d}",
            available_wh=(250,) * 4 + (0,) * 8,
            forecast_wh=6_000,
            price_minor_per_mwh=100_000,
            reliability_bp=9_500,
            at_wh=(250,) * 12,
            energy_wh=1_000,
            rebound_percent=30,
            rebound_intervals=4,
        )
        for n in range(count)
    ]
    return [replace(each, **given) for each in homes]


def test_homes_that_hold_out_an_hour_begin_one_after_the_other() -> None:
    """Three hours of 1 kWh a quarter-hour by homes of one hour: each gets a start, a duration and its energy there."""
    policy = Policy(method="optimal", probability=0.6, snapback=1.0)
    found = choose_members((1_000,) * 12, hour_members(), policy)
    assert not any(found.lacking_wh)
    assert {each.count for each in found.chosen} <= {1, 2, 3, 4}
    assert len({each.start for each in found.chosen}) >= 3
    for each in found.chosen:
        on = [n for n, wh in enumerate(each.obligation_wh) if wh]
        assert on == list(range(each.start, each.start + each.count))
        assert "of 12 intervals, from the" in each.reason


def test_merit_order_keeps_one_event() -> None:
    found = choose_members((1_000,) * 12, hour_members(), Policy(method="merit"))
    assert {(each.start, each.count) for each in found.chosen} == {(0, 0)}


def test_what_comes_back_after_the_event_stays_below_its_bound() -> None:
    """Seven homes that begin and end together take back 1,050 Wh in each of two quarter-hours; 750 are allowed."""
    members = hour_members(60, rebound_intervals=2, reliability_bp=10_000)
    target, even = (0,) * 8 + (1_500,) * 4, Policy(method="optimal", probability=0.5, mode="each")
    free = choose_members(target, members, replace(even, snapback=9.0))
    held = choose_members(target, members, replace(even, snapback=0.5))
    assert free.solved.snapback_wh > 900
    assert held.solved.snapback_wh <= 751
    assert not any(held.lacking_wh)
    assert len({each.start for each in held.chosen}) > 1


def test_no_more_homes_are_called_than_their_contracts_can_be_paid() -> None:
    """What the contract above holds is a limit that is named, with what it costs in Wh."""
    policy = Policy(method="optimal", probability=0.9)
    free = choose_members((1_000,) * 12, hour_members(), policy)
    held = sum(sum(each.obligation_wh) for each in free.chosen)
    found = choose_members((1_000,) * 12, hour_members(), policy, most_wh=held * 3 // 4)
    assert sum(sum(each.obligation_wh) for each in found.chosen) <= held * 3 // 4
    assert found.solved.limits[0].limit == "what the contract can pay its homes"
    assert found.solved.limits[0].frees_wh > 0
    assert found.solved.probability_bp < free.solved.probability_bp


def test_without_any_time_the_best_choice_known_is_taken_with_its_gap() -> None:
    found = choose_members((1_500,) * 4, some_members(), Policy(method="optimal", probability=0.9, limit_s=0.0))
    assert found.solved.method == "best known when the time ran out"
    assert found.chosen
    assert 0 < found.solved.gap_percent < 100
    assert not any(found.lacking_wh)


def test_a_target_that_cannot_be_met_names_its_limits_and_what_they_cost() -> None:
    members = [replace(each, excluded=WEEK) if n % 2 else each for n, each in enumerate(some_members())]
    found = choose_members((4_500,) * 4, members, OPTIMAL)
    limits = {each.limit: each for each in found.solved.limits}
    assert limits[WEEK].frees_wh > 1_000
    assert f"without {WEEK}" in str(limits[WEEK])


@pytest.mark.slow
def test_workers_of_dask_choose_what_this_process_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups that are chosen from in parts: the same homes, whatever answers for the parts."""
    from vtn.aggregator.virtual_nodes.calling import options
    from vtn.aggregator.virtual_nodes.calling.spreading import spread

    monkeypatch.setattr(options, "PART_HOMES", 150)
    members = [replace(each, candidate=f"{each.candidate}-{n}") for n in range(15) for each in some_members()]
    target, patient = (22_000,) * 4, Policy(method="optimal", probability=0.9, limit_s=600.0)
    here = choose_members(target, members, patient)
    with ThreadPoolExecutor(2) as threads:
        assert choose_members(target, members, patient, threads) == here
    with spread("local", 1) as workers:
        assert choose_members(target, members, patient, workers) == here


def test_workers_that_are_lost_hold_up_one_choice_and_not_each_of_an_event() -> None:
    from vtn.aggregator.virtual_nodes.calling.spreading import Spread
    from vtn.analytics.computing import WorkersLost

    class Lost:
        asked = 0

        def map(self, function: object, parts: object) -> object:
            Lost.asked += 1
            raise WorkersLost("no result in 60 s")

        def place(self, value: object) -> object:
            return value

    target, policy = (3_000,) * 4, Policy(method="optimal", probability=0.9)
    here, workers = choose_members(target, some_members(), policy), Spread(Lost())  # type: ignore[arg-type]
    assert [choose_members(target, some_members(), policy, workers) for _ in range(3)] == [here] * 3
    assert Lost.asked == 1


def test_whole_calls_keep_the_probability_that_was_asked_for() -> None:
    """Calls of two hundred homes with starts of their own: the fractions they are rounded from go together more than
    they do, so that 60 % were asked and 58 % planned, with nothing lacking."""
    draw = np.random.default_rng(200)
    homes = []
    for n in range(200):
        base = draw.gamma(4, 60)
        at_wh = tuple(int(base * (1 + 0.3 * np.sin(t / 2 + n))) for t in range(8))
        home = Candidate(
            candidate=f"h{n:04d}", available_wh=at_wh, forecast_wh=5_000, price_minor_per_mwh=100_000,
            reliability_bp=9_000, answers_bp=int(draw.uniform(0.6, 0.99) * 10_000),
            spread_bp=int(draw.uniform(0, 3_000)), comfort_minor=int(draw.integers(0, 6)),
            weariness_bp=int(draw.integers(0, 5_000)), rebound_percent=int(draw.integers(0, 100)),
            rebound_intervals=int(draw.integers(1, 5)),
        )  # fmt: skip
        draw.random()
        home = replace(home, at_wh=at_wh, energy_wh=int(sum(at_wh) * draw.uniform(0.3, 0.7)))
        homes.append(replace(home, available_wh=home.call_wh(0)))
    target_wh = [int(np.mean([sum(each.available_wh) / 8 for each in homes]) * 40)] * 8
    policy = Policy(method="optimal", probability=0.6, common=0.03, snapback=1.0)
    fleets, goal = fleets_of(homes, policy), goal_of(target_wh, homes, policy)
    plan = optimise(fleets, goal, search=False)
    assert not plan.lacking_wh.any()
    assert plan.probability >= 0.6
