"""The loop closed: a home that learns, asked by an aggregator that learns."""

from __future__ import annotations

from statistics import mean

import pytest

from tests.bench.aggregator.flexibility import EVENTS, SimulatedHome, bias_by_event

HOMES = 24


def test_the_bias_shrinks_over_twenty_events_on_either_side_and_most_on_both() -> None:
    """Measured with 10 % noise. The aggregator alone may not ask for more than is said: it mends half of the homes."""
    none, home, vtn, both = (bias_by_event(0.1, a, b, HOMES) for a, b in ((0, 0), (1, 0), (0, 1), (1, 1)))
    assert set(none) == {none[0]}
    assert home[EVENTS] < 0.35 * none[0]
    assert vtn[EVENTS] < 0.65 * none[0]
    assert both[EVENTS] < 0.35 * none[0]


def test_with_the_baseline_of_a_real_home_little_is_learnt_and_nothing_made_worse() -> None:
    """An error of one and a half times what is offered: twenty events say next to nothing, and are not believed."""
    none, both = bias_by_event(1.5, False, False, HOMES), bias_by_event(1.5, True, True, HOMES)
    assert mean(both[-5:]) < none[0]
    assert max(both) < 1.1 * none[0]


@pytest.mark.parametrize("all_or_nothing", [True, False])
@pytest.mark.parametrize("able", [0.6, 0.8, 1.0])
def test_the_same_shortfall_is_taken_off_once(able: float, all_or_nothing: bool) -> None:
    """Both learn from the same events: what is asked settles at what the home can, not at that part of that part."""
    home = SimulatedHome(able, all_or_nothing=all_or_nothing, noise=0.1, seed=3)
    asked = [home.lives_through(event, True, True)[0] / 3_000 for event in range(EVENTS + 10)]
    assert mean(asked[10:]) == pytest.approx(able, abs=0.06)
    assert min(asked) > able - 0.15
