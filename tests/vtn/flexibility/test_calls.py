"""How often a home is asked, and how even that is."""

from __future__ import annotations

import pytest

from vtn.flexibility.calls import DAY, FAIR, WEEK, CallLimits, CallsMade, allowance, gini, weariness


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
