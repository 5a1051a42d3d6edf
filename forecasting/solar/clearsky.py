"""What a clear sky would give at a place: the part of solar generation that is known for every minute to come."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from forecasting.errors import MissingLibrary
from forecasting.panels.panel import Floats

_FINE_S = 600
_BLOCK_DAYS = 16


@dataclass(frozen=True)
class Place:
    """Where panels are: degrees north and east, metres, and how they look at the sky.

    `tilt_deg` 0 is flat; `azimuth_deg` 180 is south, 0 north. None for both: the shape of a flat panel serves, and the
    ratio of each time of day learns the rest. Raises ValueError for a place that is not on Earth.
    """

    latitude: float
    longitude: float
    altitude_m: float = 0.0
    tilt_deg: float | None = None
    azimuth_deg: float | None = None

    def __post_init__(self) -> None:
        if not (-90 <= self.latitude <= 90 and -180 <= self.longitude <= 180):
            raise ValueError(f"latitude {self.latitude}, longitude {self.longitude} is no place on Earth")
        if (self.tilt_deg is None) != (self.azimuth_deg is None):
            raise ValueError("tilt_deg and azimuth_deg belong together")


def clear_sky(place: Place, start_ms: int, interval_s: int, count: int) -> Floats:
    """Irradiance on the panels under a clear sky, W/m2, mean of each of `count` intervals from `start_ms`.

    Ineichen and Perez (2002) with the climatology of turbidity that pvlib brings; Hay and Davies (1980) for tilted
    panels. Raises MissingLibrary.
    """
    step_ms, block_ms = interval_s * 1000, _BLOCK_DAYS * 86_400_000
    first, last = start_ms // block_ms, (start_ms + count * step_ms - 1) // block_ms
    per_block = block_ms // step_ms
    blocks = [_block(place, each * block_ms, interval_s, per_block) for each in range(first, last + 1)]
    skipped = (start_ms - first * block_ms) // step_ms
    return np.concatenate(blocks)[skipped : skipped + count] if blocks else np.empty(0)


@lru_cache(maxsize=512)
def _block(place: Place, start_ms: int, interval_s: int, count: int) -> Floats:
    """A stretch of time that many forecasts share."""
    pd, pvlib = libraries()
    step_s = int(np.gcd(interval_s, _FINE_S))
    fine = start_ms // 1000 + step_s * (np.arange(count * (interval_s // step_s)) + 0.5)
    times = pd.to_datetime(fine, unit="s", utc=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        location = pvlib.location.Location(place.latitude, place.longitude, altitude=place.altitude_m)
        sun = location.get_solarposition(times)
        sky = location.get_clearsky(times, solar_position=sun)
        values = sky["ghi"].to_numpy()
        if place.tilt_deg is not None and place.azimuth_deg is not None:
            values = pvlib.irradiance.get_total_irradiance(
                place.tilt_deg, place.azimuth_deg, sun["apparent_zenith"], sun["azimuth"], sky["dni"], sky["ghi"],
                sky["dhi"], dni_extra=pvlib.irradiance.get_extra_radiation(times), model="haydavies",
            )["poa_global"].to_numpy()  # fmt: skip
    return np.asarray(np.nan_to_num(values).reshape(count, -1).mean(axis=1))


def libraries() -> tuple[Any, Any]:
    """pandas and pvlib. Raises MissingLibrary."""
    try:
        import pandas as pd
        import pvlib
    except ImportError as error:
        raise MissingLibrary("forecasts of PV need the extra intelligence: pip install '.[intelligence]'") from error
    return pd, pvlib
