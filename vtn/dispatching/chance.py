"""How much must be planned so that enough is delivered with the probability asked for.

Delivery of interval t is about normal with mean m and variance V + (k m)^2: V is what homes add independently of each
other, k what moves all of them at once (weather, a network that is out). m - z sqrt(V + k^2 m^2) >= R solved for m:

    m >= need(V) = (R + z sqrt(k^2 R^2 + q V)) / q,   q = 1 - z^2 k^2 > 0

need is concave in V, so its tangent lies above it: a plan that meets the tangent meets the need.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from vtn.dispatching.errors import InvalidGoal
from vtn.dispatching.fleet import Flags, Floats

EACH, JOINT = "each", "joint"
DRAWS = 60_000


@dataclass(frozen=True, eq=False)
class Goal:
    """What is asked for.

    target_wh [T]: Wh per interval, 0 where none is; floor_wh [T]: where nothing is asked, expected delivery must not
    be below this (a negative number bounds the rebound; -inf: no bound); probability of meeting the target, in `mode`
    "each" for every interval by itself or "joint" for all of them at once; common: standard deviation of what moves
    all homes at once, as a part of the mean. Raises InvalidGoal."""

    target_wh: Floats
    probability: float = 0.95
    mode: str = JOINT
    common: float = 0.0
    floor_wh: Floats | None = None

    def __post_init__(self) -> None:
        if self.target_wh.ndim != 1 or not np.isfinite(self.target_wh).all() or (self.target_wh < 0).any():
            raise InvalidGoal("a target is a finite number of Wh per interval, not negative")
        if not self.asked.any():
            raise InvalidGoal("a target asks for something in at least one interval")
        if self.mode not in (EACH, JOINT) or not 0.5 <= self.probability < 1:
            raise InvalidGoal("the probability is 0.5 or more, below 1, and meant for 'each' interval or 'joint'")
        if self.common < 0 or self.first_z() * self.common >= 0.95:
            most = 0.95 / max(1e-9, self.first_z())
            raise InvalidGoal(
                f"what moves all homes at once varies by {self.common:.0%} of the delivery: with more than {most:.0%} "
                f"no number of calls reaches a probability of {self.probability:.0%}"
            )

    @property
    def asked(self) -> Flags:
        """[T] where something is asked for."""
        return self.target_wh > 0

    def floor(self) -> Floats:
        """[T] what the expected delivery must reach in each interval, before any safety."""
        none = np.full(len(self.target_wh), -np.inf)
        return np.where(self.asked, self.target_wh, none if self.floor_wh is None else self.floor_wh)

    def first_z(self) -> float:
        """The z to begin with: exact for "each"; for "joint" that of Bonferroni, which is never too small."""
        count = int(self.asked.sum()) if self.mode == JOINT else 1
        return max(0.0, NormalDist().inv_cdf(1 - (1 - self.probability) / count))


def need(goal: Goal, z: float, variance: Floats) -> Floats:
    """[T] the mean that must be planned, given the variance [T] of the plan; -inf where there is no bound."""
    q, floor = 1 - (z * goal.common) ** 2, goal.floor()
    inside = np.maximum(0.0, (goal.common * np.where(goal.asked, floor, 0)) ** 2 + q * variance)
    return np.where(goal.asked, (floor + z * np.sqrt(inside)) / q, floor)


def slope(goal: Goal, z: float, variance: Floats) -> Floats:
    """[T] derivative of `need` by the variance."""
    q = 1 - (z * goal.common) ** 2
    inside = (goal.common * goal.target_wh) ** 2 + q * np.maximum(0.0, variance)
    return np.where(goal.asked & (inside > 0), z / (2 * np.sqrt(np.maximum(inside, 1e-12))), 0.0)


def joint_z(goal: Goal, covariance: Floats, mean: Floats, seed: int) -> float:
    """The z at which all intervals are met at once with the goal's probability, for deliveries with this covariance
    [T, T] of independent homes and this mean [T]; at most Bonferroni's."""
    if goal.mode == EACH:
        return goal.first_z()
    scaled = _standard(goal, covariance, mean, seed)
    worst = (-scaled).max(axis=1)
    # The draws say it within an error; the plan stays on the safe side of that.
    error = (goal.probability * (1 - goal.probability) / DRAWS) ** 0.5
    level = min(1.0, goal.probability + 3 * error)
    return float(min(goal.first_z(), max(0.0, np.quantile(worst, level))))


def probability(goal: Goal, covariance: Floats, mean: Floats, seed: int) -> float:
    """Of meeting the goal: of all intervals at once for "joint", of the worst one for "each"."""
    asked = goal.asked
    total = covariance[np.ix_(asked, asked)] + goal.common**2 * np.outer(mean[asked], mean[asked])
    spread = np.sqrt(np.maximum(1e-12, np.diag(total)))
    margin = (mean[asked] - goal.target_wh[asked]) / spread
    if goal.mode == EACH:
        return float(min(NormalDist().cdf(float(each)) for each in margin))
    return float((_standard(goal, covariance, mean, seed) >= -margin).all(axis=1).mean())


def _standard(goal: Goal, covariance: Floats, mean: Floats, seed: int) -> Floats:
    """[DRAWS, asked] standardised deviations of the delivery."""
    asked = goal.asked
    total = covariance[np.ix_(asked, asked)] + goal.common**2 * np.outer(mean[asked], mean[asked])
    spread = np.sqrt(np.maximum(1e-12, np.diag(total)))
    values, vectors = np.linalg.eigh(total / np.outer(spread, spread))
    root = vectors * np.sqrt(np.maximum(0.0, values))
    draws = np.random.default_rng(seed).standard_normal((DRAWS, len(spread)))
    return np.asarray(draws @ root.T, np.float64)
