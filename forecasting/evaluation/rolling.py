"""Tests on history of panel models, with a rolling origin: each forecast knows what had ended at its issue.

    history ......|issue| horizon |
    history ............|issue| horizon |         day-ahead: an issue a day; intraday: one every few hours

Scores are given over all, and by horizon: how much later than the issue an interval begins.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise

import numpy as np

from forecasting.calendar import SiteCalendar
from forecasting.errors import NoHistory
from forecasting.panels.forecasts import FittedPanel, PanelModel
from forecasting.panels.panel import Floats, Panel
from forecasting.panels.weather import Weather

HOUR_MS = 3_600_000
DECILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
BAND = (0.1, 0.9)
SURE = 1e-6
"""Width of a band, over the mean of the readings, below which what lies inside was sure."""


@dataclass(frozen=True)
class Issue:
    """A forecast to be made: issued when, for `count` intervals from `start_ms`."""

    issued_at_ms: int
    start_ms: int
    count: int


@dataclass(frozen=True)
class Skill:
    """How good forecasts were. Energy in Wh an interval; NaN where the ratio has no meaning.

    mae = mean |F - A|; nrmse = mean over series of sqrt(mean (F - A)^2) / mean |A|; bias = sum(F - A) / sum |A|;
    crps = 2 x mean pinball loss over the levels asked for, an approximation of the continuous ranked probability score;
    coverage = share of readings between the levels 0.1 and 0.9, which is 0.8 for honest bands. Readings that were sure,
    inside a band without width like those of a roof at night, say nothing of a band and are not counted.
    """

    intervals: int
    mae: float
    nrmse: float
    bias: float
    crps: float
    coverage: float


@dataclass(frozen=True)
class Rolling:
    """The forecasts of one model on history. Arrays are (series, issues, intervals), NaN where there is no reading.

    `quantiles` has the levels along its last axis. `refused` counts issues at which nothing could be forecast.
    """

    model: str
    version: int
    levels: tuple[float, ...]
    issues: tuple[Issue, ...]
    step_ms: int
    forecast: Floats
    actual: Floats
    quantiles: Floats
    seconds: float
    refused: int

    def skill(self, first_h: float = 0.0, end_h: float = float("inf")) -> Skill:
        """Over the intervals that begin first_h <= hours after the issue < end_h."""
        begins_h = (self._offsets_ms() / HOUR_MS)[None]
        return self._skill((begins_h >= first_h) & (begins_h < end_h))

    def by_horizon(self, edges_h: Sequence[float]) -> list[tuple[float, float, Skill]]:
        """(from hour, to hour, skill) between each pair of edges; those without a reading are left out."""
        pairs = [(low, high, self.skill(low, high)) for low, high in pairwise(edges_h)]
        return [each for each in pairs if each[2].intervals]

    def _offsets_ms(self) -> Floats:
        steps = np.arange(self.forecast.shape[2])
        return np.array([each.start_ms - each.issued_at_ms + steps * self.step_ms for each in self.issues])

    def _skill(self, chosen: np.ndarray) -> Skill:
        there = chosen & ~np.isnan(self.actual) & ~np.isnan(self.forecast)
        error = np.where(there, self.forecast - self.actual, np.nan)
        actual = np.where(there, self.actual, np.nan)
        count = int(there.sum())
        if not count:
            nothing = float("nan")
            return Skill(0, nothing, nothing, nothing, nothing, nothing)
        with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
            warnings.simplefilter("ignore", RuntimeWarning)  # series without a reading: means of nothing
            rmse = np.sqrt(np.nanmean(error**2, axis=(1, 2)))
            level = np.nanmean(np.abs(actual), axis=(1, 2))
            ratio = np.where(level > 0, rmse / level, np.nan)
            nrmse = float(np.nanmean(ratio)) if np.isfinite(ratio).any() else float("nan")
            size = float(np.nansum(np.abs(actual)))
            bias = float(np.nansum(error)) / size if size else float("nan")
        crps, coverage = self._banded(there)
        return Skill(count, float(np.nanmean(np.abs(error))), nrmse, bias, crps, coverage)

    def _banded(self, there: np.ndarray) -> tuple[float, float]:
        if not self.levels:
            return float("nan"), float("nan")
        levels = np.array(self.levels)
        below = self.actual[..., None] - self.quantiles
        pinball = np.maximum(levels * below, (levels - 1) * below)
        crps = float(2 * np.nanmean(np.where(there[..., None], pinball, np.nan)))
        if not set(BAND) <= set(self.levels):
            return crps, float("nan")
        low, high = (self.quantiles[..., self.levels.index(level)] for level in BAND)
        inside = (low <= self.actual) & (self.actual <= high)
        asked = there & ~(inside & (high - low <= SURE * np.nanmean(np.abs(self.actual))))
        return crps, float(inside[asked].mean()) if asked.any() else float("nan")


def day_ahead(calendar: SiteCalendar, days: Sequence[date], interval_s: int, lead_h: float = 0.0) -> tuple[Issue, ...]:
    """An issue for each local day, `lead_h` hours before it begins, for the whole of it (23, 24 or 25 hours)."""
    step_ms = interval_s * 1000
    found = []
    for day in days:
        start_ms = -(-calendar.start_ms(day) // step_ms) * step_ms
        count = -(-(calendar.start_ms(day + timedelta(days=1)) - start_ms) // step_ms)
        found.append(Issue(start_ms - int(lead_h * HOUR_MS), start_ms, count))
    return tuple(found)


def intraday(
    calendar: SiteCalendar, days: Sequence[date], interval_s: int, every_h: int = 6, horizon_h: int = 12
) -> tuple[Issue, ...]:
    """Issues every few hours of each local day, for the hours that follow at once."""
    step_ms = interval_s * 1000
    count = horizon_h * 3600 // interval_s
    found = []
    for day in days:
        midnight_ms = -(-calendar.start_ms(day) // step_ms) * step_ms
        found += [
            Issue(midnight_ms + hour * HOUR_MS, midnight_ms + hour * HOUR_MS, count) for hour in range(0, 24, every_h)
        ]
    return tuple(found)


def rolling(
    model: PanelModel,
    panel: Panel,
    calendar: SiteCalendar,
    issues: Sequence[Issue],
    *,
    levels: Sequence[float] = BAND,
    excluded: Collection[date] = frozenset(),
    weather: Weather | None = None,
    progress: Callable[[], None] | None = None,
) -> Rolling:
    """Makes each forecast with the readings that had ended at its issue, through fit, forecast and update.

    `issues` are in the order of time. `progress` is called after each. Raises ValueError for issues out of order.
    """
    if any(earlier.issued_at_ms > later.issued_at_ms for earlier, later in pairwise(issues)):
        raise ValueError("issues must be in the order of time")
    length = max(each.count for each in issues)
    shape = (len(panel.ids), len(issues), length)
    forecast = np.full(shape, np.nan, dtype=np.float32)
    actual = np.full(shape, np.nan, dtype=np.float32)
    quantiles = np.full((*shape, len(levels)), np.nan, dtype=np.float32)
    fitted: FittedPanel | None = None
    known_ms, refused = panel.start_ms, 0
    begun = time.perf_counter()
    for position, issue in enumerate(issues):
        newer = panel.between(known_ms, issue.issued_at_ms)
        fitted = model.fit(newer, calendar, excluded, weather) if fitted is None else fitted.update(newer)
        known_ms = max(newer.end_ms, known_ms) if newer.values.shape[1] else known_ms
        try:
            made = fitted.forecast(issue.start_ms, issue.count, issue.issued_at_ms, levels)
        except NoHistory:
            refused += 1
        else:
            forecast[:, position, : issue.count] = made.values
            for place, level in enumerate(levels):
                quantiles[:, position, : issue.count, place] = made.quantiles[level]
        truth = panel.between(issue.start_ms, issue.start_ms + issue.count * panel.step_ms).values
        actual[:, position, : truth.shape[1]] = truth
        if progress is not None:
            progress()
    seconds = time.perf_counter() - begun
    return Rolling(
        model.name, model.version, tuple(levels), tuple(issues), panel.step_ms, forecast, actual, quantiles, seconds,
        refused,
    )  # fmt: skip
