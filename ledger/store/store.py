"""What a replica needs of its store, and what the store promises.

- One block is one transaction: after a crash all of it is there or nothing.
- When `apply` or `create` returns, the data survives the loss of the process and of the machine's power.
- When `apply` raises, the block is not there, unless the error came from the commit itself: then nobody knows. The
  caller loads again and compares heights; it never assumes either.
- There is one writer. Readers see committed blocks only, each whole, and may run beside the writer.
- The store keeps bytes as they are and judges nothing; who reads them checks them against the log.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from contracts.core.state import Writes
from ledger.log.tiles import TileId
from ledger.machine import Executed
from ledger.store.source import Source


@dataclass(frozen=True, slots=True)
class Founding:
    """What `create` stores: height 0."""

    genesis: bytes
    policy: bytes
    records: Writes
    checkpoint: bytes


@dataclass(frozen=True, slots=True)
class BlockRow:
    """A committed block."""

    height: int
    header: bytes
    signature: bytes
    order_revision: int
    time_ms: int
    tx_count: int
    first_index: int
    size: int
    state_root: bytes
    summary_hash: bytes


@dataclass(frozen=True, slots=True)
class Stored:
    """The newest committed block with what the next one needs; `block` and `summary` None at height 0."""

    genesis: bytes
    policy: bytes
    block: BlockRow | None
    summary: bytes | None
    checkpoint: bytes
    edge: Mapping[TileId, bytes]
    final: FinalRow | None = None


@dataclass(frozen=True, slots=True)
class FinalRow:
    """The newest checkpoint that a quorum cosigned, as far as it was kept."""

    size: int
    height: int
    note: bytes


@dataclass(frozen=True, slots=True)
class OrderedRow:
    """A committed block as it was ordered. `transactions`: for each its entry, and salt and body, which are None where
    they were erased."""

    height: int
    order_revision: int
    header: bytes
    signature: bytes
    size: int
    transactions: tuple[tuple[bytes, tuple[bytes, bytes] | None], ...]


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """A transaction that changed who the members are: its entry, salt and command."""

    height: int
    entry: bytes
    salt: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class LeavesRow:
    """All entries of a block, and the receipts of its transactions, in order."""

    entries: tuple[bytes, ...]
    receipts: tuple[bytes, ...]


class RecordRow(NamedTuple):
    """A record with what is stored to find and prove it."""

    kind: str
    key: str
    height: int
    body: bytes
    bucket: int
    key_hash: bytes
    value_hash: bytes


@dataclass(frozen=True, slots=True)
class ResultRow:
    """What became of a transaction, with its facts as canonical bytes."""

    id: str
    height: int
    log_index: int
    code: str
    receipt: bytes
    facts: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class StoredFact:
    """A fact with its place."""

    height: int
    log_index: int
    ordinal: int
    time_ms: int
    transaction_id: str | None
    subject: str | None
    parties: tuple[str, ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class RefusalRow:
    """A transaction that was refused before it was ordered; `received_ms` is the wall clock's."""

    received_ms: int
    transaction_id: str | None
    sender: str | None
    command: str | None
    code: str
    detail: str


class Store(Protocol):
    """One channel's data; see the module for what it promises. Any method may raise StoreUnavailable."""

    async def close(self) -> None:
        """End what is open; the next use opens it again."""

    async def is_empty(self) -> bool:
        """Is there no genesis?"""

    async def create(self, founding: Founding) -> None:
        """Store height 0. Raises GenesisExists if anything is there."""

    async def load(self) -> Stored:
        """The newest block. Raises GenesisInvalid if there is no genesis."""

    def stream_records(self) -> AsyncGenerator[RecordRow, None]:
        """All records; to be closed when done with (contextlib.aclosing)."""

    async def apply(self, work: Callable[[Source], tuple[Executed, bytes]], final: FinalRow | None = None) -> Executed:
        """Run `work` on the committed data and commit what it returns, with the signed checkpoint, as one; and `final`
        with it, as `save_final` would."""

    async def known(self, ids: Sequence[str]) -> frozenset[str]:
        """Those that have a first result; asked before they are ordered. May run beside `apply`."""

    async def results(self, ids: Sequence[str]) -> dict[str, ResultRow]:
        """First results of those that have one."""

    async def record(self, kind: str, key: str) -> tuple[bytes | None, int]:
        """A record and the height at which this is true."""

    async def records(self, kind: str, prefix: str, after: str, limit: int) -> list[tuple[str, bytes]]:
        """Records whose key begins with `prefix` and is greater than `after`, in bytewise order."""

    async def facts(
        self, after: tuple[int, int, int], party: str | None, contract: str | None, limit: int
    ) -> list[StoredFact]:
        """Facts behind (height, log index, ordinal), in order."""

    async def body(self, log_index: int) -> tuple[bytes, bytes] | None:
        """Salt and command of a transaction, None if they were erased."""

    async def tiles(self, wanted: Sequence[TileId]) -> dict[TileId, bytes]:
        """Those that exist."""

    async def entries(self, first: int, count: int) -> list[bytes]:
        """Entries from a leaf on, at most `count`."""

    async def save_final(self, final: FinalRow) -> None:
        """Keep it in place of an older one; never an older one in place of it."""

    async def ordered(self, first: int, limit: int, size: int) -> list[OrderedRow]:
        """Committed blocks from the height `first` on, in order, at most `limit`, none that ends beyond `size`."""

    async def changes(self, first: int, limit: int) -> list[ChangeRow]:
        """Transactions that changed the members, from the block `first` on, in order, at most `limit`."""

    async def leaves(self, height: int) -> LeavesRow | None:
        """What a block put into the log, None where it is not committed."""

    async def add_refusals(self, rows: Sequence[RefusalRow], keep: int) -> None:
        """Remember these; only the newest `keep` stay."""

    async def refusals(self, limit: int) -> list[dict[str, Any]]:
        """Newest first."""
