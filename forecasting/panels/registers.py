"""Readings of a meter's register, which only counts up, made into energy by interval.

stamp      00:00   01:00   02:00   (gap)   04:00   05:00
register    1000    1400    1500            2100    2150       kept: 00:00 400, 01:00 100, 04:00 50
                                                               02:00 to 04:00 is known as a sum alone: a gap
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from forecasting.panels.panel import Floats

_READINGS_MIN = 48
_TURNS = 0.005
_STEPS = 10


def is_register(values: Floats) -> bool:
    """Whether values in the order of time only ever grow, but for a new meter now and then, and by far more than in any
    single step. Energy by interval does not."""
    known = values[np.isfinite(values)]
    if len(known) < _READINGS_MIN:
        return False
    steps = np.diff(known)
    down = steps < 0
    if down.sum() > max(_TURNS * len(steps), 1 if len(steps) >= 4 * _READINGS_MIN else 0) or (known < 0).any():
        return False
    usual = np.sort(steps[~down])
    risen = float(usual.sum())
    return risen > _STEPS * max(float(usual[-1]), 1e-9) and float(np.median(known)) > _STEPS * float(np.median(usual))


def differences(
    stamps: NDArray[np.int64], values: Floats, interval_s: int, note: Callable[[str, int, str], None]
) -> tuple[NDArray[np.int64], Floats]:
    """Energy of the intervals that begin at a stamp with a reading one interval later (stamps in the order of time).

    An interval over which the register fell back is left out: a new meter, or one that began again at zero.
    """
    known = np.isfinite(values)
    stamps, values = stamps[known], values[known]
    steps = np.diff(values)
    next_to = np.diff(stamps) == interval_s * 1000
    down = (steps < 0) & next_to
    note("a register", len(values), "differences taken: the values only ever grew")
    note("register began again", int(down.sum()), "left out: the interval in which it fell back")
    note("register after a gap", int((~next_to).sum()), "left out: the sum is known, when it was used is not")
    kept = next_to & ~down
    return stamps[:-1][kept], steps[kept]
