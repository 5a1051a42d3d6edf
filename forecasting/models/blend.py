"""The mean of two models whose errors differ: like days lag, regressions overreach."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from forecasting.models.days import DayModel, Days
from forecasting.models.ridge import Ridge
from forecasting.models.weighted import SimilarDays
from forecasting.panels.panel import Floats


@dataclass(frozen=True)
class Blend:
    """`share` of the first model, the rest of the second."""

    first: DayModel = field(default_factory=SimilarDays)
    second: DayModel = field(default_factory=Ridge)
    share: float = 0.35
    version: int = 1

    @property
    def name(self) -> str:
        return f"blend-{self.share:g}-{self.first.name}+{self.second.name}"

    @property
    def days_min(self) -> int:
        return max(self.first.days_min, self.second.days_min)

    @property
    def retrain_days(self) -> int:
        return min(self.first.retrain_days, self.second.retrain_days)

    def train(self, days: Days, until: int, lead: int) -> tuple[Any, Any]:
        return self.first.train(days, until, lead), self.second.train(days, until, lead)

    def profiles(self, days: Days, state: tuple[Any, Any], first: int, end: int, lead: int) -> Floats:
        one = self.first.profiles(days, state[0], first, end, lead)
        other = self.second.profiles(days, state[1], first, end, lead)
        return self.share * one + (1 - self.share) * other
