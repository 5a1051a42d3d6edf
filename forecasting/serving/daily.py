"""A model of days as a panel model: when it may be trained, what serves where it cannot, its bands, its day so far.

readings that had ended ─▶ days (a day counts as known with 5/6 of its slots)
    ├─ series with enough days ──▶ the model            ─┐ a ladder, each step with its reason
    ├─ fewer ──▶ similar days ──▶ recent days ──▶ mean   ─┘
    ├─ part of today known ──▶ intraday: today's errors carried forward
    └─ levels asked ──▶ bands: errors of the last 42 days, of trainings that had not seen them
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecasting.calendar import DAY_S, SiteCalendar
from forecasting.errors import NoHistory
from forecasting.models.days import DayModel, Days
from forecasting.models.weighted import RecentDays, SimilarDays
from forecasting.panels.forecasts import PanelForecast
from forecasting.panels.localdays import LocalDays
from forecasting.panels.panel import Floats, Panel
from forecasting.panels.weather import Weather
from forecasting.serving import intraday
from forecasting.serving.bands import FEW_DAYS, Errors, around, banded

CALIBRATION_DAYS = 42
_CALIBRATION_DAYS_MIN = 14
_FIRST_ERROR_DAY = 3
_ERROR_DAYS_MIN = 3
"""With fewer days of errors, differences within days count as errors too."""
_BLOCK_DAYS = 21
_SHORT_BLOCK_DAYS = 7
HISTORY_DAYS = 220
ENDED_DAYS = 28
"""Silence after which a series is refused rather than forecast."""
_KNOWN_SHARE = 5 / 6


@dataclass(frozen=True)
class Daily:
    """A panel model made of a model of days."""

    model: DayModel
    intraday: bool = True
    history_days: int = HISTORY_DAYS
    """More than a model looks back together with its calibration."""

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def version(self) -> int:
        return self.model.version

    def fit(
        self,
        history: Panel,
        calendar: SiteCalendar,
        excluded: Collection[date] = frozenset(),
        weather: Weather | None = None,
    ) -> FittedDaily:
        """Keeps the history; training happens with what was known at each issue."""
        return FittedDaily(self, history, calendar, frozenset(excluded), weather)


@dataclass(frozen=True)
class FittedDaily:
    """See forecasting.panels.forecasts.FittedPanel."""

    settings: Daily
    history: Panel
    calendar: SiteCalendar
    excluded: frozenset[date] = frozenset()
    weather: Weather | None = None
    trained: dict[tuple[int, ...], Any] = field(default_factory=dict, compare=False, repr=False)

    def update(self, newer: Panel, weather: Weather | None = None) -> FittedDaily:
        """Trainings are kept where they last and what they learnt from stays as it was: no reading came late, the
        weather is the same."""
        lasting = self.settings.model.retrain_days > 1 and newer.start_ms >= self.history.end_ms and weather is None
        trained = dict(self.trained) if lasting else {}
        return replace(self, history=self.history.joined(newer), weather=weather or self.weather, trained=trained)

    def rows(self, positions: slice) -> FittedDaily:
        """The same model of some of the series, for work in parts."""
        return replace(self, history=self.history.rows(positions), trained={})

    def forecast(self, start_ms: int, count: int, issued_at_ms: int, levels: Sequence[float] = ()) -> PanelForecast:
        if start_ms % self.history.step_ms or start_ms < issued_at_ms or count < 1:
            raise ValueError(f"cannot forecast {count} intervals from {start_ms}, issued at {issued_at_ms}")
        known = _recent(self.history.ended_by(issued_at_ms), self.calendar, self.settings)
        if known is None:
            raise NoHistory(f"no reading had ended at {issued_at_ms}; the history starts at {self.history.start_ms}")
        step_ms = known.step_ms
        last_ms = start_ms + count * step_ms
        grid = LocalDays(self.calendar, known.start_ms, known.interval_s, (last_ms - known.start_ms) // step_ms)
        first = (start_ms - known.start_ms) // step_ms
        issue = _Issue(self, known, grid, _known_days(known, grid))
        values = np.empty((len(known.ids), count), dtype=np.float32)
        quantiles = {level: np.empty_like(values) for level in levels}
        day_of, slot_of = grid.day_of[first:], grid.slot_of[first:]
        reasons = issue.reasons
        for day in range(int(day_of[0]), int(day_of[-1]) + 1):
            columns = np.flatnonzero(day_of == day)
            lead = max(day - issue.known_days, 0)
            profile = issue.profiles(day, day + 1, lead)[0][:, 0]
            values[:, columns] = profile[:, slot_of[columns]]
            if levels:
                bands, short = banded(profile, issue.errors(lead), levels)
                for level in levels:
                    quantiles[level][:, columns] = bands[level][:, slot_of[columns]]
                for row in np.flatnonzero(short):
                    reasons.setdefault(known.ids[row], []).append("too few past errors: the bands are too narrow")
                if day == int(day_of[0]) and (had := issue.error_days(lead)) < FEW_DAYS:
                    for home in known.ids:
                        reasons.setdefault(home, []).append(f"{had} days of past errors: the bands are rough")
        if self.settings.intraday:
            issue.correct(values, quantiles, first)
        issue.bound(values, quantiles)
        return issue.packed(values, quantiles, start_ms, issued_at_ms)


class _Issue:
    """One forecast being made: the days it may know, and for each series which model serves."""

    def __init__(self, fitted: FittedDaily, known: Panel, grid: LocalDays, known_days: int) -> None:
        self.known_days = known_days
        self.reasons: dict[str, list[str]] = {}
        self._fitted = fitted
        self._known = known
        self._grid = grid
        self._days = Days.of(
            known, grid, known=known_days, total=grid.days, excluded=fitted.excluded, weather=fitted.weather
        )
        self._have = _days_with_readings(self._days)
        self._ladder = [fitted.settings.model, SimilarDays(), RecentDays()]
        self._basis: NDArray[np.int64] | None = None
        self._errors: dict[int, Errors] = {}
        self._floor = np.where(_never_negative(self._days), 0.0, -np.inf).astype(np.float32)

    def profiles(self, first: int, end: int, lead: int, until: int | None = None) -> tuple[Floats, NDArray[np.int64]]:
        """(series, days, slots) from the first model of the ladder that can, and which that was for each series."""
        until = self.known_days if until is None else until
        shape = (len(self._days.ids), end - first, self._days.slots)
        values, served = np.full(shape, np.nan, dtype=np.float32), np.full(len(self._days.ids), -1)
        for step, model in enumerate(self._ladder):
            waiting = np.isnan(values).any(axis=(1, 2))
            able = waiting & (self._have >= model.days_min)
            if not able.any():
                continue
            found = model.profiles(self._days, self._state(model, step, until, lead), first, end, lead)
            values = np.where(np.isnan(values) & able[:, None, None], found, values)
            served = np.where(able & (served < 0) & ~np.isnan(values).all(axis=(1, 2)), step, served)
        if np.isnan(values).any():
            values = np.where(np.isnan(values), _overall(self._days)[:, None, None], values)
        if until == self.known_days and self._basis is None:
            self._basis = served
        np.maximum(values, self._floor[:, None, None], out=values)
        return values, served

    def _state(self, model: DayModel, step: int, until: int, lead: int) -> Any:
        """Trainings fall on fixed days, so that a forecast does not depend on which others were made before it."""
        ordinal = self._grid.first_day.toordinal()
        age = (ordinal + until) % model.retrain_days
        if until - age >= model.days_min:
            until -= age
        lasting = model.retrain_days > 1
        at = self._known.values.shape[1]  # of a day that is nearly over more is known later
        seen = min(int(np.searchsorted(self._grid.day_of, until)), at) if lasting else at
        key = (step, ordinal + until, lead, self._known.start_ms, seen)
        if key not in self._fitted.trained:
            days = self._days.until(until) if lasting else self._days
            self._fitted.trained[key] = model.train(days, until, lead)
        return self._fitted.trained[key]

    def errors(self, lead: int) -> Errors:
        """What the same models would have got wrong in the last 42 days, each block trained before it began."""
        if lead not in self._errors:
            first, last = self._first_error_day(lead), self.known_days
            found: list[Floats] = []
            for start, end in pairwise(self._blocks(first, last)):
                profile, _ = self.profiles(start, end, lead, until=max(start - lead, 1))
                found.append(self._days.cube[:, start:end] - profile)
            if self.error_days(lead) < _ERROR_DAYS_MIN:
                found.append(self._within_days())
            self._errors[lead] = Errors(np.concatenate(found, axis=1), self._grid.interval_s)
        return self._errors[lead]

    def error_days(self, lead: int) -> int:
        """Days whose errors are known, without what stands in for them."""
        return max(self.known_days - self._first_error_day(lead), 0)

    def _first_error_day(self, lead: int) -> int:
        learnt = self._ladder[0].days_min + lead
        if self.known_days - learnt < _CALIBRATION_DAYS_MIN:  # rather of what would have served then than hardly any
            learnt = min(_FIRST_ERROR_DAY, self.known_days - 1)
        return max(self.known_days - CALIBRATION_DAYS, learnt, 1)

    def _within_days(self) -> Floats:
        """How far each known reading is from those of the hours around it: about as far as tomorrow's from today's."""
        cube = self._days.cube[:, : max(self.known_days, 1)]
        return np.asarray(cube - around(cube, self._grid.interval_s))

    def _blocks(self, first: int, last: int) -> list[int]:
        """Edges of the stretches of past days that share a training. What has seen little learns fast: the trainings of
        a short history are then days apart, or their errors would be those of a model that hardly knew anything."""
        retrain = self._ladder[0].retrain_days
        if first < CALIBRATION_DAYS:
            block = max(_SHORT_BLOCK_DAYS if last > 2 * _CALIBRATION_DAYS_MIN else _FIRST_ERROR_DAY, retrain)
        else:
            block = max(_BLOCK_DAYS, min(retrain * 3, CALIBRATION_DAYS))
        return [first, *range(last, first, -block)[::-1]] if last > first else []

    def correct(self, values: Floats, quantiles: dict[float, Floats], first: int) -> None:
        """Carries the errors of the day so far into the next hours, in place; nothing to do at the start of a day."""
        at = self._known.values.shape[1]
        today = int(self._grid.day_of[min(at, self._grid.count - 1)])
        begun = int(np.searchsorted(self._grid.day_of, today))
        if begun >= at or today < 1 or first - at > intraday.reach(self._grid.interval_s):
            return
        # Of a day that is nearly over, and counts as known, the forecast is that of its beginning as well.
        profile = self.profiles(today, today + 1, 0, until=today)[0]
        expected = profile[:, 0][:, self._grid.slot_of[begun:at]]
        errors_today = self._known.values[:, begun:at].astype(np.float32) - expected
        past = self.errors(0)
        errors = past if today == self.known_days else Errors(past.values[:, :-1], past.interval_s)
        if errors.values.shape[1] >= 7:
            intraday.carry(values, quantiles, first - at, errors, errors_today, int(self._grid.slot_of[at - 1]) + 1)

    def bound(self, values: Floats, quantiles: dict[float, Floats]) -> None:
        """Holds values and bands, in place: what only ever consumed does not feed in, and nothing goes further beyond
        what was read than that is wide. A value that would have is said."""
        known = self._known.values
        there = ~np.isnan(known)
        some = there.any(axis=1)
        least = np.where(some, np.where(there, known, np.inf).min(axis=1), 0)
        most = np.where(some, np.where(there, known, -np.inf).max(axis=1), 0)
        width = np.maximum(most - least, np.maximum(np.abs(most), np.abs(least)))
        low, high = np.maximum(least - width, self._floor), most + width
        for row in np.flatnonzero(((values < low[:, None]) | (values > high[:, None])).any(axis=1)):
            self.reasons.setdefault(self._known.ids[row], []).append("held near what was ever read: the model left it")
        for rows in (values, *quantiles.values()):
            np.clip(rows, low[:, None], high[:, None], out=rows)

    def packed(self, values: Floats, quantiles: dict[float, Floats], start_ms: int, issued_at_ms: int) -> PanelForecast:
        known, model = self._known, self._fitted.settings.model
        there = ~np.isnan(known.values)
        silent: NDArray[np.bool_] = np.asarray(~there.any(axis=1))
        values[silent] = np.nan
        basis: NDArray[np.int64] = self._basis if self._basis is not None else np.full(len(known.ids), -1)
        for row in np.flatnonzero((basis != 0) & ~silent):
            served = self._ladder[basis[row]].name if basis[row] > 0 else "the mean of all readings"
            short = self._have[row] < model.days_min
            why = f"{int(self._have[row])} days of history, {model.name} wants {model.days_min}"
            text = f"{why if short else f'{model.name} could not say'}: {served} served"
            self.reasons.setdefault(known.ids[row], []).insert(0, text)
        last = known.values.shape[1] - 1 - np.argmax(there[:, ::-1], axis=1)
        newest = int(last[~silent].max(initial=0))
        ages = (issued_at_ms - known.start_ms - (last + 1) * known.step_ms) / (1000 * DAY_S)
        refused = {known.ids[row]: "no reading had ended at the issue" for row in np.flatnonzero(silent)}
        for row in np.flatnonzero(~silent & (ages > 1)):
            days, home = round(float(ages[row])), known.ids[row]
            if ages[row] <= ENDED_DAYS:
                self.reasons.setdefault(home, []).append(f"no reading for {days} days: the level may be old")
                continue
            refused[home] = f"no reading for {days} days before the issue: nobody knows whether it is still there"
            self.reasons.pop(home, None)
            for rows in (values, *quantiles.values()):
                rows[row] = np.nan
        names = [*(each.name for each in self._ladder), "overall-mean"]
        return PanelForecast(
            ids=known.ids,
            model=model.name,
            version=model.version,
            issued_at_ms=issued_at_ms,
            known_until_ms=known.start_ms + (newest + 1) * known.step_ms,
            start_ms=start_ms,
            interval_s=known.interval_s,
            values=values,
            basis=tuple("" if home in refused else names[basis[row]] for row, home in enumerate(known.ids)),
            reasons={key: tuple(texts) for key, texts in self.reasons.items()},
            refused=refused,
            quantiles=_ordered(quantiles),
            weather=_told(self._fitted.weather, issued_at_ms),
        )


def _told(weather: Weather | None, issued_at_ms: int) -> str:
    """The source of the weather, with what it knew that nobody could have known at the issue."""
    if weather is None:
        return ""
    if not weather.hindsight(issued_at_ms):
        return weather.source
    return f"{weather.source}, {'observed' if weather.kind == 'observed' else 'issued later than the forecast'}"


def _recent(known: Panel, calendar: SiteCalendar, settings: Daily) -> Panel | None:
    """The history that is looked at: it ends with the last reading of any series, and begins with a local day if long
    enough. None where there is no reading at all."""
    columns = np.flatnonzero(~np.isnan(known.values).all(axis=0))
    if not len(columns):
        return None
    known = known.between(known.start_ms, known.start_ms + (int(columns[-1]) + 1) * known.step_ms)
    per_day = 86_400 // known.interval_s
    if known.values.shape[1] > settings.history_days * per_day:
        day_ms = per_day * known.step_ms
        first_ms = known.end_ms - settings.history_days * day_ms
        # Trainings that last are made of the same days for as long.
        known = known.between(first_ms - first_ms % (settings.model.retrain_days * day_ms), known.end_ms)
    if known.values.shape[1] > 14 * per_day:
        grid = LocalDays(calendar, known.start_ms, known.interval_s, 2 * per_day)
        midnight = int(np.searchsorted(grid.day_of, 1)) if int(grid.slot_of[0]) else 0
        known = known.between(known.start_ms + midnight * known.step_ms, known.end_ms)
    return known


def _known_days(known: Panel, grid: LocalDays) -> int:
    """Local days that are over, or nearly: one whose last hours are not there yet counts."""
    at = known.values.shape[1]
    day = int(grid.day_of[at - 1])
    there = int((grid.day_of[:at] == day).sum())
    return day + 1 if there >= _KNOWN_SHARE * grid.slots else day


def _days_with_readings(days: Days) -> NDArray[np.int64]:
    """Days of each series with at least half of their slots."""
    there = ~np.isnan(days.cube[:, : days.known])
    return np.asarray((there.sum(axis=2) >= days.slots / 2).sum(axis=1))


def _overall(days: Days) -> Floats:
    known = days.cube[:, : max(days.known, 1)]
    there = ~np.isnan(known)
    counts = there.sum(axis=(1, 2))
    sums = np.where(there, known, 0).sum(axis=(1, 2))
    return np.where(counts > 0, sums / np.maximum(counts, 1), 0.0).astype(np.float32)


def _never_negative(days: Days) -> NDArray[np.bool_]:
    """Series that only ever consumed: their forecasts do not feed in either."""
    known = days.cube[:, : days.known]
    return np.asarray(~(known < 0).any(axis=(1, 2)))


def _ordered(quantiles: dict[float, Floats]) -> dict[float, Floats]:
    """Higher levels never below lower ones."""
    result: dict[float, Floats] = {}
    floor: Floats | None = None
    for level in sorted(quantiles):
        floor = quantiles[level] if floor is None else np.maximum(quantiles[level], floor)
        result[level] = floor
    return result
