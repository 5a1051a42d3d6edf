"""Options: every start and level of a home, with what comes back afterwards."""

from __future__ import annotations

import numpy as np
import pytest

from tests.vtn.dispatching.fleets import some_homes
from vtn.dispatching.fleet import Fleet, fleet_of, part


def one_home(**given: object) -> Fleet:
    homes = some_homes(
        1,
        available_wh=np.full((1, 4), 100.0),
        price=np.array([0.1]),
        comfort=np.array([3.0]),
        duration=np.array([2]),
        rebound=np.array([0.5]),
        rebound_over=np.array([1]),
        answers=np.array([0.8]),
    )
    return fleet_of(homes, **given)  # type: ignore[arg-type]


def test_a_call_takes_energy_away_and_some_of_it_comes_back_after() -> None:
    """100 Wh for two of four intervals, half of the 200 Wh comes back in the next; 80 % of the calls are answered."""
    fleet = one_home(tail=1)
    assert fleet.start.tolist() == [0, 1, 2, 3]
    assert fleet.mean_wh[0] == pytest.approx([80, 80, -80, 0, 0])
    assert fleet.mean_wh[2] == pytest.approx([0, 0, 80, 80, -80])
    assert fleet.mean_wh[3] == pytest.approx([0, 0, 0, 80, -40]), "a call that begins last is cut off by the end"
    assert fleet.cost[0] == pytest.approx(0.1 * 160 + 3)


def test_half_a_level_is_half_the_energy_and_half_the_discomfort() -> None:
    fleet = one_home(levels=(0.5, 1.0))
    assert len(fleet.home) == 8
    assert fleet.mean_wh[0] == pytest.approx(fleet.mean_wh[1] / 2)
    assert fleet.cost[0] == pytest.approx(0.1 * 80 + 1.5)


def test_a_home_that_holds_out_all_the_time_has_one_start_and_one_without_energy_none() -> None:
    homes = some_homes(3, duration=np.array([8, 2, 8]))
    homes.available_wh[2] = 0
    fleet = fleet_of(homes)
    assert np.bincount(fleet.home, minlength=3).tolist() == [1, 8, 0]


def test_a_part_keeps_the_options_of_its_homes() -> None:
    fleet = fleet_of(some_homes(6))
    some = part(fleet, np.array([1, 4]))
    assert some.names == [fleet.names[1], fleet.names[4]]
    assert some.cost == pytest.approx(fleet.cost[np.isin(fleet.home, [1, 4])])
