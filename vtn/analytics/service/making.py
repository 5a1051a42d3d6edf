"""What the scheduled analytics do: forecasts that are kept, errors of the days that are over, the choice of the model.

Everything here is asked for by `work` and may fail: what is refused (no readings yet, too little history) is an outcome
in words, not an error.
"""

from __future__ import annotations

import asyncio
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta

from forecasting.errors import ForecastError, NoHistory
from forecasting.evaluation.drift import DayErrors
from forecasting.evaluation.drift import alarms as drifted
from forecasting.evaluation.rolling import BAND, DECILES, day_ahead
from forecasting.panels.panel import Panel
from vtn.analytics.computing import computing, forecasts
from vtn.analytics.proposing.making import proposed
from vtn.analytics.runs import FEEDERS, HOMES, VIRTUAL_NODES, Chosen, Run, Runs, run_of, scores
from vtn.analytics.service.marks import DayMeasured, Marks, Outcome, Raised
from vtn.analytics.service.schedule import CHOICE, DAY_AHEAD, INTRADAY, Due
from vtn.analytics.studies import Comparison, compared, day_errors, default_of
from vtn.analytics.subjects import Subjects, of_vtn
from vtn.analytics.weather import WeatherShelf, place_of
from vtn.config import VtnSettings
from vtn.context import Vtn

WATCHED = (HOMES, VIRTUAL_NODES)
_HORIZON_H = 12
_TEST_DAYS, _TEST_DAYS_MIN, _LEARNT_DAYS = 14, 7, 28
_HOMES_TESTED = 200
_RECENT_DAYS, _REFERENCE_DAYS = 14, 60
_JUDGED_DAYS = 7
_HOUR_MS, _DAY_MS = 3_600_000, 86_400_000


@dataclass(frozen=True)
class Span:
    """When a forecast is issued, what it begins with, and how many intervals it has."""

    issued_at_ms: int
    start_ms: int
    count: int


class Stopped(Exception):
    """The process ends."""


class Maker:
    """The steps, on one VTN."""

    def __init__(self, vtn: Vtn) -> None:
        self._vtn = vtn
        self._runs = Runs(vtn.database)
        self._marks = Marks(vtn.database)
        self._shelf = WeatherShelf(vtn.settings)
        self._stopped = threading.Event()

    def stop(self) -> None:
        """What is under way in a thread ends with the part it is at: a process that is to end need not wait long."""
        self._stopped.set()

    def _go_on(self, _: object) -> None:
        if self._stopped.is_set():
            raise Stopped

    async def subjects(self, program: str) -> Subjects:
        """The homes of a program with their history and the weather. Raises BadReadings."""
        found = await of_vtn(self._vtn, program, self._vtn.settings.forecast_history_days)
        return replace(found, weather=await asyncio.to_thread(self._shelf.around, found.now_ms))

    async def step(self, what: Due, subject: Subjects, now_ms: int) -> Outcome:
        """One of the steps of the schedule. Raises ForecastError where the readings do not serve."""
        steps = {CHOICE: self._choice, DAY_AHEAD: self._day_ahead, INTRADAY: self._intraday}
        return await steps[what.kind](subject, what.slot_ms, now_ms)

    async def _choice(self, subject: Subjects, slot_ms: int, now_ms: int) -> Outcome:
        """The model that serves each scope from now on, by a test on the last two weeks."""
        told, skills = [], {}
        for scope in WATCHED:
            try:
                found = await asyncio.to_thread(_compared, self._vtn.settings, subject, scope, self._go_on)
            except (ForecastError, ValueError) as error:  # ValueError: no day of the test has a score
                told.append(f"{scope}: {error}")
                continue
            reason = found.choice.reason
            if subject.weather is not None and subject.weather.hindsight(subject.now_ms - _TEST_DAYS * _DAY_MS):
                reason += "; tested with weather as it was known later"
            chosen = Chosen(
                program=subject.program, scope=scope, chosen_ms=now_ms, model=found.choice.model,
                skill=found.choice.skill, reason=reason, table=scores(found.table()),
            )  # fmt: skip
            await self._runs.choose(chosen)
            skills[scope] = chosen.skill
            told.append(f"{scope}: {chosen.model}, {reason}")
        return Outcome("; ".join(told), skills=skills)

    async def _day_ahead(self, subject: Subjects, slot_ms: int, now_ms: int) -> Outcome:
        """Homes for the day, virtual nodes for the next one too; then how good the days before were, and what the day
        after calls for."""
        told, alarms = [], {}
        for scope, days in zip(WATCHED, (1, 2), strict=True):
            try:
                run = await self._made(subject, scope, span(subject, now_ms, slot_ms, days))
                told.append(f"{len(run.series)} {scope} by {run.entry}")
            except ForecastError as error:
                told.append(f"{scope}: {error}")
                continue
            watch, alarms[scope] = await self._watched(subject, scope, subject.calendar.day_of(slot_ms))
            told.append(f"{scope}: {watch}")
        told += await self._proposals(subject, slot_ms, now_ms)
        await self._runs.forget(now_ms - self._vtn.settings.retention_days * _DAY_MS)
        return Outcome("; ".join(told), alarms=alarms)

    async def _proposals(self, subject: Subjects, slot_ms: int, now_ms: int) -> list[str]:
        """Events the next day calls for."""
        if self._vtn.settings.proposals == "off":
            return []
        try:
            run = await self._made(subject, FEEDERS, span(subject, now_ms, slot_ms, 2))
            day = subject.calendar.day_of(slot_ms) + timedelta(days=1)
            found = await proposed(self._vtn, subject, run, day)
        except ForecastError as error:
            return [f"no proposals: {error}"]
        return [f"{len(found)} proposals for {day}"]

    async def _intraday(self, subject: Subjects, slot_ms: int, now_ms: int) -> Outcome:
        """The next hours of the virtual nodes; homes are forecast anew whenever they are evaluated."""
        step_ms = subject.loaded.panel.step_ms
        issued_ms = slot_ms if now_ms - slot_ms < step_ms else now_ms
        when = Span(issued_ms, -(-issued_ms // step_ms) * step_ms, _HORIZON_H * _HOUR_MS // step_ms)
        run = await self._made(subject, VIRTUAL_NODES, when)
        return Outcome(f"{len(run.series)} virtual nodes by {run.entry}")

    async def _made(self, subject: Subjects, scope: str, when: Span) -> Run:
        """A forecast of all series of a scope by the model that was chosen for it, kept. Raises ForecastError."""
        of_model = VIRTUAL_NODES if scope == FEEDERS else scope
        chosen = await self._runs.chosen(subject.program, of_model)
        name = default_of(of_model) if chosen is None else chosen.model
        run = await asyncio.to_thread(_run, self._vtn.settings, subject, scope, name, when, self._go_on)
        await self._runs.keep(run, self._vtn.clock.now_ms())
        return run

    async def _watched(self, subject: Subjects, scope: str, today: date) -> tuple[str, tuple[Raised, ...]]:
        """Measures the days that are over since the last look, a week at most, and says whether forecasts drifted."""
        known = {each.day for each in await self._marks.days(subject.program, scope, _RECENT_DAYS)}
        panel = await asyncio.to_thread(subject.panel, scope)
        for back in range(_JUDGED_DAYS, 0, -1):
            day = today - timedelta(days=back)
            if day.isoformat() in known:
                continue
            first_ms, end_ms = (subject.calendar.start_ms(each) for each in (day, day + timedelta(days=1)))
            # A run of the virtual nodes reaches into the day after.
            runs = await self._runs.runs(subject.program, scope, first_ms - _DAY_MS, end_ms)
            for each in await asyncio.to_thread(day_errors, runs, panel.between(first_ms, end_ms), subject.calendar):
                measured = DayMeasured(each.day.isoformat(), each.bias, each.mae, each.coverage)
                await self._marks.measure(subject.program, scope, measured)
        days = [
            DayErrors(date.fromisoformat(each.day), each.bias, each.mae, each.coverage)
            for each in await self._marks.days(subject.program, scope, _RECENT_DAYS + _REFERENCE_DAYS)
        ]
        try:
            found = drifted(days[:-_RECENT_DAYS], days[-_RECENT_DAYS:])
        except ValueError as short:
            return str(short), ()
        raised = tuple(
            Raised(each.watch, each.noticed.isoformat(), each.since.isoformat(), each.text) for each in found
        )
        return f"{len(raised)} alarms", raised


def span(subject: Subjects, now_ms: int, slot_ms: int, days: int) -> Span:
    """The rest of the local day of `slot_ms`, and `days` - 1 more; as of the slot if it was not missed."""
    step_ms = subject.loaded.panel.step_ms
    issued_ms = slot_ms if now_ms - slot_ms < step_ms else now_ms
    start_ms = -(-issued_ms // step_ms) * step_ms
    end_ms = subject.calendar.start_ms(subject.calendar.day_of(slot_ms) + timedelta(days=days))
    return Span(issued_ms, start_ms, max(-(-(end_ms - start_ms) // step_ms), 1))


def _run(
    settings: VtnSettings, subject: Subjects, scope: str, name: str, when: Span, go_on: Callable[[object], None]
) -> Run:
    panel = subject.panel(scope)
    with computing(settings.analytics_scheduler, settings.analytics_workers) as where:
        found = forecasts(
            where,
            name,
            panel,
            subject.calendar,
            start_ms=when.start_ms,
            count=when.count,
            issued_at_ms=when.issued_at_ms,
            levels=DECILES if scope == FEEDERS else BAND,
            weather=subject.weather,
            place=place_of(settings),
            progress=go_on,
        )
    return run_of(found, panel, entry=name, scope=scope, program=subject.program, weather=subject.weather)


def _compared(settings: VtnSettings, subject: Subjects, scope: str, go_on: Callable[[object], None]) -> Comparison:
    """Raises NoHistory where the history is too short to test anything."""
    panel, calendar = subject.panel(scope), subject.calendar
    today = calendar.day_of(subject.now_ms)
    days = min(_TEST_DAYS, (today - calendar.day_of(panel.start_ms)).days - _LEARNT_DAYS)
    if days < _TEST_DAYS_MIN:
        raise NoHistory(f"{_LEARNT_DAYS + _TEST_DAYS_MIN} days of history are needed to test models")
    tested = [today - timedelta(days=back) for back in range(days, 0, -1)]
    with computing(settings.analytics_scheduler, settings.analytics_workers) as where:
        return compared(
            where,
            settings.forecast_choice_models,
            _sample(panel),
            calendar,
            day_ahead(calendar, tested, panel.interval_s),
            weather=subject.weather,
            place=place_of(settings),
            progress=go_on,
        )


def _sample(panel: Panel) -> Panel:
    """At most two hundred series, the same ones each time: more do not change which model is best."""
    order = sorted(range(len(panel.ids)), key=lambda row: (zlib.crc32(panel.ids[row].encode()), row))
    return panel.rows(sorted(order[:_HOMES_TESTED]))
