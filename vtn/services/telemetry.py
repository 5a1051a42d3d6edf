"""Telemetry: readings VENs report for monitoring and forecasts. Money rests on the signed readings of the ledger."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec
from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import aggregate_order_by

from openadr.model import Reading
from runtime.clock import Clock
from vtn.errors import InvalidInput
from vtn.records.database import Database
from vtn.records.tables import telemetry, vens

_BATCH = 2_000
_VENS_AT_ONCE = 50
_FUTURE_MS = 60_000
"""A reading may begin this much after the VTN's clock: clocks differ."""
_STORE = text(
    """
    INSERT INTO telemetry (ven_id, r_id, start_ms, interval_s, energy_wh, quality, received_ms)
    SELECT :ven_id, fresh.*, CAST(:now_ms AS bigint)
    FROM unnest(CAST(:r_id AS text[]), CAST(:start_ms AS bigint[]), CAST(:interval_s AS integer[]),
                CAST(:energy_wh AS bigint[]), CAST(:quality AS text[])) AS fresh
    ON CONFLICT (ven_id, r_id, start_ms) DO UPDATE
    SET interval_s = excluded.interval_s, energy_wh = excluded.energy_wh, quality = excluded.quality,
        received_ms = excluded.received_ms, corrected_ms = excluded.received_ms
    WHERE (telemetry.interval_s, telemetry.energy_wh, telemetry.quality)
        IS DISTINCT FROM (excluded.interval_s, excluded.energy_wh, excluded.quality)
    RETURNING corrected_ms
    """
)
"""One statement for any number of rows: putting one together for each batch took most of a worker's time while homes
sent three weeks of history."""


class Stored(msgspec.Struct, frozen=True):
    """What became of readings: `new` intervals, `corrected` ones with another value than before, `repeated` ones."""

    new: int
    corrected: int
    repeated: int


class Completeness(msgspec.Struct, frozen=True):
    """Intervals that should be there, and those that are there with a usable value."""

    expected: int
    present: int


class Telemetry:
    """Readings in PostgreSQL: one for each VEN, rID and start."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def store(self, ven_id: str, readings: Sequence[Reading]) -> Stored:
        """Keep readings; the last value of an interval counts, the same one again changes nothing.

        An interval that runs is taken (simple VENs stamp a value with the moment they read it) and corrected by what
        comes later. Raises InvalidInput for an interval without length or one that has not begun.
        """
        now_ms = self._clock.now_ms()
        rows = {}
        for reading in readings:
            if not reading.duration_s:
                raise InvalidInput("interval_invalid", f"the reading at {reading.start_ms} has no duration")
            if reading.start_ms > now_ms + _FUTURE_MS:
                raise InvalidInput("interval_invalid", f"the interval at {reading.start_ms} has not begun")
            rows[reading.r_id, reading.start_ms] = {
                "r_id": reading.r_id,
                "start_ms": reading.start_ms,
                "interval_s": reading.duration_s,
                "energy_wh": reading.value_wh,
                "quality": reading.quality,
            }
        new = corrected = 0
        waiting = list(rows.values())
        async with self._database.transaction() as connection:
            for first in range(0, len(waiting), _BATCH):
                part = waiting[first : first + _BATCH]
                columns = {name: [row[name] for row in part] for name in part[0]}
                marks = (await connection.scalars(_STORE, columns | {"ven_id": ven_id, "now_ms": now_ms})).all()
                new += sum(mark is None for mark in marks)
                corrected += sum(mark is not None for mark in marks)
        return Stored(new, corrected, len(waiting) - new - corrected)

    async def history(self, ven_id: str, first_ms: int, end_ms: int, *, r_id: str | None = None) -> dict[int, int]:
        """Energy in Wh by interval start, first_ms <= start < end_ms, of the VEN's meter or another rID.

        Readings marked missing are left out, by nothing replaced.
        """
        return (await self.histories([ven_id], first_ms, end_ms, r_id=r_id))[ven_id]

    async def histories(
        self, ven_ids: Sequence[str], first_ms: int, end_ms: int, *, r_id: str | None = None
    ) -> dict[str, dict[int, int]]:
        """As `history`, for several VENs, in the order of time.

        Fifty at a time: whoever else waits for the event loop gets its turn in between."""
        t = telemetry.c
        query = (
            select(
                t.ven_id,
                func.array_agg(aggregate_order_by(t.start_ms, t.start_ms)),
                func.array_agg(aggregate_order_by(t.energy_wh, t.start_ms)),
            )
            .join(vens, vens.c.ven_id == t.ven_id)
            .where(t.start_ms >= first_ms, t.start_ms < end_ms, t.quality != "missing")
            .where(t.r_id == (vens.c.meter_r_id if r_id is None else r_id))
            .group_by(t.ven_id)
        )
        found: dict[str, dict[int, int]] = {ven_id: {} for ven_id in ven_ids}
        async with self._database.reading() as connection:
            for first in range(0, len(ven_ids), _VENS_AT_ONCE):
                some = query.where(t.ven_id.in_(ven_ids[first : first + _VENS_AT_ONCE]))
                for ven_id, starts, energy in await connection.execute(some):
                    found[ven_id] = dict(zip(starts, energy, strict=True))
        return found

    async def delays_ms(self, ven_ids: Collection[str], first_ms: int, end_ms: int) -> dict[str, int]:
        """venID -> how long after the end of an interval its meter's reading came, at best, for intervals with first_ms
        <= start < end_ms. What was corrected later does not say when it came."""
        t = telemetry.c
        delay = func.min(t.received_ms - t.start_ms - 1000 * t.interval_s).label("delay_ms")
        query = (
            select(t.ven_id, delay)
            .join(vens, vens.c.ven_id == t.ven_id)
            .where(t.ven_id.in_(ven_ids), t.start_ms >= first_ms, t.start_ms < end_ms)
            .where(t.r_id == vens.c.meter_r_id, t.quality != "missing", t.corrected_ms.is_(None))
            .group_by(t.ven_id)
        )
        async with self._database.reading() as connection:
            return {row.ven_id: max(0, row.delay_ms) for row in await connection.execute(query)}

    async def last_readings(self) -> dict[str, int]:
        """venID -> end (ms) of the latest usable interval of its meter; a VEN that never reported is not there."""
        t = telemetry.c
        query = (
            select(t.ven_id, func.max(t.start_ms + 1000 * t.interval_s).label("end_ms"))
            .join(vens, vens.c.ven_id == t.ven_id)
            .where(t.r_id == vens.c.meter_r_id, t.quality != "missing")
            .group_by(t.ven_id)
        )
        async with self._database.reading() as connection:
            return {row.ven_id: row.end_ms for row in await connection.execute(query)}

    async def completeness(self, ven_id: str, first_ms: int, end_ms: int, interval_s: int) -> Completeness:
        """How many of the intervals that end by `end_ms` have a usable reading of the VEN's meter."""
        t = telemetry.c
        query = (
            select(func.count())
            .select_from(telemetry)
            .join(vens, vens.c.ven_id == t.ven_id)
            .where(t.ven_id == ven_id, t.r_id == vens.c.meter_r_id, t.interval_s == interval_s)
            .where(t.start_ms >= first_ms, t.start_ms + 1000 * interval_s <= end_ms)
            .where(t.quality.in_(("ok", "estimated")))
        )
        async with self._database.reading() as connection:
            present = await connection.scalar(query)
        return Completeness(max(end_ms - first_ms, 0) // (1000 * interval_s), int(present or 0))
