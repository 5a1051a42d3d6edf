"""When a model stops being as good as it was chosen for: alarms that name what changed and since when.

Three watches over whole days, each against the days on which the model was tested:

    bias       CUSUM of the day's mean error in standard deviations of the test's (Page, Biometrika 41, 1954):
               S+ = max(0, S+ + z - 0.75), S- = max(0, S- - z - 0.75); an alarm at 5. After 42 days of test a false
               one comes in 3 years (median), and a shift by 1.5 standard deviations is seen within 8 days
    size       mean absolute error of the last seven days against the test's, more than a third larger, and larger
               than 19 of 20 weeks drawn from the test
    coverage   of the 80 % band over the last seven days, outside of 65 to 95 %
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np

from forecasting.panels.panel import Floats

_SLACK, _LIMIT = 0.75, 5.0
_WINDOW_DAYS = 7
_LARGER = 4 / 3
_COVERAGE = (0.65, 0.95)
_REFERENCE_DAYS_MIN = 14


@dataclass(frozen=True)
class DayErrors:
    """One day of forecasts that can be judged: mean of F - A, mean of |F - A| (Wh an interval), share in the band."""

    day: date
    bias: float
    mae: float
    coverage: float


@dataclass(frozen=True)
class Alarm:
    """What drifted, when it was noticed, when it began by the look of it, and a sentence."""

    watch: Literal["bias", "size", "coverage"]
    noticed: date
    since: date
    text: str


def alarms(reference: Sequence[DayErrors], recent: Sequence[DayErrors]) -> list[Alarm]:
    """Alarms over `recent` days, oldest first, one for each watch that gave any: the first.

    Raises ValueError with less than 14 days of reference.
    """
    if len(reference) < _REFERENCE_DAYS_MIN:
        raise ValueError(f"{len(reference)} days of reference; {_REFERENCE_DAYS_MIN} are needed")
    found = [_bias(reference, recent), _size(reference, recent), _coverage(recent)]
    return [each for each in found if each is not None]


def _bias(reference: Sequence[DayErrors], recent: Sequence[DayErrors]) -> Alarm | None:
    past = np.array([each.bias for each in reference])
    spread = max(float(past.std(ddof=1)), 1e-9)
    sums, since = [0.0, 0.0], [0, 0]
    for position, each in enumerate(recent):
        z = (each.bias - float(past.mean())) / spread
        for side, step in ((0, z), (1, -z)):
            if sums[side] == 0.0:
                since[side] = position
            sums[side] = max(0.0, sums[side] + step - _SLACK)
            if sums[side] > _LIMIT:
                word = "more" if side == 0 else "less"
                text = (
                    f"forecasts have been {word} than readings since {recent[since[side]].day}, beyond what days vary"
                )
                return Alarm("bias", each.day, recent[since[side]].day, text)
    return None


def _size(reference: Sequence[DayErrors], recent: Sequence[DayErrors]) -> Alarm | None:
    past = np.array([each.mae for each in reference])
    draws: Floats = np.random.default_rng(0).choice(past, size=(2000, _WINDOW_DAYS)).mean(axis=1)
    limit = max(float(np.quantile(draws, 0.95)), _LARGER * float(past.mean()))
    for end in range(_WINDOW_DAYS, len(recent) + 1):
        week = recent[end - _WINDOW_DAYS : end]
        size = float(np.mean([each.mae for each in week]))
        if size > limit:
            text = f"errors of the week to {week[-1].day} are {size / float(past.mean()):.1f} times those of the test"
            return Alarm("size", week[-1].day, week[0].day, text)
    return None


def _coverage(recent: Sequence[DayErrors]) -> Alarm | None:
    for end in range(_WINDOW_DAYS, len(recent) + 1):
        week = recent[end - _WINDOW_DAYS : end]
        covered = float(np.mean([each.coverage for each in week]))
        if not _COVERAGE[0] <= covered <= _COVERAGE[1]:
            text = f"the 80 % band covered {covered:.0%} of the readings in the week to {week[-1].day}"
            return Alarm("coverage", week[-1].day, week[0].day, text)
    return None
