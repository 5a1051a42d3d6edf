"""What a home is like, in numbers that can be compared: shape of its day, level, weather response, generation.

shape       share of the day's use in each three hours, working days and others (16 numbers)
level       logarithm of the mean power             base    share that is always on
cooling     energy a degree of daily mean temperature above 20 C, over the mean         heating   below 16 C
generation  PV in kWp over the mean load, or what the meter shows of it
variation   day-to-day standard deviation over the mean
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from forecasting.calendar import SiteCalendar
from forecasting.models.features import COOLING_ABOVE_C, HEATING_BELOW_C
from forecasting.panels.localdays import LocalDays
from forecasting.panels.panel import Floats, Panel
from forecasting.panels.weather import Weather

_BLOCKS = 8
SHAPE = tuple(f"{kind}_{3 * each:02}h" for kind in ("working", "other") for each in range(_BLOCKS))
TRAITS = (*SHAPE, "level", "base", "cooling", "heating", "generation", "variation")
WEIGHTS = np.array([0.35] * len(SHAPE) + [0.6, 0.5, 1.0, 1.0, 1.2, 0.4])
"""How much a standard deviation of each trait counts in a distance: sixteen numbers of one shape count as about two."""


@dataclass(frozen=True)
class Site:
    """What is not in the readings: the feeder, which no virtual node may cross, the programme, PV if it is known."""

    feeder: str
    programme: str = ""
    pv_kwp: float | None = None


@dataclass(frozen=True)
class Homes:
    """Homes in the order of their ids: traits (homes, traits) without NaN, profiles (homes, 24) of working days in Wh.

    `short` names homes with less than a week of history: their traits are those of the median home.
    """

    ids: tuple[str, ...]
    sites: tuple[Site, ...]
    traits: Floats
    profiles: Floats
    short: frozenset[str] = frozenset()

    def scaled(self) -> Floats:
        """Traits in weighted standard deviations: what distances are taken of."""
        middle = np.median(self.traits, axis=0)
        spread = self.traits.std(axis=0)
        usual = np.clip((self.traits - middle) / np.where(spread > 1e-9, spread, 1.0), -4, 4)
        return np.asarray(usual * WEIGHTS)


def homes(panel: Panel, calendar: SiteCalendar, sites: Mapping[str, Site], weather: Weather | None = None) -> Homes:
    """Traits of the homes of a panel. Raises KeyError for a home without a site."""
    order = sorted(range(len(panel.ids)), key=lambda row: panel.ids[row])
    panel = panel.rows(order)
    grid = LocalDays(calendar, panel.start_ms, panel.interval_s, panel.values.shape[1])
    cube = grid.cube(panel.values.astype(np.float64))
    by_hour = _hours(cube)
    working = grid.working(grid.days)
    kinds = [_mean(by_hour[:, chosen], 1) for chosen in (working, ~working)]
    level = _mean(cube.reshape(len(cube), -1), 1) * 3600 / panel.interval_s
    size = np.maximum(np.nan_to_num(np.abs(level)), 1e-3)
    shapes = [_mean(kind.reshape(len(kind), _BLOCKS, -1), 2) / size[:, None] for kind in kinds]
    daily = _mean(by_hour, 2)
    columns = [
        *shapes[0].T, *shapes[1].T, np.log(size), _low(by_hour) / size,
        *_responses(daily, grid, weather, size), _generation(by_hour, panel.ids, sites, size),
        _spread(daily) / size,
    ]  # fmt: skip
    traits = np.stack(columns, axis=1)
    known_days = (~np.isnan(by_hour)).mean(axis=2) > 0.5
    short = known_days.sum(axis=1) < 7
    usual = np.nan_to_num(np.nanmedian(traits[~short], axis=0)) if (~short).any() else np.zeros(traits.shape[1])
    traits = np.where(short[:, None] | np.isnan(traits), usual, traits)
    return Homes(
        panel.ids,
        tuple(sites[each] for each in panel.ids),
        traits,
        np.nan_to_num(kinds[0]),
        frozenset(panel.ids[row] for row in np.flatnonzero(short)),
    )


def day_profiles(panel: Panel, calendar: SiteCalendar) -> tuple[Floats, Floats, Floats]:
    """Typical days of each series: (series, 24) of Wh on working days, the same on others, and how many days of each
    kind there are (series, 2); NaN without a reading."""
    grid = LocalDays(calendar, panel.start_ms, panel.interval_s, panel.values.shape[1])
    by_hour = _hours(grid.cube(panel.values.astype(np.float64)))
    working = grid.working(grid.days)
    known = (~np.isnan(by_hour)).mean(axis=2) > 0.5
    days = np.stack([known[:, working].sum(axis=1), known[:, ~working].sum(axis=1)], axis=1)
    return _mean(by_hour[:, working], 1), _mean(by_hour[:, ~working], 1), days


def _hours(cube: Floats) -> Floats:
    """(homes, days, slots) to (homes, days, 24) of Wh an hour."""
    per_hour = max(cube.shape[2] // 24, 1)
    usable = cube[:, :, : 24 * per_hour] if cube.shape[2] >= 24 else np.repeat(cube, 24 // cube.shape[2], axis=2)
    return np.asarray(usable.reshape(*usable.shape[:2], 24, -1).mean(axis=3) * per_hour)


def _mean(values: Floats, axis: int) -> Floats:
    known = ~np.isnan(values)
    counts = known.sum(axis=axis)
    return np.asarray(np.where(counts > 0, np.where(known, values, 0).sum(axis=axis) / np.maximum(counts, 1), np.nan))


def _low(by_hour: Floats) -> Floats:
    """The tenth percentile of the hours."""
    flat = np.sort(by_hour.reshape(len(by_hour), -1), axis=1)
    counts = (~np.isnan(flat)).sum(axis=1)
    return np.asarray(flat[np.arange(len(flat)), np.maximum(counts // 10 - 1, 0)])


def _spread(daily: Floats) -> Floats:
    middle = _mean(daily, 1)
    return np.sqrt(_mean((daily - middle[:, None]) ** 2, 1))


def _responses(daily: Floats, grid: LocalDays, weather: Weather | None, size: Floats) -> list[Floats]:
    """Wh an hour and degree of cooling and of heating, over the mean; 0 without weather."""
    nothing: list[Floats] = [np.zeros(len(daily)), np.zeros(len(daily))]
    if weather is None:
        return nothing
    values = weather.on_grid("temp_c", grid.start_ms, grid.interval_s, grid.count)
    if values is None:
        return nothing
    temperature = _mean(grid.cube(values[None])[0], 1)
    found: list[Floats] = []
    for degrees in (np.maximum(temperature - COOLING_ABOVE_C, 0), np.maximum(HEATING_BELOW_C - temperature, 0)):
        there = ~np.isnan(daily) & ~np.isnan(degrees)[None]
        degrees = np.nan_to_num(degrees)[None]
        counts = np.maximum(there.sum(axis=1), 1)
        middle_x, middle_y = (there * degrees).sum(axis=1) / counts, (there * np.nan_to_num(daily)).sum(axis=1) / counts
        away = there * (degrees - middle_x[:, None])
        slope = (away * (np.nan_to_num(daily) - middle_y[:, None])).sum(axis=1) / np.maximum(
            (away**2).sum(axis=1), 20.0
        )
        found.append(slope / size)
    return found


def _generation(by_hour: Floats, ids: tuple[str, ...], sites: Mapping[str, Site], size: Floats) -> Floats:
    """PV over the mean load: as the site says, or from what flows out around noon."""
    told = np.array([np.nan if (kwp := sites[each].pv_kwp) is None else 1000 * kwp for each in ids])
    noon = _mean(by_hour[:, :, 10:15].reshape(len(by_hour), -1), 1)
    seen = np.maximum(-np.nan_to_num(noon), 0) * 3
    return np.asarray(np.where(np.isnan(told), seen, told) / size)
