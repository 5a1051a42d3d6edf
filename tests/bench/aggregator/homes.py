"""Homes to measure on: measured ones, of the demo or of a folder; made up where a year of many is needed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from demo.data.series import FOLDER, HOLIDAYS, ZONE
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
    """`NODE_HOMES` measured homes. Of the folder's load_hourly.parquet (kWh an hour, H001.. are measured homes): four
    test weeks, one a season. Without a folder those of the demo: the last 15 of its 25 days."""
    import pandas as pd

    if data is None:
        frame = pd.read_csv(FOLDER / "load_wh.csv", index_col="start", parse_dates=True)
        ids = tuple(sorted(frame.columns)[:NODE_HOMES])
        values = np.asarray(frame[list(ids)].to_numpy().T, dtype=np.float32)
        homes = Panel(ids, int(frame.index[0].timestamp() * 1000), 3600, values)
        days = tuple(date(2016, 8, 18) + timedelta(days=each) for each in range(15))
        text = "17 measured homes of demo/data: 25 days of August 2016, of which the last 15 are forecast"
        return Subjects(homes, SiteCalendar(ZONE, HOLIDAYS), days, text)
    frame = pd.read_parquet(data / "load_hourly.parquet")
    calendar = SiteCalendar("America/Los_Angeles", national_holidays("US", 2016, 2017, "CA"))
    ids = tuple(sorted(frame.columns)[:NODE_HOMES])
    values = np.asarray(frame[list(ids)].to_numpy().T * 1000, dtype=np.float32)
    homes = Panel(ids, int(frame.index[0].timestamp() * 1000), 3600, values)
    starts = [date(2017, 1, 9), date(2017, 3, 13), date(2017, 5, 8), date(2017, 7, 10)]
    return Subjects(
        homes,
        calendar,
        _weeks(starts),
        "17 measured homes, CityLearn 2022 (MIT), four weeks in January, March, May and July 2017",
    )


def to_be_timed(which: Subjects) -> tuple[Panel, SiteCalendar, str]:
    """Homes with as long a history as forecasts look at: those measured, or made-up ones where theirs is shorter."""
    if which.homes.values.shape[1] >= 250 * 24:
        return which.homes, which.calendar, "copies of the measured homes"
    return some_homes(NODE_HOMES, 300), LOS_ANGELES, "made-up homes of 300 days, seed 7: the measured days are too few"


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
