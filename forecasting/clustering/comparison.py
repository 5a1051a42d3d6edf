"""Is re-clustering worth it? Ways of clustering side by side on the same history, each knowing only what was past.

Every `review_days` the way under test may move homes; over the days until the next review two errors are taken:

    split   each home as its share of its cluster's forecast, against what it used: whether like is with like
    node    each cluster's forecast against its sum: whether the clusters are still as predictable as before

The share of a home is its part of the cluster's energy over the last four weeks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np

from forecasting.calendar import SiteCalendar
from forecasting.clustering.formation import form
from forecasting.clustering.learning import learned
from forecasting.clustering.moving import Hysteresis, Metric, Move, Standing, review
from forecasting.clustering.traits import Homes, Site, homes
from forecasting.panels.forecasts import FittedPanel
from forecasting.panels.panel import Floats, Panel
from forecasting.panels.weather import Weather
from forecasting.serving.catalogue import VIRTUAL_NODE_DEFAULT, model

WAYS = ("static", "dynamic", "learned")


@dataclass
class Way:
    """One way of clustering over the test. Errors are nRMSE: split the mean of the homes, node that of the clusters
    weighted by energy."""

    name: str
    split_nrmse: float = float("nan")
    node_nrmse: float = float("nan")
    moves: list[Move] = field(default_factory=list)
    assignment: dict[str, str] = field(default_factory=dict)


def compare(
    panel: Panel,
    calendar: SiteCalendar,
    sites: dict[str, Site],
    first: date,
    last: date,
    *,
    review_days: int = 14,
    history_days: int = 56,
    settings: Hysteresis | None = None,
    weather: Weather | None = None,
    ways: Sequence[str] = WAYS,
    seed: int = 1,
    progress: Callable[[], None] | None = None,
) -> list[Way]:
    """Each way from the same first clustering on the day `first`, reviewed until `last`. Raises ValueError for a way
    that is not in WAYS."""
    unknown = sorted(set(ways) - set(WAYS))
    if unknown:
        raise ValueError(f"ways are {', '.join(WAYS)}; not {', '.join(unknown)}")
    hysteresis = settings or Hysteresis()
    test = _Test(panel, calendar, sites, history_days, review_days, weather)
    begun = Standing(form(test.homes(first), homes_min=hysteresis.homes_min, seed=seed).assignment)
    found = []
    for name in ways:
        way, standing = Way(name), begun
        split: list[Floats] = []
        node: list[tuple[float, float]] = []
        for day in test.reviews(first, last):
            if day > first and name != "static":
                seen = test.homes(day)
                metric: Metric | None = None
                if name == "learned":
                    metric = learned(seen, test.before(day), standing.assignment)
                standing, moves = review(standing, seen, day, hysteresis, metric)
                way.moves += moves
            test.measure(standing.assignment, day, split, node)
            if progress is not None:
                progress()
        errors = np.concatenate(split, axis=1)
        way.split_nrmse = float(np.nanmean(np.sqrt(np.nanmean(errors**2, axis=1))))
        weights = np.array([each[1] for each in node])
        way.node_nrmse = float(np.sqrt(np.average([each[0] for each in node], weights=weights)))
        way.assignment = dict(standing.assignment)
        found.append(way)
    return found


class _Test:
    def __init__(
        self, panel: Panel, calendar: SiteCalendar, sites: dict[str, Site], history_days: int, review_days: int,
        weather: Weather | None,
    ) -> None:  # fmt: skip
        self._panel = panel
        self._calendar = calendar
        self._sites = sites
        self._history_days = history_days
        self._review_days = review_days
        self._weather = weather
        self._seen: dict[date, Homes] = {}
        self._levels = np.maximum(np.nanmean(np.abs(panel.values), axis=1), 1e-9)

    def reviews(self, first: date, last: date) -> list[date]:
        count = (last - first).days // self._review_days
        return [first + timedelta(days=self._review_days * each) for each in range(max(count, 1))]

    def before(self, day: date, days: int | None = None) -> Panel:
        """The readings of the last days before a day."""
        start = day - timedelta(days=days or self._history_days)
        return self._panel.between(self._calendar.start_ms(start), self._calendar.start_ms(day))

    def homes(self, day: date) -> Homes:
        if day not in self._seen:
            self._seen[day] = homes(self.before(day), self._calendar, self._sites, self._weather)
        return self._seen[day]

    def measure(
        self, assignment: Mapping[str, str], day: date, split: list[Floats],
        node: list[tuple[float, float]],
    ) -> None:  # fmt: skip
        """Errors of the days until the next review: of each home over its level, and of each cluster."""
        groups: dict[str, list[str]] = {}
        for home, name in assignment.items():
            groups.setdefault(name, []).append(home)
        start_ms = self._calendar.start_ms(day)
        end_ms = self._calendar.start_ms(day + timedelta(days=self._review_days))
        truth = self._panel.between(start_ms, end_ms).values
        sums = self._panel.between(self._panel.start_ms, end_ms).summed(groups)
        fitted = model(VIRTUAL_NODE_DEFAULT).fit(sums, self._calendar, weather=self._weather)
        forecast = self._days(fitted, day, len(groups), truth.shape[1])
        recent = np.nansum(self.before(day, 28).values, axis=1)
        row = {home: position for position, home in enumerate(self._panel.ids)}
        errors = np.full(truth.shape, np.nan)
        actual = sums.between(start_ms, end_ms).values
        for position, members in enumerate(groups.values()):
            rows = [row[home] for home in members]
            shares = recent[rows] / max(float(recent[rows].sum()), 1e-9)
            errors[rows] = (shares[:, None] * forecast[position] - truth[rows]) / self._levels[rows][:, None]
            level = float(np.nanmean(np.abs(actual[position])))
            square = float(np.nanmean((forecast[position] - actual[position]) ** 2)) / max(level, 1e-9) ** 2
            node.append((square, level))
        split.append(errors)

    def _days(self, fitted: FittedPanel, day: date, rows: int, columns: int) -> Floats:
        """Day-ahead forecasts of the days until the next review, side by side."""
        found = np.full((rows, columns), np.nan)
        at = 0
        for each in range(self._review_days):
            start_ms = self._calendar.start_ms(day + timedelta(days=each))
            end_ms = self._calendar.start_ms(day + timedelta(days=each + 1))
            count = min((end_ms - start_ms) // self._panel.step_ms, columns - at)
            if count > 0:
                found[:, at : at + count] = fitted.forecast(start_ms, count, start_ms).values
            at += count
        return found
