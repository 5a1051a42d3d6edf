"""Readings of homes summed by virtual node and interval, in the database: 100,000 homes are one query."""

from __future__ import annotations

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.core.units import MS_PER_S
from vtn.records.tables import telemetry, vens
from vtn.services.vens import ENROLLED


class Sum(msgspec.Struct, frozen=True):
    """Energy in Wh of `homes` homes of a virtual node (None: of none yet) in one interval, and when the last reading
    in it came."""

    virtual_node: str | None
    start_ms: int
    energy_wh: int
    homes: int
    received_ms: int


async def sums(
    connection: AsyncConnection, program: str, interval_s: int, first_ms: int, end_ms: int, *, area: str | None = None
) -> list[Sum]:
    """Sums over enrolled homes of a program, first_ms <= start < end_ms. A home counts in an interval that its meter's
    usable readings fill; shorter ones are added up. Intervals nobody reported are not there."""
    t, v = telemetry.c, vens.c
    step_ms = interval_s * MS_PER_S
    start = (t.start_ms - t.start_ms % step_ms).label("start_ms")
    home = (
        select(
            v.virtual_node,
            start,
            func.sum(t.energy_wh).label("energy_wh"),
            func.max(func.greatest(t.received_ms, t.corrected_ms)).label("received_ms"),
        )
        .join(vens, v.ven_id == t.ven_id)
        .where(v.program == program, v.status == ENROLLED, t.r_id == v.meter_r_id, t.quality != "missing")
        .where(t.start_ms >= first_ms, t.start_ms < end_ms, t.interval_s <= interval_s)
        .group_by(t.ven_id, v.virtual_node, start)
        .having(func.sum(t.interval_s) >= interval_s)
    )
    if area is not None:
        home = home.where(v.area == area)
    each = home.subquery()
    query = (
        select(
            each.c.virtual_node,
            each.c.start_ms,
            func.sum(each.c.energy_wh),
            func.count(),
            func.max(each.c.received_ms),
        )
        .group_by(each.c.virtual_node, each.c.start_ms)
        .order_by(each.c.start_ms, each.c.virtual_node)
    )
    rows = await connection.execute(query)
    return [Sum(node, start_ms, int(wh), homes, received_ms) for node, start_ms, wh, homes, received_ms in rows]


async def members(connection: AsyncConnection, program: str) -> dict[str | None, int]:
    """How many enrolled homes each virtual node of a program has; None: homes in no virtual node yet."""
    query = (
        select(vens.c.virtual_node, func.count())
        .where(vens.c.program == program, vens.c.status == ENROLLED)
        .group_by(vens.c.virtual_node)
    )
    return {row.virtual_node: int(row[1]) for row in await connection.execute(query)}
