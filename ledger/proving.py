"""Proofs under the final checkpoint: of transactions, of entries by their place, and of records of the state.

    a record now ──▶ its bucket under the root in memory, that of block h ──▶ h becomes final ──▶ summary of h, included
                     (nothing but these few hashes is kept meanwhile)

The state tree in memory is that of the newest block, which is not final yet while there is load. So a record is shown
as of the block that is newest when it is asked for, and the answer waits for that block to become final: its summary
is a leaf under every later checkpoint, however far the log has gone on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from hashlib import sha256
from typing import Any, Final

import msgspec

from contracts.core.envelope import Header, transaction_id
from ledger.errors import Diverged, Erased, NotFinalYet, QueueFull
from ledger.log import merkle
from ledger.log.entry import fact_part
from ledger.log.proof import record_part, transaction_part, write_opening, write_proof
from ledger.machine import Head, Machine
from ledger.ordering.progress import Progress
from ledger.replication.attestation import Attestations
from ledger.store.state import StateTampered
from ledger.store.store import Store
from ledger.verify import VerificationError, canonical
from ledger.verify.merkle import leaf_hash, verify_inclusion
from ledger.verify.note import parse_checkpoint
from ledger.verify.state import StateProof

Files = tuple[bytes, bytes]
"""The `.tlog-proof` and the opening."""

WAITING_MAX: Final = 256
"""Records that wait for their block to become final; each holds its bucket's leaves, 64 bytes a key, and 16 hashes."""
_READS_MAX: Final = 32


class Proving:
    """The proving part of a replica.

    machine: what executes, once something is loaded. halt: told where a stored record is not the one the state root
    stands for. patience_s: how long an answer waits for finality."""

    def __init__(
        self,
        store: Store,
        progress: Progress,
        attestations: Attestations,
        machine: Callable[[], Machine],
        halt: Callable[[Diverged], None],
        patience_s: float,
    ) -> None:
        self._store = store
        self._progress = progress
        self._attestations = attestations
        self._machine = machine
        self._tampered = halt
        self._patience_s = patience_s
        self._waiting = 0

    @property
    def final_size(self) -> int:
        """Leaves below this are under a checkpoint that a quorum cosigned."""
        return self._attestations.final.size

    def attested(self, index: int) -> int:
        """How many members cosigned a checkpoint that covers this leaf."""
        return self._attestations.attested(index)

    def subscribe(self) -> AbstractAsyncContextManager[asyncio.Event]:
        """An event that is set whenever the height or the final height grows (or the replica halts); whoever waits for
        it clears it."""
        return self._progress.subscribe()

    async def finality(self, size: int) -> bool:
        """Waits until a quorum cosigned a checkpoint of at least `size` leaves; False after `patience_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._patience_s), self.subscribe() as changed:
                while self.final_size < size:
                    self._require_sound()
                    changed.clear()
                    await changed.wait()
        return self.final_size >= size

    async def proof(self, transaction_id: str, fact_index: int | None) -> Files | None:
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

    async def proof_at(self, index: int, fact_index: int | None) -> Files | None:
        """The same of the entry at a leaf, whatever it is: deadlines have facts and no id, a block's summary has
        neither. A transaction that had its first result elsewhere shows its entry alone. Raises NotFinalYet, Erased."""
        self._require_sound()
        size = self._progress.head.size
        found = await self._store.entries(index, 1)
        if not found and index >= size:
            return None
        try:
            entry = canonical.decode_object(found[0])
        except (IndexError, VerificationError):
            raise self._changed(index) from None
        if entry["kind"] == "transaction":
            named = transaction_id(msgspec.convert(entry["header"], Header))
            first = (await self._store.results([named])).get(named)
            if first is not None and first.log_index == index:
                return await self.proof(named, fact_index)
        fact = None
        if fact_index is not None:
            fact = await self._tick_fact(index, entry, fact_index) if entry["kind"] == "tick" else None
            if fact is None:
                return None
        data, proof = await self._included(index)
        return proof, write_opening(data, fact=fact)

    async def record_proof(self, kind: str, key: str) -> Files:
        """Proof that a record is what it is, or that there is none, after the block that is newest now: returns once
        that one is final. Raises NotFinalYet (also after `patience_s`), QueueFull."""
        self._require_sound()
        if self._waiting >= WAITING_MAX:
            raise QueueFull(f"{WAITING_MAX} proofs of records wait for their blocks to become final")
        self._waiting += 1
        try:
            head, body, shown = await self._shown(kind, key)
            if not await self.finality(head.size):
                raise NotFinalYet(f"block {head.height}, which has the record as it is now, has no quorum yet")
        finally:
            self._waiting -= 1
        entry, proof = await self._included(head.size - 1)
        return proof, write_opening(entry, record=record_part(kind, key, body, shown))

    async def _shown(self, kind: str, key: str) -> tuple[Head, bytes | None, StateProof]:
        """A record, and its proof under the state root of the block returned with it.

        Tree and caches change together, in one step of the event loop. What is read from the store may be of a block
        that this step has not reached, or has passed: then it does not fit the tree, and is read again."""
        for _ in range(_READS_MAX):
            machine = self._machine()
            head = machine.head
            if head.height == 0:
                raise NotFinalYet("there is no block yet whose summary could name the state")
            known = machine.cache.prove(kind, key)
            if known is not None:
                return head, *known
            body, height = await self._store.record(kind, key)
            machine, before = self._machine(), head
            head = machine.head
            read = machine.cache.prove(kind, key, (body,))
            if read is not None:
                return head, *read
            if before.height == height == head.height:
                raise self._edited(height, kind, key)
        raise NotFinalYet(f"record {kind}/{key} changes faster than it can be read")

    async def _tick_fact(self, index: int, entry: Mapping[str, Any], fact_index: int) -> dict[str, Any] | None:
        """One fact of deadlines that fell due. Their salt is the hash of the summary before them; they never begin a
        log, because a block made them due."""
        count = entry["receipt"]["facts"]
        if not 0 <= fact_index < count or index == 0:
            return None
        rows = await self._store.facts((entry["height"], index, -1), None, None, count)
        facts = [row.body for row in rows if row.log_index == index]
        if len(facts) != count:
            raise Diverged(f"entry {index} counts {count} facts, the table has {len(facts)}: run `dr-ledger verify`")
        [previous] = await self._store.entries(index - 1, 1)
        return fact_part(facts, sha256(previous).digest(), fact_index)

    async def _included(self, index: int) -> Files:
        """The entry and its proof under the final checkpoint. Raises NotFinalYet."""
        final = self._attestations.final
        if index >= final.size:
            raise NotFinalYet(
                f"leaf {index} is committed and cosigned by {self.attested(index)} members, which is no quorum yet"
            )
        ranges = merkle.inclusion_ranges(index, final.size)
        tiles = await self._store.tiles(merkle.range_tiles(ranges))
        found = await self._store.entries(index, 1)
        try:
            path = merkle.prove(ranges, tiles)
            verify_inclusion(leaf_hash(found[0]), index, final.size, path, parse_checkpoint(final.note).root)
        except (LookupError, ValueError, VerificationError):
            raise self._changed(index) from None
        return found[0], write_proof(index, path, final.note)

    def found_changed(self, fault: Diverged) -> None:
        """Halts: an audit found that this replica's tables are not what was executed and signed."""
        self._tampered(fault)

    def _edited(self, height: int, kind: str, key: str) -> Diverged:
        """Halts: the record is not the one that the state root stands for."""
        fault = Diverged(f"block {height}: {StateTampered(f'record {kind}/{key}')}")
        self._tampered(fault)
        return fault

    def _changed(self, index: int) -> Diverged:
        """Halts: what was signed is not what the tables hold. It costs two hashes a level to notice it here."""
        fault = Diverged(f"leaf {index}, or a tile above it, was changed outside the ledger: run `dr-ledger verify`")
        self._tampered(fault)
        return fault

    def _require_sound(self) -> None:
        self._progress.require_sound()
