"""What the interface needs of a replica, and what the replica promises."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol


class TransactionResult(Protocol):
    """The outcome of one transaction; see ledger.client.Result."""

    @property
    def id(self) -> str | None: ...
    @property
    def status(self) -> str: ...
    @property
    def code(self) -> str: ...
    @property
    def height(self) -> int | None: ...
    @property
    def index(self) -> int | None: ...
    @property
    def facts(self) -> Sequence[Any]: ...
    @property
    def detail(self) -> str: ...


class FactRecord(Protocol):
    """A fact with its place; see ledger.client.FactRecord."""

    @property
    def cursor(self) -> str: ...
    @property
    def parties(self) -> Sequence[str]: ...


class Backend(Protocol):
    """A replica, as far as its HTTP interface is concerned.

    Any method may raise Diverged and StoreUnavailable; `submit` also QueueFull and OrderingUnavailable. Reads see
    committed blocks only; proofs and the checkpoint are of final ones."""

    @property
    def height(self) -> int:
        """Of the newest committed block."""

    @property
    def final_size(self) -> int:
        """Leaves below this are final: under a checkpoint that a quorum cosigned."""

    @property
    def final_height(self) -> int:
        """The last final block."""

    def attested(self, index: int) -> int:
        """How many members cosigned a checkpoint that covers this leaf."""

    async def finality(self, size: int) -> bool:
        """Waits until the final checkpoint has so many leaves; False after the time-out of a submission."""

    async def current(self) -> None:
        """Returns when everything is executed here that was ordered, by whomever, before the call. Raises
        OrderingUnavailable without a majority of the order."""

    async def submit(self, transactions: Sequence[bytes]) -> Sequence[TransactionResult]:
        """One result each, in order, after the replica's own commit, or "unknown" after its time-out. Bytes that are
        not the canonical form of a transaction are refused with id None; nothing that is sent raises."""

    async def transaction(self, transaction_id: str) -> TransactionResult | None:
        """The first result of a transaction."""

    async def record(self, kind: str, key: str) -> tuple[bytes | None, int]:
        """The canonical bytes of a record, and the height at which this is true."""

    async def records(self, kind: str, prefix: str, after: str, limit: int) -> Sequence[tuple[str, bytes]]:
        """Records whose key begins with `prefix` and is greater than `after`, in bytewise order, at most `limit`."""

    async def facts(
        self, after: tuple[int, int, int], party: str | None, contract: str | None, limit: int
    ) -> Sequence[FactRecord]:
        """Facts behind a cursor, in order, at most `limit`."""

    def subscribe(self) -> AbstractAsyncContextManager[asyncio.Event]:
        """An event that is set whenever the height grows; whoever waits for it clears it."""

    async def proof(self, transaction_id: str, fact_index: int | None) -> tuple[bytes, bytes] | None:
        """Proof and opening; None where there is no such transaction or fact. Raises NotFinalYet."""

    async def proof_at(self, index: int, fact_index: int | None) -> tuple[bytes, bytes] | None:
        """Proof and opening of the entry at a leaf; None where there is no such entry or fact. Raises NotFinalYet."""

    async def record_proof(self, kind: str, key: str) -> tuple[bytes, bytes]:
        """Proof and opening of a record as of the newest block, or of its absence, once that block is final. Raises
        NotFinalYet, QueueFull."""

    async def checkpoint(self) -> bytes:
        """The newest final checkpoint. Raises NotFinalYet."""

    async def tile(self, level: int, number: int, width: int) -> bytes | None:
        """The hashes of a tile; None where the log has not that many."""

    async def entries(self, number: int, width: int) -> bytes | None:
        """A bundle of entries."""

    async def refusals(self, limit: int) -> Sequence[Any]:
        """Transactions refused before they were ordered, newest first."""

    def policy(self) -> bytes:
        """The policy file."""

    def status(self) -> dict[str, Any]:
        """height, size, time_ms, members, orderer, proposer, queue."""
