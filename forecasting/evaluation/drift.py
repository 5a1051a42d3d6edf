"""When a model stops being as good as it was chosen for: alarms that name what changed and since when.

Three watches over whole days, each against the days on which the model was tested:

    bias       CUSUM of the day's mean error over its size (Page, Biometrika 41, 1954):
               S+ = max(0, S+ + z - 0.75), S- = max(0, S- - z - 0.75); an alarm at 5. The size is the standard
               deviation of the test's days, larger by as much as errors of one day go on in the next (a spell is no
               drift), and by how little a short test says of their mean
    size       mean absolute error of the last seven days against the test's, more than a third larger, and larger
               than 19 of 20 weeks drawn from the test
    coverage   of the 80 % band over the last seven days, outside of 65 to 95 %

Looked at daily for 127 quiet weeks (2026-11-22; ridge, sums of 25 simulated homes, whose daily errors go on with 0.2 to
0.45): 3 false alarms, 11 with the plain standard deviation. A quarter more load is seen on the second or third day.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np

from forecasting.panels.panel import Floats

_SLACK, _LIMIT = 0.75, 5.0
_GOES_ON, _GOES_ON_DAYS, _GOES_ON_MAX = 0.3, 20, 0.8
"""How much of a day's error the next one usually has, how many days of test that counts as, and the most believed."""
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
    spread = _spread(past, len(recent))
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


def _spread(past: Floats, looked_at: int) -> float:
    """Standard deviation of daily errors as a sum of them over `looked_at` days has it for each: with what goes on from
    day to day, estimated with a prior, and with the error of the mean of so few days."""
    spread = max(float(past.std(ddof=1)), 1e-9)
    z = (past - past.mean()) / spread
    seen = float((z[1:] * z[:-1]).sum())
    goes_on = (seen + _GOES_ON * _GOES_ON_DAYS) / (len(past) + _GOES_ON_DAYS)
    goes_on = min(max(goes_on, 0.0), _GOES_ON_MAX)
    return spread * float(np.sqrt((1 + goes_on) / (1 - goes_on) * (1 + looked_at / len(past))))


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
