"""The cheapest plan: checked against full programmes, other solvers and simulation."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import LinearConstraint, linprog, milp

from tests.vtn.dispatching.fleets import a_goal, some_homes
from vtn.dispatching import exact, linear
from vtn.dispatching.chance import EACH, Goal, need
from vtn.dispatching.errors import InvalidFleet, InvalidGoal
from vtn.dispatching.explanation import reasons
from vtn.dispatching.fleet import Fleet, Floats, fleet_of, occasions, part
from vtn.dispatching.linear import Rows
from vtn.dispatching.optimise import OPTIMAL, TIMED_OUT, optimise, rows_at
from vtn.dispatching.shortage import EVERYTHING, PROBABILITY, bindings


def full_relaxation(fleet: Fleet, rows: Rows) -> float:
    """The whole linear programme at once, without prices, bands or steps."""
    energy = linear.reduced_energy(
        fleet.mean_wh, fleet.absent[fleet.home], fleet.noise[fleet.home], rows.slopes
    )  # fmt: skip
    one = np.zeros((fleet.homes, len(fleet.home)))
    one[fleet.home, np.arange(len(fleet.home))] = 1
    result = linprog(
        fleet.cost,
        A_ub=np.concatenate([-energy.T, one]),
        b_ub=np.concatenate([-rows.least, fleet.allowed]),
        bounds=(0, 1),
    )
    return float(result.fun)


def delivered(fleet: Fleet, called: np.ndarray, goal: Goal, draws: int, seed: int) -> Floats:
    """[draws, T] what homes deliver that answer or not, with noise of their own and a common part."""
    rng = np.random.default_rng(seed)
    home = fleet.home[called]
    answered = rng.random((draws, len(called))) < fleet.answers[home]
    full = fleet.mean_wh[called] / fleet.answers[home][:, None]
    found = np.zeros((draws, fleet.intervals))
    for t in range(fleet.intervals):
        noise = 1 + fleet.spread[home] * rng.standard_normal((draws, len(called)))
        found[:, t] = (answered * noise) @ full[:, t]
    return found + goal.common * rng.standard_normal((draws, 1)) * fleet.mean_wh[called].sum(axis=0)


def test_prices_and_bands_find_what_the_whole_programme_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 60 of 700 homes in a programme at a time the relaxation is the same as with all of them at once."""
    fleet, goal = fleet_of(some_homes(700)), a_goal(700, mode=EACH)
    rows = rows_at(goal, goal.first_z(), np.full(8, 1e6), 10.0)
    monkeypatch.setattr(linear, "BAND_HOMES", 60)
    monkeypatch.setattr(linear, "SAMPLE_HOMES", 100)
    pool = linear.Pool([fleet], None, None)
    found = linear.relax(pool, rows, linear.sampled_prices(pool, rows, [700], 1), 700)
    assert found is not None
    assert sum(len(answer.band.allowed) for answer in found.answers) <= 60
    assert found.objective == pytest.approx(full_relaxation(fleet, rows), rel=1e-4)
    assert found.bound == pytest.approx(found.objective, rel=1e-4)


def test_a_plan_of_a_thousand_homes_is_within_a_percent_of_its_bound_and_meets_the_need() -> None:
    fleet, goal = fleet_of(some_homes(1000)), a_goal(1000, mode=EACH)
    plan = optimise([fleet], goal)
    assert plan.status == OPTIMAL
    assert plan.gap_percent < 1
    assert plan.bound <= plan.cost
    assert not plan.lacking_wh.any()
    variance = plan.deviation_wh**2
    assert (plan.mean_wh >= need(goal, plan.z, variance) - 1e-3).all()
    homes = fleet.home[plan.called[0]]
    assert len(np.unique(homes)) == len(homes), "a home is called once"


@pytest.mark.parametrize(("mode", "common"), [("each", 0.0), ("joint", 0.0), ("joint", 0.08)])
def test_the_probability_that_is_promised_is_what_simulation_finds(mode: str, common: float) -> None:
    """Homes drawn one by one, not the normal distribution of the plan. Two percent are left to that difference."""
    fleet, goal = fleet_of(some_homes(400)), a_goal(400, mode=mode, common=common, probability=0.9)
    plan = optimise([fleet], goal, search=False)
    enough = delivered(fleet, plan.called[0], goal, 4_000, seed=5) >= goal.target_wh
    found = enough.all(axis=1).mean() if mode == "joint" else enough.mean(axis=0).min()
    assert plan.probability >= 0.9
    assert found == pytest.approx(plan.probability, abs=0.02)
    if mode == "joint":
        assert plan.z < goal.first_z(), "intervals go together: Bonferroni asks for too much"


def test_what_moves_all_homes_at_once_costs_more_calls() -> None:
    fleet = fleet_of(some_homes(400))
    alone = optimise([fleet], a_goal(400), search=False)
    together = optimise([fleet], a_goal(400, common=0.1), search=False)
    assert together.calls > alone.calls * 1.1


def test_few_homes_are_chosen_as_two_integer_solvers_choose() -> None:
    homes = fleet_of(some_homes(24, duration=np.full(24, 8)))
    goal = a_goal(24, 0.3, mode=EACH, probability=0.8)
    plan = optimise([homes], goal)
    by_cbc = exact.solve(homes, goal, plan.z, plan.deviation_wh**2, 10.0, 20.0, cbc=True)
    assert by_cbc is not None
    rows = rows_at(goal, plan.z, plan.deviation_wh**2, 10.0)
    energy = linear.reduced_energy(homes.mean_wh, homes.absent[homes.home], homes.noise[homes.home], rows.slopes)
    one = np.zeros((homes.homes, len(homes.home)))
    one[homes.home, np.arange(len(homes.home))] = 1
    other = milp(
        homes.cost,
        constraints=[LinearConstraint(energy.T, rows.least, np.inf), LinearConstraint(one, -np.inf, 1)],
        integrality=np.ones(len(homes.home)),
        bounds=(0, 1),
    )
    assert plan.cost <= by_cbc.objective * 1.001
    assert plan.cost <= other.fun * 1.001


def test_of_more_options_than_a_search_bears_it_looks_at_those_near_the_margin() -> None:
    """A hundred and twenty homes with eight starts each: rounding alone costs 8 % more than the bound."""
    fleet, goal = fleet_of(some_homes(120, 3)), a_goal(120, 0.1, probability=0.6)
    rounded, searched = optimise([fleet], goal, search=False), optimise([fleet], goal)
    assert len(fleet.home) > 800
    assert searched.cost < 0.98 * rounded.cost
    assert searched.gap_percent < rounded.gap_percent - 2
    assert searched.bound <= searched.cost
    assert searched.probability >= 0.6
    assert not searched.lacking_wh.any()
    homes = fleet.home[searched.called[0]]
    assert len(np.unique(homes)) == len(homes)


def test_a_plan_that_lacks_nothing_is_kept_for_one_that_lacks_a_little_and_costs_less(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fleet, goal = fleet_of(some_homes(40, duration=np.full(40, 8))), a_goal(40, 0.2, mode=EACH)
    rounded = optimise([fleet], goal, search=False)
    assert not rounded.lacking_wh.any()
    cheap = exact.Exact(rounded.called[0][1:], rounded.cost / 2, 0.0, np.eye(1, 8)[0])
    monkeypatch.setattr(exact, "solve", lambda *_, **__: cheap)
    assert (optimise([fleet], goal).called[0] == rounded.called[0]).all()


def test_the_same_seed_gives_the_same_plan_and_the_order_of_work_does_not_matter() -> None:
    fleet, goal = fleet_of(some_homes(600)), a_goal(600)
    feeders = [part(fleet, np.arange(n * 150, n * 150 + 150)) for n in range(4)]
    alone = optimise(feeders, goal, seed=3)
    with ThreadPoolExecutor(2) as executor:
        spread = optimise(feeders, goal, seed=3, executor=executor)
    for one, other in zip(alone.called, spread.called, strict=True):
        assert (one == other).all()
    whole = optimise([fleet], goal, seed=3)
    assert alone.cost == pytest.approx(whole.cost, rel=0.01)


def test_a_target_nobody_can_meet_says_which_limit_binds_and_by_how_much() -> None:
    """Every third home has no call left: without that limit a third more is there."""
    blocked = np.where(np.arange(300) % 3 == 0, 1, 0)
    homes = some_homes(300, blocked=blocked, reasons=("", "calls of the week are used up"))
    fleet, goal = fleet_of(homes), a_goal(300, 0.28)
    plan = optimise([fleet], goal)
    assert plan.lacking_wh.sum() > 0
    assert plan.probability < goal.probability
    assert not plan.called[0].size or not blocked[fleet.home[plan.called[0]]].any()
    found = {each.limit: each for each in bindings([fleet], goal)}
    week = found["calls of the week are used up"]
    assert week.frees_wh > 0.3 * (week.frees_wh + week.lacking_wh)
    assert found[PROBABILITY].frees_wh > 0
    assert found[EVERYTHING].lacking_wh <= min(week.lacking_wh, found[PROBABILITY].lacking_wh) + 1e-6


def test_no_time_at_all_still_gives_a_plan_with_its_gap() -> None:
    fleet, goal = fleet_of(some_homes(1000)), a_goal(1000, mode=EACH)
    plan = optimise([fleet], goal, limit_s=0.0)
    assert plan.status == TIMED_OUT
    assert not plan.lacking_wh.any()
    assert 0 < plan.gap_percent < 50
    assert plan.bound <= optimise([fleet], goal).cost * 1.01


def test_calls_are_staggered_so_that_the_rebound_after_the_event_stays_bounded() -> None:
    """Energy that comes back in the hour after may be 70 % of what it is without a bound."""
    fleet = fleet_of(some_homes(500), tail=4)
    free = optimise([fleet], a_goal(500, 0.05, tail=4), search=False)
    floor = np.full(12, 0.7 * free.mean_wh[8:].min())
    bounded = optimise([fleet], a_goal(500, 0.05, tail=4, floor_wh=floor), search=False)
    assert not bounded.lacking_wh.any()
    assert bounded.mean_wh[8:].min() >= floor[0] - 1e-6
    assert bounded.cost > free.cost


def test_two_events_of_a_day_share_the_calls_of_a_home() -> None:
    homes = some_homes(300)
    day = occasions([fleet_of(homes), fleet_of(homes)])
    goal = Goal(np.concatenate([a_goal(300, 0.06).target_wh] * 2))
    once = optimise([day], goal)
    counts = np.bincount(day.home[once.called[0]], minlength=300)
    assert counts.max() == 1
    twice = optimise([replace(day, calls_left=np.full(300, 2))], goal)
    assert np.bincount(day.home[twice.called[0]], minlength=300).max() == 2
    assert twice.cost <= once.cost * 1.01


def test_every_home_leaves_with_a_reason_that_its_numbers_bear_out() -> None:
    homes = some_homes(200, blocked=np.eye(1, 200, 7, dtype=np.int64)[0], reasons=("", "opted out"))
    fleet, goal = fleet_of(homes), a_goal(200)
    plan = optimise([fleet], goal)
    told = list(reasons(fleet, plan.called[0], plan))
    assert [each.home for each in told] == list(homes.names)
    assert told[7].text == "opted out"
    assert sum(each.called for each in told) == plan.calls
    clear = [each for each in told if each.called and each.worth >= each.cost]
    assert len(clear) >= plan.calls - 24, "at most a few are called for the rounding"
    assert sum(each.cost for each in told if each.called) == pytest.approx(plan.cost)


def test_arrays_that_contradict_each_other_are_refused() -> None:
    fleet = fleet_of(some_homes(5))
    with pytest.raises(InvalidFleet, match="answers"):
        Fleet(**{**fleet.__dict__, "answers": fleet.answers[:-1]})
    with pytest.raises(InvalidFleet, match="intervals"):
        optimise([fleet], Goal(np.ones(3)))


@pytest.mark.parametrize(
    "given", [{"probability": 1.0}, {"probability": 0.2}, {"mode": "sometimes"}, {"common": 0.6}, {"common": -1.0}]
)
def test_a_goal_nobody_can_aim_at_is_refused(given: dict[str, float]) -> None:
    with pytest.raises(InvalidGoal):
        Goal(np.ones(4), **given)  # type: ignore[arg-type]
    with pytest.raises(InvalidGoal):
        Goal(np.array([np.nan, 1.0]))
