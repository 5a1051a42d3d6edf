"""Which homes go together, how good that is, who moves when, and whether moving was worth it."""

from datetime import date, timedelta

import numpy as np
import pytest

from forecasting.clustering.comparison import compare
from forecasting.clustering.formation import described, form
from forecasting.clustering.kmeans import k_means, silhouette
from forecasting.clustering.learning import learned
from forecasting.clustering.moving import Hysteresis, Standing, review
from forecasting.clustering.segments import segments
from forecasting.clustering.traits import SHAPE, TRAITS, WEIGHTS, Site, homes
from forecasting.panels.panel import Panel
from forecasting.panels.weather import Weather
from tests.forecasting.synthetic import LOS_ANGELES, some_homes

START = date(2026, 1, 1)


def two_kinds(count=60, days=40, change_day=None, changed=(), seed=9):
    """Even homes use energy in the evening, odd ones at night; those in `changed` change over on a day. Half of the
    homes are on each of two feeders."""
    panel = some_homes(count, days, seed=seed)
    at_night = np.roll(panel.values, 8, axis=1)
    values = panel.values.copy()
    hour = 24 * (change_day or 0)
    for row in range(count):
        night = row % 2 == 1
        if night:
            values[row] = at_night[row]
        if row in changed:
            values[row, hour:] = (panel.values if night else at_night)[row, hour:]
    sites = {each: Site("F1" if row < count // 2 else "F2") for row, each in enumerate(panel.ids)}
    return Panel(panel.ids, panel.start_ms, 3600, values), sites


PANEL, SITES = two_kinds()
HOMES = homes(PANEL, LOS_ANGELES, SITES)


def test_like_goes_with_like_and_never_across_feeders():
    found = form(HOMES, homes_min=10)
    assert [cluster.name for cluster in found.clusters] == ["F1/1", "F1/2", "F2/1", "F2/2"]
    for cluster in found.clusters:
        assert {SITES[home].feeder for home in cluster.homes} == {cluster.feeder}
        assert len({PANEL.ids.index(home) % 2 for home in cluster.homes}) == 1
        assert len(cluster.homes) == 15
        assert cluster.silhouette > 0.2
        assert "silhouette" in cluster.reason
        assert cluster.flags == ()


def test_the_same_homes_and_seed_give_the_same_clusters_in_any_order():
    turned = PANEL.rows(list(range(59, -1, -1)))
    assert form(homes(turned, LOS_ANGELES, SITES), homes_min=10) == form(HOMES, homes_min=10)


def test_programmes_are_kept_apart():
    sites = {home: Site("F1", "winter" if row < 30 else "summer") for row, home in enumerate(PANEL.ids)}
    found = form(homes(PANEL, LOS_ANGELES, sites), homes_min=10)
    assert all(len({sites[home].programme for home in cluster.homes}) == 1 for cluster in found.clusters)
    assert {cluster.name for cluster in found.clusters} == {"F1/summer/1", "F1/summer/2", "F1/winter/1", "F1/winter/2"}


def test_no_cluster_is_smaller_than_the_least_size_and_a_small_feeder_is_flagged():
    sites = {home: Site("F1" if row < 48 else "F2") for row, home in enumerate(PANEL.ids)}
    found = form(homes(PANEL, LOS_ANGELES, sites))
    sizes = {cluster.name: len(cluster.homes) for cluster in found.clusters}
    assert sizes == {"F1/1": 24, "F1/2": 24, "F2/1": 12}
    assert found.clusters[2].flags == ("12 homes where 20 are wanted: what it delivers is measured badly",)
    with pytest.raises(ValueError, match="homes_min"):
        form(HOMES, homes_min=0)


def test_homes_that_are_alike_are_not_split_for_the_sake_of_it():
    panel = some_homes(44, 40, seed=3)
    same = Panel(
        panel.ids, panel.start_ms, 3600, panel.values[[0] * 44] * np.linspace(0.95, 1.05, 44, dtype=np.float32)[:, None]
    )
    found = form(homes(same, LOS_ANGELES, dict.fromkeys(panel.ids, Site("F1"))))
    assert len(found.clusters) == 1
    assert "alike" in found.clusters[0].reason


def test_a_home_without_history_is_placed_and_flagged():
    values = PANEL.values.copy()
    values[4, : 24 * 36] = np.nan
    found = homes(Panel(PANEL.ids, PANEL.start_ms, 3600, values), LOS_ANGELES, SITES)
    assert found.short == {PANEL.ids[4]}
    assert np.isfinite(found.traits).all()
    assert "1 homes with less than a week" in " ".join(
        flag for each in form(found, homes_min=10).clusters for flag in each.flags
    )


def test_traits_tell_weather_response_and_generation():
    random = np.random.default_rng(1)
    daily = 20 + 8 * random.standard_normal(40)
    temperature = np.repeat(daily, 24)
    values = PANEL.values[:3].copy()
    values[1] += 60 * np.maximum(temperature[: values.shape[1]] - 20, 0).astype(np.float32)
    values[2, (np.arange(values.shape[1]) % 24 > 9) & (np.arange(values.shape[1]) % 24 < 16)] -= 2500
    weather = Weather("made up", "observed", PANEL.start_ms, 3600, {"temp_c": temperature})
    panel = Panel(PANEL.ids[:3], PANEL.start_ms, 3600, values)
    found = homes(panel, LOS_ANGELES, SITES, weather)
    cooling, generation = (found.traits[:, TRAITS.index(name)] for name in ("cooling", "generation"))
    assert cooling[1] * np.exp(found.traits[1, TRAITS.index("level")]) == pytest.approx(60, rel=0.2)
    assert abs(cooling[0]) < 0.03
    assert generation[2] > 0.5
    assert generation[0] == 0
    told = homes(panel, LOS_ANGELES, {**SITES, PANEL.ids[0]: Site("F1", pv_kwp=3.0)}, weather)
    assert told.traits[0, TRAITS.index("generation")] > 1
    assert [each.segment for each in segments(found)][1:] == ["cooling", "generation"]


def test_segments_say_when_a_home_uses_its_energy_and_why_they_think_so():
    found = segments(HOMES)
    assert sum(each.segment == "evening" for each in found[0::2]) > 20
    assert "evening" not in {each.segment for each in found[1::2]}
    assert "17 to 22 h" in found[0].why
    assert 17 <= found[0].peak_hour <= 22


def test_a_home_moves_only_after_it_has_leaned_long_enough():
    begun = Standing(form(HOMES, homes_min=10).assignment)
    changed, _ = two_kinds(days=40, change_day=0, changed={2})
    later = homes(changed, LOS_ANGELES, SITES)
    home = PANEL.ids[2]
    settings = Hysteresis(homes_min=10)
    once, moves = review(begun, later, START, settings)
    assert moves == []
    assert once.leaning[home][1] == 1
    twice, moves = review(once, later, START + timedelta(days=14), settings)
    assert [(move.home, move.left, move.joined) for move in moves] == [
        (home, begun.assignment[home], twice.assignment[home])
    ]
    assert "2 reviews nearer to" in moves[0].reason
    third, moves = review(twice, later, START + timedelta(days=28), settings)
    assert moves == []
    assert third.assignment == twice.assignment


def test_a_home_that_came_back_in_between_starts_to_lean_anew():
    begun = Standing(form(HOMES, homes_min=10).assignment)
    later = homes(two_kinds(change_day=0, changed={2})[0], LOS_ANGELES, SITES)
    standing, _ = review(begun, later, START, Hysteresis(homes_min=10))
    standing, _ = review(standing, HOMES, START, Hysteresis(homes_min=10))
    assert standing.leaning == {}


def test_few_move_at_once_and_no_cluster_falls_below_the_least_size():
    begun = Standing(form(HOMES, homes_min=10).assignment)
    later = homes(two_kinds(change_day=0, changed=set(range(0, 30, 2)))[0], LOS_ANGELES, SITES)
    settings = Hysteresis(homes_min=10, patience=1, moved_max=0.05)
    standing = begun
    for turn in range(6):
        standing, made = review(standing, later, START + timedelta(days=turn), settings)
        assert len(made) <= 3
    sizes = [list(standing.assignment.values()).count(name) for name in set(standing.assignment.values())]
    assert min(sizes) >= 10
    assert standing.assignment != begun.assignment


def test_what_changed_outside_is_followed_at_once_and_written_down():
    begun = Standing({**form(HOMES, homes_min=10).assignment, "gone": "F1/1"})
    sites = {**SITES, PANEL.ids[0]: Site("F2"), PANEL.ids[1]: Site("F3")}
    del begun.assignment[PANEL.ids[5]]
    standing, moves = review(begun, homes(PANEL, LOS_ANGELES, sites), START, Hysteresis(homes_min=10))
    reasons = {move.home: (move.joined, move.reason) for move in moves}
    assert reasons["gone"] == ("", "no longer enrolled")
    assert reasons[PANEL.ids[0]][0].startswith("F2/")
    assert reasons[PANEL.ids[1]] == ("F3/1", "its feeder or programme is now F3: the first there")
    assert reasons[PANEL.ids[5]][1].startswith("new")
    assert standing.assignment[PANEL.ids[5]] == begun.assignment[PANEL.ids[7]]


def test_a_cluster_that_became_too_small_is_dissolved():
    assignment = form(HOMES, homes_min=10).assignment
    kept = [row for row, home in enumerate(PANEL.ids) if assignment[home] != "F1/2" or row < 10]
    standing, moves = review(
        Standing(assignment), homes(PANEL.rows(kept), LOS_ANGELES, SITES), START, Hysteresis(homes_min=10)
    )
    assert "F1/2" not in standing.assignment.values()
    assert {move.joined for move in moves if "fewer than 10" in move.reason} == {"F1/1"}


def test_moving_homes_that_changed_their_ways_improves_the_split():
    panel, sites = two_kinds(40, 186, change_day=75, changed={0, 1, 2, 3, 20, 21, 22, 23})
    settings = Hysteresis(homes_min=5, moved_max=0.2)
    found = {
        way.name: way
        for way in compare(
            panel, LOS_ANGELES, sites, START + timedelta(days=60), START + timedelta(days=186), settings=settings
        )
    }
    assert found["static"].moves == []
    moved = {panel.ids.index(move.home) for move in found["dynamic"].moves}
    assert len(moved & {0, 1, 2, 3, 20, 21, 22, 23}) >= 6
    assert len(moved - {0, 1, 2, 3, 20, 21, 22, 23}) <= 2
    assert found["dynamic"].split_nrmse < 0.98 * found["static"].split_nrmse
    assert found["learned"].split_nrmse < found["static"].split_nrmse
    assert found["dynamic"].node_nrmse < 1.1 * found["static"].node_nrmse
    with pytest.raises(ValueError, match="guess"):
        compare(panel, LOS_ANGELES, sites, START, START, ways=["guess"])


def test_the_learned_metric_weighs_what_tells_homes_apart():
    weights = np.array(learned(HOMES, PANEL, form(HOMES, homes_min=10).assignment).weights)
    shape, level = (
        weights[: len(SHAPE)] / WEIGHTS[: len(SHAPE)],
        weights[TRAITS.index("level")] / WEIGHTS[TRAITS.index("level")],
    )
    assert shape.max() > 1.2 * level
    assert (weights >= 0).all()


def test_quality_of_a_bad_assignment_is_worse():
    good = form(HOMES, homes_min=10)
    names = sorted(good.assignment.values())
    bad = described(HOMES, {home: f"{SITES[home].feeder}/{1 + row % 4 // 2}" for row, home in enumerate(PANEL.ids)}, 10)
    assert len(names) == len(bad.assignment)
    assert bad.silhouette < 0.5 * good.silhouette


def test_k_means_and_silhouette_on_points_anybody_can_see():
    points = np.array([[0.0, 0], [0, 1], [10, 10], [10, 11]])
    labels = k_means(points, 2, seed=1)
    assert labels[0] == labels[1] != labels[2] == labels[3]
    own, other = 1.0, (np.hypot(10, 10) + np.hypot(10, 11)) / 2
    assert silhouette(points, labels)[0] == pytest.approx((other - own) / other)
    with pytest.raises(ValueError, match="5 clusters of 4"):
        k_means(points, 5, seed=1)
