"""The studies behind the commands: tests of models side by side, and errors of kept forecasts for the drift alarm."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial

import numpy as np

from forecasting.calendar import SiteCalendar
from forecasting.errors import ForecastError, MissingLibrary
from forecasting.evaluation.choice import Choice, choose, skill_over
from forecasting.evaluation.drift import DayErrors
from forecasting.evaluation.rolling import BAND, DECILES, SURE, Issue, Rolling, Skill, rolling
from forecasting.panels.panel import Panel
from forecasting.panels.weather import Weather
from forecasting.serving.catalogue import CATALOGUE, HOME_DEFAULT, NAIVE, VIRTUAL_NODE_DEFAULT, model
from forecasting.solar.clearsky import Place
from vtn.analytics.computing import Computing
from vtn.analytics.runs import HOMES, Run

EDGES_H = (0.0, 1.0, 3.0, 6.0, 12.0, 24.0, 48.0, 168.0)


@dataclass(frozen=True)
class Comparison:
    """Models over the same issues: all scores, scores by horizon, the choice, and models left out with the reason."""

    made: dict[str, Rolling]
    choice: Choice
    left_out: dict[str, str]

    @property
    def naive(self) -> Skill:
        return self.made[NAIVE].skill()

    def table(self) -> dict[str, dict[str, float]]:
        """Scores by model, `skill` over the naive one among them."""
        found = {}
        for name, each in self.made.items():
            skill = each.skill()
            found[name] = {
                "mae_wh": skill.mae, "nrmse": skill.nrmse, "skill": skill_over(self.naive, skill), "bias": skill.bias,
                "crps_wh": skill.crps, "coverage_80": skill.coverage, "seconds": each.seconds,
            }  # fmt: skip
        return found

    def by_horizon(self) -> list[tuple[str, float, float, Skill, float]]:
        """(model, from hour, to hour, skill, skill over the naive one at that horizon)."""
        return [
            (name, low, high, skill, skill_over(self.made[NAIVE].skill(low, high), skill))
            for name, each in self.made.items()
            for low, high, skill in each.by_horizon(EDGES_H)
        ]


def default_of(scope: str) -> str:
    """The model that serves where no test has chosen one."""
    return HOME_DEFAULT if scope == HOMES else VIRTUAL_NODE_DEFAULT


def compared(
    where: Computing,
    names: Sequence[str],
    panel: Panel,
    calendar: SiteCalendar,
    issues: Sequence[Issue],
    *,
    weather: Weather | None = None,
    place: Place | None = None,
    progress: Callable[[str], None] | None = None,
) -> Comparison:
    """Tests models side by side, the naive one always among them; one that fails or lacks its library is left out.

    Raises ValueError for an unknown model or days without any score.
    """
    wanted = [NAIVE, *(name for name in names if name != NAIVE)]
    left_out: dict[str, str] = {}
    for name in list(wanted):
        try:
            model(name, place)
        except MissingLibrary as missing:
            left_out[name] = str(missing)
            wanted.remove(name)
    work = partial(_tested, panel=panel, calendar=calendar, issues=tuple(issues), weather=weather, place=place)
    made: dict[str, Rolling] = {}
    for name, found in zip(wanted, where.map(work, wanted), strict=True):
        if isinstance(found, Rolling):
            made[name] = found
        else:
            left_out[name] = found
        if progress is not None:
            progress(name)
    skills = {name: each.skill() for name, each in made.items()}
    if NAIVE not in skills or not math.isfinite(skills[NAIVE].nrmse):
        first, end, tested, last = (
            calendar.day_of(at) for at in (panel.start_ms, panel.end_ms - 1, issues[0].start_ms, issues[-1].start_ms)
        )
        raise ValueError(
            f"no day can be tested: there are readings from {first} to {end}, days from {tested} to {last} were to be "
            f"tested, and {NAIVE}, which every model is measured against, needs the week before a day and its readings"
        )
    return Comparison(made, choose(skills, NAIVE, tuple(CATALOGUE)), left_out)


def _tested(
    name: str,
    *,
    panel: Panel,
    calendar: SiteCalendar,
    issues: tuple[Issue, ...],
    weather: Weather | None,
    place: Place | None,
) -> Rolling | str:
    """The test of a model, or why it failed."""
    try:
        return rolling(model(name, place), panel, calendar, issues, levels=DECILES, weather=weather)
    except ForecastError as error:
        return str(error)


def day_errors(runs: Sequence[Run], panel: Panel, calendar: SiteCalendar) -> list[DayErrors]:
    """Errors of kept forecasts by local day over all their series; of several forecasts of a time the latest counts.

    Coverage leaves out what was sure, as in `forecasting.evaluation.rolling.Skill`: a roof at night, an empty house."""
    row_of = {each: row for row, each in enumerate(panel.ids)}
    shape = panel.values.shape
    forecast, low, high = (np.full(shape, np.nan) for _ in range(3))
    for run in sorted(runs, key=lambda each: each.issued_at_ms):
        if run.interval_s != panel.interval_s:
            continue
        first = (run.start_ms - panel.start_ms) // panel.step_ms
        bands = [run.quantiles.get(f"{level:g}") for level in BAND]
        for position, name in enumerate(run.series):
            for target, source in ((forecast, run.values), (low, bands[0]), (high, bands[1])):
                if source is not None and name in row_of:
                    _put(target[row_of[name]], first, np.array(source[position], dtype=np.float64))
    found = []
    for day in _days(panel, calendar):
        start = (calendar.start_ms(day) - panel.start_ms) // panel.step_ms
        end = (calendar.start_ms(day + timedelta(days=1)) - panel.start_ms) // panel.step_ms
        part = slice(max(start, 0), max(end, 0))
        error = forecast[:, part] - panel.values[:, part]
        there = ~np.isnan(error)
        if there.sum() < 0.5 * max(int((~np.isnan(panel.values[:, part])).sum()), 1):
            continue
        inside = (low[:, part] <= panel.values[:, part]) & (panel.values[:, part] <= high[:, part])
        wide = high[:, part] - low[:, part] > SURE * np.abs(panel.values[:, part][there]).mean()
        banded = there & ~np.isnan(low[:, part]) & ~(inside & ~wide)
        covered = float(inside[banded].mean()) if banded.any() else 0.8
        found.append(DayErrors(day, float(error[there].mean()), float(np.abs(error[there]).mean()), covered))
    return found


def _put(row: np.ndarray, first: int, values: np.ndarray) -> None:
    skipped = max(-first, 0)
    kept = values[skipped : max(len(row) - first, 0)]
    row[max(first, 0) : max(first, 0) + len(kept)] = kept


def _days(panel: Panel, calendar: SiteCalendar) -> list[date]:
    first, last = calendar.day_of(panel.start_ms), calendar.day_of(panel.end_ms - 1)
    return [first + timedelta(days=each) for each in range((last - first).days + 1)]
