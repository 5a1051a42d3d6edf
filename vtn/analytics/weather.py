"""Providers of weather: a file, or an HTTP service that answers JSON. What they call things is a setting.

file      CSV or Parquet: a column of stamps, and quantities under our names or those of `columns`
HTTP      a URL with {latitude} {longitude} {first} {end} (ISO dates) in it; the answer holds arrays beside an array
          of stamps (under any one key, as many services do), or a list of records
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import aiohttp
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
_TIMEOUT_S = 20.0
"""For the whole answer: one that comes a byte at a time would hold up who waits for it for days."""
_SLOTS_MAX = 3_000_000
"""Five years of minutes: two stamps a thousand years apart would fill the memory with gaps."""
_AGAIN_S = 300.0
"""A source that failed is left alone so long, however fast the domain clock runs: needs wait for it."""
_FRESH_MS = 3_600_000
_BEHIND_MS, _AHEAD_MS = 300 * 86_400_000, 14 * 86_400_000
_PLAUSIBLE = {"temp_c": (-95.0, 65.0), "ghi_wm2": (-20.0, 2_000.0), "wind_ms": (0.0, 120.0), "rh_pct": (0.0, 110.0)}
"""What was never measured on Earth is a mark for "nothing" (-9999), a wrong unit (kelvin), or a lie: a gap."""
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
    try:
        _filled(source, 0.0, 0.0, 0, 0)
    except (LookupError, AttributeError, ValueError) as error:
        known = "{latitude}, {longitude}, {first} and {end}"
        raise SettingsError(f"weather from {address.hostname}: of what is in braces only {known} are known") from error
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
        issued_at_ms = int(datetime.now(UTC).timestamp() * 1000)
        try:
            body = asyncio.run(self._body(_filled(self.url, latitude, longitude, first_ms, end_ms)))
            stamps, found = _arrays(json.loads(body), _names(self.columns))
            return _weather(self.source, self.kind, stamps, found, issued_at_ms if self.kind == "forecast" else None)
        except WeatherUnavailable:
            raise
        # what a stranger sends may be nested too deep, and fit none of the arrays
        except (OSError, aiohttp.ClientError, ArithmeticError, LookupError, RecursionError, TypeError, ValueError,
                ForecastError) as error:  # fmt: skip
            raise WeatherUnavailable(f"no weather from {self.source}: {_without_url(error)}") from None

    async def _body(self, address: str) -> bytes:
        """The answer's body. No redirect is followed: it could lead to plain HTTP, or to a service in this network."""
        limit = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        async with (
            aiohttp.ClientSession(timeout=limit, trust_env=True, headers={"accept": "application/json"}) as session,
            session.get(address, allow_redirects=False) as answer,
        ):
            if 300 <= answer.status < 400:
                raise WeatherUnavailable(f"{self.source} is elsewhere now: name the address it has")
            if answer.status != 200:
                raise WeatherUnavailable(f"no weather from {self.source}: it answered {answer.status}")
            body = bytearray()
            async for part in answer.content.iter_any():
                body += part
                if len(body) > _BYTES_MAX:
                    raise WeatherUnavailable(f"the answer of {self.source} is larger than {_BYTES_MAX} bytes")
            return bytes(body)


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
        self._again_at = 0.0
        self._lock = threading.Lock()

    def around(self, now_ms: int) -> Weather | None:
        """From 300 days before `now_ms` to two weeks after it; waits for the source, so call it in a thread."""
        source, place = self._settings.weather_source, place_of(self._settings)
        if source is None or ("://" in source and place is None):
            return None
        with self._lock:
            if self._kept is not None and 0 <= now_ms - self._kept[0] < _FRESH_MS:
                return self._kept[1]
            if time.monotonic() < self._again_at:
                return None
            found: Weather | None = None
            try:
                where = provider(source, self._settings.weather_columns, self._settings.weather_kind)
                latitude, longitude = (0.0, 0.0) if place is None else (place.latitude, place.longitude)
                found = where.weather(latitude, longitude, now_ms - _BEHIND_MS, now_ms + _AHEAD_MS)
            except (GridpactError, ForecastError) as error:
                _log.warning("forecasts are made without weather", reason=str(error))
            except Exception:  # whatever it is: forecasts are made without it
                _log.exception("forecasts are made without weather")
            if found is None:
                self._again_at = time.monotonic() + _AGAIN_S
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
    if (stamps[-1] - stamps[0]) // step_ms >= _SLOTS_MAX:
        raise WeatherUnavailable(f"{source} has stamps that are years apart")
    positions = (stamps - stamps[0]) // step_ms
    if step_ms % 1000 or ((stamps - stamps[0]) % step_ms).any():
        raise WeatherUnavailable(f"the stamps of {source} are not {step_ms / 1000:g} s apart everywhere")
    quantities = {}
    for name, values in found.items():
        grid = np.full(int(positions[-1]) + 1, np.nan)
        grid[positions] = values[order]
        least, most = _PLAUSIBLE[name]
        grid[~((grid >= least) & (grid <= most))] = np.nan
        quantities[name] = grid
    if all(np.isnan(grid).all() for grid in quantities.values()):
        raise WeatherUnavailable(f"{source} has no value that weather can have: look at its units")
    return Weather(source, kind, int(stamps[0]), step_ms // 1000, quantities, issued_at_ms)


def _without_url(error: Exception) -> str:
    """What went wrong. An address may hold a key, and this is logged."""
    if isinstance(error, aiohttp.InvalidURL):
        return "its address is none"
    if isinstance(error, aiohttp.ClientResponseError):
        return error.message.partition("\n")[0]
    return str(error) or type(error).__name__


def _filled(url: str, latitude: float, longitude: float, first_ms: int, end_ms: int) -> str:
    return url.format(
        latitude=f"{latitude:.4f}", longitude=f"{longitude:.4f}", first=_day(first_ms), end=_day(end_ms)
    )  # fmt: skip


def _day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).date().isoformat()
