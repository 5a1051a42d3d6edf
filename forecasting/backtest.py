"""Tests on history with a rolling origin: forecast a day with what was known before it, then look.

    history ......|issue| day 1 |
    history ..............|issue| day 2 |          each origin sees one more day; nothing is forecast twice

Bands are calibrated at each origin from the errors of earlier origins alone, so coverage is measured out of sample.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from forecasting.calendar import SiteCalendar, day_intervals
from forecasting.conformal import calibrate, errors_wanted
from forecasting.errors import NoHistory
from forecasting.model import FittedModel, Forecast, Model
from forecasting.series import IntervalSeries


@dataclass(frozen=True)
class Score:
    """How good a set of forecasts was. Energy in Wh per interval; None where the ratio has no meaning.

    mae = mean |F - A|; nrmse = sqrt(mean (F - A)^2) / mean |A|; bias = sum(F - A) / sum |A| (for load this is the
    sum(B - L) / sum(L) of baseline practice); coverage = share of `banded` intervals inside the band. `missing`
    intervals had no reading to compare with.
    """

    intervals: int
    missing: int
    mae: float | None
    nrmse: float | None
    bias: float | None
    banded: int
    coverage: float | None


@dataclass(frozen=True)
class Origin:
    """One day of the test: its forecast (None with the reason, where none could be made) and its score."""

    day: date
    forecast: Forecast | None
    score: Score
    skipped: str | None = None


@dataclass(frozen=True)
class Backtest:
    model: str
    score: Score
    origins: tuple[Origin, ...]


@dataclass(frozen=True)
class _Row:
    start_ms: int
    forecast: float
    actual: float | None
    band: tuple[float, float] | None


def backtest(
    model: Model,
    series: IntervalSeries,
    calendar: SiteCalendar,
    days: Sequence[date],
    *,
    lead_s: int = 0,
    coverage: float = 0.8,
    calibration_days: int = 42,
    excluded: Collection[date] = frozenset(),
) -> Backtest:
    """Forecasts each local day in `days` (ascending), issued `lead_s` before its midnight, and scores them.

    The band of nominal `coverage` uses errors of the last `calibration_days` that were known at the issue; it starts
    when there are enough of them. Raises ValueError for days out of order or a coverage outside (0, 1).
    """
    if list(days) != sorted(set(days)):
        raise ValueError("days must be ascending, each once")
    levels = (round((1 - coverage) / 2, 9), round((1 + coverage) / 2, 9))
    fitted: FittedModel | None = None
    known_ms: int | None = None
    errors: list[tuple[int, float]] = []
    origins: list[Origin] = []
    rows: list[_Row] = []
    for day in days:
        issued_at_ms = calendar.start_ms(day) - lead_s * 1000
        newer = series.between(known_ms, issued_at_ms)
        fitted = model.fit(newer, calendar, excluded) if fitted is None else fitted.update(newer)
        known_ms = issued_at_ms
        oldest_ms = calendar.start_ms(day - timedelta(days=calibration_days))
        usable = [row for row in errors if oldest_ms <= row[0] and row[0] + series.interval_ms <= issued_at_ms]
        intervals = day_intervals(calendar.zone, series.interval_s, day)
        try:
            forecast = fitted.forecast(intervals[0][0], len(intervals), issued_at_ms)
        except NoHistory as error:
            origins.append(Origin(day, None, _score([]), str(error)))
            continue
        if len(usable) >= errors_wanted(levels[0]):
            forecast = calibrate(usable, calendar.zone, series.interval_s).apply(forecast, levels)
        found = _rows(forecast, series, levels)
        errors += [(row.start_ms, row.actual - row.forecast) for row in found if row.actual is not None]
        rows += found
        origins.append(Origin(day, forecast, _score(found)))
    return Backtest(model.name, _score(rows), tuple(origins))


def _score(rows: Sequence[_Row]) -> Score:
    """Formulas in `Score`."""
    pairs = [(row.forecast, row.actual, row.band) for row in rows if row.actual is not None]
    differences = [forecast - actual for forecast, actual, _ in pairs]
    size = sum(abs(actual) for _, actual, _ in pairs)
    inside = [band[0] <= actual <= band[1] for _, actual, band in pairs if band is not None]
    count = len(pairs)
    rmse = math.sqrt(sum(difference**2 for difference in differences) / count) if count else 0.0
    return Score(
        intervals=count,
        missing=len(rows) - count,
        mae=sum(map(abs, differences)) / count if count else None,
        nrmse=rmse / (size / count) if size else None,
        bias=sum(differences) / size if size else None,
        banded=len(inside),
        coverage=sum(inside) / len(inside) if inside else None,
    )


def _rows(forecast: Forecast, series: IntervalSeries, levels: tuple[float, float]) -> list[_Row]:
    low, high = (forecast.quantiles.get(level) for level in levels)
    return [
        _Row(
            start_ms,
            forecast.values[position],
            series.readings.get(start_ms),
            (low[position], high[position]) if low and high else None,
        )
        for position, start_ms in enumerate(forecast.starts_ms)
    ]
