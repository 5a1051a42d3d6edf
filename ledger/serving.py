"""What a replica shows of committed blocks: results, records, facts, tiles; proofs are in ledger.proving.

Reads need no order and no lock. A record or a result is shown once it is committed here; a proof, once a quorum has
cosigned a checkpoint that covers it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from ledger.errors import Diverged, NotFinalYet
from ledger.founding import Founded
from ledger.log.tiles import HASH_BYTES, TILE_WIDTH, TileId, encode_bundle
from ledger.machine import Head, Machine
from ledger.ordering.pool import TransactionResult
from ledger.ordering.progress import Progress
from ledger.proving import Proving
from ledger.replication.attestation import Attestations
from ledger.store.store import ResultRow, Store

_READS_MAX: Final = 8


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


class Serving(Proving):
    """The reading half of a replica. Every method may raise Diverged once the replica has halted."""

    def __init__(
        self,
        store: Store,
        founded: Founded,
        progress: Progress,
        attestations: Attestations,
        machine: Callable[[], Machine],
        halt: Callable[[Diverged], None],
        patience_s: float,
    ) -> None:
        super().__init__(store, progress, attestations, machine, halt, patience_s)
        self.channel = founded.genesis.channel
        self._founded = founded
        self._policy = founded.policy

    @property
    def head(self) -> Head:
        """The newest committed block."""
        return self._progress.head

    @property
    def height(self) -> int:
        """Of the newest committed block."""
        return self._progress.head.height

    @property
    def final_height(self) -> int:
        """The last final block."""
        return self._attestations.final.height

    async def transaction(self, transaction_id: str) -> TransactionResult | None:
        """The first result of a transaction, None where none was executed."""
        self._require_sound()
        found = (await self._store.results([transaction_id])).get(transaction_id)
        return None if found is None else first_result(found)

    async def record(self, kind: str, key: str) -> tuple[bytes | None, int]:
        """The canonical bytes of a record, and the height at which this is true. What the state root does not stand for
        is shown to nobody, and halts the replica."""
        self._require_sound()
        for _ in range(_READS_MAX):
            body, height = await self._store.record(kind, key)
            machine = self._machine()
            if machine.head.height == height:  # else a block was committed meanwhile that is not in memory yet, or is
                shown = machine.cache.prove(kind, key, (body,))
                if shown is None or shown[0] != body:
                    raise self._edited(height, kind, key)
                break
        return body, height

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


def first_result(row: ResultRow) -> TransactionResult:
    """A stored result as it is answered."""
    status = "committed" if row.code == "ok" else "refused"
    facts = [msgspec.json.decode(fact) for fact in row.facts]
    return TransactionResult(row.id, status, row.code, row.height, row.log_index, facts)
