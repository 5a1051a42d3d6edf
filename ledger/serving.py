"""What a replica shows of committed blocks: results, records, facts, tiles, proofs. Reads need no order and no lock."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from ledger.errors import Diverged
from ledger.founding import Founded
from ledger.log import merkle
from ledger.log.entry import fact_part
from ledger.log.proof import transaction_part, write_opening, write_proof
from ledger.log.tiles import HASH_BYTES, TILE_WIDTH, TileId, encode_bundle
from ledger.machine import Head, Machine
from ledger.ordering.pool import TransactionResult
from ledger.store.store import ResultRow, Store


class FactRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A fact with its place: `cursor` is height.index.ordinal; contract: the contract or need it is about; fact: the
    tagged object; transaction_id None: a deadline."""

    cursor: str
    height: int
    index: int
    ordinal: int
    time_ms: int
    transaction_id: str | None
    contract: str | None
    parties: tuple[str, ...]
    fact: dict[str, Any]


class Serving:
    """The reading half of a replica. Every method may raise Diverged once the replica has halted."""

    def __init__(self, store: Store, founded: Founded) -> None:
        self.channel = founded.genesis.channel
        self._store = store
        self._founded = founded
        self._machine: Machine
        self._fault: Diverged | None = None
        self._published: tuple[Head, bytes]
        self._subscribers: set[asyncio.Event] = set()

    @property
    def head(self) -> Head:
        """The newest committed block."""
        return self._published[0]

    async def transaction(self, transaction_id: str) -> TransactionResult | None:
        """The first result of a transaction, None where none was executed."""
        self._require_sound()
        found = (await self._store.results([transaction_id])).get(transaction_id)
        return None if found is None else first_result(found)

    async def record(self, kind: str, key: str) -> tuple[bytes | None, int]:
        """The canonical bytes of a record, and the height at which this is true."""
        self._require_sound()
        return await self._store.record(kind, key)

    async def records(self, kind: str, prefix: str, after: str, limit: int) -> list[tuple[str, bytes]]:
        """Records whose key begins with `prefix` and is greater than `after`, in bytewise order, at most `limit`."""
        self._require_sound()
        return await self._store.records(kind, prefix, after, limit)

    async def facts(
        self, after: tuple[int, int, int], party: str | None, contract: str | None, limit: int
    ) -> list[FactRecord]:
        """Facts behind (height, index, ordinal), in order, at most `limit`."""
        self._require_sound()
        rows = await self._store.facts(after, party, contract, limit)
        return [
            FactRecord(
                cursor=f"{row.height}.{row.log_index}.{row.ordinal}",
                height=row.height,
                index=row.log_index,
                ordinal=row.ordinal,
                time_ms=row.time_ms,
                transaction_id=row.transaction_id,
                contract=row.subject,
                parties=row.parties,
                fact=msgspec.json.decode(row.body),
            )
            for row in rows
        ]

    @contextlib.asynccontextmanager
    async def subscribe(self) -> AsyncIterator[asyncio.Event]:
        """An event that is set whenever the height grows (or the replica halts); whoever waits for it clears it."""
        event = asyncio.Event()
        self._subscribers.add(event)
        try:
            yield event
        finally:
            self._subscribers.discard(event)

    async def proof(self, transaction_id: str, fact_index: int | None) -> tuple[bytes, bytes] | None:
        """The `.tlog-proof` and the opening of a transaction (salt and command) or of one of its facts (nothing else);
        None where there is no such transaction or fact, or its body was erased."""
        self._require_sound()
        found = (await self._store.results([transaction_id])).get(transaction_id)
        if found is None or (fact_index is not None and not 0 <= fact_index < len(found.facts)):
            return None
        erasable = await self._store.body(found.log_index)
        if erasable is None:
            return None
        salt, body = erasable
        entry, proof = await self._included(found.log_index)
        if fact_index is None:
            return proof, write_opening(entry, receipt=found.receipt, transaction=transaction_part(salt, body))
        return proof, write_opening(entry, receipt=found.receipt, fact=fact_part(found.facts, salt, fact_index))

    async def checkpoint(self) -> bytes:
        """The newest checkpoint, signed and cosigned by this member."""
        self._require_sound()
        return self._published[1]

    async def tile(self, level: int, number: int, width: int) -> bytes | None:
        """The first `width` hashes of a tile, None where the log has not that many."""
        self._require_sound()
        row = (await self._store.tiles([TileId(level, number)])).get(TileId(level, number), b"")
        wanted = width * HASH_BYTES
        return row[:wanted] if len(row) >= wanted else None

    async def entries(self, number: int, width: int) -> bytes | None:
        """The first `width` entries of a bundle, None where the log has not that many."""
        self._require_sound()
        found = await self._store.entries(number * TILE_WIDTH, width)
        return encode_bundle(found) if len(found) == width else None

    def policy(self) -> bytes:
        """The policy file."""
        return self._founded.policy

    async def _included(self, index: int) -> tuple[bytes, bytes]:
        """The entry and its proof under the newest checkpoint."""
        head, note = self._published
        ranges = merkle.inclusion_ranges(index, head.size)
        tiles = await self._store.tiles(merkle.range_tiles(ranges))
        (entry,) = await self._store.entries(index, 1)
        return entry, write_proof(index, merkle.prove(ranges, tiles), note)

    def _require_sound(self) -> None:
        if self._fault is not None:
            raise self._fault

    def _publish(self, head: Head, checkpoint: bytes) -> None:
        self._published = (head, checkpoint)
        self._wake()

    def _wake(self) -> None:
        for event in self._subscribers:
            event.set()


def first_result(row: ResultRow) -> TransactionResult:
    """A stored result as it is answered."""
    status = "committed" if row.code == "ok" else "refused"
    facts = [msgspec.json.decode(fact) for fact in row.facts]
    return TransactionResult(row.id, status, row.code, row.height, row.log_index, facts)
