"""The store on PostgreSQL: one writer session, one transaction a block; readers take connections of the pool.

apply:  reads of the block (greenlet), each a statement of its own: nobody else writes
        ─▶ one pipeline, one round trip: BEGIN ─ inserts and upserts ─ COMMIT (synchronous_commit on)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, LiteralString

import psycopg
from sqlalchemy import func, insert, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.util import await_only, greenlet_spawn

from ledger.errors import GenesisExists, GenesisInvalid, StoreUnavailable
from ledger.log.tiles import TileId, edge_tiles
from ledger.machine import Executed
from ledger.store.cache.seen import PAGE, Seen
from ledger.store.driver.session import Session, driver_of, rows, send
from ledger.store.reading import Reads, reached
from ledger.store.source import Key, Source, Taken
from ledger.store.store import BlockRow, FinalRow, Founding, RefusalRow, Stored
from ledger.store.tables import blocks, checkpoints, entries, finality, meta, refusals, tiles
from ledger.store.writing import (
    BEGIN,
    COMMIT,
    Statement,
    block_statements,
    final_statement,
    genesis_statements,
    int_array,
    text_array,
)


class PostgresStore(Reads):
    """ledger.store.store.Store on PostgreSQL."""

    def __init__(self, engine: AsyncEngine, channel: str) -> None:
        super().__init__(engine, channel)
        self._writer = Session(engine)
        self._asker = Session(engine)
        self._seen = Seen()

    async def close(self) -> None:
        """End the kept sessions."""
        await self._writer.close()
        await self._asker.close()

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
                await _send(await driver_of(connection), statements)
            except psycopg.errors.UniqueViolation:
                raise GenesisExists(
                    f"the database holds parts of a ledger {self._channel}; nothing was changed"
                ) from None

    async def load(self) -> Stored:
        self._seen = Seen()
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

    async def apply(self, work: Callable[[Source], tuple[Executed, bytes]], final: FinalRow | None = None) -> Executed:
        seen = self._seen = self._seen.grown()
        try:
            async with self._writer.use() as writer:
                if not seen.complete:
                    await self._fill(seen, writer)
                executed, checkpoint = await greenlet_spawn(work, PostgresSource(writer, self._channel, seen))
                await self._commit(writer, executed, checkpoint, final)
        except BaseException:
            self._seen = Seen()  # nobody knows what was committed: the table is asked, and read anew
            raise
        if seen.complete:
            taken = [row.parsed for row in executed.transactions if row.registered]
            seen.add([parsed.id for parsed in taken])
            seen.add([(parsed.header.sender, parsed.header.nonce) for parsed in taken])
        return executed

    async def known(self, ids: Sequence[str]) -> frozenset[str]:
        perhaps = self._seen.perhaps(ids)
        if not perhaps:
            return frozenset()
        async with self._asker.use() as asker:
            found = await rows(asker, _KNOWN, {"channel": self._channel, "ids": text_array(perhaps)})
        return frozenset(row[0] for row in found)

    async def save_final(self, final: FinalRow) -> None:
        async with self._asker.use() as asker:
            await asker.execute(*final_statement(self._channel, final.size, final.height, final.note))

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

    async def _commit(
        self, writer: psycopg.AsyncConnection[Any], executed: Executed, checkpoint: bytes, final: FinalRow | None
    ) -> None:
        statements = block_statements(self._channel, executed, checkpoint)
        if final is not None:
            statements.append(final_statement(self._channel, final.size, final.height, final.note))
        try:
            await _send(writer, [BEGIN, *statements, COMMIT])
        except psycopg.errors.UniqueViolation as error:
            if error.diag.table_name != blocks.name:
                raise
            # a former session of ours, cut off before its answer, has come through after all: load, and go on
            raise StoreUnavailable(f"block {executed.head.height} was committed by another session") from error

    async def _fill(self, seen: Seen, writer: psycopg.AsyncConnection[Any]) -> None:
        """One page more of what is committed."""
        found = await rows(writer, _REGISTERED, {"channel": self._channel, "first": seen.until, "limit": PAGE})
        seen.add([row[1] for row in found])
        seen.add([(row[2], row[3]) for row in found])
        if found:
            seen.until = found[-1][0] + 1
        seen.complete = len(found) < PAGE

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
    """ledger.store.source.Source inside `greenlet_spawn`."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], channel: str, seen: Seen) -> None:
        self._connection = connection
        self._channel = channel
        self._seen = seen

    def records(self, keys: Sequence[Key]) -> Mapping[Key, bytes]:
        kinds, names = text_array([kind for kind, _ in keys]), text_array([key for _, key in keys])
        return {(row[0], row[1]): row[2] for row in self._rows(_RECORDS, kinds=kinds, keys=names)}

    def scan(self, kind: str, first: str, last: str, limit: int) -> list[tuple[str, bytes]]:
        return [(row[0], row[1]) for row in self._rows(_SCAN, kind=kind, first=first, last=last, limit=limit)]

    def buckets(self, numbers: Sequence[int]) -> Mapping[int, bytes]:
        leaves: dict[int, bytearray] = {number: bytearray() for number in numbers}
        for bucket, hashed, value in self._rows(_BUCKETS, numbers=int_array(numbers)):
            leaves[bucket] += hashed + value
        return {number: bytes(row) for number, row in leaves.items()}

    def taken(self, ids: Sequence[str], nonces: Sequence[tuple[str, str]]) -> Taken:
        ids, nonces = self._seen.perhaps(ids), self._seen.perhaps(nonces)
        if not ids and not nonces:
            return Taken(frozenset(), frozenset())
        found = self._rows(
            _TAKEN,
            ids=text_array(ids),
            senders=text_array([sender for sender, _ in nonces]),
            nonces=text_array([nonce for _, nonce in nonces]),
        )
        found_ids = frozenset(row[0] for row in found if row[1] is None)
        return Taken(found_ids, frozenset((row[0], row[1]) for row in found if row[1] is not None))

    def _rows(self, query: LiteralString, **values: Any) -> list[tuple[Any, ...]]:
        return await_only(rows(self._connection, query, {"channel": self._channel, **values}))


_RECORDS: Final = (
    "SELECT kind, key, body FROM unnest(%(kinds)b::text[], %(keys)b::text[]) AS wanted(kind, key) "
    "JOIN records USING (kind, key) WHERE channel = %(channel)s"
)
_SCAN: Final = (
    "SELECT key, body FROM records WHERE channel = %(channel)s AND kind = %(kind)s AND key >= %(first)s "
    "AND key < %(last)s ORDER BY key LIMIT %(limit)s"
)
_BUCKETS: Final = (
    "SELECT bucket, key_hash, value_hash FROM records WHERE channel = %(channel)s AND bucket = ANY(%(numbers)b::int[]) "
    "ORDER BY bucket, key_hash"
)
_TAKEN: Final = (
    "SELECT w.id, NULL FROM unnest(%(ids)b::text[]) AS w(id) CROSS JOIN LATERAL (SELECT FROM transactions AS t "
    "WHERE t.channel = %(channel)s AND t.id = w.id AND registered LIMIT 1) AS used "
    "UNION ALL SELECT w.sender, w.nonce FROM unnest(%(senders)b::text[], %(nonces)b::text[]) "
    "AS w(sender, nonce) CROSS JOIN LATERAL (SELECT FROM transactions AS t WHERE t.channel = %(channel)s "
    "AND t.sender = w.sender AND t.nonce = w.nonce AND registered AND code <> 'nonce_reused' LIMIT 1) AS used"
)
_REGISTERED: Final = (
    "SELECT log_index, id, sender, nonce FROM transactions WHERE channel = %(channel)s AND log_index >= %(first)s "
    "AND registered ORDER BY log_index LIMIT %(limit)s"
)
_KNOWN: Final = (
    "SELECT w.id FROM unnest(%(ids)b::text[]) AS w(id) CROSS JOIN LATERAL (SELECT FROM transactions AS t "
    "WHERE t.channel = %(channel)s AND t.id = w.id AND registered LIMIT 1) AS used"
)


async def _send(connection: psycopg.AsyncConnection[Any], statements: Sequence[Statement]) -> None:
    await send(connection, statements)
