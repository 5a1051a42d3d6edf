"""The statements that write a block, sent down one pipeline: one round trip, whatever the block holds.

Rows travel as arrays (`unnest`), so that a block has as many statements as tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final, LiteralString

from psycopg import AsyncConnection

from contracts.core.state import Writes
from ledger.log.tiles import TileId
from ledger.machine import Executed, FactRow, TransactionRow
from ledger.verify.state import bucket_of, key_hash

Statement = tuple[LiteralString, Sequence[Any]]

_BLOCK: Final = """
INSERT INTO blocks (channel, height, header, signature, order_revision, time_ms, tx_count, first_index, size,
                    state_root, summary_hash)
VALUES (%s, %s, %b, %b, %s, %s, %s, %s, %s, %b, %b)"""

_ENTRIES: Final = """
INSERT INTO entries (channel, log_index, data)
SELECT %s, %s + row_number - 1, data FROM unnest(%b::bytea[]) WITH ORDINALITY AS new(data, row_number)"""

_TRANSACTIONS: Final = """
INSERT INTO transactions (channel, height, log_index, id, sender, nonce, contract, command, code, registered, receipt,
                          content_hash)
SELECT %s, %s, * FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[],
                             %s::boolean[], %b::bytea[], %b::bytea[])"""

_BODIES: Final = """
INSERT INTO bodies (channel, log_index, salt, body) SELECT %s, * FROM unnest(%s::bigint[], %b::bytea[], %b::bytea[])"""

_FACTS: Final = """
INSERT INTO facts (channel, height, time_ms, log_index, ordinal, transaction_id, subject, parties, body)
SELECT %s, %s, %s, log_index, ordinal, transaction_id, subject, string_to_array(parties, ' '), body
FROM unnest(%s::bigint[], %s::int[], %s::text[], %s::text[], %s::text[], %b::bytea[])
    AS new(log_index, ordinal, transaction_id, subject, parties, body)"""

_FACT_PARTIES: Final = """
INSERT INTO fact_parties (channel, height, party, log_index, ordinal)
SELECT %s, %s, * FROM unnest(%s::text[], %s::bigint[], %s::int[])"""

_RECORDS: Final = """
INSERT INTO records (channel, height, kind, key, body, bucket, key_hash, value_hash)
SELECT %s, %s, * FROM unnest(%s::text[], %s::text[], %b::bytea[], %s::int[], %b::bytea[], %b::bytea[])
ON CONFLICT (channel, kind, key)
DO UPDATE SET height = excluded.height, body = excluded.body, value_hash = excluded.value_hash"""

_RECORDS_DROPPED: Final = """
DELETE FROM records USING unnest(%s::text[], %s::text[]) AS gone(kind, key)
WHERE records.channel = %s AND records.kind = gone.kind AND records.key = gone.key"""

_TILES: Final = """
INSERT INTO tiles (channel, level, number, data) SELECT %s, * FROM unnest(%s::int[], %s::bigint[], %b::bytea[])
ON CONFLICT (channel, level, number) DO UPDATE SET data = excluded.data"""

_CHECKPOINT: Final = "INSERT INTO checkpoints (channel, height, size, note) VALUES (%s, %s, %s, %b)"

_META: Final = "INSERT INTO meta (channel, genesis, policy) VALUES (%s, %b, %b)"


async def send(connection: AsyncConnection[Any], statements: Sequence[Statement]) -> None:
    """Runs the statements in the connection's transaction. Raises psycopg.Error."""
    async with connection.pipeline(), connection.cursor() as cursor:
        for query, values in statements:
            await cursor.execute(query, values)


def genesis_statements(
    channel: str, genesis: bytes, policy: bytes, writes: Writes, checkpoint: bytes
) -> list[Statement]:
    """What height 0 consists of."""
    meta: Statement = (_META, (channel, genesis, policy))
    return [meta, *_record_statements(channel, 0, writes), (_CHECKPOINT, (channel, 0, 0, checkpoint))]


def block_statements(channel: str, executed: Executed, checkpoint: bytes) -> list[Statement]:
    """What a block consists of."""
    head, block = executed.head, executed.block
    height = head.height
    values = (
        channel, height, block.header_bytes, block.signature, executed.order_revision, head.time_ms,
        len(executed.transactions), executed.first_index, head.size, executed.plan.root, head.previous,
    )  # fmt: skip
    statements: list[Statement] = [
        (_BLOCK, values),
        (_ENTRIES, (channel, executed.first_index, list(executed.entries))),
        *_transaction_statements(channel, height, executed.transactions),
        *_fact_statements(channel, height, head.time_ms, executed.facts),
        *_record_statements(channel, height, executed.writes),
        _tile_statement(channel, executed.tiles),
        (_CHECKPOINT, (channel, height, head.size, checkpoint)),
    ]
    return statements


def _transaction_statements(channel: str, height: int, rows: Sequence[TransactionRow]) -> list[Statement]:
    if not rows:
        return []
    headers = [row.parsed.header for row in rows]
    places = [row.log_index for row in rows]
    values = (
        channel,
        height,
        places,
        [row.parsed.id for row in rows],
        [header.sender for header in headers],
        [header.nonce for header in headers],
        [header.contract for header in headers],
        [header.command for header in headers],
        [row.code for row in rows],
        [row.registered for row in rows],
        [row.receipt for row in rows],
        [row.parsed.content_hash for row in rows],
    )
    salts = [row.parsed.salt for row in rows]
    return [(_TRANSACTIONS, values), (_BODIES, (channel, places, salts, [row.parsed.body for row in rows]))]


def _fact_statements(channel: str, height: int, time_ms: int, rows: Sequence[FactRow]) -> list[Statement]:
    if not rows:
        return []
    values = (
        channel,
        height,
        time_ms,
        [row.log_index for row in rows],
        [row.ordinal for row in rows],
        [row.transaction_id for row in rows],
        [row.subject for row in rows],
        [" ".join(row.parties) for row in rows],
        [row.body for row in rows],
    )
    concerned = [(party, row.log_index, row.ordinal) for row in rows for party in row.parties]
    statements: list[Statement] = [(_FACTS, values)]
    if concerned:
        statements.append((_FACT_PARTIES, (channel, height, *map(list, zip(*concerned, strict=True)))))
    return statements


def _record_statements(channel: str, height: int, writes: Writes) -> list[Statement]:
    kept = [(kind, key, body) for (kind, key), body in writes.items() if body is not None]
    gone = [at for at, body in writes.items() if body is None]
    statements: list[Statement] = []
    if kept:
        hashes = [key_hash(kind, key) for kind, key, _ in kept]
        values = (
            channel,
            height,
            [kind for kind, _, _ in kept],
            [key for _, key, _ in kept],
            [body for _, _, body in kept],
            [bucket_of(hashed) for hashed in hashes],
            hashes,
            [sha256(body).digest() for _, _, body in kept],
        )
        statements.append((_RECORDS, values))
    if gone:
        statements.append((_RECORDS_DROPPED, ([kind for kind, _ in gone], [key for _, key in gone], channel)))
    return statements


def _tile_statement(channel: str, tiles: Mapping[TileId, bytes]) -> Statement:
    levels = [tile.level for tile in tiles]
    return _TILES, (channel, levels, [tile.number for tile in tiles], list(tiles.values()))
