"""Weather as models see it, and what gives it: measured or forecast, from wherever a provider takes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from forecasting.errors import SeriesError
from forecasting.panels.panel import Floats

QUANTITIES = {
    "temp_c": "air temperature, degrees Celsius",
    "ghi_wm2": "global horizontal irradiance, W/m2",
    "wind_ms": "wind speed, m/s",
    "rh_pct": "relative humidity, percent",
}
"""What models know how to use, with units. Providers map their own names to these."""


@dataclass(frozen=True)
class Weather:
    """Quantities of one place in consecutive intervals from `start_ms`; each an array, NaN where unknown.

    `source` names the provider and its product; it is stored with each forecast. `kind`: "forecast" as it was known at
    `issued_at_ms`, or "observed": a test on history with observed weather knows more than a forecaster did and says so.
    Raises SeriesError for a quantity that is not in QUANTITIES or arrays of different lengths.
    """

    source: str
    kind: Literal["forecast", "observed"]
    start_ms: int
    interval_s: int
    quantities: Mapping[str, Floats]
    issued_at_ms: int | None = None

    def __post_init__(self) -> None:
        unknown = sorted(self.quantities.keys() - QUANTITIES.keys())
        if unknown:
            raise SeriesError(f"weather of {self.source} has {', '.join(unknown)}; known are {', '.join(QUANTITIES)}")
        if len({len(values) for values in self.quantities.values()}) > 1:
            raise SeriesError(f"the quantities of {self.source} have different lengths")

    @property
    def end_ms(self) -> int:
        """End of the last interval that has a value of any quantity."""
        known = [np.flatnonzero(~np.isnan(values)) for values in self.quantities.values()]
        last = max((int(each[-1]) for each in known if len(each)), default=-1)
        return self.start_ms + (last + 1) * self.interval_s * 1000

    def hindsight(self, at_ms: int) -> bool:
        """Whether it holds what nobody could know at an instant."""
        if self.kind == "observed":
            return self.end_ms > at_ms
        return self.issued_at_ms is not None and self.issued_at_ms > at_ms

    def on_grid(self, quantity: str, start_ms: int, interval_s: int, count: int) -> Floats | None:
        """A quantity for `count` intervals from `start_ms`: means of what lies inside, held where it is coarser.

        None where the source has no such quantity; NaN where it does not reach.
        """
        values = self.quantities.get(quantity)
        if values is None:
            return None
        own_ms, step_ms = self.interval_s * 1000, interval_s * 1000
        fine_ms = int(np.gcd(own_ms, step_ms))
        fine = start_ms + fine_ms * np.arange(count * (step_ms // fine_ms), dtype=np.int64)
        positions = (fine - self.start_ms) // own_ms
        inside = (positions >= 0) & (positions < len(values))
        found = np.where(inside, values[np.clip(positions, 0, max(len(values) - 1, 0))], np.nan)
        return np.asarray(found.reshape(count, -1).mean(axis=1))


class WeatherProvider(Protocol):
    """Where weather comes from."""

    @property
    def source(self) -> str:
        """Name of provider and product."""
        ...

    def weather(self, latitude: float, longitude: float, first_ms: int, end_ms: int) -> Weather:
        """Weather of a place that covers [first_ms, end_ms) as far as there is any. Raises WeatherUnavailable."""
        ...
