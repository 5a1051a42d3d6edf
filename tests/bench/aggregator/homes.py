"""Homes to measure on: made up, or measured ones of a folder."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from forecasting.calendar import SiteCalendar
from forecasting.panels.holidays import national_holidays
from forecasting.panels.panel import Panel
from tests.forecasting.synthetic import LOS_ANGELES, some_homes

NODE_HOMES = 17


@dataclass(frozen=True)
class Subjects:
    """A panel of homes, the days the test asks for, and where they are from."""

    homes: Panel
    calendar: SiteCalendar
    days: tuple[date, ...]
    source: str

    @property
    def node(self) -> Panel:
        """The homes as one virtual node."""
        return self.homes.summed({"virtual-node": self.homes.ids})


def subjects(data: Path | None) -> Subjects:
    """`NODE_HOMES` homes and four test weeks, one a season: of the folder's load_hourly.parquet (kWh an hour, columns
    H001.. are measured homes), or made up."""
    if data is None:
        first = date(2026, 1, 1)
        homes = some_homes(NODE_HOMES, 300, first=first)
        starts = [date(2026, 6, 1), date(2026, 7, 13), date(2026, 8, 24), date(2026, 10, 5)]
        return Subjects(homes, LOS_ANGELES, _weeks(starts), "made up, seed 7")
    import pandas as pd

    frame = pd.read_parquet(data / "load_hourly.parquet")
    calendar = SiteCalendar("America/Los_Angeles", national_holidays("US", 2016, 2017, "CA"))
    ids = tuple(sorted(frame.columns)[:NODE_HOMES])
    values = np.asarray(frame[list(ids)].to_numpy().T * 1000, dtype=np.float32)
    homes = Panel(ids, int(frame.index[0].timestamp() * 1000), 3600, values)
    starts = [date(2017, 1, 9), date(2017, 3, 13), date(2017, 5, 8), date(2017, 7, 10)]
    return Subjects(homes, calendar, _weeks(starts), "17 measured homes, CityLearn 2022 (MIT)")


def many(panel: Panel, count: int) -> Panel:
    """`count` homes out of a few: other levels and other days, so that no two are alike."""
    random = np.random.default_rng(3)
    source = random.integers(0, len(panel.ids), count)
    shift = 7 * 24 * random.integers(0, 8, count)
    factor = random.lognormal(0, 0.3, count).astype(np.float32)
    values = np.empty((count, panel.values.shape[1]), dtype=np.float32)
    for row in range(count):
        values[row] = np.roll(panel.values[source[row]], int(shift[row])) * factor[row]
    return Panel(tuple(f"home-{row:06}" for row in range(count)), panel.start_ms, panel.interval_s, values)


def _weeks(starts: list[date]) -> tuple[date, ...]:
    return tuple(start + timedelta(days=each) for start in starts for each in range(7))
