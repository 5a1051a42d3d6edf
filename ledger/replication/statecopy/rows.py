"""The rows that travel: which tables and columns, how they are framed, and the digest of a table that grows.

    stream    (uint32be length || msgpack [name, rows])*    first ["head", [[height]]], last ["end", [[rows]]]
    digest    SHA-256 over the rows in order of the key, each column as uint32be length || bytes
              (numbers in decimal, text in UTF-8, truth as 0 or 1)

Tiles, checkpoints and the parties of facts do not travel: they follow from the rest.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from hashlib import sha256
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Table, func, literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.errors import PeerUnavailable
from ledger.store import tables

FRAME_BYTES: Final = 1 << 20
FRAME_BYTES_MAX: Final = 16 << 20
HEAD, END = "head", "end"
_ROWS_AT_ONCE: Final = 500

Row = tuple[Any, ...]

_Header = tuple[int, bytes, bytes, int, int, int, int, int, bytes, bytes]
_Transaction = tuple[int, int, str, str, str, str, str, str, bool, bytes, bytes]
_Fact = tuple[int, int, int, int, str | None, str | None, list[str], bytes]

GROWING: Final[dict[str, tuple[Table, tuple[str, ...], Any]]] = {
    "blocks": (
        tables.blocks,
        (
            "height", "header", "signature", "order_revision", "time_ms", "tx_count", "first_index", "size",
            "state_root", "summary_hash",
        ),
        _Header,
    ),
    "entries": (tables.entries, ("log_index", "data"), tuple[int, bytes]),
    "transactions": (
        tables.transactions,
        (
            "log_index", "height", "id", "sender", "nonce", "contract", "command", "code", "registered", "receipt",
            "content_hash",
        ),
        _Transaction,
    ),
}  # fmt: skip
"""Equal at every member: they are in the manifest."""

OTHERS: Final[dict[str, tuple[Table, tuple[str, ...], Any]]] = {
    "bodies": (tables.bodies, ("log_index", "salt", "body"), tuple[int, bytes, bytes]),
    "facts": (
        tables.facts,
        ("height", "log_index", "ordinal", "time_ms", "transaction_id", "subject", "parties", "body"),
        _Fact,
    ),
    "records": (
        tables.records,
        ("kind", "key", "height", "body", "bucket", "key_hash", "value_hash"),
        tuple[str, str, int, bytes, int, bytes, bytes],
    ),
}
"""Bodies and facts, as far as the giver has not erased them; all records."""

TRAVELLING: Final = {**GROWING, **OTHERS}
_DECODERS: Final = {
    name: msgspec.msgpack.Decoder(tuple[str, list[kind]])  # type: ignore[valid-type]
    for name, (_, _, kind) in TRAVELLING.items()
}
_ANY: Final = msgspec.msgpack.Decoder(tuple[str, list[msgspec.Raw]])
_NUMBER: Final = msgspec.msgpack.Decoder(tuple[str, list[tuple[int]]])


async def stream(
    connection: AsyncConnection, channel: str, name: str, after: int, until: int
) -> AsyncGenerator[list[Row], None]:
    """The rows of a table in order of the key, in parts: those of blocks after one and up to another; all records. Page
    by page, so that nothing stays open if the reader stops."""
    table, columns, _ = TRAVELLING[name]
    key = [column for column in table.primary_key if column.name != "channel"]
    places = [columns.index(column.name) for column in key]
    query = select(*(table.c[column] for column in columns)).where(table.c.channel == channel)
    query = query.where(*await _between(connection, channel, table, after, until)).order_by(*key).limit(_ROWS_AT_ONCE)
    page = query
    while part := [tuple(row) for row in (await connection.execute(page)).all()]:
        yield part
        page = query.where(tuple_(*key) > tuple_(*(literal(part[-1][place]) for place in places)))


async def digest(connection: AsyncConnection, channel: str, name: str, height: int) -> str:
    """Of a table that grows, with all blocks up to a height; hex."""
    hashed = sha256()
    async for part in stream(connection, channel, name, 0, height):
        for row in part:
            for value in row:
                data = _bytes(value)
                hashed.update(len(data).to_bytes(4, "big") + data)
    return hashed.hexdigest()


def frames(name: str, rows: Sequence[Row]) -> list[bytes]:
    """Rows as they travel, none larger than it must be."""
    if len(rows) > 1 and sum(len(value) for row in rows for value in row if isinstance(value, bytes)) > FRAME_BYTES:
        half = len(rows) // 2
        return [*frames(name, rows[:half]), *frames(name, rows[half:])]
    data = msgspec.msgpack.encode((name, rows))
    return [len(data).to_bytes(4, "big") + data]


def read_frame(data: bytes) -> tuple[str, list[Row]]:
    """A frame without its length. Raises PeerUnavailable for bytes that are none."""
    try:
        name = _ANY.decode(data)[0]
        return (_DECODERS.get(name) or _NUMBER).decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise PeerUnavailable(f"rows without form: {error}") from None


async def _between(
    connection: AsyncConnection, channel: str, table: Table, after: int, until: int
) -> list[ColumnElement[bool]]:
    if table is tables.records:
        return []
    if "height" in table.c:
        return [table.c.height > after, table.c.height <= until]
    of = tables.blocks.c
    ends = select(func.coalesce(func.max(of.size), 0)).where(of.channel == channel)
    first = await connection.scalar(ends.where(of.height <= after))
    last = await connection.scalar(ends.where(of.height <= until))
    return [table.c.log_index >= first, table.c.log_index < last]


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, bool):
        return b"1" if value else b"0"
    return str(value).encode()
