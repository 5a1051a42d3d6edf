"""One of several workers leads: the holder of an advisory lock, which lives as long as its connection.

A worker that is killed is followed by another at once, one whose machine is gone within a minute (the server's
keepalives, `runtime.database`); one whose connection is gone no longer leads.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from runtime.logs import get_logger
from vtn.records.database import Database

_ANSWER_S = 30.0

_log = get_logger("vtn.leading")


class Lead:
    """The lock while it is held."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def held(self) -> bool:
        """Is it still? Not by a database that says nothing for a while: it may have given the lock to another."""
        try:
            async with asyncio.timeout(_ANSWER_S):
                await self._connection.execute(text("SELECT 1"))
        except (SQLAlchemyError, OSError, TimeoutError):
            return False
        return True


@contextlib.asynccontextmanager
async def leading(database: Database, lock: int) -> AsyncIterator[Lead | None]:
    """The lead for the time of the block; None while another worker has it, or the database does not answer."""
    async with contextlib.AsyncExitStack() as stack:
        try:
            connection = await stack.enter_async_context(database.engine.connect())
            # no transaction stays open on it: an idle one would hold back vacuum
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            mine = await connection.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": lock})
        except (SQLAlchemyError, OSError) as error:
            _log.warning("the database does not answer", error=str(error).splitlines()[0])
            yield None
            return
        try:
            yield Lead(connection) if mine else None
        finally:
            with contextlib.suppress(SQLAlchemyError, OSError):
                if mine and not connection.invalidated:
                    await connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": lock})
