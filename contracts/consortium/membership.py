"""Who the members are, from which height to which, and how they change themselves.

          approvals of more than half          effective_height
    -------------- ChangeMembership ----- at least 10 blocks ----|==== the new set orders, cosigns, approves
                                          (one change at a time)

A member's record says the heights at which it is one: from_height <= height < until_height. Names and keys are never
used twice; the records of those that left are kept as `former_member`.
"""

import hashlib
from collections.abc import Sequence
from typing import ClassVar, Final

import msgspec

from contracts.core.commands import MEMBERS_MAX, ChangeMembership, Member, membership_bytes
from contracts.core.context import Context
from contracts.core.errors import Refusal
from contracts.core.facts import Fact, MembershipChanged
from contracts.core.proofs import cosigner_key, log_key
from contracts.core.state import Reader, Record, State
from contracts.core.units import Count, Hash, Id, MemberName, NoteKey, Url, VerifierKey

LEAD_HEIGHTS: Final = 10
"""Blocks between a change and its effect: every replica has executed it by then, and proposers are told in time."""

LEAD_HEIGHTS_MAX: Final = 100_000
"""No change lies so far ahead that a slip of the pen would keep all others out."""

FOUNDING_KEY: Final = "ledger"
_SMALL: Final = 3


class FoundingRecord(Record, frozen=True, kw_only=True):
    """What this ledger is: its genesis by digest, and its parent channel, if it is a child. Key `ledger`."""

    KIND: ClassVar[str] = "founding"
    channel: Id
    origin: str
    genesis: Hash
    parent: Id | None


class MemberRecord(Record, frozen=True, kw_only=True):
    """A member from `from_height` on, until `until_height` where that is known."""

    KIND: ClassVar[str] = "member"
    name: MemberName
    log_vkey: VerifierKey
    cosigner_vkey: VerifierKey
    peer_url: Url
    key: NoteKey
    from_height: Count
    until_height: Count | None = None

    def holds(self, height: int) -> bool:
        """Is it a member at this height?"""
        return self.from_height <= height and (self.until_height is None or height < self.until_height)


class FormerMemberRecord(MemberRecord, frozen=True, kw_only=True):
    """A member that is none any more."""

    KIND: ClassVar[str] = "former_member"


class MemberKeyRecord(Record, frozen=True, kw_only=True):
    """Which member a key belongs to, for ever; the record's key is the public key."""

    KIND: ClassVar[str] = "member_key"
    member: MemberName


class Roster(msgspec.Struct, frozen=True):
    """The members at a height, by name, and the next height at which they differ (None: until a record changes)."""

    members: tuple[MemberRecord, ...]
    until_height: int | None


def members(reader: Reader, height: int) -> tuple[MemberRecord, ...]:
    """Who orders and cosigns block `height`, in order of the name."""
    return roster(reader, height).members


def roster(reader: Reader, height: int) -> Roster:
    """As `members`, with how long that holds: so that a replica reads again only when it must, which is at
    `until_height` or after a block that wrote records of the kind `member`."""
    known = _all(State(reader))
    steps = [step for each in known for step in (each.from_height, each.until_height) if step is not None]
    return Roster(
        tuple(each for each in known if each.holds(height)),
        min((step for step in steps if step > height), default=None),
    )


def validator_set(named: Sequence[tuple[str, str]]) -> str:
    """SHA-256 over the lines `name key` of the members, in order of the name: what a block summary names them by."""
    return hashlib.sha256("".join(f"{name} {key}\n" for name, key in sorted(named)).encode()).hexdigest()


def quorum(count: int) -> int:
    """Cosignatures that make a checkpoint final: a majority up to three members, above it more than two thirds."""
    return majority(count) if count <= _SMALL else 2 * count // 3 + 1


def majority(count: int) -> int:
    """More than half."""
    return count // 2 + 1


def founding(state: State) -> FoundingRecord:
    """What this ledger is. Raises Refusal where it was founded without saying so."""
    return state.take(FoundingRecord, FOUNDING_KEY, "channel_unknown")


def admit_founders(state: State, origin: str, founders: Sequence[Member]) -> None:
    """The members of the genesis. Raises Refusal."""
    if len(founders) > MEMBERS_MAX:
        raise Refusal("limit_exceeded", f"{len(founders)} members")
    for member in founders:
        _add(state, origin, member, 0)


def change_membership(state: State, command: ChangeMembership, context: Context) -> list[Fact]:
    """ChangeMembership."""
    ledger = founding(state)
    known = _all(state)
    present = [each for each in known if each.holds(context.height)]
    if any(_pending(each, context.height) for each in known):
        raise Refusal("change_pending")
    if command.effective_height < context.height + LEAD_HEIGHTS:
        raise Refusal("too_early", f"effective at {command.effective_height}, now {context.height}")
    if command.effective_height > context.height + LEAD_HEIGHTS_MAX:
        raise Refusal("limit_exceeded", f"effective at {command.effective_height}, now {context.height}")
    message = membership_bytes(ledger.genesis, ledger.channel, command)
    _check_approvals(present, command, message, context)
    for gone in known:
        if gone.until_height is not None:
            _retire(state, gone)
    if command.change == "add":
        key = _join(state, ledger.origin, command, message, context, len(present))
    else:
        key = _leave(state, command, present)
    return [
        MembershipChanged(change=command.change, name=command.name, key=key, effective_height=command.effective_height)
    ]


def revoke_member(state: State, member: MemberRecord, height: int) -> int:
    """Ends a membership from the next height on, and says which that is. Raises Refusal where nobody would be left."""
    until = height + 1
    left = [each for each in _all(state) if each.name != member.name and each.holds(until)]
    if not left:
        raise Refusal("members_too_few", "the last member")
    if member.until_height is None or member.until_height > until:
        state.put(member.name, msgspec.structs.replace(member, until_height=until))
    return until


def _join(
    state: State, origin: str, command: ChangeMembership, message: bytes, context: Context, count: int
) -> NoteKey:
    if command.log_vkey is None or command.cosigner_vkey is None or command.peer_url is None:
        raise Refusal("verifier_key_invalid", "a new member needs its keys and address")
    if count >= MEMBERS_MAX:
        raise Refusal("limit_exceeded", f"{MEMBERS_MAX} members")
    new = Member(
        name=command.name, log_vkey=command.log_vkey, cosigner_vkey=command.cosigner_vkey, peer_url=command.peer_url
    )
    key = _add(state, origin, new, command.effective_height)
    signed = [each.signature for each in command.approvals if each.member == command.name]
    if not any(context.valid(key, message, bytes.fromhex(signature)) for signature in signed):
        raise Refusal("proof_of_possession", command.name)
    return key


def _leave(state: State, command: ChangeMembership, present: Sequence[MemberRecord]) -> NoteKey:
    if (command.log_vkey, command.cosigner_vkey, command.peer_url) != (None, None, None):
        raise Refusal("body_invalid", "a member is removed by its name alone")
    leaving = [each for each in present if each.name == command.name]
    if not leaving:
        raise Refusal("member_unknown", command.name)
    # Those who stay must by themselves still make final what clients trust with the policy they hold today.
    if len(present) - 1 < quorum(len(present)):
        raise Refusal("members_too_few", f"{len(present) - 1} of {len(present)}")
    state.put(command.name, msgspec.structs.replace(leaving[0], until_height=command.effective_height))
    return leaving[0].key


def _check_approvals(
    present: Sequence[MemberRecord], command: ChangeMembership, message: bytes, context: Context
) -> None:
    names = [each.member for each in command.approvals]
    if len(names) != len(sorted(set(names))):
        raise Refusal("approvals_missing", "a member approves twice")
    keys = {each.name: each.key for each in present}
    approved = 0
    for approval in command.approvals:
        key = keys.get(approval.member)
        if key is not None and context.valid(key, message, bytes.fromhex(approval.signature)):
            approved += 1
    if approved < majority(len(present)):
        raise Refusal("approvals_missing", f"{approved} of {len(present)} members approve")


def _add(state: State, origin: str, member: Member, from_height: int) -> NoteKey:
    key, log = cosigner_key(member.cosigner_vkey, member.name), log_key(member.log_vkey, origin)
    if state.find(MemberRecord, member.name) or state.find(FormerMemberRecord, member.name):
        raise Refusal("member_exists", member.name)
    for each in (key, log):
        if state.find(MemberKeyRecord, each) is not None:
            raise Refusal("key_in_use", each)
        state.put(each, MemberKeyRecord(member=member.name))
    record = MemberRecord(
        name=member.name,
        log_vkey=member.log_vkey,
        cosigner_vkey=member.cosigner_vkey,
        peer_url=member.peer_url,
        key=key,
        from_height=from_height,
    )
    state.put(member.name, record)
    return key


def _retire(state: State, gone: MemberRecord) -> None:
    state.drop(MemberRecord, gone.name)
    state.put(gone.name, FormerMemberRecord(**msgspec.structs.asdict(gone)))


def _pending(member: MemberRecord, height: int) -> bool:
    return member.from_height > height or (member.until_height is not None and member.until_height > height)


def _all(state: State) -> list[MemberRecord]:
    # Every change retires those that left before, and each report ends one more: never many more than are members.
    return [record for _, record in state.rows(MemberRecord, "", "~", 2 * MEMBERS_MAX + 1)]
