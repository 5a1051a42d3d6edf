"""PV generation of the days to come: clear sky times what the last days made of it.

    ratio(day, slot) = generation / clear sky          low sun left out
    without irradiance to come:  forecast = clear sky x weighted mean ratio of the last days, the newest most
    with it (weather ghi_wm2):   forecast = irradiance to come / clear sky x what the panels make of such light

Both are ratios by time of day, so a roof that looks east, a chimney's shadow and a new inverter are learnt, not asked.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecasting.models.days import Days
from forecasting.panels.panel import Floats
from forecasting.solar.clearsky import Place, clear_sky, libraries

_LOW_SUN = 0.03
"""Share of the highest clear-sky irradiance below which ratios are noise."""


@dataclass(frozen=True)
class ClearSkyScaled:
    """Generation as positive Wh. Raises MissingLibrary."""

    place: Place
    days_back: int = 20
    decay: float = 0.93
    sky_days: int = 45
    version: int = 1
    days_min: int = 1
    retrain_days: int = 1

    def __post_init__(self) -> None:
        libraries()

    @property
    def name(self) -> str:
        return f"clear-sky-{self.days_back}-{self.decay:g}"

    def train(self, days: Days, until: int, lead: int) -> None:
        return None

    def profiles(self, days: Days, state: None, first: int, end: int, lead: int) -> Floats:
        sky = self._sky(days)
        kept = sky > _LOW_SUN * max(float(sky.max()), 1.0)
        light = _light(days, sky, self.place)
        result = np.zeros((len(days.ids), end - first, days.slots), dtype=np.float32)
        for day in range(first, end):
            last = min(day - lead, days.known)
            lit = light is not None and bool(np.isfinite(light[day][kept[day]]).all())
            expected = light if lit and light is not None else sky
            length = self.sky_days if lit else self.days_back
            start = max(last - length, 0)
            decay = 0.98 if lit else self.decay
            weights = decay ** np.arange(last - start - 1, -1, -1, dtype=np.float32)
            past = days.cube[:, start:last]
            usable = kept[start:last] & np.isfinite(expected[start:last]) & ~np.isnan(past)
            made = np.einsum("d,nds->ns", weights, np.where(usable, past, 0))
            could = np.einsum("d,nds->ns", weights, np.where(usable, expected[start:last], 0))
            result[:, day - first] = _smooth_ratio(made, could) * np.where(kept[day], expected[day], 0)
        known = ~np.isnan(days.cube[:, : days.known]).all(axis=(1, 2)) if days.known else np.zeros(len(result), bool)
        result[~known] = np.nan
        return result

    def _sky(self, days: Days) -> Floats:
        """Clear-sky irradiance by day and slot, for every day of the cube."""
        key = ("sky", self.place)
        if key not in days.derived:
            grid = days.grid
            values = clear_sky(self.place, grid.start_ms, grid.interval_s, grid.count)
            days.derived[key] = np.nan_to_num(grid.cube(values[None], days.count)[0])
        found: Floats = days.derived[key]
        return found


def _light(days: Days, sky: Floats, place: Place) -> Floats | None:
    """Irradiance that was or is to come, on panels as the clear sky is: measured light over clear light, times it."""
    if days.weather is None or "ghi_wm2" not in days.weather.quantities:
        return None
    grid = days.grid
    ghi = days.weather.on_grid("ghi_wm2", grid.start_ms, grid.interval_s, grid.count)
    flat = clear_sky(
        Place(place.latitude, place.longitude, place.altitude_m), grid.start_ms, grid.interval_s, grid.count
    )
    if ghi is None:
        return None
    with np.errstate(invalid="ignore", divide="ignore"):
        index = np.where(flat > 10, np.clip(ghi / flat, 0, 1.5), np.where(np.isnan(ghi), np.nan, 0.0))
    return np.asarray(sky * grid.cube(index[None], days.count)[0])


def _smooth_ratio(made: Floats, could: Floats) -> Floats:
    """Ratio by slot, from it and its neighbours: single slots of few days are noise. 0 where the sun never was."""
    top, bottom = _with_neighbours(made), _with_neighbours(could)
    return np.where(bottom > 0, top / np.maximum(bottom, 1e-9), 0.0)


def _with_neighbours(values: Floats) -> Floats:
    return np.asarray(values + 0.5 * (np.roll(values, 1, axis=1) + np.roll(values, -1, axis=1)))
