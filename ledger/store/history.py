"""Everything that is stored, block by block, as of one moment: what an audit compares with its own replay."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Column, Table, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger.log.tiles import TILE_WIDTH, TileId
from ledger.store import tables
from ledger.store.reading import paged_records

Row = Mapping[str, Any]

_BLOCKS_AT_ONCE: Final = 100


@dataclass(slots=True)
class StoredBlock:
    """The rows of one block; `bodies` by log index."""

    block: Row
    entries: list[Row] = field(default_factory=list)
    transactions: list[Row] = field(default_factory=list)
    bodies: dict[int, Row] = field(default_factory=dict)
    facts: list[Row] = field(default_factory=list)
    fact_parties: list[Row] = field(default_factory=list)
    checkpoints: list[Row] = field(default_factory=list)


class History:
    """One channel's tables in one snapshot, so that the replica may go on beside."""

    def __init__(self, connection: AsyncConnection, channel: str) -> None:
        self._connection = connection
        self._channel = channel

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, engine: AsyncEngine, channel: str) -> AsyncIterator[History]:
        """The history as of now."""
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ")
            yield cls(connection, channel)

    async def rows(self, table: Table, *conditions: Any, order: Sequence[Column[Any]] = ()) -> list[Row]:
        """Rows of the channel that fit."""
        query = select(table).where(table.c.channel == self._channel, *conditions).order_by(*order)
        return [dict(row) for row in (await self._connection.execute(query)).mappings()]

    async def blocks(self) -> AsyncGenerator[StoredBlock, None]:
        """All blocks in order of height."""
        height = -1
        while True:
            query = (
                select(tables.blocks.c.height)
                .where(tables.blocks.c.channel == self._channel, tables.blocks.c.height > height)
                .order_by(tables.blocks.c.height)
                .limit(_BLOCKS_AT_ONCE)
            )
            heights = (await self._connection.scalars(query)).all()
            if not heights:
                return
            for stored in await self._range(heights[0], heights[-1]):
                yield stored
            height = heights[-1]

    async def tiles(self, wanted: Sequence[TileId]) -> dict[TileId, bytes]:
        """Those that exist."""
        of = tables.tiles.c
        rows = await self.rows(tables.tiles, tuple_(of.level, of.number).in_([tuple(tile) for tile in wanted]))
        return {TileId(row["level"], row["number"]): row["data"] for row in rows}

    async def records(self) -> AsyncGenerator[Row, None]:
        """All records."""
        query = select(tables.records).where(tables.records.c.channel == self._channel)
        async for row in paged_records(self._connection, query):
            yield dict(row._mapping)

    async def height(self) -> int:
        """The last block; 0 where there is none."""
        query = select(func.max(tables.blocks.c.height)).where(tables.blocks.c.channel == self._channel)
        return int(await self._connection.scalar(query) or 0)

    async def count(self, table: Table) -> int:
        """Number of rows of the channel."""
        query = select(func.count()).select_from(table).where(table.c.channel == self._channel)
        return int(await self._connection.scalar(query) or 0)

    async def _range(self, first: int, last: int) -> list[StoredBlock]:
        of = tables.blocks.c
        blocks = await self.rows(tables.blocks, of.height.between(first, last), order=[of.height])
        stored = {row["height"]: StoredBlock(row) for row in blocks}
        start = min(row["first_index"] for row in blocks)
        end = max(row["size"] for row in blocks)
        height_of = {
            index: row["height"]
            for row in blocks
            for index in range(row["first_index"], min(row["size"], row["first_index"] + TILE_WIDTH * TILE_WIDTH))
        }
        for table, name in ((tables.entries, "entries"), (tables.bodies, "bodies")):
            of_index = table.c.log_index
            for row in await self.rows(table, of_index >= start, of_index < end, order=[of_index]):
                holder = stored.get(height_of.get(row["log_index"], -1))
                if holder is not None and name == "entries":
                    holder.entries.append(row)
                elif holder is not None:
                    holder.bodies[row["log_index"]] = row
        for table, name in (
            (tables.transactions, "transactions"),
            (tables.facts, "facts"),
            (tables.fact_parties, "fact_parties"),
            (tables.checkpoints, "checkpoints"),
        ):
            order = [column for column in table.c if column.name in ("log_index", "ordinal", "party", "size")]
            for row in await self.rows(table, table.c.height.between(first, last), order=order):
                if row["height"] in stored:
                    getattr(stored[row["height"]], name).append(row)
        return list(stored.values())
