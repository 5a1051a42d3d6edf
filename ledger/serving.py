"""What a replica shows of committed blocks: results, records, facts, tiles, and proofs under the final checkpoint.

Reads need no order and no lock. A record or a result is shown once it is committed here; a proof, once a quorum has
cosigned a checkpoint that covers it.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec

from ledger.errors import Erased, NotFinalYet
from ledger.founding import Founded
from ledger.log import merkle
from ledger.log.entry import fact_part
from ledger.log.proof import transaction_part, write_opening, write_proof
from ledger.log.tiles import HASH_BYTES, TILE_WIDTH, TileId, encode_bundle
from ledger.machine import Head
from ledger.ordering.pool import TransactionResult
from ledger.ordering.progress import Progress
from ledger.replication.attestation import Attestations
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

    def __init__(self, store: Store, founded: Founded, progress: Progress, attestations: Attestations) -> None:
        self.channel = founded.genesis.channel
        self._store = store
        self._founded = founded
        self._policy = founded.policy
        self._progress = progress
        self._attestations = attestations

    @property
    def head(self) -> Head:
        """The newest committed block."""
        return self._progress.head

    @property
    def height(self) -> int:
        """Of the newest committed block."""
        return self._progress.head.height

    @property
    def final_size(self) -> int:
        """Leaves below this are under a checkpoint that a quorum cosigned."""
        return self._attestations.final.size

    @property
    def final_height(self) -> int:
        """The last final block."""
        return self._attestations.final.height

    def attested(self, index: int) -> int:
        """How many members cosigned a checkpoint that covers this leaf."""
        return self._attestations.attested(index)

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

    def subscribe(self) -> AbstractAsyncContextManager[asyncio.Event]:
        """An event that is set whenever the height or the final height grows (or the replica halts); whoever waits for
        it clears it."""
        return self._progress.subscribe()

    async def proof(self, transaction_id: str, fact_index: int | None) -> tuple[bytes, bytes] | None:
        """The `.tlog-proof` and the opening of a transaction (salt and command) or of one of its facts (nothing else);
        None where there is no such transaction or fact. Where the body was erased, the entry alone is opened, with its
        receipt. Raises NotFinalYet, and Erased for a fact that was."""
        self._require_sound()
        found = (await self._store.results([transaction_id])).get(transaction_id)
        if found is None:
            return None
        erasable = await self._store.body(found.log_index)
        if erasable is None and fact_index is not None:
            raise Erased(f"the body of transaction {transaction_id} was erased: its entry alone can be proved")
        if fact_index is not None and not 0 <= fact_index < len(found.facts):
            return None
        entry, proof = await self._included(found.log_index)
        if erasable is None:
            return proof, write_opening(entry, receipt=found.receipt)
        salt, body = erasable
        if fact_index is None:
            return proof, write_opening(entry, receipt=found.receipt, transaction=transaction_part(salt, body))
        return proof, write_opening(entry, receipt=found.receipt, fact=fact_part(found.facts, salt, fact_index))

    async def checkpoint(self) -> bytes:
        """The newest checkpoint that a quorum cosigned. Raises NotFinalYet while there is none."""
        self._require_sound()
        final = self._attestations.final
        if not final.note:
            raise NotFinalYet("no checkpoint has a quorum of cosignatures yet: the other members do not answer")
        return final.note

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
        """The policy file: of the founders, or of the members as they are now, where those have changed."""
        return self._policy

    async def _included(self, index: int) -> tuple[bytes, bytes]:
        """The entry and its proof under the final checkpoint. Raises NotFinalYet."""
        final = self._attestations.final
        if index >= final.size:
            raise NotFinalYet(
                f"leaf {index} is committed and cosigned by {self.attested(index)} members, which is no quorum yet"
            )
        ranges = merkle.inclusion_ranges(index, final.size)
        tiles = await self._store.tiles(merkle.range_tiles(ranges))
        (entry,) = await self._store.entries(index, 1)
        return entry, write_proof(index, merkle.prove(ranges, tiles), final.note)

    def _require_sound(self) -> None:
        self._progress.require_sound()


def first_result(row: ResultRow) -> TransactionResult:
    """A stored result as it is answered."""
    status = "committed" if row.code == "ok" else "refused"
    facts = [msgspec.json.decode(fact) for fact in row.facts]
    return TransactionResult(row.id, status, row.code, row.height, row.log_index, facts)
