"""Old readings leave the state of every replica alike, when nothing can be settled or disputed by them any more."""

from __future__ import annotations

import pytest

from contracts.core import commands as c
from contracts.core.facts import ReadingsForgotten
from contracts.measurements import DAY_MS, KEPT_MS, WINDOW_MS
from tests.contracts.world import END_MS, EVENT_MS, World, readings

LATER_MS = END_MS + KEPT_MS + 2 * WINDOW_MS


def kept(world: World, device: str = "d0") -> int:
    return sum(1 for kind, key in world.records if kind == "measurement" and key.startswith(f"{device}/"))


def settled() -> World:
    """A home was paid long ago; d1 has readings too."""
    world = World()
    world.group(minimum_percent=25)
    world.homes("d0")
    world.meter("d0", 250, 250, 250, 250)
    world.run("d1", readings(EVENT_MS, 1, 2, 3, device="d1"))
    world.settle()
    world.complete()
    world.close()
    world.advance(LATER_MS)
    return world


@pytest.mark.parametrize("sender", ["d0", "agg"])
def test_a_device_or_its_sponsor_has_its_old_readings_forgotten(sender: str) -> None:
    world = settled()
    assert kept(world) == 16
    (fact,) = world.run(sender, c.ForgetReadings(device="d0", before_ms=END_MS))
    assert fact == ReadingsForgotten(device="d0", before_ms=END_MS, count=16)
    assert (kept(world), kept(world, "d1")) == (0, 3)
    (again,) = world.run(sender, c.ForgetReadings(device="d0", before_ms=END_MS))
    assert again == ReadingsForgotten(device="d0", before_ms=END_MS, count=0)


def test_nobody_else_has_them_forgotten_and_no_younger_ones_are() -> None:
    world = settled()
    for sender in ("d1", "rival"):
        assert world.refused(sender, c.ForgetReadings(device="d0", before_ms=END_MS)) == "not_party"
    assert world.refused("d0", c.ForgetReadings(device="nobody", before_ms=END_MS)) == "party_unknown"
    young = world.time_ms - KEPT_MS + 1
    assert world.refused("d0", c.ForgetReadings(device="d0", before_ms=young)) == "too_early"
    world.run("d0", c.ForgetReadings(device="d0", before_ms=EVENT_MS + 900_000))
    assert kept(world) == 3, "what is not before it stays"


def test_readings_of_an_open_contract_stay_however_old_they_are() -> None:
    """Nobody settled it: hiding the readings now would cost the home, or pay it."""
    world = World()
    world.group(minimum_percent=25)
    world.homes("d0")
    world.meter("d0", 250, 250, 250, 250)
    world.advance(LATER_MS)
    for before_ms in (EVENT_MS - 4 * 3_600_000, EVENT_MS, END_MS):
        assert world.refused("d0", c.ForgetReadings(device="d0", before_ms=before_ms)) == "device_engaged"
    world.run("d0", c.ForgetReadings(device="d0", before_ms=EVENT_MS - WINDOW_MS - DAY_MS))
    world.settle()
    assert (world.contract("s2-d0").missing, world.contract("s2-d0").total_wh) == (0, 1000)


def test_what_was_forgotten_does_not_come_back_as_something_else() -> None:
    world = settled()
    world.run("d0", c.ForgetReadings(device="d0", before_ms=END_MS))
    assert world.refused("d0", readings(EVENT_MS, 9999)) == "deadline_passed"
    assert kept(world) == 0


def test_many_readings_are_forgotten_part_by_part() -> None:
    world = World(devices=1)
    world.time_ms = EVENT_MS + 20 * DAY_MS
    for day in range(14):
        world.run("d0", readings(EVENT_MS + day * DAY_MS, *range(96)))
    world.advance(LATER_MS + 30 * DAY_MS)
    counts = [
        fact.count
        for _ in range(3)
        for fact in world.run("d0", c.ForgetReadings(device="d0", before_ms=END_MS + 20 * DAY_MS))
        if isinstance(fact, ReadingsForgotten)
    ]
    assert (counts, kept(world)) == ([672, 672, 0], 0)
