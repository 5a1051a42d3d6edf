"""What a member gives one that copies: its tables as of one moment, and its signature of what they say of a height."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Protocol

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contracts.core.codec import digest as digest_of
from ledger.errors import QueueFull
from ledger.founding import Founded
from ledger.log import merkle
from ledger.log.tiles import TileId, edge_tiles
from ledger.replication.statecopy import rows
from ledger.replication.statecopy.manifest import Manifest, SignedManifest, sign
from ledger.store import tables
from ledger.store.history import History
from ledger.store.reading import reached


class Giving(Protocol):
    """One member's side of a copy."""

    async def manifest(self, height: int) -> SignedManifest | None:
        """What its tables say of a height, None where it has not got that far."""

    def state(self, after: int) -> AsyncGenerator[bytes, None]:
        """Frames (ledger.replication.statecopy.rows) of one snapshot: what grew after a height, and all records."""


class TableGiving:
    """From the tables of one channel. sound: raises while this member had better give nothing: diverged, or behind. One
    copy at a time, and one manifest: both read everything. Raises QueueFull, StoreUnavailable."""

    def __init__(self, engine: AsyncEngine, founded: Founded, sound: Callable[[], Awaitable[None]]) -> None:
        self._engine = engine
        self._founded = founded
        self._sound = sound
        self._turn = asyncio.Semaphore(2)

    async def manifest(self, height: int) -> SignedManifest | None:
        await self._sound()
        await self._enter()
        try:
            async with reached(self._engine) as connection:
                await connection.execution_options(isolation_level="REPEATABLE READ")
                found = await manifest_of(connection, self._founded, height)
        finally:
            self._turn.release()
        return None if found is None else sign(found, self._founded.member, self._founded.cosigner_key)

    async def state(self, after: int) -> AsyncGenerator[bytes, None]:
        await self._sound()
        await self._enter()
        try:
            channel, count = self._founded.genesis.channel, 0
            async with reached(self._engine) as connection:
                await connection.execution_options(isolation_level="REPEATABLE READ")
                height = await History(connection, channel).height()
                for frame in rows.frames(rows.HEAD, [(height,)]):
                    yield frame
                for name in rows.TRAVELLING:
                    async with aclosing(rows.stream(connection, channel, name, after, height)) as parts:
                        async for part in parts:
                            count += len(part)
                            for frame in rows.frames(name, part):
                                yield frame
                for frame in rows.frames(rows.END, [(count,)]):
                    yield frame
        finally:
            self._turn.release()

    async def _enter(self) -> None:
        if self._turn.locked():
            raise QueueFull("another member is copying: ask again", 5)
        await self._turn.acquire()


async def manifest_of(connection: AsyncConnection, founded: Founded, height: int) -> Manifest | None:
    """What the tables say of a height in the transaction of `connection`, None where it is not there."""
    channel, of = founded.genesis.channel, tables.blocks.c
    query = select(of.size, of.summary_hash, of.state_root).where(of.channel == channel, of.height == height)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return None
    return Manifest(
        channel=channel,
        genesis=digest_of(founded.genesis),
        height=height,
        size=row.size,
        root=(await _root(connection, channel, row.size)).hex(),
        summary=row.summary_hash.hex(),
        state_root=row.state_root.hex(),
        tables={name: await rows.digest(connection, channel, name, height) for name in rows.GROWING},
    )


async def _root(connection: AsyncConnection, channel: str, size: int) -> bytes:
    """Of the log's tree at that size, by the tiles."""
    tiles = await History(connection, channel).tiles(list(edge_tiles(size)))
    wanted: dict[TileId, bytes] = {tile: tiles[tile] for tile in edge_tiles(size)}
    return merkle.root(size, wanted)
