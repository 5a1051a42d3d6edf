"""Channels known here and their anchored checkpoints: what a quorum of a channel's members signed counts as true.

    OpenChannel (a child)  ─┐
    genesis (the parent)   ─┴─▶ channel ── AnchorCheckpoint ──▶ anchor at size n ── proof ──▶ a fact of that channel

A checkpoint is taken if a quorum of the members known here cosigned it, if it continues the one anchored before, and if
its last entry is a block summary, which names height, time, state root and members. Where the members have changed, the
checkpoint must be cosigned by a quorum of those known and by one of the new; from then on the new ones are known.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import ClassVar, Final, TypeVar

import msgspec

from contracts.consortium.membership import founding, majority, quorum, validator_set
from contracts.core.codec import decode
from contracts.core.commands import AnchorCheckpoint, ChannelMember, Cosignature, OpenChannel
from contracts.core.context import Context
from contracts.core.errors import CodecError, Refusal
from contracts.core.facts import ChannelOpened, CheckpointAnchored, Fact
from contracts.core.parties import Party
from contracts.core.proofs import FactProof, cosigned_bytes, entry_root, prefix_roots, summary_root
from contracts.core.state import Record, State
from contracts.core.units import Count, Hash, Id, Origin, TimeMs

_FACT_BYTES_MAX: Final = 4_096
_OK: Final = "ok"

F = TypeVar("F", bound=Fact)


class Relation(StrEnum):
    """What a channel is to this one: money is locked for a child and burnt toward the parent."""

    CHILD = "child"
    PARENT = "parent"


class ChannelRecord(Record, frozen=True, kw_only=True):
    """A channel known here. size, root, height: of its newest anchored checkpoint (size 0: none yet); genesis: of a
    child, the digest it was opened with."""

    KIND: ClassVar[str] = "channel"
    channel: Id
    relation: Relation
    origin: Origin
    genesis: Hash | None
    members: tuple[ChannelMember, ...]
    quorum: Count
    size: Count = 0
    root: Hash | None = None
    height: Count = 0


class AnchorRecord(Record, frozen=True, kw_only=True):
    """An anchored checkpoint; the record's key is channel/size. Kept for ever: proofs refer to it."""

    KIND: ClassVar[str] = "anchor"
    root: Hash
    height: Count
    time_ms: TimeMs
    state_root: Hash


def open_channel(state: State, sender: Party, command: OpenChannel) -> list[Fact]:
    """OpenChannel. Raises Refusal."""
    if command.channel == founding(state).channel:
        raise Refusal("channel_exists", command.channel)
    register(
        state,
        ChannelRecord(
            channel=command.channel,
            relation=Relation.CHILD,
            origin=command.origin,
            genesis=command.genesis,
            members=command.members,
            quorum=command.quorum,
        ),
    )
    return [
        ChannelOpened(
            channel=command.channel,
            origin=command.origin,
            genesis=command.genesis,
            quorum=command.quorum,
            party=sender.party,
        )
    ]


def register(state: State, record: ChannelRecord) -> None:
    """Makes a channel known. Raises Refusal(channel_exists, channel_invalid)."""
    if state.find(ChannelRecord, record.channel) is not None:
        raise Refusal("channel_exists", record.channel)
    if record.origin.rpartition("/")[2] != record.channel:
        raise Refusal("channel_invalid", f"the origin {record.origin} does not end in /{record.channel}")
    _check_members(record.members)
    if not majority(len(record.members)) <= record.quorum <= len(record.members):
        raise Refusal("channel_invalid", f"a quorum of {record.quorum} among {len(record.members)} members")
    state.put(record.channel, record)


def anchor_checkpoint(state: State, command: AnchorCheckpoint, context: Context) -> list[Fact]:
    """AnchorCheckpoint. Raises Refusal."""
    channel = state.take(ChannelRecord, command.channel, "channel_unknown")
    if command.size <= channel.size:
        raise Refusal("anchor_stale", f"{channel.size} leaves are anchored")
    summary = command.summary
    if summary.channel != channel.channel or summary_root(summary, command.size, command.summary_path) != command.root:
        raise Refusal("proof_invalid", "the block summary is not the last entry of the checkpoint")
    _check_continues(channel, command)
    _check_quorum(channel.members, channel.quorum, channel.origin, command, context)
    after = msgspec.structs.replace(channel, size=command.size, root=command.root, height=summary.height)
    if summary.validator_set != _set_of(channel.members):
        after = _handed_over(after, command, context)
    elif command.members:
        raise Refusal("channel_invalid", "members are given, and they have not changed")
    state.put(channel.channel, after)
    state.put(
        anchor_key(channel.channel, command.size),
        AnchorRecord(root=command.root, height=summary.height, time_ms=summary.time_ms, state_root=summary.state_root),
    )
    return [
        CheckpointAnchored(
            channel=channel.channel,
            origin=channel.origin,
            size=command.size,
            root=command.root,
            height=summary.height,
            time_ms=summary.time_ms,
        )
    ]


def proved(state: State, channel: str, proof: FactProof, command: str, kind: type[F]) -> tuple[F, AnchorRecord]:
    """The fact that a successful `command` of another channel produced, and the anchor that it is proved under. The
    caller looks at what the fact says. Raises Refusal(anchor_unknown, proof_invalid)."""
    anchor = state.take(AnchorRecord, anchor_key(channel, proof.size), "anchor_unknown")
    if (proof.header.channel, proof.header.command, proof.receipt.code) != (channel, command, _OK):
        raise Refusal("proof_invalid", f"no {command} that {channel} executed")
    if entry_root(proof) != anchor.root:
        raise Refusal("proof_invalid", "the entry is not under the anchored checkpoint")
    try:
        return decode(proof.fact.encode("utf-8", "surrogatepass"), kind, bytes_max=_FACT_BYTES_MAX), anchor
    except CodecError as error:
        raise Refusal("proof_invalid", str(error)) from None


def anchor_key(channel: str, size: int) -> str:
    """Key of an anchor: sorted by channel, then size."""
    return f"{channel}/{size:016d}"


def _check_continues(channel: ChannelRecord, command: AnchorCheckpoint) -> None:
    if channel.root is None:
        if command.consistency:
            raise Refusal("proof_invalid", "nothing is anchored that the first checkpoint could continue")
        return
    old, new = prefix_roots(channel.size, command.size, command.consistency)
    if new != command.root:
        raise Refusal("proof_invalid", "the consistency proof is of another tree")
    if old != channel.root or command.summary.height <= channel.height:
        raise Refusal("anchor_inconsistent")


def _handed_over(channel: ChannelRecord, command: AnchorCheckpoint, context: Context) -> ChannelRecord:
    _check_members(command.members)
    if _set_of(command.members) != command.summary.validator_set:
        raise Refusal("channel_invalid", "these are not the members that the block summary names")
    needed = max(quorum(len(command.members)), min(channel.quorum, len(command.members)))
    _check_quorum(command.members, needed, channel.origin, command, context)
    return msgspec.structs.replace(channel, members=command.members, quorum=needed)


def _check_members(members: Sequence[ChannelMember]) -> None:
    if not members:
        raise Refusal("channel_invalid", "no members")
    for values in ([each.name for each in members], [each.key for each in members]):
        if len(values) != len(sorted(set(values))):
            raise Refusal("channel_invalid", "a member's name or key is there twice")


def _check_quorum(
    members: Sequence[ChannelMember], needed: int, origin: str, command: AnchorCheckpoint, context: Context
) -> None:
    signed = {each.member: each for each in command.cosignatures}
    if len(signed) != len(command.cosignatures):
        raise Refusal("quorum_not_met", "a member cosigns twice")
    count = sum(1 for each in members if _cosigned(each, signed.get(each.name), origin, command, context))
    if count < needed:
        raise Refusal("quorum_not_met", f"{count} of {needed} cosignatures")


def _cosigned(
    member: ChannelMember, line: Cosignature | None, origin: str, command: AnchorCheckpoint, context: Context
) -> bool:
    if line is None:
        return False
    message = cosigned_bytes(origin, command.size, command.root, line.time_s)
    return context.valid(member.key, message, bytes.fromhex(line.signature))


def _set_of(members: Sequence[ChannelMember]) -> str:
    return validator_set([(each.name, each.key) for each in members])
