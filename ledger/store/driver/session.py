"""A session with PostgreSQL that is kept, for the questions of every block: without a pool's test before each use, with
statements that stay prepared (a rollback would forget them), each its own transaction unless it says BEGIN.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, LiteralString

import psycopg
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger.store.reading import reaching

_ANY_ERROR: Final = (SQLAlchemyError, psycopg.Error, OSError)
_SETTINGS: Final = (
    "SELECT set_config(name, CASE name WHEN 'synchronous_commit' THEN 'on' ELSE 'off' END, false) FROM pg_settings "
    "WHERE name IN ('enable_seqscan', 'enable_hashjoin', 'enable_mergejoin') "
    "OR (name = 'synchronous_commit' AND setting = 'off')"
)
"""Keys only; and a commit is one: a server may be told not to wait for its disk, and what was acknowledged would be
lost with the machine."""


class Session:
    """One session of an engine; who uses it has it alone. It looks up keys and nothing else: a plan that was cached
    while the tables were small would scan them later. What it commits is durable, whatever the server's settings."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._kept: AsyncConnection | None = None
        self._uses = 0
        self._turn = asyncio.Lock()

    async def close(self) -> None:
        """End it; the next use opens another."""
        kept, self._kept = self._kept, None
        if kept is not None:
            await _end(kept)

    @contextlib.asynccontextmanager
    async def use(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """The driver's connection. Whatever goes wrong with it, the next use opens another session.

        Raises StoreUnavailable, also for what is done with it."""
        async with self._turn:
            with reaching():
                kept, self._kept = self._kept, None
                new = kept is None
                connection = kept or await self._engine.connect()
                try:
                    if new:
                        await connection.execution_options(isolation_level="AUTOCOMMIT")
                    driver = await driver_of(connection)
                    if new:
                        await driver.execute(_SETTINGS)
                    self._uses += 1
                    if not self._uses & (self._uses - 1):
                        # planned anew, ever more rarely: a plan made while the tables were empty takes any index
                        await driver.execute("DISCARD PLANS")
                    yield driver
                except BaseException:
                    await _end(connection)
                    raise
                self._kept = connection


async def rows(
    connection: psycopg.AsyncConnection[Any], query: LiteralString, values: Mapping[str, Any]
) -> list[tuple[Any, ...]]:
    """All rows of a query, read in binary form."""
    cursor = await connection.execute(query, values, binary=True)
    return await cursor.fetchall()


async def send(
    connection: psycopg.AsyncConnection[Any], statements: Sequence[tuple[LiteralString, Sequence[Any]]]
) -> None:
    """Runs statements down one pipeline: one round trip. Raises psycopg.Error."""
    async with connection.pipeline(), connection.cursor() as cursor:
        for query, values in statements:
            await cursor.execute(query, values)


async def driver_of(connection: AsyncConnection) -> psycopg.AsyncConnection[Any]:
    """What SQLAlchemy wraps."""
    driver = (await connection.get_raw_connection()).driver_connection
    assert isinstance(driver, psycopg.AsyncConnection)
    return driver


async def _end(connection: AsyncConnection) -> None:
    """Closes the session itself: its settings are not those of the pool's other connections."""
    with contextlib.suppress(*_ANY_ERROR):
        if not connection.invalidated:
            await (await driver_of(connection)).close()
            await connection.invalidate()
    with contextlib.suppress(*_ANY_ERROR):
        await connection.close()
