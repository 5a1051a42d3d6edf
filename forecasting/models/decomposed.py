"""Prophet: trend, seasons and holidays of one series at a time (Taylor and Letham, The American Statistician 72, 2018).

For programmes and virtual nodes: it sees growth, yearly seasons and single holidays, and reaches months ahead. It does
not know yesterday, so a day ahead it loses to models that do; the tests on history print both. A fit takes about half a
second a series, so homes by the thousand are not for it.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any

import numpy as np

from forecasting.errors import ForecastError, MissingLibrary
from forecasting.models.days import Days
from forecasting.models.features import COOLING_ABOVE_C, HEATING_BELOW_C
from forecasting.panels.panel import Floats

_YEAR_DAYS = 700
"""Yearly seasons are learnt from nearly two years on; before, they would swallow the trend."""


@dataclass(frozen=True)
class Prophet:
    """Daily shapes of working and other days, weekly and yearly seasons, holidays; trained anew every week.

    Raises MissingLibrary.
    """

    changepoint_scale: float = 0.05
    season_scale: float = 10.0
    days_back: int = 1100
    version: int = 1
    days_min: int = 21
    retrain_days: int = 7

    def __post_init__(self) -> None:
        library()

    @property
    def name(self) -> str:
        return f"prophet-{self.changepoint_scale:g}-{self.season_scale:g}"

    def train(self, days: Days, until: int, lead: int) -> list[Any]:
        """A fitted Prophet for each series; None for one with less than two days of readings or on which it fails.
        Raises ForecastError where it fails on all."""
        first = max(until - self.days_back, 0)
        fitted: list[Any] = []
        failed = ""
        for row in range(len(days.ids)):
            try:
                fitted.append(self._fit(days, row, first, until))
            except (RuntimeError, ValueError, OSError) as error:  # its optimiser is another program
                failed = f"{days.ids[row]}: {error}"
                fitted.append(None)
        if failed and not any(fitted):
            raise ForecastError(f"Prophet could be fitted to none of {len(fitted)} series; {failed}")
        return fitted

    def profiles(self, days: Days, state: list[Any], first: int, end: int, lead: int) -> Floats:
        frame = _frame(days, first, end)
        found = np.full((len(days.ids), end - first, days.slots), np.nan, dtype=np.float32)
        for row, fitted in enumerate(state):
            if fitted is not None:
                values = fitted.predict(frame.copy())["yhat"].to_numpy()
                found[row] = values.reshape(end - first, days.slots)
        return found

    def _fit(self, days: Days, row: int, first: int, until: int) -> Any:
        values = days.cube[row, first:until].ravel()
        if (~np.isnan(values)).sum() < 2 * days.slots:
            return None
        prophet = library().Prophet(
            daily_seasonality=False,
            weekly_seasonality=True,
            yearly_seasonality=until - first >= _YEAR_DAYS,
            holidays=_holidays(days),
            changepoint_prior_scale=self.changepoint_scale,
            seasonality_prior_scale=self.season_scale,
            uncertainty_samples=0,
        )
        for kind in ("working", "other"):
            prophet.add_seasonality(f"day_{kind}", period=1, fourier_order=10, condition_name=kind)
        frame = _frame(days, first, until)
        for name in ("cooling", "heating"):
            if name in frame:
                prophet.add_regressor(name)
        frame["y"] = values.astype(np.float64)
        with _quiet():
            prophet.fit(frame, seed=1)
        return prophet


def library() -> Any:
    """The module prophet. Raises MissingLibrary."""
    try:
        with _quiet():
            import cmdstanpy  # sets the level of its logger when it is first imported
            import prophet

            assert cmdstanpy
        with _quiet():
            return prophet
    except ImportError as error:
        raise MissingLibrary("the model prophet needs the extra intelligence: pip install '.[intelligence]'") from error


def _frame(days: Days, first: int, end: int) -> Any:
    """Wall-clock labels of days first .. end - 1, the kind of day and the weather, as Prophet wants them."""
    import pandas as pd

    dates = days.grid.dates(end)[first:]
    labels = [
        datetime.combine(day, time()) + timedelta(seconds=slot * days.grid.interval_s)
        for day in dates
        for slot in range(days.slots)
    ]
    working = np.repeat(days.working[first:end], days.slots)
    frame = pd.DataFrame({"ds": labels, "working": working, "other": ~working})
    temperature = days.temperature()
    if temperature is not None and not np.isnan(temperature).all():
        usual = np.nanmean(temperature, axis=0)
        degrees = np.where(np.isnan(temperature), usual, temperature)[first:end].ravel().astype(np.float64)
        frame["cooling"] = np.maximum(degrees - COOLING_ABOVE_C, 0)
        frame["heating"] = np.maximum(HEATING_BELOW_C - degrees, 0)
    return frame


def _holidays(days: Days) -> Any:
    import pandas as pd

    known: Mapping[str, list[datetime]] = {
        "ds": [datetime.combine(day, time()) for day in sorted(days.grid.calendar.holidays)]
    }
    return pd.DataFrame({"holiday": "holiday", **known}) if known["ds"] else None


class _quiet(warnings.catch_warnings):  # noqa: N801 - reads as what it does
    """Keeps what the library and its optimiser print and warn out of ours."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore")
        for name in ("prophet", "cmdstanpy", "prophet.plot"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
            logging.getLogger(name).disabled = True  # its first use of a logger sets the level back
