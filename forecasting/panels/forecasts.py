"""The interface of every panel model, and what its forecasts carry.

    model = catalogue.model("blend")                        settings only
    fitted = model.fit(history, calendar, excluded, weather) keeps what it may learn from
    forecast = fitted.forecast(start_ms, 96, issued_at_ms, levels=(0.1, 0.9))
    fitted = fitted.update(newer, weather)                  the same model with later readings

It is the interface of forecasting.model with a Panel in the place of one series: fitted models are values, and a
forecast uses only readings that had ended at its issue, whatever the model was given.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Protocol

import numpy as np

from forecasting.calendar import SiteCalendar
from forecasting.model import Forecast
from forecasting.panels.panel import Floats, Panel
from forecasting.panels.weather import Weather


@dataclass(frozen=True)
class PanelForecast:
    """Expected Wh of each series for consecutive intervals from `start_ms`, and what it rests on.

    values and each of `quantiles` have the shape (series, intervals). `basis` names, for each series, the model that
    served; `reasons` hold sentences for those that were not forecast the normal way. A series of which nothing was
    known is in `refused` with the reason, and its values are NaN. `weather` is the source used, "" for none,
    with a word where it knew what came after the issue.
    """

    ids: tuple[str, ...]
    model: str
    version: int
    issued_at_ms: int
    known_until_ms: int
    start_ms: int
    interval_s: int
    values: Floats
    basis: tuple[str, ...]
    reasons: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    quantiles: Mapping[float, Floats] = field(default_factory=dict)
    weather: str = ""

    @property
    def starts_ms(self) -> range:
        step_ms = self.interval_s * 1000
        return range(self.start_ms, self.start_ms + self.values.shape[1] * step_ms, step_ms)

    def one(self, series_id: str) -> Forecast:
        """The forecast of one series in the form of forecasting.model. Raises KeyError."""
        if series_id not in self.ids:
            raise KeyError(series_id)
        row = self.ids.index(series_id)
        return Forecast(
            model=self.model,
            issued_at_ms=self.issued_at_ms,
            known_until_ms=self.known_until_ms,
            start_ms=self.start_ms,
            interval_s=self.interval_s,
            values=tuple(float(value) for value in self.values[row]),
            basis=(self.basis[row],) * self.values.shape[1],
            reasons=self.reasons.get(series_id, ()),
            quantiles={level: tuple(float(each) for each in rows[row]) for level, rows in self.quantiles.items()},
        )

    @classmethod
    def beside(cls, parts: Sequence[PanelForecast]) -> PanelForecast:
        """Forecasts of several parts of a panel as one, in their order."""
        first = parts[0]
        return PanelForecast(
            ids=tuple(each for part in parts for each in part.ids),
            model=first.model,
            version=first.version,
            issued_at_ms=first.issued_at_ms,
            known_until_ms=max(part.known_until_ms for part in parts),
            start_ms=first.start_ms,
            interval_s=first.interval_s,
            values=np.concatenate([part.values for part in parts]),
            basis=tuple(each for part in parts for each in part.basis),
            reasons={key: text for part in parts for key, text in part.reasons.items()},
            refused={key: text for part in parts for key, text in part.refused.items()},
            quantiles={level: np.concatenate([part.quantiles[level] for part in parts]) for level in first.quantiles},
            weather=first.weather,
        )


class FittedPanel(Protocol):
    """A model with what it knows of a panel."""

    @property
    def history(self) -> Panel:
        """All readings it was given."""
        ...

    def forecast(self, start_ms: int, count: int, issued_at_ms: int, levels: Sequence[float] = ()) -> PanelForecast:
        """The next `count` intervals from `start_ms`, with a quantile for each of `levels` in (0, 1).

        Raises NoHistory if no series had a reading that ended by `issued_at_ms`, ValueError for a start off the grid
        or in the past.
        """
        ...

    def update(self, newer: Panel, weather: Weather | None = None) -> FittedPanel:
        """The model with later readings, and later weather if given. Raises SeriesError where they overlap."""
        ...


class PanelModel(Protocol):
    """Settings of a model, before it has seen data."""

    @property
    def name(self) -> str:
        """Name and settings, enough to make the model again: it is stored with each forecast."""
        ...

    @property
    def version(self) -> int:
        """Version of the method."""
        ...

    def fit(
        self,
        history: Panel,
        calendar: SiteCalendar,
        excluded: Collection[date] = frozenset(),
        weather: Weather | None = None,
    ) -> FittedPanel:
        """Learns from a history. `excluded` local days (events answered, outages) are not learnt from."""
        ...
