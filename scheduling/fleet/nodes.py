"""Homes of virtual nodes within what each feeder bears: prices go out, schedules come back, until no limit is passed.

 prices ──▶ every home answers by itself ──▶ mix of answers within the limit ──▶ new prices
                                  │  bound of the homes - worth of the limit <= any schedule of the node
                                  ▼
            one answer each ──▶ homes beside a limit that is still passed answer once more, with what is left for them

Nothing but prices, costs and net imports travels; no programme holds the devices of two homes. A node in which nobody
passes a limit is done after the first answer, without a price.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scheduling.errors import InvalidNode
from scheduling.home import Home, Obligation
from scheduling.plan import figures, shortfalls
from scheduling.schedule import GAP, Schedule, rebound, schedule
from scheduling.solving.model import Solver

Map = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]]
"""Like the builtin: results in the order of the parts. `Computing.map` of the aggregator's analytics is one."""
Floats = NDArray[np.float64]
Part = tuple[Home, Floats | None, tuple[Floats, Floats, float] | None]
"""A home, what net import costs more, and its room: highest, lowest, penalty."""
_PENALTY = 5.0
"""Times the dearest price: what passing the room costs in the homes' answers."""
_REPAIRS = 3


@dataclass(frozen=True, eq=False)
class Limits:
    """Highest and lowest net import of a node, Wh a slot; infinite where there is none."""

    highest: Floats
    lowest: Floats

    def beyond(self, net_wh: Floats) -> Floats:
        """By how much a net import is outside, Wh a slot."""
        return np.maximum(net_wh - self.highest, 0) + np.maximum(self.lowest - net_wh, 0)

    def worth(self, price: Floats) -> float:
        """What the limits are worth at a price (minor units): taken off the homes' bounds it makes that of the node."""
        return math.fsum(
            float(each * (top if each > 0 else bottom)) / 1000
            for each, top, bottom in zip(price, self.highest, self.lowest, strict=True)
            if each
        )


@dataclass(frozen=True, kw_only=True)
class Node:
    """Homes behind one limit; all of one interval and number of slots. Raises InvalidNode."""

    name: str
    homes: tuple[Home, ...]
    import_limit_w: float | None = None
    export_limit_w: float | None = None

    def __post_init__(self) -> None:
        if not self.homes:
            raise InvalidNode(f"{self.name} has no home: leave the node out, or name its homes")
        if len({(home.interval_s, home.count) for home in self.homes}) > 1:
            raise InvalidNode(f"the homes of {self.name} have different slots: give all the same interval and horizon")
        names = [home.name for home in self.homes]
        if len(set(names)) < len(names):
            raise InvalidNode(f"two homes of {self.name} have one name: give each its own")
        for field in ("import_limit_w", "export_limit_w"):
            value = getattr(self, field)
            if value is not None and not 0 <= value < math.inf:
                raise InvalidNode(f"{self.name}: {field} is {value}; it is zero or more, or None for no limit")

    @property
    def limits(self) -> Limits:
        home = self.homes[0]
        highest = math.inf if self.import_limit_w is None else math.floor(self.import_limit_w * home.hours + 1e-9)
        lowest = -math.inf if self.export_limit_w is None else -math.floor(self.export_limit_w * home.hours + 1e-9)
        return Limits(np.full(home.count, highest), np.full(home.count, lowest))


@dataclass(frozen=True)
class Step:
    """A round: the highest price (minor units per kWh, either way), what the answers passed the limits by (Wh), their
    cost, and the best bound until then (minor units; None: not known)."""

    price: float
    beyond_wh: float
    cost_minor: float
    bound_minor: float | None


@dataclass(frozen=True)
class NodeSchedule:
    """The schedules of a node's homes and what they come to together.

    net_wh as scheduled and as wished; price_minor_per_kwh: what a kWh of room under the limit is worth in each slot;
    path: round by round; beyond_wh: what still passes the limits, beyond_w at its highest; answered: how often a home
    was asked. bound_minor: no schedule that keeps the limits costs less; gap_minor above it, None where one is passed.
    """

    node: str
    schedules: tuple[Schedule, ...]
    net_wh: tuple[int, ...]
    wished_net_wh: tuple[int, ...]
    price_minor_per_kwh: tuple[float, ...]
    path: tuple[Step, ...]
    beyond_wh: float
    beyond_w: float
    wished_beyond_wh: float
    cost_minor: float
    wished_cost_minor: float
    bound_minor: float | None
    gap_minor: float | None
    answered: int


def schedule_nodes(
    nodes: Sequence[Node], map_: Map = map, *, seed: int = 0, gap: float = GAP, limit_s: float = 10.0,
    solver: Solver = "cbc", rounds: int = 8, progress: Callable[[int], None] | None = None,
) -> tuple[NodeSchedule, ...]:  # fmt: skip
    """Schedules of all homes, each node within its limits as far as that can be.

    map_ runs the homes' answers, several at once if it can; the result does not depend on how. rounds: of rooms and
    prices, at most. progress gets 1 for each answer. Raises SolverFailed, InvalidNode for two nodes of one name.
    """
    if len({node.name for node in nodes}) < len(nodes):
        raise InvalidNode("two nodes have one name: give each its own")
    answer = partial(_answer, seed=seed, gap=gap, limit_s=limit_s, solver=solver)
    works = [_Work(node, rounds, gap) for node in nodes]
    while parts := [part for work in works for part in work.asked()]:
        counts = [len(work.asked()) for work in works]
        answers = []
        for each in map_(answer, parts):
            answers.append(each)
            if progress is not None:
                progress(1)
        for work, count in zip(works, counts, strict=True):
            if count:
                work.take(answers[:count])
                answers = answers[count:]
    for work in works:
        work.repair(answer, progress)
    return tuple(work.result() for work in works)


def _answer(part: Part, *, seed: int, gap: float, limit_s: float, solver: Solver) -> Schedule:
    home, price, room = part
    asked = home if price is None else home.at_prices([float(each) for each in price])
    if room is not None:
        asked = replace(asked, obligation=_within(home.obligation, *room))
    return schedule(asked, seed=seed, gap=gap, limit_s=limit_s, solver=solver, marginals=room is not None)


def _within(own: Obligation, highest: Floats, lowest: Floats, penalty: float) -> Obligation:
    """The room as an obligation with a penalty."""
    return Obligation(
        net_wh_max=tuple(None if math.isinf(each) else float(each) for each in highest),
        net_wh_min=tuple(None if math.isinf(each) else float(each) for each in lowest),
        penalty_minor_per_kwh=penalty,
    )


class _Work:
    """One node on its way: free answers, rounds of rooms, rounds of prices for the bound."""

    def __init__(self, node: Node, rounds: int, gap: float) -> None:
        self.node, self.limits = node, node.limits
        self._rounds, self._gap = rounds, gap
        self._stage: Literal["free", "rooms", "prices", "done"] = "free"
        self._fixed = np.array([[a - b for a, b in zip(home.load(), home.pv(), strict=True)] for home in node.homes])
        self._net: Floats = np.zeros(self._fixed.shape)
        self._worth: Floats = np.zeros(self._fixed.shape)
        self._rooms: tuple[Floats, Floats] = (self._net, self._net)
        self._price: Floats = np.zeros(node.homes[0].count)
        self._best_price = self._price
        self._bound: float | None = None
        self._best: list[Schedule] = []
        self._worths: list[Floats] = []
        self._candidates: list[Floats] = []
        self._path: list[Step] = []
        self.answered = 0
        tariffs = [home.tariff for home in node.homes]
        dearest = max(abs(each) for one in tariffs for each in (*one.import_minor_per_kwh, *one.export_minor_per_kwh))
        self._penalty = _PENALTY * max(dearest, 1.0)

    def asked(self) -> list[Part]:
        """What each home is to answer next; nothing when all is known."""
        if self._stage == "free":
            return [(home, None, None) for home in self.node.homes]
        if self._stage == "prices":
            return [(home, self._price, None) for home in self.node.homes]
        if self._stage == "rooms":
            return [
                (home, None, (*each, self._penalty)) for home, *each in zip(self.node.homes, *self._rooms, strict=True)
            ]
        return []

    def take(self, answers: Sequence[Schedule]) -> None:
        """Keeps the answers and finds what is to be asked next."""
        self.answered += len(answers)
        if self._stage == "prices":
            self._take_bound(answers)
            return
        own = [_at_own_terms(home, each) for home, each in zip(self.node.homes, answers, strict=True)]
        if self._stage == "free":
            self._best = own
            self._take_bound(answers)
        beyond, cost = self._value(own)
        gained = self._value(self._best)[1] - cost
        better = (round(beyond), cost) < (round(self._value(self._best)[0]), self._value(self._best)[1])
        if better:
            self._best = own
        self._net = np.array([each.plan.net_wh for each in own], np.float64)
        worth = np.array([each.room_minor_per_kwh or (0.0,) * self._net.shape[1] for each in answers])
        price = self._priced(worth)
        self._path.append(Step(float(np.abs(price).max()), beyond, cost, self._bound))
        if self._stage == "free" and beyond == 0:
            self._stage = "done"
            return
        self._worth = worth
        self._worths.append(worth)
        settled = len(self._path) > 2 and round(beyond) == 0 and gained < self._gap * abs(cost) / 2
        if len(self._path) > self._rounds or settled:
            self._stage = "prices"
            rounds = np.array([self._priced(each) for each in self._worths[1:]])
            least = rounds[np.abs(rounds).argmin(axis=0), np.arange(rounds.shape[1])]
            self._candidates = [least, self._priced(np.concatenate(self._worths[1:]))]
            self._price = price
            return
        self._stage = "rooms"
        self._rooms = self._shared(self.limits.highest, 1.0), self._shared(self.limits.lowest, -1.0)

    def _take_bound(self, answers: Sequence[Schedule]) -> None:
        bounds = [each.bound_minor for each in answers]
        bound = None if None in bounds else math.fsum(each or 0.0 for each in bounds) - self.limits.worth(self._price)
        if bound is not None and (self._bound is None or bound > self._bound):
            self._bound, self._best_price = bound, self._price
        if self._stage == "prices":
            self._path.append(Step(float(np.abs(self._price).max()), *self._value(self._best), self._bound))
            left = [each for each in self._candidates if not np.allclose(each, self._price)]
            self._stage, self._candidates = ("prices", left[1:]) if left else ("done", [])
            self._price = left[0] if left else self._price

    def _priced(self, worth: Floats) -> Floats:
        """What room is worth to half of the homes: a few cannot give any, and would set any mean. No price where there
        is no limit."""
        price = np.median(worth, axis=0)
        low = np.where(np.isfinite(self.limits.lowest), -math.inf, 0.0)
        high = np.where(np.isfinite(self.limits.highest), math.inf, 0.0)
        return np.where(np.abs(price) < 1e-6, 0.0, np.clip(price, low, high))

    def _shared(self, limit: Floats, sign: float) -> Floats:
        """The room of each home: what it takes now, and its part of what is left, by what that is worth to it; where
        too much is taken, all who can give, by what they take beyond their fixed load."""
        net, fixed, worth = sign * self._net, sign * self._fixed, np.maximum(sign * self._worth, 0)
        left = np.where(np.isfinite(limit), sign * limit, 0.0) - net.sum(axis=0)
        wanted = worth + 0.05 * worth.mean(axis=0) + 1e-6
        given = np.maximum(net - fixed, 0) / (1 + worth / (worth.mean(axis=0) + 1e-6)) + 1e-6
        parts = np.where(left >= 0, wanted / wanted.sum(axis=0), given / given.sum(axis=0))
        rooms = sign * np.floor(net + parts * left + 1e-9)
        return np.where(np.isfinite(limit), rooms, sign * math.inf)

    def _value(self, schedules: Sequence[Schedule]) -> tuple[float, float]:
        """Wh beyond the limits, and what it costs."""
        net = np.sum([each.plan.net_wh for each in schedules], axis=0)
        return float(self.limits.beyond(net).sum()), math.fsum(each.after.total_minor for each in schedules)

    def repair(self, answer: Callable[[Part], Schedule], progress: Callable[[int], None] | None) -> None:
        """Homes answer once more, one after the other, with what the others leave them, while a limit is passed. Their
        devices come first: what cannot be had without leaving one short stays passed, and is told."""
        for _ in range(_REPAIRS):
            began = self._value(self._best)[0]
            for row, home in enumerate(self.node.homes):
                before = self._value(self._best)[0]
                if not before:
                    return
                mine = np.array(self._best[row].plan.net_wh)
                others = np.sum([each.plan.net_wh for each in self._best], axis=0) - mine
                if not (self.limits.beyond(others + mine) > self.limits.beyond(others)).any():
                    continue
                room = self.limits.highest - others, self.limits.lowest - others, self._penalty
                tried = _at_own_terms(home, answer((home, None, room)))
                self.answered += 1
                if progress is not None:
                    progress(1)
                kept = self._best[row]
                self._best[row] = tried
                if self._value(self._best)[0] >= before:
                    self._best[row] = kept
            if self._value(self._best)[0] >= began:
                return

    def result(self) -> NodeSchedule:
        net = np.sum([each.plan.net_wh for each in self._best], axis=0)
        wished = np.sum([each.wished.net_wh for each in self._best], axis=0)
        beyond = self.limits.beyond(net)
        _, cost = self._value(self._best)
        return NodeSchedule(
            self.node.name, tuple(self._best), tuple(int(each) for each in net), tuple(int(each) for each in wished),
            tuple(round(float(each), 6) for each in self._best_price), tuple(self._path), float(beyond.sum()),
            float(beyond.max()) / self.node.homes[0].hours, float(self.limits.beyond(wished).sum()), cost,
            math.fsum(each.before.total_minor for each in self._best), self._bound,
            None if self._bound is None or beyond.any() else max(cost - self._bound, 0.0), self.answered,
        )  # fmt: skip


def _at_own_terms(home: Home, given: Schedule) -> Schedule:
    """An answer to prices or to a room as what it comes to for the home; its bound was of another question."""
    short = shortfalls(home, given.plan)
    status = given.status if given.status == "timed out" else "short" if short else "optimal"
    return replace(
        given, status=status, after=figures(home, given.plan), before=figures(home, given.wished), shortfalls=short,
        wished_shortfalls=shortfalls(home, given.wished), room_minor_per_kwh=(),
        rebound=rebound(home, given.plan, given.wished),
    )  # fmt: skip
