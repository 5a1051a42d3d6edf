"""The questions readers ask, each one statement: so each answer is of one height."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from typing import Any, Final

import psycopg
from sqlalchemy import ColumnElement, Row, Select, and_, func, literal, select, text, tuple_
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger.errors import StoreUnavailable
from ledger.log.tiles import TileId
from ledger.store.store import ChangeRow, LeavesRow, OrderedRow, RecordRow, ResultRow, StoredFact
from ledger.store.tables import blocks, bodies, entries, fact_parties, facts, records, refusals, tiles, transactions

STORE_ERRORS: Final = (
    OperationalError, InterfaceError, PoolTimeout, psycopg.OperationalError, psycopg.InterfaceError, OSError,
)  # fmt: skip
"""What PostgreSQL's absence looks like; any other error of it is a fault of ours or of the data."""

ANSWER_S: Final = 10.0
_STREAM_ROWS: Final = 2_000


@contextlib.contextmanager
def reaching() -> Iterator[None]:
    """Inside, PostgreSQL's absence is StoreUnavailable."""
    try:
        yield
    except STORE_ERRORS as error:
        raise StoreUnavailable(f"PostgreSQL {trouble(error)}: {first_line(error)}") from error


def trouble(error: BaseException) -> str:
    """What is the matter with it, as the verb of a sentence."""
    full = isinstance(getattr(error, "orig", None) or error, psycopg.errors.DiskFull)
    return "has no room left on its disk (make room, it goes on by itself)" if full else "does not answer"


def first_line(error: BaseException) -> str:
    """Why, once: without the statement, the links and the list of all tries that drivers add."""
    original = getattr(error, "orig", None) or error
    return (str(original).strip() or type(original).__name__).partition("\n")[0][:300]


@contextlib.asynccontextmanager
async def answered(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """As `reached`, for a question somebody waits for: a stopped server says nothing and breaks nothing off."""
    try:
        async with asyncio.timeout(ANSWER_S), reached(engine) as connection:
            yield connection
    except TimeoutError:
        raise StoreUnavailable(f"PostgreSQL does not answer: nothing in {ANSWER_S:g} s") from None


@contextlib.asynccontextmanager
async def reached(engine: AsyncEngine, *, begin: bool = False) -> AsyncIterator[AsyncConnection]:
    """A connection, or with `begin` a transaction. Raises StoreUnavailable, also for what is done with it."""
    with reaching():
        async with engine.begin() if begin else engine.connect() as connection:
            yield connection


class Reads:
    """The reading half of the PostgreSQL store of one channel."""

    def __init__(self, engine: AsyncEngine, channel: str) -> None:
        self._engine = engine
        self._channel = channel

    async def results(self, ids: Sequence[str]) -> dict[str, ResultRow]:
        if not ids:
            return {}
        column = facts.c
        gathered = (
            select(
                func.coalesce(func.array_agg(aggregate_order_by(column.body, column.ordinal)), text("'{}'::bytea[]"))
            )
            .where(
                column.channel == transactions.c.channel,
                column.height == transactions.c.height,
                column.log_index == transactions.c.log_index,
            )
            .scalar_subquery()
        )
        of = transactions.c
        query = select(of.id, of.height, of.log_index, of.code, of.receipt, gathered).where(
            of.channel == self._channel, of.id == func.any(literal(list(ids))), of.registered
        )
        async with answered(self._engine) as connection:
            rows = (await connection.execute(query)).all()
        return {row[0]: ResultRow(*row[:5], facts=tuple(row[5])) for row in rows}

    async def record(self, kind: str, key: str) -> tuple[bytes | None, int]:
        height = select(func.coalesce(func.max(blocks.c.height), 0)).where(blocks.c.channel == self._channel)
        body = select(records.c.body).where(
            records.c.channel == self._channel, records.c.kind == kind, records.c.key == key
        )
        async with answered(self._engine) as connection:
            row = (await connection.execute(select(body.scalar_subquery(), height.scalar_subquery()))).one()
        return row[0], int(row[1])

    async def records(self, kind: str, prefix: str, after: str, limit: int) -> list[tuple[str, bytes]]:
        of = records.c
        query = (
            select(of.key, of.body)
            .where(of.channel == self._channel, of.kind == kind, of.key > after, of.key >= prefix)
            .where(func.starts_with(of.key, prefix) if prefix else literal(True))
            .order_by(of.key)
            .limit(limit)
        )
        if prefix:
            query = query.where(of.key < prefix + "\U0010ffff")  # bounds the scan; starts_with decides
        async with answered(self._engine) as connection:
            return [(row[0], row[1]) for row in (await connection.execute(query)).all()]

    async def facts(
        self, after: tuple[int, int, int], party: str | None, contract: str | None, limit: int
    ) -> list[StoredFact]:
        of = facts.c
        columns = (
            of.height, of.log_index, of.ordinal, of.time_ms, of.transaction_id, of.subject, of.parties, of.body,
        )  # fmt: skip
        place: Any = of
        query = select(*columns)
        if party is not None:
            place = fact_parties.c
            same: ColumnElement[bool] = and_(
                place.channel == of.channel,
                place.height == of.height,
                place.log_index == of.log_index,
                place.ordinal == of.ordinal,
            )
            query = query.join(fact_parties, same).where(place.party == party)
        if contract is not None:
            query = query.where(of.subject == contract)
        query = (
            query.where(place.channel == self._channel)
            .where(tuple_(place.height, place.log_index, place.ordinal) > tuple_(*map(literal, after)))
            .order_by(place.height, place.log_index, place.ordinal)
            .limit(limit)
        )
        async with answered(self._engine) as connection:
            rows = (await connection.execute(query)).all()
        return [StoredFact(*row[:6], parties=tuple(row[6]), body=row[7]) for row in rows]

    async def body(self, log_index: int) -> tuple[bytes, bytes] | None:
        query = select(bodies.c.salt, bodies.c.body).where(
            bodies.c.channel == self._channel, bodies.c.log_index == log_index
        )
        async with answered(self._engine) as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else (row[0], row[1])

    async def tiles(self, wanted: Sequence[TileId]) -> dict[TileId, bytes]:
        pairs = [(tile.level, tile.number) for tile in wanted]
        if not pairs:
            return {}
        query = select(tiles.c.level, tiles.c.number, tiles.c.data).where(
            tiles.c.channel == self._channel, tuple_(tiles.c.level, tiles.c.number).in_(pairs)
        )
        async with answered(self._engine) as connection:
            return {TileId(row[0], row[1]): row[2] for row in (await connection.execute(query)).all()}

    async def entries(self, first: int, count: int) -> list[bytes]:
        of = entries.c
        query = (
            select(of.data)
            .where(of.channel == self._channel, of.log_index >= first, of.log_index < first + count)
            .order_by(of.log_index)
        )
        async with answered(self._engine) as connection:
            return list((await connection.scalars(query)).all())

    async def ordered(self, first: int, limit: int, size: int) -> list[OrderedRow]:
        of = blocks.c
        query = (
            select(of.height, of.order_revision, of.header, of.signature, of.size)
            .where(of.channel == self._channel, of.height >= first, of.height < first + limit, of.size <= size)
            .order_by(of.height)
        )
        async with answered(self._engine) as connection:
            rows = (await connection.execute(query)).all()
            held: dict[int, list[Any]] = {row.height: [] for row in rows}
            if rows:
                values = {"channel": self._channel, "first": rows[0].height, "last": rows[-1].height}
                for height, entry, salt, body in (await connection.execute(_ORDERED, values)).all():
                    held[height].append((entry, None if salt is None else (salt, body)))
        return [OrderedRow(*row, transactions=tuple(held[row.height])) for row in rows]

    async def changes(self, first: int, limit: int) -> list[ChangeRow]:
        values = {"channel": self._channel, "first": first, "limit": limit}
        async with answered(self._engine) as connection:
            return [ChangeRow(*row) for row in (await connection.execute(_CHANGES, values)).all()]

    async def leaves(self, height: int) -> LeavesRow | None:
        of, at = blocks.c, transactions.c
        query = select(of.first_index, of.size).where(of.channel == self._channel, of.height == height)
        receipts = select(at.receipt).where(at.channel == self._channel, at.height == height).order_by(at.log_index)
        async with answered(self._engine) as connection:
            row = (await connection.execute(query)).one_or_none()
            if row is None:
                return None
            found = tuple((await connection.scalars(receipts)).all())
        return LeavesRow(tuple(await self.entries(row.first_index, row.size - row.first_index)), found)

    async def refusals(self, limit: int) -> list[dict[str, Any]]:
        of = refusals.c
        query = (
            select(of.received_ms, of.transaction_id, of.sender, of.command, of.code, of.detail)
            .where(of.channel == self._channel)
            .order_by(of.number.desc())
            .limit(limit)
        )
        async with answered(self._engine) as connection:
            return [dict(row) for row in (await connection.execute(query)).mappings()]

    async def stream_records(self) -> AsyncGenerator[RecordRow, None]:
        of = records.c
        query = select(of.kind, of.key, of.height, of.body, of.bucket, of.key_hash, of.value_hash)
        async with reached(self._engine) as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ")
            async for row in paged_records(connection, query.where(of.channel == self._channel)):
                yield RecordRow._make(row)  # the columns are in its order


_BY_INDEX: Final = text(
    "SELECT set_config(name, 'off', true) FROM pg_settings "
    "WHERE name IN ('enable_seqscan', 'enable_bitmapscan', 'enable_sort')"
)
_CHANGES: Final = text(
    "SELECT t.height, e.data, b.salt, b.body FROM transactions AS t JOIN entries AS e USING (channel, log_index) "
    "JOIN bodies AS b USING (channel, log_index) WHERE t.channel = :channel AND t.height >= :first AND t.code = 'ok' "
    "AND t.command IN ('ChangeMembership', 'ReportEquivocation') ORDER BY t.log_index LIMIT :limit"
)
_ORDERED: Final = text(
    "SELECT t.height, e.data, b.salt, b.body FROM transactions AS t JOIN entries AS e USING (channel, log_index) "
    "LEFT JOIN bodies AS b USING (channel, log_index) "
    "WHERE t.channel = :channel AND t.height BETWEEN :first AND :last ORDER BY t.log_index"
)


async def paged_records(connection: AsyncConnection, query: Select[Any]) -> AsyncGenerator[Row[Any], None]:
    """The rows of a query that selects kind and key of records, page by page in key order: a page needs no cursor that
    would have to be closed should the reader stop early."""
    # in the order of the primary key: a planner that knows nothing of the table yet would sort all that is left, a page
    await connection.execute(_BY_INDEX)
    of, after = records.c, ("", "")
    while True:
        page = query.where(tuple_(of.kind, of.key) > tuple_(*map(literal, after))).order_by(of.kind, of.key)
        rows = (await connection.execute(page.limit(_STREAM_ROWS))).all()
        for row in rows:
            yield row
        if len(rows) < _STREAM_ROWS:
            return
        after = (rows[-1].kind, rows[-1].key)
