"""A VTN whose homes reported for weeks, for tests of what `serve` makes of it."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
from sqlalchemy import text, update

from forecasting.calendar import SiteCalendar
from forecasting.panels.panel import Panel
from tests.forecasting.synthetic import some_homes
from vtn.context import Vtn
from vtn.records.tables import vens
from vtn.services.programs import Program, ProgramTerms

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
PROGRAM = "hourly"

_INSERT = text(
    "INSERT INTO telemetry (ven_id, r_id, start_ms, interval_s, energy_wh, quality, received_ms) "
    "SELECT :ven, 'meter', unnest(cast(:starts AS bigint[])), 3600, unnest(cast(:values AS bigint[])), 'ok', 0 "
    "ON CONFLICT (ven_id, r_id, start_ms) DO UPDATE SET energy_wh = excluded.energy_wh"
)


async def reporting(
    vtn: Vtn, homes: int, days: int, *, zone: str = "UTC", until_ms: int, factor: float = 1.0
) -> tuple[Program, Panel]:
    """Homes of one virtual node on feeder F1 that reported every hour until `until_ms`; what they reported."""
    program = await vtn.programs.create(PROGRAM, ProgramTerms(interval_s=3600, zone=zone, history_days=days))
    calendar = SiteCalendar(zone)
    first = calendar.day_of(until_ms) - timedelta(days=days)
    panel = some_homes(homes, days + 2, calendar, first=first).ended_by(until_ms)
    ids = []
    for row in range(homes):
        ven = await vtn.vens.add(f"home-{row}", "F1", PROGRAM, virtual_node="vn-F1")
        ids.append(ven.ven_id)
        async with vtn.database.transaction() as connection:
            await connection.execute(update(vens).where(vens.c.ven_id == ven.ven_id).values(meter_r_id="meter"))
    found = Panel(tuple(ids), panel.start_ms, 3600, np.round(panel.values * factor))
    await report(vtn, found)
    return program, found


async def report(vtn: Vtn, panel: Panel) -> None:
    """Readings of homes that are there, as their reports would bring them."""
    for row, ven_id in enumerate(panel.ids):
        values = [int(value) for value in panel.values[row]]
        async with vtn.database.transaction() as connection:
            await connection.execute(_INSERT, {"ven": ven_id, "starts": panel.starts_ms.tolist(), "values": values})
