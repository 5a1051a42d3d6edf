"""Fleets for tests and benches: homes drawn from one seed, with prices, habits and rebound of ordinary sizes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from vtn.dispatching.chance import Goal
from vtn.dispatching.fleet import Homes

MEAN_WH = 240.0
SHAPE = np.array([0.6, 0.8, 1.0, 1.0, 1.0, 1.0, 0.8, 0.6])


def some_homes(count: int, seed: int = 1, **given: Any) -> Homes:
    """Homes over eight quarter-hours: about 240 Wh to shed in each, held out for two to four of them."""
    draw = np.random.default_rng([seed, 99])
    size = draw.gamma(4, MEAN_WH / 4, count)[:, None]
    form = 1 + 0.4 * np.sin(np.linspace(0, 3, 8)) + draw.normal(0, 0.1, (count, 8)).clip(-0.3, 0.3)
    homes = Homes(
        names=[f"home-{n:06d}" for n in range(count)],
        available_wh=size * form,
        price=draw.uniform(0.005, 0.025, count),
        comfort=draw.gamma(2, 2, count),
        duration=draw.integers(2, 5, count),
        rebound=draw.uniform(0.2, 0.6, count),
        rebound_over=draw.integers(1, 4, count),
        answers=draw.uniform(0.6, 0.98, count),
        spread=draw.uniform(0.1, 0.5, count),
        calls_left=np.ones(count, np.int64),
        blocked=np.zeros(count, np.int64),
    )
    return replace(homes, **given)


def a_goal(count: int, part: float = 0.07, tail: int = 0, **given: Any) -> Goal:
    """`part` of what `count` homes would shed if all were on all the time."""
    target = np.concatenate([SHAPE * count * MEAN_WH * part, np.zeros(tail)])
    return Goal(target, **given)
