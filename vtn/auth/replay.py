"""ReplayProtect: a signed message counts once, whichever worker it reaches.

    timestamp within the skew of our clock, both ways ──▶ nonce new in PostgreSQL ──▶ the message counts

A nonce is kept until its timestamp alone would refuse the message. While one statement stores nonces, those that
arrive meanwhile wait and go together into the next: one commit serves as many messages as came during the last. It has
a connection of its own, because checking one out of the pool costs more than the statement. A commit does not wait for
the disk: what a crash of PostgreSQL loses is the last half second, and a message that is repeated after that changes
nothing that it had not changed before.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import psycopg
from sqlalchemy import BigInteger, Column, Index, LargeBinary, Table, func, select, text

from runtime import database as runtime_database
from runtime.clock import Clock
from vtn.auth.rates import Rate
from vtn.errors import NotAllowed
from vtn.records.database import Database
from vtn.records.tables import metadata

SIGNER_MESSAGES_MAX = 600
"""Signed messages one certificate may send one worker in a minute: more would be an attempt to fill the store."""

_BATCH = 500
_CLOCKS_DIFFER_MS = 60_000
"""Workers' clocks: a nonce is kept longer than any of them would accept its message."""

nonces = Table(
    "nonces",
    metadata,
    Column("digest", LargeBinary, primary_key=True, comment="16 bytes of SHA-256 over signer and nonce"),
    Column("expires_ms", BigInteger, nullable=False, comment="wall clock"),
    Index("nonces_by_expiry", "expires_ms"),
)

_REMOVED = 10_000
"""Nonces that are removed in one transaction."""
_STORE = (
    "INSERT INTO nonces (digest, expires_ms) SELECT * FROM unnest(%s::bytea[], %s::bigint[]) "
    "ON CONFLICT DO NOTHING RETURNING digest"
)
_REMOVE = text(
    "DELETE FROM nonces WHERE digest IN "
    "(SELECT digest FROM nonces WHERE expires_ms < :now_ms LIMIT :most FOR UPDATE SKIP LOCKED)"
)


class Replay:
    """Nonces in PostgreSQL. `skew_s`: how far a timestamp may be off, in wall seconds."""

    def __init__(self, database: Database, clock: Clock, *, skew_s: float) -> None:
        self._database = database
        self._clock = clock
        self._skew_ms = int(1000 * skew_s)
        self._waiting: dict[bytes, tuple[int, asyncio.Future[bool]]] = {}
        self._storing: asyncio.Task[None] | None = None
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._rate = Rate(clock, SIGNER_MESSAGES_MAX, "too_many_messages", "signed messages")

    async def admit(self, signer: str, nonce: str, timestamp_ms: int) -> None:
        """Let a message pass once. `signer` is the fingerprint of a certificate that is known.

        Raises NotAllowed: replayed, timestamp_off, too_many_messages.
        """
        now_ms = self._clock.wall_ms()
        off_ms = timestamp_ms - now_ms
        if abs(off_ms) > self._skew_ms:
            side = "ahead of" if off_ms > 0 else "behind"
            raise NotAllowed("timestamp_off", f"the signature's time is {abs(off_ms) // 1000} s {side} the VTN's clock")
        self._rate.admit(signer)
        digest = hashlib.sha256(f"{signer}\0{nonce}".encode()).digest()[:16]
        if digest in self._waiting:
            raise NotAllowed("replayed", "a message with this nonce was received before")
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[digest] = (timestamp_ms + self._skew_ms + _CLOCKS_DIFFER_MS, future)
        if self._storing is None or self._storing.done():
            self._storing = asyncio.create_task(self._store_waiting())
        if not await future:
            raise NotAllowed("replayed", "a message with this nonce was received before")

    async def remove_expired(self) -> int:
        """Remove nonces whose timestamp alone would refuse the message; how many there were."""
        removed = _REMOVED
        total = 0
        while removed == _REMOVED:
            async with self._database.transaction() as connection:
                values = {"now_ms": self._clock.wall_ms(), "most": _REMOVED}
                removed = (await connection.execute(_REMOVE, values)).rowcount
            total += removed
        return total

    async def count(self) -> int:
        """How many are kept."""
        async with self._database.reading() as connection:
            return int(await connection.scalar(select(func.count()).select_from(nonces)) or 0)

    async def _store_waiting(self) -> None:
        while self._waiting:
            batch = dict(sorted(list(self._waiting.items())[:_BATCH]))  # one order in all workers: no deadlock
            try:
                new = await self._store(list(batch), [expires for expires, _ in batch.values()])
            except Exception as error:
                self._answer(batch, error)
                continue
            self._answer(batch, new)

    async def _store(self, digests: list[bytes], expiries: list[int]) -> set[bytes]:
        """Those that are new. A connection that was lost since the last time is made again; a nonce that was stored by
        a statement whose answer got lost counts as seen: the VEN signs anew."""
        if self._connection is not None and not self._connection.closed:
            try:
                return await _insert(self._connection, digests, expiries)
            except psycopg.OperationalError:
                await self.close()
        self._connection = await runtime_database.connect(
            self._database.conninfo,
            autocommit=True,
            connect_timeout=10,
            application_name="dr-vtn-nonces",
            options="-c synchronous_commit=off",
        )
        return await _insert(self._connection, digests, expiries)

    async def close(self) -> None:
        """Give the connection back; the next message opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    def _answer(self, batch: dict[bytes, tuple[int, asyncio.Future[bool]]], result: set[bytes] | Exception) -> None:
        for digest, (_, future) in batch.items():
            self._waiting.pop(digest, None)
            if future.done():  # its request was given up
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(digest in result)


async def _insert(connection: psycopg.AsyncConnection[Any], digests: list[bytes], expiries: list[int]) -> set[bytes]:
    cursor = await connection.execute(_STORE, (digests, expiries), prepare=True, binary=True)
    return {bytes(row[0]) for row in await cursor.fetchall()}
