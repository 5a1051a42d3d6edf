"""What a model of days is: it sees past days as a cube and says what a later day will be.

            days known when the forecast is issued          target
    cube    d0  d1  d2  ...............  d(k-1)  dk | ?  ?    t          lead = days between dk and t
                                                   issue

Everything a model uses for day t comes from days up to t - 1 - lead, also when it is asked for past days: so the errors
it would have made (for its bands, and for tests) are those of forecasts made with the same lead.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from forecasting.panels.localdays import LocalDays
from forecasting.panels.panel import Floats, Panel
from forecasting.panels.weather import Weather


@dataclass
class Days:
    """Local days of a panel up to and with the days to be forecast, whose values are NaN.

    cube: (series, days, slots) Wh, float32; NaN is a gap, a label that does not exist, an excluded day or the future.
    working: which days are working days. known: number of days at the front that had ended at the issue.
    """

    ids: tuple[str, ...]
    grid: LocalDays
    cube: Floats
    working: NDArray[np.bool_]
    known: int
    weather: Weather | None = None
    derived: dict[Any, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        history: Panel,
        grid: LocalDays,
        *,
        known: int,
        total: int,
        excluded: Collection[date] = frozenset(),
        weather: Weather | None = None,
    ) -> Days:
        """Days of a history that ends at the issue. `grid` starts where it starts and may go on; `total` days."""
        cube = grid.cube(history.values.astype(np.float32, copy=False), total)
        cube[:, known:] = np.nan
        _skip_labels_that_do_not_exist(cube, grid, known)
        dates = grid.dates(total)
        for position in range(known):
            if dates[position] in excluded:
                cube[:, position] = np.nan
        return cls(history.ids, grid, cube, grid.working(total), known, weather)

    def until(self, end: int) -> Days:
        """As they were known when day number `end` began: what is learnt then does not depend on what came later."""
        if end >= self.known:
            return self
        if ("until", end) not in self.derived:
            cube = self.cube.copy()
            cube[:, end:] = np.nan
            self.derived["until", end] = Days(self.ids, self.grid, cube, self.working, end, self.weather)
        found: Days = self.derived["until", end]
        return found

    @property
    def count(self) -> int:
        return int(self.cube.shape[1])

    @property
    def slots(self) -> int:
        return int(self.cube.shape[2])

    @property
    def complete(self) -> bool:
        """Whether no known value is missing: models may then skip their masks."""
        if "complete" not in self.derived:
            self.derived["complete"] = not bool(np.isnan(self.cube[:, : self.known]).any())
        return bool(self.derived["complete"])

    def temperature(self) -> Floats | None:
        """Air temperature by day and slot (days, slots), degrees Celsius, NaN where unknown; None without weather."""
        if "temperature" not in self.derived:
            self.derived["temperature"] = self._weather("temp_c")
        found: Floats | None = self.derived["temperature"]
        return found

    def _weather(self, quantity: str) -> Floats | None:
        if self.weather is None:
            return None
        values = self.weather.on_grid(quantity, self.grid.start_ms, self.grid.interval_s, self.grid.count)
        return None if values is None else self.grid.cube(values[None, :], self.count)[0, : self.count]


def _skip_labels_that_do_not_exist(cube: Floats, grid: LocalDays, known: int) -> None:
    """Spring labels take the value before them: nothing is ever forecast for them on that day, and one hour without
    time must not make every array of a year one with gaps."""
    places = grid.day_of * grid.slots + grid.slot_of
    exists = np.bincount(places, minlength=known * grid.slots)[: known * grid.slots] > 0
    first = int(places[0]) if len(places) else 0
    for place in np.flatnonzero(~exists):
        if place > first:
            day, slot = divmod(int(place), grid.slots)
            before = divmod(int(place) - 1, grid.slots)
            cube[:, day, slot] = cube[:, before[0], before[1]]


class DayModel(Protocol):
    """A model of whole days, over all series of a panel at once."""

    @property
    def name(self) -> str:
        """Name and settings, enough to make the model again; stored with each forecast."""
        ...

    @property
    def version(self) -> int:
        """Raised with each change of the method, so that stored forecasts name what made them."""
        ...

    @property
    def days_min(self) -> int:
        """Days of history below which the model is not asked: a simpler one serves, with a reason."""
        ...

    @property
    def retrain_days(self) -> int:
        """How old a training may be."""
        ...

    def train(self, days: Days, until: int, lead: int) -> Any:
        """What the model learns from days before number `until`; None where there is nothing to learn. A model that is
        trained anew less than daily is given the days of then (`Days.until`)."""
        ...

    def profiles(self, days: Days, state: Any, first: int, end: int, lead: int) -> Floats:
        """(series, end - first, slots) for days first .. end - 1, each from days up to its own number - 1 - lead.

        NaN where the model cannot say.
        """
        ...
