"""The same choice as an integer programme in PuLP: for a few hundred options, and to check the way for many.

The variance of the plan enters by its tangent, which is never below what is needed; where each home has one option the
programme is solved again around the plan it found. A plan that lacks something is taken only where none lacks nothing:
a price for what lacks would be weighed against whole calls.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import highspy
import numpy as np
import pulp

from vtn.dispatching.chance import Goal, need, slope
from vtn.dispatching.fleet import Fleet, Floats, Ints
from vtn.dispatching.linear import reduced_energy
from vtn.dispatching.pricing import totals_of

GAP = 1e-3
#: an end that does not depend on how busy the machine is: what more nodes find is worth less than the wait
_NODES_MAX = 20


@dataclass(frozen=True, eq=False)
class Exact:
    """called options, objective (with penalties), lower bound as proven by the solver, lacking [T]."""

    called: Ints
    objective: float
    bound: float
    lacking: Floats


def solve(
    fleet: Fleet,
    goal: Goal,
    z: float,
    variance: Floats,
    penalty: float,
    limit_s: float,
    *,
    start: Ints | None = None,
    cbc: bool = False,
) -> Exact | None:
    """The cheapest whole plan around `variance` [T]; None: nothing found within `limit_s` seconds. `start`: options of
    a plan to begin with; `cbc`: by the solver that comes with PuLP, in a process of its own."""
    ends = time.monotonic() + limit_s
    best: Exact | None = None
    for _ in range(2 if len(fleet.home) <= fleet.homes else 1):
        found = None
        for lacks in (False, True):
            left_s = ends - time.monotonic()
            if found is None and left_s > 0:
                found = _solve(fleet, goal, z, variance, penalty if lacks else None, left_s, start, cbc)
        if found is None or (best is not None and found.objective >= best.objective * (1 - GAP)):
            break
        best, start = found, found.called
        variance = totals_of(fleet, found.called).variance
    return best


def _solve(
    fleet: Fleet,
    goal: Goal,
    z: float,
    variance: Floats,
    penalty: float | None,
    limit_s: float,
    start: Ints | None,
    cbc: bool,
) -> Exact | None:
    """`penalty`: of what lacks; None: nothing may."""
    slopes = slope(goal, z, variance)
    least = need(goal, z, variance) - slopes * variance
    energy = reduced_energy(fleet.mean_wh, fleet.absent[fleet.home], fleet.noise[fleet.home], slopes)
    usable = np.flatnonzero(fleet.allowed[fleet.home] > 0)
    problem = pulp.LpProblem("dispatch", pulp.LpMinimize)
    call = {int(j): pulp.LpVariable(f"call_{j}", cat="Binary") for j in usable}
    most = 0 if penalty is None else None
    lack = {int(t): pulp.LpVariable(f"lack_{t}", 0, most) for t in np.flatnonzero(np.isfinite(least))}
    problem += pulp.lpSum(float(fleet.cost[j]) * x for j, x in call.items()) + pulp.lpSum(
        (penalty or 0.0) * y for y in lack.values()
    )
    for t, missing in lack.items():
        problem += pulp.lpSum(float(energy[j, t]) * x for j, x in call.items()) + missing >= float(least[t])
    by_home: dict[int, list[int]] = {}
    by_segment: dict[tuple[int, int], list[int]] = {}
    for j in call:
        by_home.setdefault(int(fleet.home[j]), []).append(j)
        by_segment.setdefault((int(fleet.home[j]), int(fleet.occasion[j])), []).append(j)
    for i, options in by_home.items():
        problem += pulp.lpSum(call[j] for j in options) <= int(fleet.allowed[i])
    for options in by_segment.values():
        if len(options) == 1 or len(by_segment) == len(by_home):
            continue
        problem += pulp.lpSum(call[j] for j in options) <= 1
    begin = () if start is None else [call[int(j)] for j in start if int(j) in call]
    proven = _by_cbc(problem, limit_s) if cbc else _by_highs(problem, limit_s, begin)
    if proven is None:
        return None
    objective = float(pulp.value(problem.objective))
    lacking = np.zeros(fleet.intervals)
    for t, missing in lack.items():
        lacking[t] = float(missing.value() or 0.0)
    called = np.array([j for j, x in call.items() if (x.value() or 0.0) > 0.5], np.int64)
    return Exact(called, objective, min(objective, proven), lacking)


def _by_cbc(problem: pulp.LpProblem, limit_s: float) -> float | None:
    problem.solve(pulp.PULP_CBC_CMD(msg=False, timeLimit=limit_s, gapRel=GAP, threads=1))
    known = problem.sol_status in (pulp.LpSolutionOptimal, pulp.LpSolutionIntegerFeasible)
    return float(pulp.value(problem.objective)) * (1 - GAP) if known else None


def _by_highs(problem: pulp.LpProblem, limit_s: float, start: Sequence[pulp.LpVariable]) -> float | None:
    """The proven bound. Not by problem.solve: it fails on a search that ended by its limit of nodes."""
    solver = pulp.HiGHS(msg=False, timeLimit=limit_s, gapRel=GAP, threads=1, mip_max_nodes=_NODES_MAX, random_seed=0)
    solver.createAndConfigureSolver(problem)
    solver.buildSolverModel(problem)
    if start:
        _begin_with(problem, start)
    solver.callSolver(problem)
    info = problem.solverModel.getInfo()
    if info.primal_solution_status != int(highspy.SolutionStatus.kSolutionStatusFeasible):
        return None
    values = problem.solverModel.getSolution().col_value
    for variable in problem.variables():
        variable.varValue = values[variable.index]
    return float(info.mip_dual_bound)


def _begin_with(problem: pulp.LpProblem, start: Sequence[pulp.LpVariable]) -> None:
    """Calls to begin with; the solver fills in what lacks, and drops them where they are no plan of this programme."""
    values = np.zeros(len(start)) + 1.0
    places = np.array([each.index for each in start], np.int32)
    others = np.array(
        [each.index for each in problem.variables() if each.name.startswith("call_") and each not in set(start)],
        np.int32,
    )
    index = np.concatenate([places, others])
    problem.solverModel.setSolution(len(index), index, np.concatenate([values, np.zeros(len(others))]))
