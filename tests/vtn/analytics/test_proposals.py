"""Events a forecast calls for: four policies over one day, each best on its own figure."""

from dataclasses import replace

import numpy as np
import pytest

from vtn.analytics.proposing.policies import Bounds, Policy, Scenario, bounds, figures, imbalances, propose

HOUR = np.arange(24)
LOAD = 2000 + 3000 * np.exp(-(((HOUR - 19) / 2) ** 2)) + 1000 * np.exp(-(((HOUR - 7) / 1.5) ** 2))
SUN = 6000 * np.maximum(np.sin((HOUR - 6) / 12 * np.pi), 0)


def a_day(**changed):
    given = {
        "interval_s": 3600,
        "load_wh": LOAD,
        "generation_wh": SUN,
        "price_per_kwh": np.where((HOUR >= 16) & (HOUR < 18), 0.6, 0.2),
        "carbon_kg_per_kwh": np.where(HOUR < 6, 0.7, 0.3),
        "sheddable_wh": 0.3 * LOAD,
    }
    return Scenario(**{**given, **changed})


def test_each_policy_is_best_on_its_own_figure_and_they_differ():
    found = {policy: propose(a_day(), policy) for policy in Policy}
    for policy, proposal in found.items():
        own = {other: each.figures.badness(policy) for other, each in found.items()}
        assert own[policy] == min(own.values())
        assert proposal.figures.badness(policy) < proposal.without.badness(policy)
        assert proposal.figures == figures(a_day(), np.array(proposal.change_wh))
    assert len({each.change_wh for each in found.values()}) >= 3
    assert 17 <= found[Policy.PEAK].first <= 20
    assert found[Policy.CO2].first < 6


def test_an_event_brings_the_area_back_towards_its_limit_whatever_the_policy():
    """The peak is at 18 h when energy is cheapest, so cost alone would shift load into it."""
    load = 5000 + 9000 * np.exp(-(((HOUR - 18) / 2) ** 2))
    limits = Bounds(load + 500, load - 500, 12_000, np.inf)
    day = a_day(
        load_wh=load, generation_wh=np.zeros(24), sheddable_wh=0.3 * load, bounds=limits,
        price_per_kwh=np.where((HOUR >= 7) & (HOUR < 9), 0.6, np.where((HOUR >= 18) & (HOUR < 20), 0.05, 0.2)),
        carbon_kg_per_kwh=np.where(HOUR < 5, 0.9, 0.2),
    )  # fmt: skip
    was = limits.beyond_wh(np.zeros(24))
    for policy in (Policy.COST, Policy.PEAK, Policy.CO2):
        found = propose(day, policy)
        left = limits.beyond_wh(np.array(found.change_wh))
        assert (left < 0.6 * was and "beyond the limit" in found.reason) or not found.count
        assert found.figures.badness(policy) <= found.without.badness(policy)
    assert propose(day, Policy.PEAK).count
    assert propose(replace(day, bounds=None), Policy.COST).figures.cost < propose(day, Policy.COST).figures.cost


def test_no_event_is_proposed_that_eases_nothing():
    load = np.full(24, 3000.0)
    day = a_day(load_wh=load, generation_wh=np.zeros(24), bounds=Bounds(load, load, 2000.0, np.inf), rebound=1.0,
                sheddable_wh=np.full(24, 300.0))  # fmt: skip
    found = propose(day, Policy.COST)
    assert (found.count, found.reason) == (0, "no event takes any of the 24.00 kWh beyond the limit")


def test_a_surplus_is_eased_by_what_comes_back_in_it():
    net = LOAD - SUN
    found = propose(a_day(bounds=bounds(net, {0.1: net - 500, 0.9: net + 500}, 0.1, np.inf, 2000.0)), Policy.RENEWABLE)
    back = np.flatnonzero(np.array(found.change_wh) > 0)
    assert found.count
    assert (net[back] < -500).all()


def test_what_is_shed_comes_back_and_nobody_sheds_more_than_he_can():
    proposal = propose(a_day(rebound=0.8), Policy.COST)
    change = np.array(proposal.change_wh)
    assert change[change > 0].sum() == pytest.approx(-0.8 * change[change < 0].sum())
    assert (change >= -0.3 * LOAD - 1e-9).all()
    assert np.flatnonzero(change < 0).tolist() == list(range(proposal.first, proposal.first + proposal.count))


def test_no_event_is_proposed_where_none_helps():
    flat = a_day(load_wh=np.full(24, 1000.0), generation_wh=np.zeros(24), price_per_kwh=np.full(24, 0.2), rebound=1.0)
    for policy in (Policy.RENEWABLE, Policy.COST):
        proposal = propose(flat, policy)
        assert proposal.count == 0
        assert "no event is better" in proposal.reason
        assert set(proposal.change_wh) == {0.0}


def test_imbalance_is_seen_both_ways_with_its_chance():
    net = np.array([500.0, 1200.0, 900.0, -1500.0])
    quantiles = {0.1: net - 300, 0.9: net + 300}
    found = imbalances(net, quantiles, 1000)
    assert [(each.position, round(each.beyond_wh), round(each.chance_min, 2)) for each in found] == [
        (1, 500, 0.5), (2, 200, 0.1), (3, 800, 0.9),
    ]  # fmt: skip


def test_a_scenario_fits_together():
    with pytest.raises(ValueError, match="different lengths"):
        a_day(load_wh=np.zeros(3))
    with pytest.raises(ValueError, match="rebound"):
        a_day(rebound=-1)
