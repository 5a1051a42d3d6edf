"""The order of a single replica: no cluster, one process, a PostgreSQL advisory lock against a second one.

A proposed block is in the order at once. The order itself keeps nothing: a block becomes durable when the replica
commits it, and no transaction is answered before. A crash in between loses only what nobody was told (fault rule 3).
The lock names a second replica early; what makes a second block h impossible is the primary key of the block row.
"""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator
from typing import Any, Final

import psycopg
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger.errors import OrderingUnavailable, OrderTrimmed
from ledger.ordering.orderer import Committed, Conflict, Ordered, Proposed
from ledger.store.reading import first_line

_ABSENT: Final = (SQLAlchemyError, psycopg.Error, OSError)
_LOCK_SPACE: Final = zlib.crc32(b"gridpact/order")


class LocalOrderer:
    """Orders the blocks of one channel for the one replica on this database, `member` being its name."""

    name = "local"

    def __init__(self, engine: AsyncEngine, channel: str, member: str = "local") -> None:
        self._engine = engine
        self._member = member
        self._lock_key = zlib.crc32(channel.encode()) - 2**31
        self._connection: AsyncConnection | None = None
        self._height = 0
        self._blocks: dict[int, Ordered] = {}
        self._grown = asyncio.Condition()
        self._checking = asyncio.Lock()

    @property
    def leads(self) -> bool:
        return True

    @property
    def proposer(self) -> str | None:
        return self._member

    async def changed(self) -> None:
        await asyncio.Event().wait()  # there is nobody else

    async def start(self, height: int, *, runs: bool = True) -> None:
        self._height = height
        await self.check()

    async def stop(self) -> None:
        async with self._checking:
            await self._release()

    async def check(self) -> None:
        async with self._checking:
            if self._connection is not None and await self._alive(self._connection):
                return
            await self._release()
            self._connection = await self._locked()

    async def propose(self, height: int, data: bytes) -> Proposed:
        if self._connection is None:
            await self.check()
        if height <= self._height:
            known = self._blocks.get(height)
            return Committed(known.revision) if known is not None and known.data == data else Conflict()
        if height != self._height + 1:
            raise OrderingUnavailable(f"block {height} cannot follow block {self._height}")
        async with self._grown:
            self._height = height
            self._blocks[height] = Ordered(height, data, revision=height)
            self._grown.notify_all()
        return Committed(revision=height)

    async def watch(self, from_height: int) -> AsyncIterator[Ordered]:
        height = from_height
        while True:
            async with self._grown:
                if height <= self._height and height not in self._blocks:
                    raise OrderTrimmed(min(self._blocks, default=self._height + 1))
                await self._grown.wait_for(lambda: height in self._blocks)  # noqa: B023  # awaited before it changes
                ordered = self._blocks[height]
                for old in [known for known in self._blocks if known < height]:
                    del self._blocks[old]  # asking for h says that everything below is durable
            yield ordered
            height += 1

    async def tip(self) -> int:
        return self._height

    async def first(self) -> int:
        return min(self._blocks, default=self._height + 1)

    async def trim(self, below: int) -> None:
        for old in [known for known in self._blocks if known < min(below, self._height)]:
            del self._blocks[old]

    def state(self) -> dict[str, Any]:
        return {"proposer": self._member, "lease": self._connection is not None}

    async def _release(self) -> None:
        connection, self._connection = self._connection, None
        with contextlib.suppress(*_ABSENT):  # where the session is gone, the lock is too
            if connection is not None and not connection.invalidated:
                await connection.execute(text("SELECT pg_advisory_unlock_all()"))
        await _close(connection)

    async def _locked(self) -> AsyncConnection:
        connection: AsyncConnection | None = None
        try:
            connection = await self._engine.connect()
            # no transaction stays open on it: an idle one would hold back vacuum for as long as the replica lives
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            values = {"space": _LOCK_SPACE - 2**31, "key": self._lock_key}
            if await connection.scalar(text("SELECT pg_try_advisory_lock(:space, :key)"), values):
                return connection
        except _ABSENT as error:
            await _close(connection)
            raise OrderingUnavailable(f"PostgreSQL does not answer: {first_line(error)}") from None
        await _close(connection)
        raise OrderingUnavailable(
            "another replica orders blocks on this database: stop it, or give this one a database of its own"
        )

    async def _alive(self, connection: AsyncConnection) -> bool:
        try:
            await connection.execute(text("SELECT 1"))
        except _ABSENT:
            return False
        return True


async def _close(connection: AsyncConnection | None) -> None:
    if connection is not None:
        with contextlib.suppress(*_ABSENT):
            await connection.close()
