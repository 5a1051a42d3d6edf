"""Transactions: one per change of state, with its outbox row and its notification inside."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator

import psycopg
from psycopg import errors
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from vtn.errors import InvalidInput

WAKE_CHANNEL = "gridpact_vtn"
"""NOTIFY channel; the payload is `<topic>:<key>`, for instance `message:<ven_id>` or `ven:<ven_id>`."""


_TOO_LARGE = (errors.NumericValueOutOfRange, errors.ProgramLimitExceeded)


class Database:
    """Hands out connections; the only owner of the engine besides migrations.

    What no column or index holds raises InvalidInput `value_too_large`: the numbers and ids of the wire have no bounds.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    @property
    def conninfo(self) -> str:
        """The database for psycopg, where a connection of one's own is needed."""
        return self.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A connection whose changes are committed together at the end of the block, or not at all."""
        with _large_values_refused():
            async with self.engine.begin() as connection:
                yield connection

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection for queries; nothing is committed."""
        with _large_values_refused():
            async with self.engine.connect() as connection:
                yield connection

    async def ping(self) -> None:
        """Return if the database answers."""
        async with self.engine.connect() as connection:
            await connection.execute(text("SELECT 1"))


@contextlib.contextmanager
def _large_values_refused() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        if isinstance(error.orig, _TOO_LARGE):
            raise InvalidInput("value_too_large", "a number or an id is larger than what is kept") from None
        if type(error.orig) is psycopg.DataError:  # the driver itself: a NUL in a text
            raise InvalidInput("value_invalid", "a text has a character in it that is not kept") from None
        raise


async def wake(connection: AsyncConnection, topic: str, key: str) -> None:
    """Tell every worker, at the commit of this transaction, that something about `key` changed."""
    await connection.execute(select(func.pg_notify(WAKE_CHANNEL, f"{topic}:{key}")))
