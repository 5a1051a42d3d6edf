"""Homes behind one limit: they answer by themselves, and keep it together."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

import scheduling.solving.formulation as formulation
from scheduling.devices import Appliance, Ev
from scheduling.errors import InvalidNode
from scheduling.fleet.nodes import Node, schedule_nodes
from scheduling.schedule import schedule
from scheduling.solving.model import Model
from tests.scheduling.homes import a_family, a_home, assert_sound

STREET = tuple(
    replace(a_family(seed, count=24, interval_s=3600), water_heaters=(), hvacs=(), appliances=()) for seed in range(5)
)


def one_programme(homes, limit_wh, monkeypatch):
    """The relaxation of all homes at once with the limit as a row: no schedule of the street costs less."""
    shared = Model()
    with monkeypatch.context() as patch:
        patch.setattr(formulation, "Model", lambda: shared)
        made = [formulation.formulate(home, 0) for home in homes]
    for slot in range(homes[0].count):
        taken = [(each.imports[slot], 1.0) for each in made]
        given = [(each.exports[slot], -1.0) for each in made if each.exports[slot] is not None]
        shared.at_most([*taken, *given], limit_wh)
    return shared.solve(limit_s=20, gap=0, seed=0, solver="cbc").bound


def test_a_street_keeps_its_limit_at_little_more_than_the_least_cost(monkeypatch):
    with ThreadPoolExecutor(2) as pool:
        (made,) = schedule_nodes([Node(name="F1", homes=STREET, import_limit_w=6500)], pool.map)
    assert made.wished_beyond_wh > 10_000
    assert made.beyond_wh == 0
    assert max(made.net_wh) <= 6500
    assert made.net_wh == tuple(map(sum, zip(*(each.plan.net_wh for each in made.schedules), strict=True)))
    for home, each in zip(STREET, made.schedules, strict=True):
        assert each.shortfalls == ()
        assert_sound(home, replace(each, bound_minor=None))
    least = one_programme(STREET, 6500, monkeypatch)
    assert least - 1 <= made.cost_minor <= 1.04 * least, "cars that charge with 1.4 kW or not at all"
    assert made.bound_minor == pytest.approx(least, rel=0.01), "prices find what the one programme finds"
    assert made.cost_minor - made.bound_minor == pytest.approx(made.gap_minor)
    assert any(price > 0 for price in made.price_minor_per_kwh)
    assert made.path[0].beyond_wh > 0, "left to themselves they would pass it"


def test_a_street_within_its_limit_is_left_alone():
    (made,) = schedule_nodes([Node(name="F1", homes=STREET[:2], import_limit_w=50_000)])
    assert [each.plan for each in made.schedules] == [schedule(home).plan for home in STREET[:2]]
    assert (made.answered, len(made.path), set(made.price_minor_per_kwh)) == (2, 1, {0.0})


def test_exports_are_limited_and_nodes_do_not_disturb_each_other():
    sunny = [a_home([30.0] * 4, export=6.0, pv=[3000.0] * 4, name=f"sunny-{n}", load=200) for n in range(3)]
    nodes = [Node(name="F1", homes=tuple(sunny), export_limit_w=4500), Node(name="F2", homes=STREET[:1])]
    roofs, other = schedule_nodes(nodes)
    assert min(roofs.net_wh) >= -4500
    assert roofs.beyond_wh == 0
    assert sum(sum(each.plan.curtailed_wh) for each in roofs.schedules) == 4 * (3 * 2800 - 4500)
    assert min(roofs.price_minor_per_kwh) < 0
    assert other.schedules[0].plan == schedule(STREET[0]).plan


def test_a_limit_nobody_can_keep_leaves_every_device_its_due_and_tells_what_passes():
    homes = tuple(
        a_home([20.0, 20.0], load=500, name=f"home-{n}", evs=(Ev(arrival=0, departure=2, energy_wh=4000),))
        for n in range(2)
    )
    (made,) = schedule_nodes([Node(name="F1", homes=homes, import_limit_w=3000)], rounds=3)
    assert [each.shortfalls for each in made.schedules] == [(), ()]
    assert made.beyond_wh == 2 * (500 * 2 + 4000) - 2 * 3000
    assert made.beyond_w >= made.beyond_wh / 2


def test_appliances_of_a_street_take_turns():
    homes = tuple(
        a_home(
            [20.0] * 4,
            name=f"home-{n}",
            appliances=(Appliance(name="w", earliest=0, latest_end=4, profile_wh=(1000,)),),
        )
        for n in range(4)
    )
    (made,) = schedule_nodes([Node(name="F1", homes=homes, import_limit_w=1000)])
    assert made.net_wh == (1000, 1000, 1000, 1000)


def test_threads_give_the_same_schedules_and_leave_no_file(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    nodes = [Node(name="F1", homes=STREET[:3], import_limit_w=5000)]
    with ThreadPoolExecutor(4) as pool:
        beside = schedule_nodes(nodes, pool.map, rounds=1)
    alone = schedule_nodes(nodes, rounds=1)
    assert [replace(each, seconds=0) for each in beside[0].schedules] == [
        replace(each, seconds=0) for each in alone[0].schedules
    ]
    assert list(tmp_path.iterdir()) == []


def test_answers_are_counted():
    done = []
    (made,) = schedule_nodes([Node(name="F1", homes=STREET[:2], import_limit_w=3000)], rounds=1, progress=done.append)
    assert sum(done) == made.answered


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        (lambda: [Node(name="F1", homes=())], "F1 has no home"),
        (lambda: [Node(name="F1", homes=(STREET[0], a_home([1.0])))], "different slots"),
        (lambda: [Node(name="F1", homes=(STREET[0], STREET[0]))], "two homes of F1 have one name"),
        (lambda: [Node(name="F1", homes=STREET[:1], import_limit_w=-math.inf)], "zero or more"),
        (lambda: schedule_nodes([Node(name="F1", homes=STREET[:1])] * 2), "two nodes have one name"),
    ],
)
def test_a_node_that_is_none_is_refused(nodes, said):
    with pytest.raises(InvalidNode, match=said):
        nodes()
