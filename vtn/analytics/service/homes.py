"""Forecasts of homes for the aggregator: by the model that was chosen for homes, in the moment it evaluates them.

    readings of each home, less its own event days ─▶ one panel ─▶ the chosen model, intraday corrected, with bands
         ├─ the model refuses a home ─────────────────▶ seasonal naive, with the reason
         ├─ the model fails, or its library is missing ▶ seasonal naive for all, said once in the log
         └─ the model takes more than a minute ────────▶ seasonal naive for all, until it is done

Event days are masked home by home: a day of an event says nothing of the habits of who was called, and everything of
those of the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from datetime import date

from forecasting.errors import MissingLibrary, NoHistory
from forecasting.panels.forecasts import PanelForecast
from forecasting.panels.panel import Panel
from forecasting.series import IntervalSeries
from runtime.logs import get_logger
from vtn.aggregator.ports import HomeForecast
from vtn.aggregator.virtual_nodes.members.forecasts import naive_forecast, naive_forecasts
from vtn.analytics.computing import computing, forecasts
from vtn.analytics.runs import HOMES, Runs
from vtn.analytics.sources import masked
from vtn.analytics.studies import default_of
from vtn.analytics.weather import WeatherShelf, place_of
from vtn.config import VtnSettings
from vtn.records.database import Database
from vtn.services.programs import ProgramTerms

LOW, HIGH = 0.1, 0.9
_LIMIT_S = 60.0
"""Ridge takes 4 ms a home, a model with trees 140: a large group would be forecast when its event is over."""

_log = get_logger("vtn.forecasts")


class ChosenForecasts:
    """`HomeForecasts` of one program by the model its newest choice names, or the default of homes."""

    def __init__(self, database: Database, settings: VtnSettings, program: str) -> None:
        self._runs = Runs(database)
        self._settings = settings
        self._program = program
        self._weather = WeatherShelf(settings)
        self._told: set[str] = set()
        self._late: asyncio.Task[dict[str, HomeForecast]] | None = None

    async def of_homes(
        self,
        readings: Mapping[str, Mapping[int, int]],
        event_days: Mapping[str, Collection[date]],
        program: ProgramTerms,
        *,
        start_ms: int,
        count: int,
        now_ms: int,
    ) -> Mapping[str, HomeForecast]:
        """See ports.HomeForecasts. A model that fails, or takes too long, is replaced by the seasonal naive one: homes
        must be called."""
        if not any(readings.values()):
            return {}
        chosen = await self._runs.chosen(self._program, HOMES)
        name = default_of(HOMES) if chosen is None else chosen.model
        if self._late is None or self._late.done():
            # Off the event loop: VENs go on polling meanwhile.
            making = asyncio.create_task(
                asyncio.to_thread(
                    self._made, name, readings, event_days, program, start_ms=start_ms, count=count, now_ms=now_ms
                )
            )
            await asyncio.wait([making], timeout=_LIMIT_S)
            if making.done():
                return making.result()
            self._late = making
        reason = f"{name} takes more than {_LIMIT_S:g} s for {len(readings)} homes"
        _log.error("homes are forecast by the seasonal naive model", reason=reason, program=self._program)
        return await asyncio.to_thread(
            naive_forecasts, readings, event_days, program, start_ms, count, now_ms, reason
        )  # fmt: skip

    def _made(
        self,
        name: str,
        readings: Mapping[str, Mapping[int, int]],
        event_days: Mapping[str, Collection[date]],
        program: ProgramTerms,
        *,
        start_ms: int,
        count: int,
        now_ms: int,
    ) -> dict[str, HomeForecast]:
        calendar = program.calendar
        try:
            panel = masked(panel_of(readings, program.interval_s), event_days, calendar)
            # In threads of this process whatever the setting: a cluster takes longer to begin than this to end.
            with computing(None, self._settings.analytics_workers) as where:
                made = forecasts(
                    where,
                    name,
                    panel,
                    calendar,
                    start_ms=start_ms,
                    count=count,
                    issued_at_ms=now_ms,
                    levels=(LOW, HIGH),
                    weather=self._weather.around(now_ms),
                    place=place_of(self._settings),
                )
        except NoHistory:
            return naive_forecasts(readings, event_days, program, start_ms, count, now_ms, f"{name} has no history")
        except Exception as error:  # whatever it is: a need is never left without a forecast
            reason = f"{name} failed: {error}" if not isinstance(error, MissingLibrary) else f"{name}: {error}"
            if reason not in self._told:
                self._told.add(reason)
                _log.error("homes are forecast by the seasonal naive model", reason=reason, program=self._program)
            return naive_forecasts(readings, event_days, program, start_ms, count, now_ms, reason)
        found = _of_panel(made)
        for home, wh in readings.items():
            if home not in found:
                reason = f"{name}: {made.refused.get(home, 'no reading at all')}"
                naive = naive_forecast(
                    wh, event_days.get(home, ()), calendar, program.interval_s, start_ms, count, now_ms, reason
                )
                if naive is not None:
                    found[home] = naive
        return found


def panel_of(readings: Mapping[str, Mapping[int, int]], interval_s: int) -> Panel:
    """The homes that have a reading on the program's grid side by side; others and readings off the grid are left out.

    Raises NoHistory where there is none."""
    step_ms = interval_s * 1000
    series = {
        home: IntervalSeries(interval_s, {at: float(value) for at, value in wh.items() if not at % step_ms})
        for home, wh in readings.items()
    }
    series = {home: each for home, each in series.items() if each.readings}
    if not series:
        raise NoHistory("no home has a reading")
    return Panel.of(series)


def _of_panel(made: PanelForecast) -> dict[str, HomeForecast]:
    """Each series that was not refused."""
    values = made.values.tolist()
    low, high = (made.quantiles[level].tolist() for level in (LOW, HIGH))
    return {
        home: HomeForecast(
            values_wh=tuple(values[row]),
            low_wh=tuple(low[row]),
            high_wh=tuple(high[row]),
            model=made.basis[row],
            reason="; ".join(made.reasons.get(home, ())),
        )
        for row, home in enumerate(made.ids)
        if home not in made.refused
    }
