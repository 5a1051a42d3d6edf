"""The statements that write a block, sent down one pipeline: one round trip, whatever the block holds.

Rows travel as arrays (`unnest`), so that a block has as many statements as tables. The arrays are written in
PostgreSQL's binary form here: the driver's own dumpers look at every element, which was most of what a block cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, LiteralString

from psycopg import adapters, pq
from psycopg.adapt import Buffer, Dumper

from contracts.core.state import Writes
from ledger.log.tiles import TileId
from ledger.machine import Executed, FactRow, TransactionRow
from ledger.store.cache.tree import leaves_of
from ledger.store.source import Key
from ledger.store.state import Leaf

Statement = tuple[LiteralString, Sequence[Any]]

BEGIN: Final[Statement] = ("BEGIN", ())
COMMIT: Final[Statement] = ("COMMIT", ())

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
SELECT %s, %s, * FROM unnest(%b::bigint[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[],
                             %b::boolean[], %b::bytea[], %b::bytea[])"""

_BODIES: Final = """
INSERT INTO bodies (channel, log_index, salt, body) SELECT %s, * FROM unnest(%b::bigint[], %b::bytea[], %b::bytea[])"""

_FACTS: Final = """
INSERT INTO facts (channel, height, time_ms, log_index, ordinal, transaction_id, subject, parties, body)
SELECT %s, %s, %s, log_index, ordinal, transaction_id, subject, string_to_array(parties, ' '), body
FROM unnest(%b::bigint[], %b::int[], %b::text[], %b::text[], %b::text[], %b::bytea[])
    AS new(log_index, ordinal, transaction_id, subject, parties, body)"""

_FACT_PARTIES: Final = """
INSERT INTO fact_parties (channel, height, party, log_index, ordinal)
SELECT %s, %s, * FROM unnest(%b::text[], %b::bigint[], %b::int[])"""

_RECORDS: Final = """
INSERT INTO records (channel, height, kind, key, body, bucket, key_hash, value_hash)
SELECT %s, %s, * FROM unnest(%b::text[], %b::text[], %b::bytea[], %b::int[], %b::bytea[], %b::bytea[])
ON CONFLICT (channel, kind, key)
DO UPDATE SET height = excluded.height, body = excluded.body, value_hash = excluded.value_hash"""

_RECORDS_DROPPED: Final = """
DELETE FROM records WHERE ctid = ANY(ARRAY(
    SELECT (SELECT ctid FROM records WHERE channel = %s AND kind = gone.kind AND key = gone.key)
    FROM unnest(%b::text[], %b::text[]) AS gone(kind, key)))"""
"""By place: the planner takes a table it knows nothing of yet for small, and would read all of it for each key."""

_TILES: Final = """
INSERT INTO tiles (channel, level, number, data) SELECT %s, * FROM unnest(%b::int[], %b::bigint[], %b::bytea[])
ON CONFLICT (channel, level, number) DO UPDATE SET data = excluded.data"""

_CHECKPOINT: Final = "INSERT INTO checkpoints (channel, height, size, note) VALUES (%s, %s, %s, %b)"

_FINAL: Final = """
INSERT INTO finality (channel, size, height, note) VALUES (%s, %s, %s, %b)
ON CONFLICT (channel) DO UPDATE SET size = excluded.size, height = excluded.height, note = excluded.note
WHERE finality.size <= excluded.size"""

_META: Final = "INSERT INTO meta (channel, genesis, policy) VALUES (%s, %b, %b)"


def genesis_statements(
    channel: str, genesis: bytes, policy: bytes, writes: Writes, checkpoint: bytes
) -> list[Statement]:
    """What height 0 consists of."""
    meta: Statement = (_META, (channel, genesis, policy))
    records = _record_statements(channel, 0, writes, leaves_of(writes))
    return [meta, *records, (_CHECKPOINT, (channel, 0, 0, checkpoint))]


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
        (_ENTRIES, (channel, executed.first_index, _bytea(executed.entries))),
        *_transaction_statements(channel, height, executed.transactions),
        *_fact_statements(channel, height, head.time_ms, executed.facts),
        *_record_statements(channel, height, executed.writes, executed.leaves),
        _tile_statement(channel, executed.tiles),
        (_CHECKPOINT, (channel, height, head.size, checkpoint)),
    ]
    return statements


def final_statement(channel: str, size: int, height: int, note: bytes) -> Statement:
    """The newest final checkpoint, in place of an older one."""
    return _FINAL, (channel, size, height, note)


def _transaction_statements(channel: str, height: int, rows: Sequence[TransactionRow]) -> list[Statement]:
    if not rows:
        return []
    headers = [row.parsed.header for row in rows]
    places = _bigint([row.log_index for row in rows])
    values = (
        channel,
        height,
        places,
        text_array([row.parsed.id for row in rows]),
        text_array([header.sender for header in headers]),
        text_array([header.nonce for header in headers]),
        text_array([header.contract for header in headers]),
        text_array([header.command for header in headers]),
        text_array([row.code for row in rows]),
        _boolean([row.registered for row in rows]),
        _bytea([row.receipt for row in rows]),
        _bytea([row.parsed.content_hash for row in rows]),
    )
    salts, bodies = _bytea([row.parsed.salt for row in rows]), _bytea([row.parsed.body for row in rows])
    return [(_TRANSACTIONS, values), (_BODIES, (channel, places, salts, bodies))]


def _fact_statements(channel: str, height: int, time_ms: int, rows: Sequence[FactRow]) -> list[Statement]:
    if not rows:
        return []
    values = (
        channel,
        height,
        time_ms,
        _bigint([row.log_index for row in rows]),
        int_array([row.ordinal for row in rows]),
        text_array([row.transaction_id for row in rows]),
        text_array([row.subject for row in rows]),
        text_array([" ".join(row.parties) for row in rows]),
        _bytea([row.body for row in rows]),
    )
    concerned = [(party, row) for row in rows for party in row.parties]
    statements: list[Statement] = [(_FACTS, values)]
    if concerned:
        places = _bigint([row.log_index for _, row in concerned]), int_array([row.ordinal for _, row in concerned])
        statements.append((_FACT_PARTIES, (channel, height, text_array([party for party, _ in concerned]), *places)))
    return statements


def _record_statements(channel: str, height: int, writes: Writes, leaves: Mapping[Key, Leaf]) -> list[Statement]:
    kept = [(at, body, *leaves[at]) for at, body in writes.items() if body is not None]
    gone = [at for at, body in writes.items() if body is None]
    statements: list[Statement] = []
    if kept:
        values = (
            channel,
            height,
            text_array([at[0] for at, _, _, _ in kept]),
            text_array([at[1] for at, _, _, _ in kept]),
            _bytea([body for _, body, _, _ in kept]),
            int_array([hashed[0] << 8 | hashed[1] for _, _, hashed, _ in kept]),
            _bytea([hashed for _, _, hashed, _ in kept]),
            _bytea([value or b"" for _, _, _, value in kept]),
        )
        statements.append((_RECORDS, values))
    if gone:
        kinds, keys = text_array([kind for kind, _ in gone]), text_array([key for _, key in gone])
        statements.append((_RECORDS_DROPPED, (channel, kinds, keys)))
    return statements


def _tile_statement(channel: str, tiles: Mapping[TileId, bytes]) -> Statement:
    levels, numbers = int_array([tile.level for tile in tiles]), _bigint([tile.number for tile in tiles])
    return _TILES, (channel, levels, numbers, _bytea(tiles.values()))


# ---- arrays in binary form: dimensions, nulls, element type, length, first subscript, (length, element)*


class _Array(bytes):
    """A one-dimensional array as it is sent."""

    OID: ClassVar[int]


class _Bytea(_Array):
    OID = 1001


class _Text(_Array):
    OID = 1009


class _Bigint(_Array):
    OID = 1016


class _Int(_Array):
    OID = 1007


class _Boolean(_Array):
    OID = 1000


def _bytea(values: Iterable[bytes]) -> _Bytea:
    parts = [part for value in values for part in (_length(value), value)]
    return _Bytea(_head(17, len(parts) // 2) + b"".join(parts))


def text_array(values: Iterable[str | None]) -> _Text:
    """A `text[]` to be bound in a statement."""
    rows = [None if value is None else value.encode() for value in values]
    parts = [part for row in rows for part in ((_NULL, b"") if row is None else (_length(row), row))]
    return _Text(_head(25, len(rows), nulls=int(None in rows)) + b"".join(parts))


def _bigint(values: Sequence[int]) -> _Bigint:
    """Of integers >= 0."""
    return _Bigint(_head(20, len(values)) + b"".join([(8 << 64 | value).to_bytes(12, "big") for value in values]))


def int_array(values: Sequence[int]) -> _Int:
    """An `int[]` to be bound in a statement, of integers >= 0."""
    return _Int(_head(23, len(values)) + b"".join([(4 << 32 | value).to_bytes(8, "big") for value in values]))


def _boolean(values: Sequence[bool]) -> _Boolean:
    return _Boolean(_head(16, len(values)) + b"".join([_TRUE if value else _FALSE for value in values]))


def _head(element_oid: int, count: int, nulls: int = 0) -> bytes:
    return b"".join([n.to_bytes(4, "big") for n in (1, nulls, element_oid, count, 1)])


def _length(value: bytes) -> bytes:
    return _LENGTHS[count] if (count := len(value)) < _SHORT else count.to_bytes(4, "big")


_SHORT: Final = 2_048
_LENGTHS: Final = [n.to_bytes(4, "big") for n in range(_SHORT)]
_NULL: Final = b"\xff" * 4
_TRUE: Final = b"\0\0\0\1\1"
_FALSE: Final = b"\0\0\0\1\0"


def _register(kind: type[_Array]) -> None:
    class AsIs(Dumper):
        oid = kind.OID
        format = pq.Format.BINARY

        def dump(self, obj: Any) -> Buffer | None:
            return bytes(obj)

    adapters.register_dumper(kind, AsIs)


for _kind in (_Bytea, _Text, _Bigint, _Int, _Boolean):
    _register(_kind)
