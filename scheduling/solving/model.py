"""A mixed-integer programme in PuLP, solved by CBC (a process of its own) or HiGHS (in this one).

Each solution has a folder of its own for the files CBC is given, which is gone afterwards, whatever happened.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from scheduling.errors import ScheduleError, SolverFailed

try:
    import pulp
except ImportError as error:
    raise ScheduleError(f"schedules need the extra intelligence: pip install '.[intelligence]' ({error})") from error

Solver = Literal["cbc", "highs"]
Terms = Iterable[tuple[Any, float]]
_BOUND = re.compile(r"^Lower bound:\s+(-?[\d.]+(?:e[+-]?\d+)?)", re.MULTILINE)

_OPTIONS = ("feasibilityPump off", "preprocess off")
"""The relaxation is nearly whole already: the pump took two thirds of the time and found nothing better. CBC's integer
preprocessing lost the best schedule of a home with wild prices and called what was left optimal; it saves no time."""


@dataclass(frozen=True)
class Answer:
    """feasible: the variables hold a solution of this objective; bound: no solution is below it (None: not known);
    in_time: the search ended by its gap, or by proof that there is no solution; seconds it took."""

    feasible: bool
    in_time: bool
    objective: float
    bound: float | None
    seconds: float


class Model:
    """Columns, rows and an objective that is minimised."""

    def __init__(self) -> None:
        self._problem = pulp.LpProblem("home", pulp.LpMinimize)
        self._costs: list[tuple[Any, float]] = []
        self._columns = 0

    def column(self, low: float | None, high: float | None, cost: float = 0.0, *, whole: bool = False) -> Any:
        """A variable between its bounds, at a cost for each unit."""
        self._columns += 1
        kind = pulp.LpInteger if whole else pulp.LpContinuous
        made = self._problem.add_variable(f"x{self._columns}", low, high, kind)
        if cost:
            self._costs.append((made, cost))
        return made

    def at_most(self, terms: Terms, limit: float) -> Any:
        return self._row(terms, pulp.LpConstraintLE, limit)

    def at_least(self, terms: Terms, limit: float) -> None:
        self._row(terms, pulp.LpConstraintGE, limit)

    def equal(self, terms: Terms, value: float) -> None:
        self._row(terms, pulp.LpConstraintEQ, value)

    def solve(
        self, *, limit_s: float, gap: float, seed: int, solver: Solver, nodes: int | None = None,
        costs: Sequence[tuple[Any, float]] | None = None,
    ) -> Answer:  # fmt: skip
        """Minimises the costs of the columns, or others. nodes: how many of the search tree it may look at, an end that
        does not depend on the machine. Raises SolverFailed."""
        self._problem.objective = pulp.LpAffineExpression(self._costs if costs is None else list(costs))
        if solver == "cbc":
            return self._by_cbc(limit_s, gap, seed, nodes)
        return self._by_highs(limit_s, gap, seed, nodes)

    def _row(self, terms: Terms, sense: int, value: float) -> Any:
        row = pulp.LpConstraint(pulp.LpAffineExpression(list(terms)), sense, rhs=value)
        self._problem.addConstraint(row)
        return row

    def marginals(self, rows: Sequence[Any], limit_s: float) -> list[float]:
        """How much cheaper the relaxation would be by one more on the right side of each of these rows (<=). Raises
        SolverFailed."""
        self._problem.objective = pulp.LpAffineExpression(self._costs)
        self._run_cbc(limit_s, None, (), whole=False)
        return [-float(row.pi or 0.0) for row in rows]

    def _by_cbc(self, limit_s: float, gap: float, seed: int, nodes: int | None) -> Answer:
        problem = self._problem
        number = 1 + seed % (2**31 - 1)  # 0 would be the time of day
        seeds = (f"randomSeed {number}", f"randomCbcSeed {number}")
        most = () if nodes is None else (f"maxNodes {nodes}",)
        text = self._run_cbc(limit_s, gap, (*_OPTIONS, *seeds, *most), whole=True)
        feasible = problem.sol_status in (pulp.LpSolutionOptimal, pulp.LpSolutionIntegerFeasible)
        in_time = problem.sol_status in (pulp.LpSolutionOptimal, pulp.LpSolutionInfeasible)
        objective = float(problem.objective.value() or 0.0) if feasible else 0.0
        written = _BOUND.search(text)
        bound = float(written[1]) if written else objective if feasible and in_time else None
        return Answer(feasible, in_time, objective, bound, problem.solutionTime)

    def _run_cbc(self, limit_s: float, gap: float | None, options: Sequence[str], *, whole: bool) -> str:
        """What the solver said. Raises SolverFailed."""
        with tempfile.TemporaryDirectory(prefix="gridpact-cbc-", ignore_cleanup_errors=True) as folder:
            log = Path(folder) / "log"
            solver = pulp.COIN_CMD(
                path=pulp.PULP_CBC_CMD.pulp_cbc_path, mip=whole, msg=False, timeLimit=max(limit_s, 0.01), gapRel=gap,
                logPath=str(log), options=list(options),
            )  # fmt: skip
            solver.tmpDir = folder
            try:
                self._problem.solve(solver)
            except (pulp.PulpSolverError, OSError, ValueError, IndexError) as error:
                said = log.read_text(errors="replace").strip().splitlines()[-1:] if log.exists() else []
                raise SolverFailed(
                    "the solver CBC ended before it had answered: its process was killed, ran out of memory or could "
                    f"not be started ({error}; last words: {said[0] if said else 'none'}). Try again, or choose HiGHS"
                ) from error
            return log.read_text(errors="replace")

    def _by_highs(self, limit_s: float, gap: float, seed: int, nodes: int | None) -> Answer:
        """Not by problem.solve: it fails where the search ended without a solution."""
        problem = self._problem
        most = {} if nodes is None else {"mip_max_nodes": nodes}
        solver = pulp.HiGHS(msg=False, timeLimit=limit_s, gapRel=gap, threads=1, random_seed=seed % 2**31, **most)
        problem.startClock()
        solver.createAndConfigureSolver(problem)
        solver.buildSolverModel(problem)
        solver.callSolver(problem)
        problem.stopClock()
        highs = problem.solverModel
        info, status = highs.getInfo(), highs.modelStatusToString(highs.getModelStatus())
        feasible = info.primal_solution_status == 2
        in_time = status in ("Optimal", "Infeasible", "Primal infeasible or unbounded")
        whole = problem.isMIP()
        if feasible:
            values = highs.getSolution().col_value
            for variable in problem.variables():
                variable.varValue = values[variable.index]
        objective = float(info.objective_function_value) if feasible else 0.0
        bound = float(info.mip_dual_bound) if whole and feasible else objective if feasible and in_time else None
        return Answer(feasible, in_time, objective, bound, problem.solutionTime)
