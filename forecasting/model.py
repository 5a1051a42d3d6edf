"""What every forecast model offers, and what a forecast carries.

    model = SeasonalNaive()                               settings only
    fitted = model.fit(history, calendar)                 learns
    forecast = fitted.forecast(start_ms, 96, issued_at_ms)
    fitted = fitted.update(newer)                         the same model with later readings

Fitted models are values: `update` returns another and leaves the first as it was, so that a forecast can be repeated.
A forecast uses only readings that had ended at `issued_at_ms`, whatever the model has been given: tests on history and
real use then see the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Protocol

from forecasting.calendar import SiteCalendar
from forecasting.series import IntervalSeries


@dataclass(frozen=True)
class Forecast:
    """Expected Wh for consecutive intervals from `start_ms`, and what they rest on.

    `basis[i]` says what value i was made from, in the model's own words; `reasons` are sentences for people, one for
    each departure from the model's normal way (none: nothing unusual). `known_until_ms` is the end of the latest
    reading used, at most `issued_at_ms`. `quantiles`: level in (0, 1) -> one value an interval; empty until bands are
    applied.
    """

    model: str
    issued_at_ms: int
    known_until_ms: int
    start_ms: int
    interval_s: int
    values: tuple[float, ...]
    basis: tuple[str, ...]
    reasons: tuple[str, ...] = ()
    quantiles: Mapping[float, tuple[float, ...]] = field(default_factory=dict)

    @property
    def starts_ms(self) -> range:
        step_ms = self.interval_s * 1000
        return range(self.start_ms, self.start_ms + len(self.values) * step_ms, step_ms)

    def energy_wh(self, start_ms: int, end_ms: int) -> float:
        """Expected energy of the intervals that lie wholly inside [start_ms, end_ms)."""
        step_ms = self.interval_s * 1000
        pairs = zip(self.starts_ms, self.values, strict=True)
        return sum(value for at_ms, value in pairs if start_ms <= at_ms and at_ms + step_ms <= end_ms)


class FittedModel(Protocol):
    """A model with what it learnt from one series."""

    def forecast(self, start_ms: int, count: int, issued_at_ms: int) -> Forecast:
        """The next `count` intervals from `start_ms` (on the grid, not before `issued_at_ms`).

        Raises NoHistory if nothing had ended by `issued_at_ms`, ValueError for a start off the grid or in the past.
        """
        ...

    def update(self, newer: IntervalSeries) -> FittedModel:
        """The model with later readings. Raises SeriesError where they overlap what it has."""
        ...


class Model(Protocol):
    """Settings of a model, before it has seen data."""

    @property
    def name(self) -> str:
        """Name and settings, enough to make the model again: it is stored with each forecast."""
        ...

    def fit(
        self, history: IntervalSeries, calendar: SiteCalendar, excluded: Collection[date] = frozenset()
    ) -> FittedModel:
        """Learns from a history. `excluded` local days (events answered, outages) are not learnt from."""
        ...
