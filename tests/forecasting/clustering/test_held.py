"""Homes that stay for now, homes nothing is known of, and what a home's days look like."""

import numpy as np

from forecasting.clustering.formation import form
from forecasting.clustering.moving import Hysteresis, Standing, joined, review, review_around
from forecasting.clustering.segments import load_profiles
from forecasting.clustering.traits import homes
from forecasting.panels.panel import Panel
from tests.forecasting.clustering.test_clustering import HOMES, PANEL, SITES, START, two_kinds
from tests.forecasting.synthetic import LOS_ANGELES

SETTINGS = Hysteresis(homes_min=10)
HOME = PANEL.ids[2]


def without_readings(row):
    values = PANEL.values.copy()
    values[row] = np.nan
    return homes(Panel(PANEL.ids, PANEL.start_ms, 3600, values), LOS_ANGELES, SITES)


def test_a_home_that_is_held_stays_its_move_is_told_and_comes_again():
    begun = Standing(form(HOMES, homes_min=10).assignment)
    changed = homes(two_kinds(change_day=0, changed={2})[0], LOS_ANGELES, SITES)
    once, _ = review(begun, changed, START, SETTINGS)
    held = review_around({HOME}, once, changed, START, SETTINGS)
    assert held.moves == []
    assert held.standing.assignment == begun.assignment
    [later] = held.later
    assert (later.home, later.left) == (HOME, begun.assignment[HOME])
    free = review_around((), held.standing, changed, START, SETTINGS)
    assert [(move.home, move.joined) for move in free.moves] == [(HOME, later.joined)]
    assert "3 reviews" in free.moves[0].reason


def test_a_cluster_with_a_held_home_is_not_dissolved():
    assignment = dict(form(HOMES, homes_min=10).assignment)
    [small, *_] = sorted(set(assignment.values()))
    members = [home for home, name in assignment.items() if name == small]
    few = {home: name for home, name in assignment.items() if home not in members[3:]}
    seen = homes(PANEL.rows([PANEL.ids.index(home) for home in few]), LOS_ANGELES, SITES)
    assert {move.home for move in review_around((), Standing(few), seen, START, SETTINGS).moves} >= set(members[:3])
    assert review_around({members[0]}, Standing(few), seen, START, SETTINGS).moves == []


def test_a_home_nothing_is_known_of_never_moves_by_its_traits():
    """Its traits are those of the median home, which may be nearer to another cluster."""
    known = without_readings(2)
    standing = Standing(form(HOMES, homes_min=10).assignment)
    for _ in range(3):
        standing, moves = review(standing, known, START, SETTINGS)
        assert HOME not in {move.home for move in moves}
    assert HOME not in standing.leaning


def test_a_new_home_joins_the_nearest_and_an_unknown_one_the_smallest_cluster_of_its_feeder():
    assignment = dict(form(HOMES, homes_min=10).assignment)
    where = assignment.pop(HOME)
    [move] = joined(Standing(assignment), HOMES, START, SETTINGS)
    assert (move.home, move.joined) == (HOME, where)
    assert "nearest" in move.reason
    sizes = {name: list(assignment.values()).count(name) for name in assignment.values() if name[:2] == where[:2]}
    [move] = joined(Standing(assignment), without_readings(2), START, SETTINGS)
    assert move.joined == min(sizes, key=lambda name: sizes[name])
    assert "smallest" in move.reason


def test_typical_days_are_told_by_kind_of_day_and_gaps_stay_gaps():
    values = PANEL.values[:2].copy()
    values[1] = np.nan
    known, empty = load_profiles(Panel(PANEL.ids[:2], PANEL.start_ms, 3600, values), LOS_ANGELES)
    assert len(known.working_wh) == len(known.other_wh) == 24
    assert 17 <= int(np.argmax(known.working_wh)) <= 22
    assert known.days[0] > known.days[1] > 0
    assert empty.working_wh == (None,) * 24
    assert empty.days == (0, 0)
