"""Commands between channels: a child is opened, checkpoints are anchored, money crosses the bridge."""

from typing import Annotated

import msgspec

from contracts.core.commands.base import Command, Part
from contracts.core.commands.consortium import MEMBERS_MAX
from contracts.core.proofs import BlockSummary, FactProof, LongPath, Path
from contracts.core.units import Count, Hash, Id, MemberName, Minor, NoteKey, Origin, SignatureHex, TimeMs


class ChannelMember(Part, frozen=True, kw_only=True):
    """A member of another channel, as its block summaries know it: name and cosigning key."""

    name: MemberName
    key: NoteKey


ChannelMembers = Annotated[tuple[ChannelMember, ...], msgspec.Meta(max_length=MEMBERS_MAX)]


class OpenChannel(Command, frozen=True, kw_only=True):
    """Registers a child channel: whose cosignatures, and how many, make its checkpoints valid here. `genesis`: digest
    of its genesis. Nothing is locked for it before its members' first checkpoint is anchored."""

    channel: Id
    origin: Origin
    genesis: Hash
    members: ChannelMembers
    quorum: Count


class Cosignature(Part, frozen=True, kw_only=True):
    """A member's cosignature of a checkpoint, made at `time_s`."""

    member: MemberName
    time_s: Count
    signature: SignatureHex


class AnchorCheckpoint(Command, frozen=True, kw_only=True):
    """Takes a checkpoint of another channel as valid: cosigned by its quorum, an extension of the one before.

    summary: its last entry, at `summary_path`; consistency: from the anchored size to this one (prefix_roots; empty for
    the first); members: the members that the summary's validator_set stands for, where they are not those known."""

    channel: Id
    size: Count
    root: Hash
    cosignatures: Annotated[tuple[Cosignature, ...], msgspec.Meta(max_length=MEMBERS_MAX)]
    summary: BlockSummary
    summary_path: Path
    consistency: LongPath
    members: ChannelMembers


class BridgeLock(Command, frozen=True, kw_only=True):
    """Locks free funds of the sender for `recipient`, a party of the child channel. Where that party is not there by
    `mint_by_ms` (time of the child's blocks), the child sends the money back."""

    channel: Id
    recipient: Id
    amount_minor: Minor
    mint_by_ms: TimeMs


class BridgeMint(Command, frozen=True, kw_only=True):
    """In the child: credits what was locked on the parent, or was burnt here and found nobody there; `proof` shows the
    fact BridgeLocked."""

    proof: FactProof


class BridgeBurn(Command, frozen=True, kw_only=True):
    """In the child: takes free funds of the sender out, for `recipient`, a party of the parent channel. Where that
    party is not there by `release_by_ms` (time of the parent's blocks), the parent sends the money back."""

    recipient: Id
    amount_minor: Minor
    release_by_ms: TimeMs


class BridgeRelease(Command, frozen=True, kw_only=True):
    """On the parent: pays out what was burnt in the child `channel`; `proof` shows the fact BridgeBurned."""

    channel: Id
    proof: FactProof
