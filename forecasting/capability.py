"""What part of what was declared a home can really give, learnt from trials: how much was asked of it, how much came.

    seen = min(asked, x) + noise      a home that gives what is asked, as far as it can (a dimmer, a battery)
    seen =            x  + noise      one that gives all or nothing (a relay, a thermostat)

x is the part it is able to give, everything in parts of what was declared. What was asked bounds what can be seen (a
Tobit model: Tobin, "Estimation of relationships for limited dependent variables", Econometrica 26, 1958): who was asked
for 0.8 and gave 0.8 may be able to give more, and is not taken for weak. The noise has Student's t distribution with 4
degrees of freedom (Lange, Little and Taylor, "Robust statistical modeling using the t distribution", JASA 84, 1989), so
that one broken reading moves little, and each trial counts by its own noise: a baseline that errs by half says little.
How far the noise that is stated is off is learnt, too: a home that delivers the same five times is known better than
its baseline lets expect. x, the kind of home and that are held together on a grid, with a normal prior of x around 1;
before each trial the belief is tempered toward the prior (power discounting: Smith, "A generalization of the Bayesian
steady forecasting model", JRSS B 41, 1979), so that a new habit gets through.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from functools import cache

PART_MIN, PART_MAX = 0.05, 1.95
_STEPS = 39  # grid points from PART_MIN to PART_MAX, 0.05 apart: as far below 1 as above it
_PRIOR_SPREAD = 0.3
_FREEDOM = 4.0
_KEEPS = 0.98
"""How much of a belief is kept from trial to trial: about the last 50 count."""
_NOISE_MIN = 0.05
_LEAST = -60.0  # log weight below which nothing is told apart
_GRID = tuple(PART_MIN + (PART_MAX - PART_MIN) * n / (_STEPS - 1) for n in range(_STEPS))
_OFF = ((0.25, 0.15), (0.5, 0.25), (1.0, 0.4), (2.0, 0.2))
"""The noise over what it is stated to be, and how likely that is beforehand."""


@cache
def _prior() -> array[float]:
    """Log weights of the grid: for each error of the noise, of each part, first those of homes that give what is asked,
    then those of all-or-nothing ones."""
    parts = [-0.5 * ((part - 1) / _PRIOR_SPREAD) ** 2 for part in _GRID]
    return array("f", [math.log(likely) + weight for _, likely in _OFF for weight in (*parts, *parts)])


@dataclass(frozen=True)
class Capability:
    """The belief about one home after `trials`. `weights`: log weights on the grid, empty before the first trial."""

    weights: bytes = b""
    trials: int = 0

    def after(self, asked: float, seen: float, noise: float) -> Capability:
        """With one more trial, all in parts of what was declared: `noise` is the standard deviation of `seen` around
        what was really given. A trial in which nothing was asked says nothing."""
        if asked <= 0 or not math.isfinite(seen):
            return self
        likelihoods: list[float] = []
        squares = [(seen - given) ** 2 / _FREEDOM for given in (*(min(asked, part) for part in _GRID), *_GRID)]
        for off, _ in _OFF:
            scale = max(noise * off, _NOISE_MIN)
            per, certain, power = scale**-2, math.log(scale), (_FREEDOM + 1) / 2
            likelihoods += [-power * math.log1p(square * per) - certain for square in squares]
        weights = [
            _KEEPS * weight + (1 - _KEEPS) * before + likelihood
            for weight, before, likelihood in zip(self._weights(), _prior(), likelihoods, strict=True)
        ]
        top = max(weights)
        kept = array("f", [max(weight - top, _LEAST) for weight in weights])
        return Capability(kept.tobytes(), self.trials + 1)

    @property
    def part(self) -> float:
        """The part to count on: the median of the belief, which what was never asked moves little."""
        return self.quantile(0.5)

    @property
    def mean(self) -> float:
        """Expected part."""
        return sum(part * mass for part, mass in zip(_GRID, self._masses(), strict=True))

    @property
    def doubt(self) -> float:
        """Variance of the part."""
        masses, mean = self._masses(), self.mean
        return sum((part - mean) ** 2 * mass for part, mass in zip(_GRID, masses, strict=True))

    def quantile(self, probability: float) -> float:
        """The part that is not exceeded with this probability, between two points of the grid in proportion."""
        below, width = 0.0, _GRID[1] - _GRID[0]
        for part, mass in zip(_GRID, self._masses(), strict=True):
            if below + mass >= probability:
                inside = (probability - below) / mass if mass else 0.0
                return min(PART_MAX, max(PART_MIN, part + width * (inside - 0.5)))
            below += mass
        return PART_MAX

    def _weights(self) -> array[float]:
        weights = array("f")
        weights.frombytes(self.weights or _prior().tobytes())
        return weights

    def _masses(self) -> list[float]:
        """Probability of each part of the grid."""
        raw = [math.exp(weight) for weight in self._weights()]
        total = sum(raw)
        return [sum(raw[n::_STEPS]) / total for n in range(_STEPS)]
