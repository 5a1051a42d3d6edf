"""A replica's store in memory, with the promises of ledger.store.store: one transaction a block, there or not there.

Disk          what survives a crash: only what was committed
MemoryStore   a process's connection to it: takes time, may be cut, and may lose the answer to a commit
"""

from __future__ import annotations

import asyncio
import copy
from bisect import bisect_right
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random
from typing import Any

from ledger.errors import GenesisExists, GenesisInvalid, StoreUnavailable
from ledger.log.statetree import buckets_from_records
from ledger.log.tiles import TileId, edge_tiles
from ledger.machine import Executed
from ledger.replication.membership.succession import COMMANDS
from ledger.store.memory import MemorySource
from ledger.store.source import Source
from ledger.store.store import (
    BlockRow,
    ChangeRow,
    FinalRow,
    Founding,
    LeavesRow,
    OrderedRow,
    RecordRow,
    RefusalRow,
    ResultRow,
    Stored,
    StoredFact,
)
from ledger.verify import canonical
from ledger.verify.state import bucket_of, key_hash


@dataclass
class Disk:
    """Committed rows."""

    founding: Founding | None = None
    source: MemorySource = field(default_factory=MemorySource)
    written_at: dict[tuple[str, str], int] = field(default_factory=dict)
    blocks: list[BlockRow] = field(default_factory=list)
    entries: list[bytes] = field(default_factory=list)
    tiles: dict[TileId, bytes] = field(default_factory=dict)
    results: dict[str, ResultRow] = field(default_factory=dict)
    facts: list[StoredFact] = field(default_factory=list)
    bodies: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)
    receipts: dict[int, bytes] = field(default_factory=dict)
    final: FinalRow | None = None
    checkpoints: dict[int, bytes] = field(default_factory=dict)
    refusals: list[RefusalRow] = field(default_factory=list)

    @property
    def height(self) -> int:
        return self.blocks[-1].height if self.blocks else 0

    def copy(self) -> Disk:
        """A backup."""
        return copy.deepcopy(self)

    def create(self, founding: Founding) -> None:
        """Height 0."""
        if self.founding is not None or self.blocks or self.source.rows:
            raise GenesisExists("there is a ledger already; nothing was changed")
        self.founding = founding
        rows = [(kind, key, body) for (kind, key), body in founding.records.items() if body is not None]
        self.source.write(founding.records, buckets_from_records(rows))
        self.written_at = dict.fromkeys(self.source.rows, 0)
        self.checkpoints[0] = founding.checkpoint

    def commit(self, executed: Executed, checkpoint: bytes) -> None:
        """All rows of a block. Raises ValueError if a row is in the way, and changes nothing then."""
        head, header = executed.head, executed.block.header
        if head.height != self.height + 1 or executed.first_index != len(self.entries):
            raise ValueError(f"block {head.height} does not follow {self.height}")
        if any(row.registered and row.parsed.id in self.results for row in executed.transactions):
            raise ValueError(f"block {head.height} registers a transaction that was executed before")
        self.commit_records(executed)
        self.entries += executed.entries
        self.tiles.update(executed.tiles)
        self.checkpoints[head.size] = checkpoint
        for row in executed.transactions:
            if row.registered:
                facts = tuple(fact.body for fact in row.facts)
                self.results[row.parsed.id] = ResultRow(
                    row.parsed.id, head.height, row.log_index, row.code, row.receipt, facts
                )
            self.bodies[row.log_index] = (row.parsed.salt, row.parsed.body)
            self.receipts[row.log_index] = row.receipt
        for fact in executed.facts:
            place = (head.height, fact.log_index, fact.ordinal, head.time_ms)
            self.facts.append(StoredFact(*place, fact.transaction_id, fact.subject, fact.parties, fact.body))
        self.blocks.append(
            BlockRow(
                height=head.height, header=executed.block.header_bytes, signature=executed.block.signature,
                order_revision=executed.order_revision, time_ms=head.time_ms, tx_count=header.tx_count,
                first_index=executed.first_index, size=head.size, state_root=executed.plan.root,
                summary_hash=head.previous,
            )
        )  # fmt: skip

    def commit_records(self, executed: Executed) -> None:
        """The part of a block that is state."""
        self.source.accept(executed)
        for at, body in executed.writes.items():
            if body is None:
                self.written_at.pop(at, None)
            else:
                self.written_at[at] = executed.head.height


class Faults:
    """What may go wrong with one member's store; the fault scheduler sets it."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.down = False
        self.slow_s = 0.001
        self.unknown_commit = 0.0
        self.at_commit: Callable[[str], None] = lambda stage: None


class MemoryStore:
    """ledger.store.store.Store"""

    def __init__(
        self, disk: Disk, faults: Faults, committed: Callable[[Executed, bytes], None] = lambda executed, note: None
    ) -> None:
        """`committed` hears of each block the moment it is on the disk."""
        self.disk = disk
        self.faults = faults
        self._committed = committed
        self._turn = asyncio.Lock()

    async def close(self) -> None:
        return None

    async def is_empty(self) -> bool:
        await self._reach()
        return self.disk.founding is None and not self.disk.blocks

    async def create(self, founding: Founding) -> None:
        await self._reach()
        self.disk.create(founding)
        await self._lose_answer()

    async def load(self) -> Stored:
        await self._reach()
        disk, founding = self.disk, self.disk.founding
        if founding is None:
            raise GenesisInvalid("there is no ledger")
        block = disk.blocks[-1] if disk.blocks else None
        size = 0 if block is None else block.size
        summary = disk.entries[size - 1] if 0 < size <= len(disk.entries) else None
        edge = {tile: disk.tiles[tile] for tile in edge_tiles(size) if tile in disk.tiles}
        note = disk.checkpoints.get(size, b"")
        return Stored(founding.genesis, founding.policy, block, summary, note, edge, disk.final)

    async def stream_records(self) -> AsyncGenerator[RecordRow, None]:
        await self._reach()
        for (kind, key), body in sorted(self.disk.source.rows.items()):
            hashed = key_hash(kind, key)
            height = self.disk.written_at[kind, key]
            yield RecordRow(kind, key, height, body, bucket_of(hashed), hashed, sha256(body).digest())

    async def apply(self, work: Callable[[Source], tuple[Executed, bytes]], final: FinalRow | None = None) -> Executed:
        async with self._turn:
            await self._reach()
            executed, checkpoint = work(self.disk.source)
            await self._reach()
            self.faults.at_commit("before")
            await self._commit(executed, checkpoint)
            if final is not None:
                self._keep(final)
            await self._lose_answer()
            self.faults.at_commit("after")
            await asyncio.sleep(0)  # where the process was killed between commit and answer, it ends here
        return executed

    async def _commit(self, executed: Executed, checkpoint: bytes) -> None:
        self.disk.commit(executed, checkpoint)
        self._committed(executed, checkpoint)

    async def known(self, ids: Sequence[str]) -> frozenset[str]:
        await self._reach()
        return frozenset(each for each in ids if each in self.disk.results)

    async def results(self, ids: Sequence[str]) -> dict[str, ResultRow]:
        if not ids:
            return {}
        await self._reach()
        return {each: self.disk.results[each] for each in ids if each in self.disk.results}

    async def record(self, kind: str, key: str) -> tuple[bytes | None, int]:
        await self._reach()
        return self.disk.source.rows.get((kind, key)), self.disk.height

    async def records(self, kind: str, prefix: str, after: str, limit: int) -> list[tuple[str, bytes]]:
        await self._reach()
        keys = sorted(key for at, key in self.disk.source.rows if at == kind and key.startswith(prefix))
        first = bisect_right(keys, after)
        return [(key, self.disk.source.rows[kind, key]) for key in keys[first : first + limit]]

    async def facts(
        self, after: tuple[int, int, int], party: str | None, contract: str | None, limit: int
    ) -> list[StoredFact]:
        await self._reach()
        found = [
            fact
            for fact in self.disk.facts
            if (fact.height, fact.log_index, fact.ordinal) > after
            and (party is None or party in fact.parties)
            and (contract is None or fact.subject == contract)
        ]
        return found[:limit]

    async def body(self, log_index: int) -> tuple[bytes, bytes] | None:
        await self._reach()
        return self.disk.bodies.get(log_index)

    async def tiles(self, wanted: Sequence[TileId]) -> dict[TileId, bytes]:
        await self._reach()
        return {tile: self.disk.tiles[tile] for tile in wanted if tile in self.disk.tiles}

    async def entries(self, first: int, count: int) -> list[bytes]:
        await self._reach()
        return self.disk.entries[first : first + count]

    async def save_final(self, final: FinalRow) -> None:
        await self._reach()
        self._keep(final)

    async def ordered(self, first: int, limit: int, size: int) -> list[OrderedRow]:
        await self._reach()
        found = []
        for block in self.disk.blocks[max(first, 1) - 1 : max(first + limit, 1) - 1]:
            if block.size <= size:
                held = [at for at in range(block.first_index, block.size) if at in self.disk.receipts]
                transactions = tuple((self.disk.entries[at], self.disk.bodies.get(at)) for at in held)
                place = (block.height, block.order_revision, block.header, block.signature, block.size)
                found.append(OrderedRow(*place, transactions))
        return found

    async def changes(self, first: int, limit: int) -> list[ChangeRow]:
        await self._reach()
        disk, found = self.disk, list[ChangeRow]()
        for block in disk.blocks[max(first, 1) - 1 :]:
            for at in range(block.first_index, block.size):
                if at not in disk.receipts or at not in disk.bodies:
                    continue
                command = canonical.decode_object(disk.entries[at])["header"]["command"]
                if command in COMMANDS and canonical.decode_object(disk.receipts[at])["code"] == "ok":
                    found.append(ChangeRow(block.height, disk.entries[at], *disk.bodies[at]))
        return found[:limit]

    async def leaves(self, height: int) -> LeavesRow | None:
        await self._reach()
        if not 0 < height <= len(self.disk.blocks):
            return None
        block = self.disk.blocks[height - 1]
        held = range(block.first_index, block.size)
        receipts = tuple(self.disk.receipts[at] for at in held if at in self.disk.receipts)
        return LeavesRow(tuple(self.disk.entries[block.first_index : block.size]), receipts)

    async def add_refusals(self, rows: Sequence[RefusalRow], keep: int) -> None:
        await self._reach()
        self.disk.refusals = [*self.disk.refusals, *rows][-keep:]

    async def refusals(self, limit: int) -> list[dict[str, Any]]:
        await self._reach()
        names = ("received_ms", "transaction_id", "sender", "command", "code", "detail")
        return [{name: getattr(row, name) for name in names} for row in reversed(self.disk.refusals[-limit:])]

    def _keep(self, final: FinalRow) -> None:
        if self.disk.final is None or self.disk.final.size <= final.size:
            self.disk.final = final

    async def _reach(self) -> None:
        """A round trip."""
        faults = self.faults
        if faults.slow_s:
            await asyncio.sleep(faults.slow_s * faults.random.random() ** 2)
        if faults.down:
            raise StoreUnavailable("the store is away")

    async def _lose_answer(self) -> None:
        """The commit happened, its answer may not arrive."""
        if self.faults.down or self.faults.random.random() < self.faults.unknown_commit:
            raise StoreUnavailable("the connection was lost during the commit")
