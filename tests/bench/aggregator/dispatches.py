"""How long choosing among many homes takes, how far from the best it can be, and what a storm leaves of a delivery."""

from __future__ import annotations

import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from tests.vtn.dispatching.fleets import MEAN_WH, a_goal, some_homes
from vtn.dispatching.chance import EACH
from vtn.dispatching.explanation import reasons
from vtn.dispatching.fleet import Fleet, fleet_of
from vtn.dispatching.optimise import Plan, optimise
from vtn.flexibility.calls import CallLimits, CallsMade, allowance, gini, weariness

HOMES = 100_000
MANY = 1_000_000
FEEDERS = 100
PART = 0.07
_TAIL = 8


def measured(data: Path | None, homes: int, quick: bool) -> dict[str, Any]:
    """The figures of the dispatch; `data` and `homes` are the forecasts' and not used. Seconds hold loading nothing:
    homes are made up before."""
    figures = core() | all_terms()
    if not quick:
        figures |= million()
    return figures


def core() -> dict[str, Any]:
    """95 % in every interval, homes and starts, nothing else."""
    fleet = fleet_of(some_homes(HOMES))
    plan = optimise([fleet], a_goal(HOMES, PART, mode=EACH))
    return {
        "dispatch_100k_s": round(plan.seconds, 2),
        "dispatch_gap_percent": round(plan.gap_percent, 4),
        "dispatch_100k": {"calls": plan.calls, "cost": round(plan.cost), "bound": round(plan.bound),
                          "options": len(fleet.home), "status": plan.status, "memory_mb": _memory_mb()},
    }  # fmt: skip


def all_terms() -> dict[str, Any]:
    """Joint probability with a common part, calls of day, week and season, fairness, weariness, bounded rebound, and a
    reason for each home; building the options and telling the reasons are in the time."""
    rng = np.random.default_rng(5)
    week = rng.integers(0, 8, HOMES)
    made = [
        CallsMade(day=min(day, of_week), week=of_week, season=of_week + before)
        for day, of_week, before in zip(
            rng.integers(0, 3, HOMES).tolist(), week.tolist(), rng.integers(0, 30, HOMES).tolist(), strict=True
        )
    ]
    limits = CallLimits(day=2, week=7, season=40, fair_extra=12)
    began = time.monotonic()
    mean = sum(each.season for each in made) / HOMES
    left = [allowance(each, limits, mean) for each in made]
    names = sorted({each.reason for each in left if each.reason})
    tired = np.array([weariness(each, limits) for each in made])
    homes = some_homes(
        HOMES,
        calls_left=np.minimum(1, np.array([each.calls for each in left])),
        blocked=np.array([1 + names.index(each.reason) if each.reason else 0 for each in left]),
        reasons=("", *names),
    )
    homes.price[:] = homes.price * (1 + tired)
    fleet = fleet_of(homes, tail=_TAIL)
    floor = np.full(8 + _TAIL, -HOMES * MEAN_WH * PART * 0.8)
    plan = optimise([fleet], a_goal(HOMES, PART, tail=_TAIL, common=0.05, floor_wh=floor))
    told = list(reasons(fleet, plan.called[0], plan))
    seconds = time.monotonic() - began
    after = [each.season + reason.called for each, reason in zip(made, told, strict=True)]
    return {
        "dispatch_all_terms_100k_s": round(seconds, 2),
        "dispatch_all_terms": {
            "solve_s": round(plan.seconds, 2), "calls": plan.calls, "gap_percent": round(plan.gap_percent, 4),
            "probability": plan.probability, "z": round(plan.z, 3), "blocked": int((homes.blocked > 0).sum()),
            "gini_before": round(gini([each.season for each in made]), 4), "gini_after": round(gini(after), 4),
            "status": plan.status, "memory_mb": _memory_mb(),
        },
    }  # fmt: skip


def million() -> dict[str, Any]:
    """A million homes on a hundred feeders, each answered for by a process that keeps its feeders in memory."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        began = time.monotonic()
        plan: Plan = optimise(
            [partial(_feeder, n) for n in range(FEEDERS)], a_goal(MANY, PART, mode=EACH), executor=executor
        )
        seconds = time.monotonic() - began
        memory = _memory_mb() + sum(executor.map(_own_memory_mb, range(2)))
    return {
        "dispatch_1m_s": round(seconds, 1),
        "dispatch_1m": {"calls": plan.calls, "gap_percent": round(plan.gap_percent, 4), "status": plan.status,
                        "memory_mb": memory},
    }  # fmt: skip


@lru_cache(maxsize=FEEDERS)
def _feeder(number: int) -> Fleet:
    return fleet_of(some_homes(MANY // FEEDERS, seed=number))


def _own_memory_mb(_: int) -> int:
    time.sleep(0.5)  # so that the other process takes the other one
    return _memory_mb()


def _memory_mb() -> int:
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most // (2**20 if sys.platform == "darwin" else 2**10)
