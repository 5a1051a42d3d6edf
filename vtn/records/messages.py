"""The message queue of each VEN: what it is to be told, kept until it acknowledges.

    queued ──▶ delivered ──▶ acknowledged
      ▲            │
      └────────────┘  again while no acknowledgement came, and when the matter changes (one row per matter)

A message is put in the transaction that changed the state, which also wakes the workers. Whoever hands it out marks it
delivered; nothing is lost if the answer never arrives. What is pushed is claimed for a while before it is sent, so that
one worker sends it; a push that fails waits longer each time.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import bindparam, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from vtn.records.database import WAKE_CHANNEL
from vtn.records.tables import messages, vens

OPEN_MAX = 100
"""Open messages of one VEN that are looked at in one go."""


class QueuedMessage(msgspec.Struct, frozen=True):
    """A message for `ven_id`. `key` is what its acknowledgement names, `payload` JSON of its arguments."""

    sequence: int
    ven_id: str
    kind: str
    key: str
    payload: bytes
    queued_ms: int
    delivered_ms: int | None
    deliveries: int
    failures: int
    not_before_ms: int | None


_WAITING = (
    select(*(messages.c[name] for name in QueuedMessage.__struct_fields__))
    .where(messages.c.ven_id == bindparam("of"), messages.c.acknowledged_ms.is_(None))
    .limit(OPEN_MAX)
)
_OPEN = _WAITING.order_by(messages.c.delivered_ms.nulls_first(), messages.c.sequence)
_CLAIMED = _WAITING.order_by(messages.c.not_before_ms.nulls_first(), messages.c.sequence).with_for_update(
    skip_locked=True
)


async def queue(
    connection: AsyncConnection, ven_ids: Sequence[str], kind: str, key: str, now_ms: int, payload: bytes = b"{}"
) -> None:
    """Put a message for each VEN. One about the same matter (kind and key) is replaced and delivered again."""
    if not ven_ids:
        return
    rows = [{"ven_id": ven_id, "kind": kind, "key": key, "payload": payload, "queued_ms": now_ms} for ven_id in ven_ids]
    statement = insert(messages)
    fresh = {
        "payload": statement.excluded.payload, "queued_ms": now_ms, "delivered_ms": None, "acknowledged_ms": None,
        "deliveries": 0, "failures": 0, "not_before_ms": None, "last_error": None,
    }  # fmt: skip
    await connection.execute(
        statement.on_conflict_do_update(index_elements=["ven_id", "kind", "key"], set_=fresh), rows
    )
    await connection.execute(
        text("SELECT pg_notify(:channel, 'message:' || ven_id) FROM unnest(CAST(:ven_ids AS text[])) AS ven_id"),
        {"channel": WAKE_CHANNEL, "ven_ids": list(ven_ids)},
    )


async def open_messages(connection: AsyncConnection, ven_id: str, *, claim: bool = False) -> list[QueuedMessage]:
    """Messages that are not acknowledged: what was never sent, then what was sent longest ago, so that one nobody ever
    acknowledges holds up no other. `claim` (for a push: by when they may be tried) locks them, and leaves out those
    another one locked."""
    return [QueuedMessage(*row) for row in await connection.execute(_CLAIMED if claim else _OPEN, {"of": ven_id})]


async def mark_delivered(connection: AsyncConnection, sequences: Sequence[int], now_ms: int) -> None:
    """Note that messages were handed out; they stay open."""
    await connection.execute(
        update(messages)
        .where(messages.c.sequence.in_(sequences))
        .values(delivered_ms=now_ms, deliveries=messages.c.deliveries + 1)
    )


async def claim_push(connection: AsyncConnection, sequences: Sequence[int], until_ms: int) -> None:
    """Let nobody else push these messages before `until_ms`, by which the one who does is known."""
    await connection.execute(update(messages).where(messages.c.sequence.in_(sequences)).values(not_before_ms=until_ms))


async def end_push(
    connection: AsyncConnection, sequences: Sequence[int], claimed_ms: int, again_ms: int, *, error: str | None = None
) -> None:
    """Note that a push arrived, or went wrong with `error`; what stays open is pushed again at `again_ms`.

    A message that was queued anew since it was claimed is left alone.
    """
    m = messages.c
    await connection.execute(
        update(messages)
        .where(m.sequence.in_(sequences), m.not_before_ms == claimed_ms)
        .values(not_before_ms=again_ms, last_error=error, failures=0 if error is None else m.failures + 1)
    )


async def acknowledge(
    connection: AsyncConnection,
    ven_id: str,
    kind: str,
    now_ms: int,
    keys: Sequence[str] | None = None,
    *,
    sent_only: bool = False,
) -> int:
    """Close the open messages of a kind, those with one of `keys` or all. Returns how many were open.

    `sent_only`: an answer that names no matter is about what was sent, not about what still waits.
    """
    statement = update(messages).where(
        messages.c.ven_id == ven_id, messages.c.kind == kind, messages.c.acknowledged_ms.is_(None)
    )
    if keys is not None:
        statement = statement.where(messages.c.key.in_(keys))
    if sent_only:
        statement = statement.where(messages.c.delivered_ms.is_not(None))
    result = await connection.execute(statement.values(acknowledged_ms=now_ms))
    return result.rowcount


async def close_all(connection: AsyncConnection, ven_id: str, now_ms: int, *, but: Sequence[str] = ()) -> None:
    """Close everything a VEN was to be told, except the kinds `but`: its registration has ended."""
    await connection.execute(
        update(messages)
        .where(messages.c.ven_id == ven_id, messages.c.acknowledged_ms.is_(None), messages.c.kind.not_in(but))
        .values(acknowledged_ms=now_ms)
    )


async def vens_to_push(connection: AsyncConnection, now_ms: int) -> list[str]:
    """Registered VENs that are reached by push and have something that may be sent now."""
    found = await connection.execute(
        select(messages.c.ven_id)
        .join(vens, vens.c.ven_id == messages.c.ven_id)
        .where(messages.c.acknowledged_ms.is_(None), func.coalesce(messages.c.not_before_ms, 0) <= now_ms)
        .where(vens.c.http_pull.is_(False), vens.c.registration_id.is_not(None))
        .group_by(messages.c.ven_id)
    )
    return list(found.scalars())


async def vens_with_open_messages(connection: AsyncConnection) -> list[str]:
    """VENs that have something waiting."""
    found = await connection.execute(
        select(messages.c.ven_id).where(messages.c.acknowledged_ms.is_(None)).group_by(messages.c.ven_id)
    )
    return list(found.scalars())
