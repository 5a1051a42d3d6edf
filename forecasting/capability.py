"""What part of what was declared a home can really give, learnt from trials: how much was asked of it, how much came.

    seen = min(asked, x) + noise      a home that gives what is asked, as far as it can (a dimmer, a battery)
    seen =            x  + noise      one that gives all or nothing (a relay, a thermostat)

x is the part it is able to give, everything in parts of what was declared. What was asked bounds what can be seen (a
Tobit model: Tobin, "Estimation of relationships for limited dependent variables", Econometrica 26, 1958): who was asked
for 0.8 and gave 0.8 may be able to give more, and is not taken for weak. The noise has Student's t distribution with 4
degrees of freedom (Lange, Little and Taylor, "Robust statistical modeling using the t distribution", JASA 84, 1989), so
that one broken reading moves little, and each trial counts by its own noise: a baseline that errs by half says little.
x and the kind of home are held together on a grid, with a normal prior around 1; before each trial the belief is
tempered toward the prior (power discounting: Smith, "A generalization of the Bayesian steady forecasting model", JRSS B
41, 1979), so that a new habit gets through.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from functools import cache

PART_MIN, PART_MAX = 0.05, 1.95
_STEPS = 77  # grid points from PART_MIN to PART_MAX, 0.025 apart: as far below 1 as above it
_PRIOR_SPREAD = 0.3
_FREEDOM = 4.0
_KEEPS = 0.98
"""How much of a belief is kept from trial to trial: about the last 50 count."""
_NOISE_MIN = 0.05
_GRID = tuple(PART_MIN + (PART_MAX - PART_MIN) * n / (_STEPS - 1) for n in range(_STEPS))


@cache
def _prior() -> array[float]:
    """Log weights: for each part those of homes that give what is asked, then those of all-or-nothing ones."""
    one = [-0.5 * ((part - 1) / _PRIOR_SPREAD) ** 2 for part in _GRID]
    return array("d", [*one, *one])


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
        scale = max(noise, _NOISE_MIN)
        weights = self._weights()
        prior = _prior()
        for n, part in enumerate(_GRID):
            for place, given in ((n, min(asked, part)), (_STEPS + n, part)):
                off = (seen - given) / scale
                likelihood = -0.5 * (_FREEDOM + 1) * math.log1p(off * off / _FREEDOM)
                weights[place] = _KEEPS * weights[place] + (1 - _KEEPS) * prior[place] + likelihood
        top = max(weights)
        for place, weight in enumerate(weights):
            weights[place] = max(weight - top, -60.0)
        return Capability(weights.tobytes(), self.trials + 1)

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
        weights = array("d")
        weights.frombytes(self.weights or _prior().tobytes())
        return weights

    def _masses(self) -> list[float]:
        """Probability of each part of the grid."""
        raw = [math.exp(weight) for weight in self._weights()]
        total = sum(raw)
        return [(raw[n] + raw[_STEPS + n]) / total for n in range(_STEPS)]
