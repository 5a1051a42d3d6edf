"""Which model serves: the best in the test on history, and among equals the simplest; with the reason for people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from forecasting.evaluation.rolling import Skill

_EQUAL = 0.01


@dataclass(frozen=True)
class Choice:
    """The model that serves. `skill` = 1 - nRMSE / nRMSE of the naive one: 0 is no better, negative is worse."""

    model: str
    skill: float
    reason: str


def skill_over(naive: Skill, other: Skill) -> float:
    """1 - nRMSE / nRMSE of the naive model; NaN without one."""
    return 1 - other.nrmse / naive.nrmse if naive.nrmse else math.nan


def choose(skills: Mapping[str, Skill], naive: str, simplest_first: Sequence[str]) -> Choice:
    """The model of least nRMSE; one of `simplest_first` that is within 1 % of it goes before those named later.

    Raises ValueError where no model has a score, or the naive one is missing.
    """
    scored = {name: skill for name, skill in skills.items() if math.isfinite(skill.nrmse)}
    if naive not in scored:
        raise ValueError(f"the test has no score of {naive}, which every model is measured against")
    best = min(scored, key=lambda name: scored[name].nrmse)
    rank = {name: place for place, name in enumerate(simplest_first)}
    equals = [name for name in scored if scored[name].nrmse <= (1 + _EQUAL) * scored[best].nrmse]
    chosen = min(equals, key=lambda name: rank.get(name, len(rank)))
    won = skill_over(scored[naive], scored[chosen])
    text = f"nRMSE {scored[chosen].nrmse:.3f}, {won:.0%} below {naive} ({scored[naive].nrmse:.3f})"
    if chosen != best:
        text += f"; {best} is better by less than 1 % ({scored[best].nrmse:.3f}) and costs more"
    return Choice(chosen, won, text)
