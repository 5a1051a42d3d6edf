"""What the homes of a feeder are like, from what they reported; needs the extra `intelligence`.

telemetry, batch by batch ──▶ cleaned ──▶ Panel (every home has a row, without a reading an empty one)
weather of the settings, if there is any ──────────────▶ traits ──▶ Homes
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from contracts.core.units import MS_PER_S
from forecasting.clustering.traits import Homes, Site, homes
from forecasting.errors import ForecastError
from forecasting.panels.cleaning import cleaned
from forecasting.panels.panel import Floats, Panel
from vtn.aggregator.ports import Members
from vtn.analytics.weather import WeatherShelf
from vtn.services.programs import Program
from vtn.services.vens import Ven

HISTORY_DAYS = 56
KNOWN_PERCENT = 80
"""How many of the homes must have a week of readings before they are told apart."""
_BATCH = 10
"""Homes whose readings are fetched at once: rows become numbers on the event loop, a tenth of a second's worth."""
_DAY_MS = 86_400_000


@dataclass(frozen=True)
class Seen:
    """Traits of homes with the readings they come from. `enough`: is more known than that they are there?"""

    homes: Homes
    panel: Panel

    @property
    def known(self) -> int:
        return len(self.homes.ids) - len(self.homes.short)

    @property
    def enough(self) -> bool:
        return self.known * 100 >= len(self.homes.ids) * KNOWN_PERCENT


async def seen(
    members: Members, program: Program, weather: WeatherShelf, vens: Sequence[Ven], now_ms: int
) -> Seen:  # fmt: skip
    """The homes as their last eight weeks show them. Off the event loop but for the queries. Raises ForecastError."""
    panel = await panel_of(members, program, [ven.ven_id for ven in vens], now_ms)
    sites = {ven.ven_id: Site(ven.area, ven.program) for ven in vens}
    calendar = program.terms.calendar

    def traits() -> Homes:
        with np.errstate(all="ignore"):
            return homes(panel, calendar, sites, weather.around(now_ms))

    return Seen(await asyncio.to_thread(traits), panel)


async def panel_of(
    members: Members, program: Program, ven_ids: Sequence[str], now_ms: int, days: int = HISTORY_DAYS
) -> Panel:
    """Readings of homes on one grid, NaN where there is none; a home without any has a row of its own all the same.
    Raises ForecastError."""
    step_ms = program.terms.interval_s * MS_PER_S
    first_ms = (now_ms - days * _DAY_MS) // step_ms * step_ms
    count = (now_ms - first_ms) // step_ms
    rows: list[Floats] = []
    for at in range(0, len(ven_ids), _BATCH):
        batch = list(ven_ids[at : at + _BATCH])
        found = await members.readings(batch, first_ms, now_ms)
        rows.append(await asyncio.to_thread(_rows, [found[each] for each in batch], program, first_ms, count, now_ms))
    values = np.concatenate(rows) if rows else np.empty((0, count), np.float32)
    return Panel(tuple(ven_ids), first_ms, program.terms.interval_s, values)


def _rows(found: Sequence[Mapping[int, int]], program: Program, first_ms: int, count: int, now_ms: int) -> Floats:
    values = np.full((len(found), count), np.nan, dtype=np.float32)
    terms = program.terms
    for row, readings in enumerate(found):
        if not readings:
            continue
        try:
            made = cleaned(
                readings.items(), terms.interval_s, unit="Wh", kind="net", zone=terms.zone, now_ms=now_ms,
                power_w_max=terms.connection_w,
            )  # fmt: skip
        except ForecastError:
            continue  # what a broken meter says is no reading
        for at_ms, energy in made.series.readings.items():
            position = (at_ms - first_ms) // (terms.interval_s * MS_PER_S)
            if 0 <= position < count:
                values[row, position] = energy
    return values
