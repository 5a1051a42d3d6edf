"""The demo's homes: real hourly energy, split into the 15-minute intervals the meters of the demo report.

`load_home("H001")` gives one home, `load_homes()` all of them. An hour of E Wh becomes four quarters, quarter k (0..3)
holding `(k + 1) * E // 4 - k * E // 4` Wh: whole Wh, the sum exactly E, no two quarters of an hour more than 1 Wh
apart. The split is an assumption: the source has hours, so nothing in the demo shows how a home varies inside one.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path

from ven.devices.profile import Profile, write_profile

FOLDER = Path(__file__).resolve().parent
ZONE = "America/Los_Angeles"
DEMO_DAY = date(2016, 8, 31)  # Wednesday, UTC-7
EVENT_START_MS = 1_472_688_000_000  # 2016-09-01T00:00Z = 17:00 local on the demo day
EVENT_END_MS = 1_472_698_800_000  # 2016-09-01T03:00Z = 20:00 local
HOLIDAYS = frozenset({date(2016, 7, 4), date(2016, 9, 5)})  # the public holidays nearest the extract; none is inside
HOUR_MS = 3_600_000
INTERVAL_S = 900
QUARTERS = HOUR_MS // (INTERVAL_S * 1000)


@dataclass(frozen=True)
class Home:
    """A row of homes.csv. `feeder_id` is made up (F1 and F2 in turn); bootstrap homes have another `source_home`."""

    home_id: str
    kind: str
    source_home: str
    feeder_id: str
    pv_kwp: str


@dataclass(frozen=True)
class HomeSeries:
    """One home on the 15-minute grid: Wh by interval, first interval starting at `start_ms` (UTC epoch ms)."""

    home: Home
    start_ms: int
    load_wh: tuple[int, ...]
    pv_wh: tuple[int, ...]

    @property
    def gross_by_start(self) -> dict[int, int]:
        """Interval start in ms -> Wh used, before PV."""
        return self._by_start(self.load_wh)

    @property
    def net_by_start(self) -> dict[int, int]:
        """Interval start in ms -> Wh at the meter: import > 0, export < 0."""
        return self._by_start(load - pv for load, pv in zip(self.load_wh, self.pv_wh, strict=True))

    def profile(self) -> Profile:
        return Profile(self.home.home_id, self.start_ms, INTERVAL_S, self.load_wh, self.pv_wh)

    def write_profile(self, path: Path) -> None:
        """Writes the file a simulated home reads (format: ven/devices/profile.py)."""
        write_profile(path, self.profile())

    def _by_start(self, values: Iterable[int]) -> dict[int, int]:
        return {self.start_ms + position * INTERVAL_S * 1000: value for position, value in enumerate(values)}


def load_home(home_id: str) -> HomeSeries:
    """One home of the extract. Raises KeyError for an unknown home."""
    homes = {home.home_id: home for home in list_homes()}
    if home_id not in homes:
        raise KeyError(f"no home {home_id!r} in the extract; there are {min(homes)} to {max(homes)}")
    start_ms, load = _table("load_wh.csv")
    _, pv = _table("pv_wh.csv")
    return HomeSeries(homes[home_id], start_ms, _quarters(load[home_id]), _quarters(pv[home_id]))


def load_homes() -> list[HomeSeries]:
    """All homes, in the order of homes.csv."""
    return [load_home(home.home_id) for home in list_homes()]


@cache
def list_homes() -> tuple[Home, ...]:
    with (FOLDER / "homes.csv").open(encoding="ascii", newline="") as file:
        return tuple(Home(**row) for row in csv.DictReader(file))


def split_hour(energy_wh: int) -> tuple[int, ...]:
    """Four whole quarters of an hour's energy; rule in the module's docstring."""
    return tuple((k + 1) * energy_wh // QUARTERS - k * energy_wh // QUARTERS for k in range(QUARTERS))


def _quarters(hours_wh: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(quarter for hour in hours_wh for quarter in split_hour(hour))


@cache
def _table(name: str) -> tuple[int, dict[str, tuple[int, ...]]]:
    """(start of the first hour in ms, home -> Wh per hour). Raises ValueError where an hour is missing."""
    with (FOLDER / name).open(encoding="ascii", newline="") as file:
        reader = csv.reader(file)
        home_ids = next(reader)[1:]
        rows = list(reader)
    starts = [
        int(datetime.strptime(row[0], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()) * 1000 for row in rows
    ]
    for position, start_ms in enumerate(starts):
        if start_ms != starts[0] + position * HOUR_MS:
            raise ValueError(f"{name}: the hour in row {position + 2} does not follow the one before")
    columns = list(zip(*(row[1:] for row in rows), strict=True))
    return starts[0], {home: tuple(map(int, column)) for home, column in zip(home_ids, columns, strict=True)}
