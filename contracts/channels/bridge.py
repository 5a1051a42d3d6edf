"""The bridge: money moves between a channel and its child, and is in one place at any time.

    parent                                             child
    BridgeLock    party ──▶ bridge/<child>   ─proof─▶  BridgeMint   issuance ──▶ party      (each lock once)
    BridgeRelease bridge/<child> ──▶ party   ◀─proof─  BridgeBurn   party ──▶ issuance      (each burn once)

`issuance` of a child is what its parent holds for it, so the books of a child close as those of a main channel do:

    bridge/<child> on the parent  =  - issuance of the child  +  locked, not minted  +  burnt, not released

Money for a recipient that does not come in time goes back to who sent it, by the same proofs: the mint of such a lock
is a burn, the release of such a burn is a lock. It goes back once: who sent it is known where it came from, and is paid
there even if revoked.

A release is paid out of `bridge/<child>` and nothing else: members of a child who sign what never happened can take
what was locked for their own channel, and not a unit more.
"""

from typing import ClassVar

from contracts import tokens
from contracts.channels.registry import ChannelRecord, Relation, proved
from contracts.consortium.membership import founding
from contracts.core.commands import BridgeBurn, BridgeLock, BridgeMint, BridgeRelease
from contracts.core.context import Context
from contracts.core.envelope import transaction_id
from contracts.core.errors import Refusal
from contracts.core.facts import BridgeBurned, BridgeLocked, BridgeMinted, BridgeReleased, Fact
from contracts.core.parties import Party, PartyStatus
from contracts.core.state import Record, State
from contracts.core.units import Hash, Id, Minor


class CrossedRecord(Record, frozen=True, kw_only=True):
    """A lock that was minted (or sent back), or a burn that was released; the record's key is channel/id. It stays, so
    that a proof works once; `transaction_id` is the one that used it."""

    KIND: ClassVar[str] = "crossed"
    transaction_id: Hash
    party: Id
    amount_minor: Minor


def bridge_account(channel: str) -> str:
    """What is locked for a child channel."""
    return f"bridge/{channel}"


def lock(state: State, sender: Party, command: BridgeLock, context: Context) -> list[Fact]:
    """BridgeLock. Raises Refusal."""
    channel = _toward(state, command.channel, Relation.CHILD)
    if channel.root is None:
        raise Refusal("channel_unanchored", command.channel)
    if command.mint_by_ms < context.time_ms:
        raise Refusal("deadline_passed", str(command.mint_by_ms))
    _positive(command.amount_minor)
    transfer_id = f"bridge/{context.transaction_id}"
    debit, credit = tokens.party_account(sender.party), bridge_account(command.channel)
    return [
        *tokens.post(state, transfer_id, debit, credit, command.amount_minor),
        BridgeLocked(
            lock_id=context.transaction_id,
            channel=command.channel,
            party=sender.party,
            recipient=command.recipient,
            amount_minor=command.amount_minor,
            mint_by_ms=command.mint_by_ms,
            burn_id=None,
        ),
    ]


def mint(state: State, command: BridgeMint, context: Context) -> list[Fact]:
    """BridgeMint: anyone may bring the proof. Raises Refusal."""
    parent = _parent(state)
    # A burn nobody could be given comes back by the parent's BridgeRelease.
    kind = "BridgeRelease" if command.proof.header.command == "BridgeRelease" else "BridgeLock"
    fact, _ = proved(state, parent, command.proof, kind, BridgeLocked)
    if fact.channel != context.channel or fact.lock_id != transaction_id(command.proof.header):
        raise Refusal("proof_invalid", "the lock is for another channel")
    recipient = state.find(Party, fact.recipient)
    if recipient is None or (fact.party is not None and recipient.status is not PartyStatus.ACTIVE):
        if fact.party is None or context.time_ms <= fact.mint_by_ms:
            raise Refusal("party_unknown", fact.recipient)
        return _send_back(state, parent, fact, fact.party, context)
    _cross(state, parent, fact.lock_id, fact.recipient, fact.amount_minor, context)
    transfer_id = f"bridge/{fact.lock_id}"
    credit = tokens.party_account(fact.recipient)
    return [
        *tokens.post(state, transfer_id, tokens.ISSUANCE, credit, fact.amount_minor),
        BridgeMinted(lock_id=fact.lock_id, party=fact.recipient, amount_minor=fact.amount_minor),
    ]


def burn(state: State, sender: Party, command: BridgeBurn, context: Context) -> list[Fact]:
    """BridgeBurn. Raises Refusal."""
    parent = _parent(state)
    if command.release_by_ms < context.time_ms:
        raise Refusal("deadline_passed", str(command.release_by_ms))
    _positive(command.amount_minor)
    transfer_id = f"bridge/{context.transaction_id}"
    debit = tokens.party_account(sender.party)
    return [
        *tokens.post(state, transfer_id, debit, tokens.ISSUANCE, command.amount_minor),
        BridgeBurned(
            burn_id=context.transaction_id,
            channel=parent,
            party=sender.party,
            recipient=command.recipient,
            amount_minor=command.amount_minor,
            release_by_ms=command.release_by_ms,
            lock_id=None,
        ),
    ]


def release(state: State, command: BridgeRelease, context: Context) -> list[Fact]:
    """BridgeRelease: anyone may bring the proof. A revoked party is paid too: it keeps what it cannot move. Raises
    Refusal."""
    channel = _toward(state, command.channel, Relation.CHILD).channel
    # A lock nobody could be given comes back by the child's BridgeMint.
    kind = "BridgeMint" if command.proof.header.command == "BridgeMint" else "BridgeBurn"
    fact, _ = proved(state, channel, command.proof, kind, BridgeBurned)
    if fact.channel != context.channel or fact.burn_id != transaction_id(command.proof.header):
        raise Refusal("proof_invalid", "the burn is for another channel")
    recipient = state.find(Party, fact.recipient)
    if recipient is None:
        if fact.party is None or fact.release_by_ms is None or context.time_ms <= fact.release_by_ms:
            raise Refusal("party_unknown", fact.recipient)
        return _give_back(state, channel, fact, fact.party, context)
    _cross(state, channel, fact.burn_id, recipient.party, fact.amount_minor, context)
    transfer_id = f"bridge/{channel}/{fact.burn_id}"
    debit, credit = bridge_account(channel), tokens.party_account(recipient.party)
    return [
        *tokens.post(state, transfer_id, debit, credit, fact.amount_minor),
        BridgeReleased(channel=channel, burn_id=fact.burn_id, party=recipient.party, amount_minor=fact.amount_minor),
    ]


def crossed_key(channel: str, item: str) -> str:
    """Key of the record that a lock (of the parent) or a burn (of a child) was used."""
    return f"{channel}/{item}"


def _send_back(state: State, parent: str, fact: BridgeLocked, sender: str, context: Context) -> list[Fact]:
    """From the child to who locked it: nothing was minted, so nothing moves here."""
    _cross(state, parent, fact.lock_id, fact.recipient, fact.amount_minor, context)
    return [
        BridgeBurned(
            burn_id=context.transaction_id,
            channel=parent,
            party=None,
            recipient=sender,
            amount_minor=fact.amount_minor,
            release_by_ms=None,
            lock_id=fact.lock_id,
        )
    ]


def _give_back(state: State, child: str, fact: BridgeBurned, sender: str, context: Context) -> list[Fact]:
    """From the parent to who burnt it: it was not paid out of what is held for the child, and stays there."""
    _cross(state, child, fact.burn_id, fact.recipient, fact.amount_minor, context)
    return [
        BridgeLocked(
            lock_id=context.transaction_id,
            channel=child,
            party=None,
            recipient=sender,
            amount_minor=fact.amount_minor,
            mint_by_ms=context.time_ms,
            burn_id=fact.burn_id,
        )
    ]


def _cross(state: State, channel: str, item: str, party: str, amount_minor: int, context: Context) -> None:
    key = crossed_key(channel, item)
    if state.find(CrossedRecord, key) is not None:
        raise Refusal("bridge_spent", key)
    record = CrossedRecord(transaction_id=context.transaction_id, party=party, amount_minor=amount_minor)
    state.put(key, record)


def _toward(state: State, channel: str, relation: Relation) -> ChannelRecord:
    found = state.take(ChannelRecord, channel, "channel_unknown")
    if found.relation is not relation:
        raise Refusal("channel_unknown", f"{channel} is the {found.relation} of this channel")
    return found


def _parent(state: State) -> str:
    parent = founding(state).parent
    if parent is None:
        raise Refusal("channel_unknown", "this channel has no parent")
    return parent


def _positive(amount_minor: int) -> None:
    if amount_minor <= 0:
        raise Refusal("amount_invalid", str(amount_minor))
