"""Commands of the members that run the ledger: who they are, and proof that one of them signed two histories."""

from typing import Annotated, Final, Literal

import msgspec

from contracts.core.codec import encode
from contracts.core.commands.base import Command, Part
from contracts.core.proofs import LongPath
from contracts.core.units import Count, Hash, Id, MemberName, SignatureHex, Url, VerifierKey

MEMBERSHIP_CONTEXT: Final = b"gridpact/membership/v1\0"
MEMBERS_MAX: Final = 32


class Member(Part, frozen=True, kw_only=True):
    """A member: its name, the keys by which it signs (log_vkey, named like the log) and cosigns checkpoints
    (cosigner_vkey, named like the member), and where its peers reach it."""

    name: MemberName
    log_vkey: VerifierKey
    cosigner_vkey: VerifierKey
    peer_url: Url


class Approval(Part, frozen=True, kw_only=True):
    """A signature by a member's cosigning key."""

    member: MemberName
    signature: SignatureHex


class ChangeMembership(Command, frozen=True, kw_only=True):
    """Adds a member or removes one, from `effective_height` on; keys and address are given when one is added.

    approvals: signatures over `membership_bytes` by more than half of the present members, and, to add one, by the new
    member itself, whose signature counts for nothing else."""

    change: Literal["add", "remove"]
    name: MemberName
    log_vkey: VerifierKey | None = None
    cosigner_vkey: VerifierKey | None = None
    peer_url: Url | None = None
    effective_height: Count
    approvals: Annotated[tuple[Approval, ...], msgspec.Meta(max_length=MEMBERS_MAX + 1)]


class Statement(Part, frozen=True, kw_only=True):
    """A checkpoint of this log that somebody signed: with the log key (time_s None), or cosigned at `time_s`."""

    size: Count
    root: Hash
    time_s: Count | None
    signature: SignatureHex


class ReportEquivocation(Command, frozen=True, kw_only=True):
    """Proof that a member signed two histories by the same key: another root at the same size, or, with `path`
    (contracts.core.proofs.prefix_roots), a root that the larger tree does not have at the smaller size."""

    member: MemberName
    first: Statement
    second: Statement
    path: LongPath


def membership_bytes(ledger: Hash, channel: Id, command: ChangeMembership) -> bytes:
    """What members sign to approve a change: the change with its height, of this ledger (digest of its genesis) and
    channel alone, so that an approval cannot be used elsewhere or, once the height is there, again."""
    change = {name: getattr(command, name) for name in command.__struct_fields__ if name != "approvals"}
    return MEMBERSHIP_CONTEXT + encode({"ledger": ledger, "channel": channel, **change})
