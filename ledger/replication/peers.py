"""What a replica asks of the other members, and what it answers them: the same six questions in both directions.

    this replica ── Peers.forward / cosign / blocks / changes / receipts / status (member) ──▶ Reception of that member

Nothing that comes from a peer is believed: transactions carry their sender's signature, notes their member's,
blocks are executed and held against a checkpoint that a quorum cosigned. A peer that is away, slow or wrong raises
PeerUnavailable, and the caller asks another one or later; no answer is longer than what is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Protocol

import msgspec

from ledger.errors import PeerUnavailable

Count = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
"""Bounded, because whatever a peer says of itself is shown on: larger ones have no JSON and no float."""

Text = Annotated[str, msgspec.Meta(max_length=128)]

REASON_MAX: Final = 512
Reason = Annotated[str, msgspec.Meta(max_length=REASON_MAX)]


@dataclass(frozen=True, slots=True)
class GivenBlock:
    """A committed block of a peer as it was ordered. `proof`: RFC 6962 consistency of the log after this block with the
    log of the size that was asked for."""

    height: int
    revision: int
    data: bytes
    proof: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class GivenChange:
    """A transaction of block `height` that changed who the members are, in its canonical bytes."""

    height: int
    content: bytes


class TransactionReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """What a member made of one transaction (id empty: of the deadlines that fell due): write-set hash and receipt
    hash, hex."""

    id: Text
    code: Text
    writes: Text
    receipt: Text


class BlockReceipts(msgspec.Struct, frozen=True, kw_only=True):
    """What a member made of one block; by it two members find where they differ (ledger.replication.divergence).

    `summary`: SHA-256 of the block's last entry, which chains all blocks before it; a deadline has the id ""."""

    height: Count
    state_root: Text
    summary: Text = ""
    transactions: tuple[TransactionReceipt, ...]


class PeerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Where a member stands. `note`: its newest signed checkpoint; `final`: the newest that a quorum cosigned; either
    is empty where there is none. `wall_ms`, `time_ms`: its machine's and its domain clock when it answered, 0 where it
    does not say. `fault`: why it stopped, empty while it serves."""

    member: str
    height: Count
    size: Count
    note: str
    final: str
    wall_ms: Count = 0
    time_ms: Count = 0
    fault: Reason = ""


class Reception(Protocol):
    """What a member answers its peers."""

    async def take_transactions(self, contents: Sequence[bytes]) -> int:
        """Put them into the queue of this proposer; how many were taken (the others are malformed or forged).

        Raises NotProposer, QueueFull (nothing was taken), OrderingUnavailable, Diverged."""

    async def take_cosignatures(self, notes: Sequence[bytes]) -> None:
        """Checkpoints that a peer signed; those that are forged or of another log are dropped."""

    async def give_blocks(self, from_height: int, limit: int, size: int) -> list[GivenBlock]:
        """Committed blocks from a height on, at most `limit`, none beyond the log's `size`; each with its consistency
        proof to that size. Fewer where that many are not there, where they are large, or where bodies were erased."""

    async def give_changes(self, from_height: int) -> list[GivenChange]:
        """The changes of the members from a block on, in order (ledger.replication.membership.succession judges them).
        None whose body was erased, which no command does."""

    async def give_receipts(self, height: int) -> BlockReceipts | None:
        """The receipts of a block, None where it is not committed here."""

    def peer_status(self) -> PeerStatus:
        """Where this member stands."""


class Peers(Protocol):
    """The other members of one channel. Every question may raise PeerUnavailable."""

    @property
    def names(self) -> Sequence[str]:
        """The members that can be asked, without this one, in order of name."""

    def use(self, addresses: Mapping[str, str]) -> None:
        """The members that can be asked from now on, with their URLs."""

    async def forward(self, member: str, contents: Sequence[bytes]) -> int:
        """Reception.take_transactions of that member. Raises NotProposer, QueueFull."""

    async def cosign(self, member: str, notes: Sequence[bytes]) -> None:
        """Reception.take_cosignatures of that member."""

    async def blocks(self, member: str, from_height: int, limit: int, size: int) -> list[GivenBlock]:
        """Reception.give_blocks of that member."""

    async def changes(self, member: str, from_height: int) -> list[GivenChange]:
        """Reception.give_changes of that member."""

    async def receipts(self, member: str, height: int) -> BlockReceipts | None:
        """Reception.give_receipts of that member."""

    async def status(self, member: str) -> PeerStatus:
        """Reception.peer_status of that member."""

    async def close(self) -> None:
        """End the connections."""


class NoPeers:
    """A ledger of one member."""

    names: Sequence[str] = ()

    def use(self, addresses: Mapping[str, str]) -> None:
        return None

    async def forward(self, member: str, contents: Sequence[bytes]) -> int:
        raise _nobody(member)

    async def cosign(self, member: str, notes: Sequence[bytes]) -> None:
        raise _nobody(member)

    async def blocks(self, member: str, from_height: int, limit: int, size: int) -> list[GivenBlock]:
        raise _nobody(member)

    async def changes(self, member: str, from_height: int) -> list[GivenChange]:
        raise _nobody(member)

    async def receipts(self, member: str, height: int) -> BlockReceipts | None:
        raise _nobody(member)

    async def status(self, member: str) -> PeerStatus:
        raise _nobody(member)

    async def close(self) -> None:
        return None


def _nobody(member: str) -> PeerUnavailable:
    return PeerUnavailable(f"there is no other member {member}")
