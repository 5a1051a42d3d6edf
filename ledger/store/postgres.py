"""The store on PostgreSQL: one writer connection, one transaction a block; readers take connections of the pool.

apply:  BEGIN ─ reads of the block (greenlet) ─ pipeline of inserts and upserts ─ COMMIT (synchronous_commit on)
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import psycopg
from sqlalchemy import Connection, func, insert, literal, select, text, tuple_
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger.errors import GenesisExists, GenesisInvalid
from ledger.log.tiles import TileId, edge_tiles
from ledger.machine import Executed
from ledger.store.reading import Reads, reached, reaching
from ledger.store.source import Key, Source, Taken
from ledger.store.store import BlockRow, FinalRow, Founding, RefusalRow, Stored
from ledger.store.tables import blocks, checkpoints, entries, finality, meta, records, refusals, tiles
from ledger.store.writing import Statement, block_statements, genesis_statements, send, text_array

_ANY_ERROR = (SQLAlchemyError, psycopg.Error, OSError)


class PostgresStore(Reads):
    """ledger.store.store.Store on PostgreSQL."""

    def __init__(self, engine: AsyncEngine, channel: str) -> None:
        super().__init__(engine, channel)
        self._writer: AsyncConnection | None = None
        self._turn = asyncio.Lock()

    async def close(self) -> None:
        """End the writer connection."""
        writer, self._writer = self._writer, None
        if writer is not None:
            await _end(writer)

    async def is_empty(self) -> bool:
        async with reached(self._engine) as connection:
            known = await connection.scalar(select(meta.c.channel).where(meta.c.channel == self._channel))
            left = await connection.scalar(select(func.count()).select_from(blocks).where(*self._of(blocks)))
        return known is None and not left

    async def create(self, founding: Founding) -> None:
        if not await self.is_empty():
            raise GenesisExists(f"the database holds a ledger {self._channel} already; nothing was changed")
        statements = genesis_statements(
            self._channel, founding.genesis, founding.policy, founding.records, founding.checkpoint
        )
        async with reached(self._engine, begin=True) as connection:
            try:
                await _send(connection, statements)
            except psycopg.errors.UniqueViolation:
                raise GenesisExists(
                    f"the database holds parts of a ledger {self._channel}; nothing was changed"
                ) from None

    async def load(self) -> Stored:
        async with reached(self._engine) as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ")
            found = (
                await connection.execute(select(meta.c.genesis, meta.c.policy).where(*self._of(meta)))
            ).one_or_none()
            if found is None:
                raise GenesisInvalid(f"the database holds no ledger {self._channel}")
            of = blocks.c
            query = (
                select(
                    of.height, of.header, of.signature, of.order_revision, of.time_ms, of.tx_count, of.first_index,
                    of.size, of.state_root, of.summary_hash,
                )
                .where(*self._of(blocks)).order_by(of.height.desc()).limit(1)
            )  # fmt: skip
            row = (await connection.execute(query)).one_or_none()
            block = None if row is None else BlockRow(**row._mapping)
            size = 0 if block is None else block.size
            summary = await connection.scalar(
                select(entries.c.data).where(*self._of(entries), entries.c.log_index == size - 1)
            )
            note = await connection.scalar(
                select(checkpoints.c.note).where(*self._of(checkpoints), checkpoints.c.size == size)
            )
            edge = await self._edge(connection, size)
            kept = select(finality.c.size, finality.c.height, finality.c.note).where(*self._of(finality))
            final = (await connection.execute(kept)).one_or_none()
        newest = None if final is None else FinalRow(*final)
        return Stored(found[0], found[1], block, summary, note or b"", edge, newest)

    async def apply(self, work: Callable[[Source], tuple[Executed, bytes]]) -> Executed:
        # begun by hand: a block that asks the database nothing would begin no transaction that could be committed
        async with self._writing() as writer, writer.begin():
            executed, checkpoint = await writer.run_sync(lambda sync: work(PostgresSource(sync, self._channel)))
            await _send(writer, block_statements(self._channel, executed, checkpoint))
        return executed

    async def known(self, ids: Sequence[str]) -> frozenset[str]:
        async with self._writing() as writer:
            rows = (await writer.execute(_KNOWN, {"channel": self._channel, "ids": text_array(ids)})).all()
            await writer.rollback()
        return frozenset(row[0] for row in rows)

    async def save_final(self, final: FinalRow) -> None:
        values = {"channel": self._channel, "size": final.size, "height": final.height, "note": final.note}
        async with reached(self._engine, begin=True) as connection:
            await connection.execute(_FINAL, values)

    async def add_refusals(self, rows: Sequence[RefusalRow], keep: int) -> None:
        values = [
            {
                "channel": self._channel,
                "received_ms": row.received_ms,
                "transaction_id": row.transaction_id,
                "sender": row.sender,
                "command": row.command,
                "code": row.code,
                "detail": row.detail,
            }
            for row in rows
        ]
        async with reached(self._engine, begin=True) as connection:
            await connection.execute(insert(refusals), values)
            newest = select(func.max(refusals.c.number) - keep).where(*self._of(refusals)).scalar_subquery()
            await connection.execute(refusals.delete().where(*self._of(refusals), refusals.c.number <= newest))

    @contextlib.asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncConnection]:
        """The one writer; whatever goes wrong with it, the next use opens another session."""
        async with self._turn:
            with reaching():
                known, self._writer = self._writer, None
                writer = known or await self._engine.connect()
                try:
                    if known is None:
                        # it looks up keys and nothing else; a plan cached while the tables were small would scan them
                        await writer.execute(_KEYS_ONLY)
                        await writer.commit()
                    yield writer
                except BaseException:
                    await _end(writer)
                    raise
                self._writer = writer

    async def _edge(self, connection: AsyncConnection, size: int) -> dict[TileId, bytes]:
        wanted = [(tile.level, tile.number) for tile in edge_tiles(size)]
        if not wanted:
            return {}
        of = tiles.c
        query = select(of.level, of.number, of.data).where(*self._of(tiles), tuple_(of.level, of.number).in_(wanted))
        return {TileId(row[0], row[1]): row[2] for row in (await connection.execute(query)).all()}

    def _of(self, table: Any) -> tuple[Any]:
        return (table.c.channel == self._channel,)


class PostgresSource:
    """ledger.store.source.Source inside `AsyncConnection.run_sync`."""

    def __init__(self, connection: Connection, channel: str) -> None:
        self._connection = connection
        self._channel = channel

    def records(self, keys: Sequence[Key]) -> Mapping[Key, bytes]:
        kinds, names = text_array([kind for kind, _ in keys]), text_array([key for _, key in keys])
        values = {"channel": self._channel, "kinds": kinds, "keys": names}
        rows = self._connection.execute(_RECORDS, values).all()
        return {(row[0], row[1]): row[2] for row in rows}

    def scan(self, kind: str, first: str, last: str, limit: int) -> list[tuple[str, bytes]]:
        values = {"channel": self._channel, "kind": kind, "first": first, "last": last, "limit": limit}
        return [(row[0], row[1]) for row in self._connection.execute(_SCAN, values).all()]

    def buckets(self, numbers: Sequence[int]) -> Mapping[int, bytes]:
        of = records.c
        query = (
            select(of.bucket, of.key_hash, of.value_hash)
            .where(of.channel == self._channel, of.bucket == func.any(literal(list(numbers))))
            .order_by(of.bucket, of.key_hash)
        )
        leaves: dict[int, bytearray] = {number: bytearray() for number in numbers}
        for bucket, hashed, value in self._connection.execute(query).all():
            leaves[bucket] += hashed + value
        return {number: bytes(row) for number, row in leaves.items()}

    def taken(self, ids: Sequence[str], nonces: Sequence[tuple[str, str]]) -> Taken:
        values = {
            "channel": self._channel,
            "ids": text_array(ids),
            "senders": text_array([sender for sender, _ in nonces]),
            "nonces": text_array([nonce for _, nonce in nonces]),
        }
        rows = self._connection.execute(_TAKEN, values).all()
        found_ids = frozenset(row[0] for row in rows if row[1] is None)
        return Taken(found_ids, frozenset((row[0], row[1]) for row in rows if row[1] is not None))


_RECORDS = text(
    "SELECT kind, key, body FROM unnest(CAST(:kinds AS text[]), CAST(:keys AS text[])) AS wanted(kind, key) "
    "JOIN records USING (kind, key) WHERE channel = :channel"
)
_SCAN = text(
    "SELECT key, body FROM records WHERE channel = :channel AND kind = :kind AND key >= :first AND key < :last "
    "ORDER BY key LIMIT :limit"
)
_TAKEN = text(
    "SELECT w.id, NULL FROM unnest(CAST(:ids AS text[])) AS w(id) CROSS JOIN LATERAL (SELECT FROM transactions AS t "
    "WHERE t.channel = :channel AND t.id = w.id AND registered LIMIT 1) AS used "
    "UNION ALL SELECT w.sender, w.nonce FROM unnest(CAST(:senders AS text[]), CAST(:nonces AS text[])) "
    "AS w(sender, nonce) CROSS JOIN LATERAL (SELECT FROM transactions AS t WHERE t.channel = :channel "
    "AND t.sender = w.sender AND t.nonce = w.nonce AND registered AND code <> 'nonce_reused' LIMIT 1) AS used"
)
_FINAL = text(
    "INSERT INTO finality (channel, size, height, note) VALUES (:channel, :size, :height, :note) "
    "ON CONFLICT (channel) DO UPDATE SET size = excluded.size, height = excluded.height, note = excluded.note "
    "WHERE finality.size <= excluded.size"
)
_KNOWN = text(
    "SELECT w.id FROM unnest(CAST(:ids AS text[])) AS w(id) CROSS JOIN LATERAL (SELECT FROM transactions AS t "
    "WHERE t.channel = :channel AND t.id = w.id AND registered LIMIT 1) AS used"
)
_KEYS_ONLY = text(
    "SELECT set_config(name, 'off', false) FROM pg_settings "
    "WHERE name IN ('enable_seqscan', 'enable_hashjoin', 'enable_mergejoin')"
)


async def _end(connection: AsyncConnection) -> None:
    """Closes the session itself: its settings are not those of the pool's other connections."""
    with contextlib.suppress(*_ANY_ERROR):
        if not connection.invalidated:
            raw = await connection.get_raw_connection()
            if isinstance(raw.driver_connection, psycopg.AsyncConnection):
                await raw.driver_connection.close()
            await connection.invalidate()
    with contextlib.suppress(*_ANY_ERROR):
        await connection.close()


async def _send(connection: AsyncConnection, statements: Sequence[Statement]) -> None:
    raw = await connection.get_raw_connection()
    driver = raw.driver_connection
    assert isinstance(driver, psycopg.AsyncConnection)
    await send(driver, statements)
