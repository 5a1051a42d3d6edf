"""What VENs report besides energy: values in other units, the state of resources, Green Button feeds."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from openadr.model import Quality
from openadr.v2 import LoadControlState
from runtime.clock import Clock
from vtn.records.database import Database
from vtn.records.tables import green_button_feeds, measurements, resource_states

_BATCH = 2_000


class Measurement(msgspec.Struct, frozen=True):
    """A value (decimal string, in the unit the VEN described) of a point over an interval, or at a moment (0 s)."""

    r_id: str
    start_ms: int
    interval_s: int
    value: str
    quality: Quality = "ok"


class ResourceState(msgspec.Struct, frozen=True):
    """TELEMETRY_STATUS of a point at a moment."""

    r_id: str
    start_ms: int
    online: bool
    manual_override: bool
    load_control: LoadControlState | None = None


class Collected:
    """In PostgreSQL; the last value of a point and start counts, the same one again changes nothing."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def store(
        self, ven_id: str, values: Sequence[Measurement] = (), states: Sequence[ResourceState] = ()
    ) -> None:
        """Keep what a report brought."""
        now_ms = self._clock.now_ms()
        async with self._database.transaction() as connection:
            unique = {(each.r_id, each.start_ms): each for each in values}
            await _upsert_values(connection, ven_id, list(unique.values()), now_ms)
            last = {(each.r_id, each.start_ms): each for each in states}
            await _upsert_states(connection, ven_id, list(last.values()), now_ms)

    async def store_feed(self, ven_id: str, report_request_id: str, feed: str) -> None:
        """Keep a Green Button feed (Atom, XML)."""
        row = {
            "ven_id": ven_id,
            "feed_digest": hashlib.sha256(feed.encode()).hexdigest(),
            "report_request_id": report_request_id,
            "feed": feed,
            "received_ms": self._clock.now_ms(),
        }
        async with self._database.transaction() as connection:
            await connection.execute(insert(green_button_feeds).values(**row).on_conflict_do_nothing())

    async def values(self, ven_id: str, r_id: str, first_ms: int, end_ms: int) -> list[Measurement]:
        """Values of a point, first_ms <= start < end_ms, by start."""
        m = measurements.c
        query = (
            select(m.r_id, m.start_ms, m.interval_s, m.value, m.quality)
            .where(m.ven_id == ven_id, m.r_id == r_id, m.start_ms >= first_ms, m.start_ms < end_ms)
            .order_by(m.start_ms)
        )
        async with self._database.reading() as connection:
            return [Measurement(*row) for row in await connection.execute(query)]

    async def states(self, ven_id: str) -> list[ResourceState]:
        """The latest state of each point of a VEN, by rID."""
        c = resource_states.c
        query = (
            select(c.r_id, c.start_ms, c.online, c.manual_override, c.load_control)
            .where(c.ven_id == ven_id)
            .distinct(c.r_id)
            .order_by(c.r_id, c.start_ms.desc())
        )
        async with self._database.reading() as connection:
            return [
                ResourceState(r_id, start_ms, online, override, _decoded(control))
                for r_id, start_ms, online, override, control in await connection.execute(query)
            ]

    async def feeds(self, ven_id: str) -> list[str]:
        """Green Button feeds of a VEN, oldest first."""
        f = green_button_feeds.c
        query = select(f.feed).where(f.ven_id == ven_id).order_by(f.received_ms, f.feed_digest)
        async with self._database.reading() as connection:
            return list(await connection.scalars(query))


async def _upsert_values(connection: AsyncConnection, ven_id: str, values: Sequence[Measurement], now_ms: int) -> None:
    for first in range(0, len(values), _BATCH):
        rows = [
            msgspec.structs.asdict(each) | {"ven_id": ven_id, "received_ms": now_ms}
            for each in values[first : first + _BATCH]
        ]
        statement = insert(measurements).values(rows)
        fresh = {name: statement.excluded[name] for name in ("interval_s", "value", "quality", "received_ms")}
        await connection.execute(
            statement.on_conflict_do_update(index_elements=["ven_id", "r_id", "start_ms"], set_=fresh)
        )


async def _upsert_states(
    connection: AsyncConnection, ven_id: str, states: Sequence[ResourceState], now_ms: int
) -> None:
    for first in range(0, len(states), _BATCH):
        rows = [
            msgspec.structs.asdict(each)
            | {
                "ven_id": ven_id,
                "received_ms": now_ms,
                "load_control": None if each.load_control is None else msgspec.json.encode(each.load_control),
            }
            for each in states[first : first + _BATCH]
        ]
        statement = insert(resource_states).values(rows)
        names = ("online", "manual_override", "load_control", "received_ms")
        fresh = {name: statement.excluded[name] for name in names}
        await connection.execute(
            statement.on_conflict_do_update(index_elements=["ven_id", "r_id", "start_ms"], set_=fresh)
        )


def _decoded(control: bytes | None) -> LoadControlState | None:
    return None if control is None else msgspec.json.decode(control, type=LoadControlState)
