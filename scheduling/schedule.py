"""The schedule of one home: solved with whole starts alone, made whole elsewhere, beside the unscheduled home."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from scheduling.home import Home
from scheduling.plan import Figures, Plan, Shortfall, figures, shortfalls
from scheduling.solving.cars import below_least, patterns, whole_slots
from scheduling.solving.formulation import Formulation, formulate, value
from scheduling.solving.model import Answer, Solver
from scheduling.solving.rounding import whole_plan
from scheduling.wished import as_wished

GAP = 3e-3
"""Relative to the cost: the search ends when no schedule can be cheaper by more."""
_GAP_MINOR = 0.5
_NO_MORE = 1e-5
"""Relative, and Wh: as exact as the solver is."""
_REBOUND_HOURS = 4
_ROUNDS = 3
_NODES = 100
"""Of the search that improves on a schedule that is there."""
Status = Literal["optimal", "near", "short", "timed out"]


@dataclass(frozen=True)
class Rebound:
    """What a dispatch moved, against the unscheduled home: net import less within it, more in the four hours after it
    (Wh, both signed), and the highest such excess (W)."""

    reduced_wh: int
    returned_wh: int
    returned_w: float


@dataclass(frozen=True)
class Schedule:
    """A plan with what it comes to, beside the home as wished.

    status: "optimal" (within the gap asked for), "near" (the search ended before: the gap says how near), "short" (a
    demand cannot be met: `shortfalls` says which and by how much, and the plan falls short by as little as possible at
    least cost), "timed out" (the best known).
    bound_minor: no schedule costs less (None: not known); gap_minor above it. rounding_wh: farthest a slot is from its
    solution in a slot. wished_shortfalls: what the unscheduled home does not keep. notes: what else is to be known.
    room_minor_per_kwh: what a kWh more within an obligation with a penalty would be worth, where that was asked for.
    """

    home: str
    status: Status
    plan: Plan
    wished: Plan
    after: Figures
    before: Figures
    shortfalls: tuple[Shortfall, ...]
    wished_shortfalls: tuple[Shortfall, ...]
    bound_minor: float | None
    gap_minor: float | None
    rounding_wh: float
    rebound: Rebound | None
    notes: tuple[str, ...]
    seconds: float
    room_minor_per_kwh: tuple[float, ...] = ()

    @property
    def gap_percent(self) -> float | None:
        """Of the bound; None where it is not known."""
        if self.gap_minor is None or self.bound_minor is None:
            return None
        return 100 * self.gap_minor / max(abs(self.bound_minor), 1.0)


def schedule(
    home: Home,
    *,
    seed: int = 0,
    gap: float = GAP,
    limit_s: float = 10.0,
    solver: Solver = "cbc",
    marginals: bool = False,
) -> Schedule:
    """The cheapest plan of a home within its limits; never dearer than the unscheduled one where that keeps them too.

    gap: share of the cost; limit_s: seconds the solver has in all; the same seed gives the same schedule unless time
    runs out; marginals: find room_minor_per_kwh. Raises SolverFailed, ScheduleError without the extra intelligence,
    ValueError for a limit or gap out of range.
    """
    if not (0 < limit_s < math.inf and 0 <= gap < 1):
        raise ValueError(f"limit_s is {limit_s} and gap {gap}: give seconds above 0 and a share from 0 to below 1")
    search = _Search(home, seed, gap, limit_s, solver, marginals)
    found = search.run()
    wished = as_wished(home)
    before, wished_short = figures(home, wished), shortfalls(home, wished)
    plan, after, short = wished, before, wished_short
    status, rounding = found.status, 0.0
    notes = list(found.notes)
    if found.plan is not None:
        solved, solved_short = figures(home, found.plan), shortfalls(home, found.plan)
        if wished_short or (not solved_short and solved.total_minor <= before.total_minor):
            plan, after, short, rounding = found.plan, solved, solved_short, found.rounding_wh
        else:
            notes.append("nothing is gained by moving a device")
    else:
        notes.append("the solver found nothing in its time: the home runs as wished")
    if short and status == "optimal":
        status = "short"
    gap_minor = None if found.bound is None else max(after.total_minor - found.bound, 0.0)
    if status == "optimal" and gap_minor is not None and gap_minor > max(gap * abs(found.bound or 0.0), 2 * _GAP_MINOR):
        status = "near"
    return Schedule(
        home.name, status, plan, wished, after, before, short, wished_short, found.bound, gap_minor, rounding,
        rebound(home, plan, wished), tuple(notes), search.seconds, search.room,
    )  # fmt: skip


@dataclass(frozen=True)
class _Found:
    plan: Plan | None
    status: Status
    bound: float | None
    rounding_wh: float = 0.0
    notes: tuple[str, ...] = ()


class _Search:
    def __init__(self, home: Home, seed: int, gap: float, limit_s: float, solver: Solver, marginals: bool) -> None:
        self._home, self._seed, self._gap, self._limit_s, self._solver = home, seed, gap, limit_s, solver
        self._marginals = marginals
        self._nodes: int | None = None
        self.seconds = 0.0
        self.room: tuple[float, ...] = ()

    def run(self) -> _Found:
        """With every demand met, or else with as little lacking as possible."""
        made = formulate(self._home, self._seed)
        if not made.impossible:
            answer = self._separated(made)
            if answer.feasible:
                found = self._with_cars(made, answer, "optimal" if answer.in_time else "timed out")
                if self._marginals and found.plan is not None:
                    self.room = made.marginals(max(self._limit_s - self.seconds, 1.0))
                return found
            if not answer.in_time:
                return _Found(None, "timed out", answer.bound)
        return self._short()

    def _short(self) -> _Found:
        """First as little as possible is lacking, then that costs as little as possible."""
        made = formulate(self._home, self._seed, elastic=True)
        for ev in self._home.evs:
            if whole_slots(ev, self._home):
                made.on_off(ev)
        least = self._solve(made, made.shortages)
        if not least.feasible:
            return _Found(None, "timed out", None)
        made.model.at_most(made.shortages, least.objective * (1 + _NO_MORE) + _NO_MORE)
        answer = self._separated(made)
        if not answer.feasible:
            return _Found(None, "timed out", None)
        in_time = least.in_time and answer.in_time
        return self._with_cars(made, answer, "short" if in_time else "timed out")

    def _separated(self, made: Formulation) -> Answer:
        """Nothing goes both ways at once where that would pay."""
        answer = self._solve(made)
        for number in range(_ROUNDS):
            clashes = made.clashes() if answer.feasible else []
            if not clashes:
                break
            if number == _ROUNDS - 1:
                kinds = {what for what, _ in clashes}
                clashes = [(what, slot) for what in sorted(kinds) for slot in range(self._home.count)
                           if what == "battery" or made.exports[slot] is not None]  # fmt: skip
            made.separate(clashes)
            answer = self._solve(made)
        assert not (answer.feasible and made.clashes()), "charges and discharges, or imports and exports, at once"
        return answer

    def _with_cars(self, made: Formulation, relaxed: Answer, status: Status) -> _Found:
        """Slots in which a car would take less than its least power are joined; where that costs more than the gap, the
        solver decides in which it charges."""
        notes = tuple(
            f"{ev.name} stops early in a slot: {ev.energy_wh:,} Wh are no whole slots of its power"
            for ev in self._home.evs
            if not whole_slots(ev, self._home)
        )
        if not any(below_least(made, ev) for ev in self._home.evs):
            return _found(made, status, relaxed.bound, notes)
        enough = relaxed.objective + max(self._gap * abs(relaxed.objective), _GAP_MINOR)
        joined = self._joined(made, enough, status, relaxed.bound, notes)
        if joined is not None and joined[0] <= enough:
            return joined[1]
        made.hold_starts(False)
        for ev in self._home.evs:
            if whole_slots(ev, self._home) and status != "short":
                made.whenever(ev)
                made.on_off(ev)
        self._nodes = None if joined is None else _NODES
        answer = self._separated(made)
        in_time = answer.in_time or (joined is not None and self.seconds < self._limit_s)
        if answer.feasible and (joined is None or answer.objective < joined[0]):
            return _found(made, status if in_time else "timed out", answer.bound or relaxed.bound, notes)
        return _Found(None, "timed out", relaxed.bound, 0.0, notes) if joined is None else joined[1]

    def _joined(
        self, made: Formulation, enough: float, status: Status, bound: float | None, notes: tuple[str, ...]
    ) -> tuple[float, _Found] | None:
        """The best of a few patterns of charging, starts as they are: its cost with the plan."""
        choices = {ev.name: patterns(made, ev) for ev in self._home.evs}
        best: tuple[float, _Found] | None = None
        made.hold_starts(True)
        for number in range(max(len(each) for each in choices.values())):
            for ev in self._home.evs:
                made.only_when(ev, choices[ev.name][min(number, len(choices[ev.name]) - 1)])
            answer = self._solve(made)
            if answer.feasible and not made.clashes() and (best is None or answer.objective < best[0]):
                best = answer.objective, _found(made, status, bound, notes)
            if best is not None and best[0] <= enough:
                break
        return best

    def _solve(self, made: Formulation, costs: list[tuple[Any, float]] | None = None) -> Answer:
        left_s = max(self._limit_s - self.seconds, 0.05)
        answer = made.model.solve(
            limit_s=left_s, gap=self._gap / 2, seed=self._seed, solver=self._solver, nodes=self._nodes, costs=costs
        )
        self.seconds += answer.seconds
        return answer


def _found(made: Formulation, status: Status, bound: float | None, notes: tuple[str, ...]) -> _Found:
    plan = whole_plan(made)
    off = 0.0
    for name, taken in plan.devices_wh.items():
        columns = made.cars.get(name) or dict(enumerate(made.heat.get(name, ())))
        off = max(off, max((abs(value(column) - taken[slot]) for slot, column in columns.items()), default=0.0))
    for slot, moved in enumerate(plan.battery_wh):
        if made.charge:
            off = max(off, abs(value(made.charge[slot]) - value(made.discharge[slot]) - moved))
    return _Found(plan, status, bound, off, notes)


def rebound(home: Home, plan: Plan, wished: Plan) -> Rebound | None:
    """What an obligation moved; None where there is none."""
    asked = home.obligation.slots()
    if not asked:
        return None
    changes = [a - b for a, b in zip(plan.net_wh, wished.net_wh, strict=True)]
    within = set(asked)
    after = {
        slot
        for each in asked
        for slot in range(each + 1, min(each + 1 + round(_REBOUND_HOURS / home.hours), home.count))
        if slot not in within
    }
    returned = [changes[slot] for slot in sorted(after)]
    return Rebound(-sum(changes[slot] for slot in asked), sum(returned), max([0, *returned]) / home.hours)
