"""Providers of weather: a file, or an HTTP service that answers JSON. What they call things is a setting.

file      CSV or Parquet: a column of stamps, and quantities under our names or those of `columns`
HTTP      a URL with {latitude} {longitude} {first} {end} (ISO dates) in it; the answer holds arrays beside an array
          of stamps (under any one key, as many services do), or a list of records
"""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from forecasting.errors import ForecastError, WeatherUnavailable
from forecasting.panels.panel import Floats
from forecasting.panels.weather import QUANTITIES, Weather, WeatherProvider
from forecasting.solar.clearsky import Place
from runtime.errors import GridpactError, SettingsError
from runtime.logs import get_logger
from vtn.analytics.sources import table
from vtn.analytics.stamps import UNREADABLE, epoch_ms
from vtn.config import VtnSettings

_log = get_logger("vtn.weather")

Provided = Literal["forecast", "observed"]
_BYTES_MAX = 20 * 1024 * 1024
_TIMEOUT_S = 20
_FRESH_MS = 3_600_000
_BEHIND_MS, _AHEAD_MS = 300 * 86_400_000, 14 * 86_400_000
_STAMPS = ("time", "ts", "timestamp", "datetime", "validTime", "start")


def provider(source: str, columns: Mapping[str, str] | None = None, kind: Provided = "observed") -> WeatherProvider:
    """A provider for a path or a URL. `columns`: our quantity to the source's name. Raises SettingsError."""
    unknown = sorted((columns or {}).keys() - QUANTITIES.keys())
    if unknown:
        raise SettingsError(f"weather columns {', '.join(unknown)}: quantities are {', '.join(QUANTITIES)}")
    if "://" not in source:
        return FileWeather(Path(source), dict(columns or {}), kind)
    address = urllib.parse.urlsplit(source)
    local = address.hostname in ("127.0.0.1", "::1", "localhost")
    if address.scheme != "https" and not (address.scheme == "http" and local):
        raise SettingsError(f"weather from {address.scheme}://{address.hostname}: https is needed off this machine")
    return HttpWeather(source, dict(columns or {}), kind)


@dataclass(frozen=True)
class FileWeather:
    """One place, whatever place is asked for: the file says which."""

    path: Path
    columns: Mapping[str, str] = field(default_factory=dict)
    kind: Provided = "observed"

    @property
    def source(self) -> str:
        return f"file {self.path.name}"

    def weather(self, latitude: float, longitude: float, first_ms: int, end_ms: int) -> Weather:
        try:
            frame = table(self.path)
            stamp = next((name for name in frame.columns if str(name) in _STAMPS), frame.columns[0])
            stamps = epoch_ms(frame[stamp], self.path, "UTC")
            found = {
                ours: frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
                for ours, name in _names(self.columns).items()
                if name in frame.columns
            }
        except (OSError, ForecastError) as error:
            raise WeatherUnavailable(f"no weather in {self.path}: {error}") from error
        return _weather(self.source, self.kind, stamps, found, None)


@dataclass(frozen=True)
class HttpWeather:
    """A service that answers JSON to GET."""

    url: str
    columns: Mapping[str, str] = field(default_factory=dict)
    kind: Provided = "forecast"

    @property
    def source(self) -> str:
        return f"{urllib.parse.urlsplit(self.url).hostname} {self.kind}"

    def weather(self, latitude: float, longitude: float, first_ms: int, end_ms: int) -> Weather:
        address = self.url.format(
            latitude=f"{latitude:.4f}", longitude=f"{longitude:.4f}", first=_day(first_ms), end=_day(end_ms)
        )
        issued_at_ms = int(datetime.now(UTC).timestamp() * 1000)
        try:
            request = urllib.request.Request(address, headers={"accept": "application/json"})  # noqa: S310 - checked
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - scheme was checked
                body = answer.read(_BYTES_MAX + 1)
            if len(body) > _BYTES_MAX:
                raise WeatherUnavailable(f"the answer of {self.source} is larger than {_BYTES_MAX} bytes")
            stamps, found = _arrays(json.loads(body), _names(self.columns))
        except (OSError, urllib.error.URLError, ValueError, TypeError, ForecastError) as error:
            raise WeatherUnavailable(f"no weather from {self.source}: {error}") from error
        return _weather(self.source, self.kind, stamps, found, issued_at_ms if self.kind == "forecast" else None)


def place_of(settings: VtnSettings) -> Place | None:
    """Where the homes are, if the settings say so."""
    if settings.site_latitude is None or settings.site_longitude is None:
        return None
    return Place(settings.site_latitude, settings.site_longitude)


class WeatherShelf:
    """The weather of the settings, fetched again after an hour; None where there is none or it cannot be had, which is
    said once."""

    def __init__(self, settings: VtnSettings) -> None:
        self._settings = settings
        self._kept: tuple[int, Weather | None] | None = None
        self._lock = threading.Lock()

    def around(self, now_ms: int) -> Weather | None:
        """From 300 days before `now_ms` to two weeks after it; waits for the source, so call it in a thread."""
        source, place = self._settings.weather_source, place_of(self._settings)
        if source is None or ("://" in source and place is None):
            return None
        with self._lock:
            if self._kept is not None and 0 <= now_ms - self._kept[0] < _FRESH_MS:
                return self._kept[1]
            found: Weather | None = None
            try:
                where = provider(source, self._settings.weather_columns, self._settings.weather_kind)
                latitude, longitude = (0.0, 0.0) if place is None else (place.latitude, place.longitude)
                found = where.weather(latitude, longitude, now_ms - _BEHIND_MS, now_ms + _AHEAD_MS)
            except (GridpactError, ForecastError) as error:
                _log.warning("forecasts are made without weather", reason=str(error))
            self._kept = (now_ms, found)
            return found


def _names(columns: Mapping[str, str]) -> dict[str, str]:
    return {quantity: columns.get(quantity, quantity) for quantity in QUANTITIES}


def _arrays(answer: Any, names: Mapping[str, str]) -> tuple[Any, dict[str, Floats]]:
    """Stamps and quantities of an answer: the first mapping with an array of stamps in it, or a list of records."""
    import pandas as pd

    records = answer if isinstance(answer, list) else None
    places = [answer, *answer.values()] if isinstance(answer, dict) else []
    for place in places:
        if isinstance(place, list) and place and isinstance(place[0], dict):
            records = records or place
        if isinstance(place, dict) and any(isinstance(place.get(name), list) for name in _STAMPS):
            frame = pd.DataFrame({name: values for name, values in place.items() if isinstance(values, list)})
            break
    else:
        if records is None:
            raise WeatherUnavailable("the answer has neither arrays beside an array of stamps nor a list of records")
        frame = pd.DataFrame(records)
    stamp = next((name for name in _STAMPS if name in frame.columns), None)
    if stamp is None:
        raise WeatherUnavailable(f"the records have no stamp; they have {', '.join(map(str, frame.columns[:6]))}")
    values = {
        ours: pd.to_numeric(frame[name], errors="coerce").to_numpy(dtype=np.float64)
        for ours, name in names.items()
        if name in frame.columns
    }
    return epoch_ms(frame[stamp], "the answer", "UTC"), values


def _weather(
    source: str, kind: Provided, stamps: Any, found: Mapping[str, Floats], issued_at_ms: int | None
) -> Weather:
    """On a regular grid, gaps as NaN. Raises WeatherUnavailable for no quantity or stamps without a step."""
    if not found:
        raise WeatherUnavailable(f"{source} has none of {', '.join(QUANTITIES)}: name its columns")
    order = np.argsort(stamps, kind="stable")[int((stamps == UNREADABLE).sum()) :]
    stamps = stamps[order]
    steps = np.diff(stamps)
    steps = steps[steps > 0]
    if not len(steps):
        raise WeatherUnavailable(f"{source} has one stamp alone")
    step_ms = int(np.median(steps))
    positions = (stamps - stamps[0]) // step_ms
    if step_ms % 1000 or ((stamps - stamps[0]) % step_ms).any():
        raise WeatherUnavailable(f"the stamps of {source} are not {step_ms / 1000:g} s apart everywhere")
    quantities = {}
    for name, values in found.items():
        grid = np.full(int(positions[-1]) + 1, np.nan)
        grid[positions] = values[order]
        quantities[name] = grid
    return Weather(source, kind, int(stamps[0]), step_ms // 1000, quantities, issued_at_ms)


def _day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).date().isoformat()
