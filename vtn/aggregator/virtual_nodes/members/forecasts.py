"""Who forecasts the homes: the analytics where they are installed, otherwise the mean of each home's last like days."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from datetime import date

from forecasting.calendar import SiteCalendar
from forecasting.errors import NoHistory
from forecasting.naive import SeasonalNaive
from forecasting.series import IntervalSeries
from runtime.logs import get_logger
from vtn.aggregator.ports import HomeForecast, HomeForecasts
from vtn.config import VtnSettings
from vtn.records.database import Database
from vtn.services.programs import Program, ProgramTerms

_log = get_logger("vtn.forecasts")


def home_forecasts(database: Database, settings: VtnSettings, program: Program) -> HomeForecasts:
    """The forecasts of a program's homes: by the chosen model with the extra `intelligence`, by the seasonal naive one
    without it, which is said in the log and with each candidate, or where the settings say so."""
    if settings.forecast_homes == "naive":
        return NaiveForecasts("by setting (forecast_homes)")
    try:
        from vtn.analytics.service.homes import ChosenForecasts
    except ImportError as error:
        reason = f"the extra intelligence is not installed ({error})"
        _log.warning("homes are forecast by the seasonal naive model", reason=reason, program=program.name)
        return NaiveForecasts(reason)
    return ChosenForecasts(database, settings, program.name)


class NaiveForecasts:
    """`HomeForecasts` by the seasonal naive model; each gets the `reason` why no better one served."""

    def __init__(self, reason: str = "") -> None:
        self._reason = reason

    async def of_homes(
        self,
        readings: Mapping[str, Mapping[int, int]],
        event_days: Mapping[str, Collection[date]],
        program: ProgramTerms,
        *,
        start_ms: int,
        count: int,
        now_ms: int,
    ) -> dict[str, HomeForecast]:
        """See ports.HomeForecasts."""
        # Off the event loop: a home takes milliseconds.
        return await asyncio.to_thread(
            naive_forecasts, readings, event_days, program, start_ms, count, now_ms, self._reason
        )


def naive_forecasts(
    readings: Mapping[str, Mapping[int, int]],
    event_days: Mapping[str, Collection[date]],
    program: ProgramTerms,
    start_ms: int,
    count: int,
    now_ms: int,
    reason: str,
) -> dict[str, HomeForecast]:
    """As `NaiveForecasts.of_homes`, in this thread."""
    calendar = program.calendar
    found = {
        home: naive_forecast(
            wh, event_days.get(home, ()), calendar, program.interval_s, start_ms, count, now_ms, reason
        )
        for home, wh in readings.items()
    }
    return {home: each for home, each in found.items() if each is not None}


def naive_forecast(
    readings_wh: Mapping[int, int],
    event_days: Collection[date],
    calendar: SiteCalendar,
    interval_s: int,
    start_ms: int,
    count: int,
    now_ms: int,
    reason: str = "",
) -> HomeForecast | None:
    """The forecast of one home; None where no reading had ended."""
    try:
        fitted = SeasonalNaive().fit(IntervalSeries(interval_s, dict(readings_wh)), calendar, event_days)
        made = fitted.forecast(start_ms, count, now_ms)
    except NoHistory:
        return None
    return HomeForecast(values_wh=made.values, model=made.model, reason="; ".join((reason, *made.reasons)).strip("; "))
