"""Facts: what the ledger recorded. Each is a leaf under its transaction's receipt, so that a party can prove one
fact without showing the others; `parties` says whom it concerns (and who is served it first)."""

from typing import Final, Literal

import msgspec

from contracts.core.commands import Terms
from contracts.core.parties import Role
from contracts.core.units import (
    Count,
    Hash,
    Id,
    MemberName,
    Minor,
    MinorSum,
    NoteKey,
    PublicKey,
    Text,
    TimeMs,
    Wh,
    WhSum,
    WhSumUp,
    WhUp,
)


class Fact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="fact", tag=True, gc=False):
    """Base of all facts: a tagged Struct, the tag is the class name under the key `fact`."""


class PartyEnrolled(Fact, frozen=True, kw_only=True):
    """A party joined."""

    party: Id
    role: Role
    key: PublicKey
    sponsor: Id
    area: Id


class PartyRevoked(Fact, frozen=True, kw_only=True):
    """A party may sign no more."""

    party: Id
    reason: Text


class TransferPosted(Fact, frozen=True, kw_only=True):
    """Money moved between two accounts (`party/..`, `need/..`, `contract/..`, `issuance`)."""

    transfer_id: Text
    debit: Text
    credit: Text
    amount_minor: MinorSum


class ReductionRequested(Fact, frozen=True, kw_only=True):
    """A utility needs less energy."""

    need_id: Id
    utility: Id
    aggregator: Id
    area: Id
    start_ms: TimeMs
    interval_s: int
    target_wh: tuple[WhUp, ...]
    energy_price_minor_per_mwh: int
    budget_minor: Minor


class RequestClosed(Fact, frozen=True, kw_only=True):
    """A need ended; `returned_minor` of its budget went back."""

    need_id: Id
    utility: Id
    aggregator: Id
    delivered_wh: WhSum
    returned_minor: MinorSum


class DRSetUp(Fact, frozen=True, kw_only=True):
    """A contract was proposed."""

    contract_id: Id
    parent: Id | None
    payer: Id
    payee: Id
    terms: Terms


class ReductionAccepted(Fact, frozen=True, kw_only=True):
    """The payee accepted the terms."""

    contract_id: Id
    parent: Id | None
    payer: Id
    payee: Id
    terms_digest: Hash


class ReductionRejected(Fact, frozen=True, kw_only=True):
    """The payee declined the contract."""

    contract_id: Id
    parent: Id | None
    payer: Id
    payee: Id
    reason: Text


class DRActivated(Fact, frozen=True, kw_only=True):
    """An aggregator contract goes ahead with the devices that accepted so far."""

    contract_id: Id
    payer: Id
    payee: Id
    accepted: int
    accepted_wh: WhSumUp


class DRExpired(Fact, frozen=True, kw_only=True):
    """A contract was not accepted (or found no devices) in time; its escrow returned."""

    contract_id: Id
    parent: Id | None
    payer: Id
    payee: Id


class MeasurementsRecorded(Fact, frozen=True, kw_only=True):
    """A device's readings are on the ledger."""

    device: Id
    start_ms: TimeMs
    interval_s: int
    energy_wh: tuple[Wh, ...]


class ReadingsForgotten(Fact, frozen=True, kw_only=True):
    """`count` readings of a device before `before_ms` are no longer in the state."""

    device: Id
    before_ms: TimeMs
    count: Count


class DRSettled(Fact, frozen=True, kw_only=True):
    """Delivery was measured. obligation, delivered and shortfall in Wh over the event; `missing` intervals had no
    valid reading; `adjustment_wh` is the same-day adjustment per interval."""

    contract_id: Id
    parent: Id | None
    payer: Id
    payee: Id
    outcome: Text
    obligation_wh: WhSumUp
    delivered_wh: WhSum
    shortfall_wh: WhSumUp
    missing: int
    adjustment_wh: WhSum


class DRCompleted(Fact, frozen=True, kw_only=True):
    """The contract ended: amount = energy - children - penalty, where `children_minor` is what went on to the
    contracts below; an amount below zero came out of the deposit. `paid_wh` is the energy that earned."""

    contract_id: Id
    parent: Id | None
    payer: Id
    payee: Id
    outcome: Text
    obligation_wh: WhSumUp
    delivered_wh: WhSum
    paid_wh: WhSumUp
    energy_minor: MinorSum
    children_minor: int
    penalty_minor: Minor
    amount_minor: int


class MembershipChanged(Fact, frozen=True, kw_only=True):
    """A member joins or leaves those who run the ledger, from `effective_height` on."""

    change: Literal["add", "remove"]
    name: MemberName
    key: NoteKey
    effective_height: Count


class EquivocationProved(Fact, frozen=True, kw_only=True):
    """A member signed two histories by `key`: it is none from `until_height` on. `party` reported it."""

    member: MemberName
    key: NoteKey
    sizes: tuple[Count, Count]
    roots: tuple[Hash, Hash]
    until_height: Count
    party: Id


class ChannelOpened(Fact, frozen=True, kw_only=True):
    """A child channel was registered by `party`."""

    channel: Id
    origin: Text
    genesis: Hash
    quorum: Count
    party: Id


class CheckpointAnchored(Fact, frozen=True, kw_only=True):
    """A checkpoint of another channel counts here: everything in it can be proved."""

    channel: Id
    origin: Text
    size: Count
    root: Hash
    height: Count
    time_ms: TimeMs


class BridgeLocked(Fact, frozen=True, kw_only=True):
    """Money of `party` waits for `recipient` in the child `channel`; `lock_id` is the transaction. `party` None: it was
    burnt there (`burn_id`) for somebody who is not here, and goes back to `recipient`, who burnt it."""

    lock_id: Hash
    channel: Id
    party: Id | None
    recipient: Id
    amount_minor: Minor
    mint_by_ms: TimeMs
    burn_id: Hash | None


class BridgeMinted(Fact, frozen=True, kw_only=True):
    """Money locked on the parent is here, with `party`."""

    lock_id: Hash
    party: Id
    amount_minor: Minor


class BridgeBurned(Fact, frozen=True, kw_only=True):
    """Money left this channel for `recipient`, a party of the parent `channel`. `party` had it; None: it was locked
    (`lock_id`) for somebody who is not here, and goes back; then there is no `release_by_ms` either."""

    burn_id: Hash
    channel: Id
    party: Id | None
    recipient: Id
    amount_minor: Minor
    release_by_ms: TimeMs | None
    lock_id: Hash | None


class BridgeReleased(Fact, frozen=True, kw_only=True):
    """Money burnt in the child `channel` is with `party` again."""

    channel: Id
    burn_id: Hash
    party: Id
    amount_minor: Minor


AnyFact = (
    PartyEnrolled
    | PartyRevoked
    | TransferPosted
    | ReductionRequested
    | RequestClosed
    | DRSetUp
    | ReductionAccepted
    | ReductionRejected
    | DRActivated
    | DRExpired
    | MeasurementsRecorded
    | ReadingsForgotten
    | DRSettled
    | DRCompleted
    | MembershipChanged
    | EquivocationProved
    | ChannelOpened
    | CheckpointAnchored
    | BridgeLocked
    | BridgeMinted
    | BridgeBurned
    | BridgeReleased
)

FACTS: Final[tuple[type[Fact], ...]] = AnyFact.__args__

_PARTY_FIELDS: Final = ("party", "sponsor", "utility", "aggregator", "payer", "payee", "device")
_PARTIES_OF: Final[dict[type[Fact], tuple[str, ...]]] = {
    kind: tuple(name for name in _PARTY_FIELDS if name in kind.__struct_fields__) for kind in FACTS
}
_SUBJECT_OF: Final[dict[type[Fact], tuple[str, ...]]] = {
    kind: tuple(name for name in ("contract_id", "need_id", "channel") if name in kind.__struct_fields__)
    for kind in FACTS
}


def parties(fact: Fact) -> tuple[str, ...]:
    """Ids of the parties a fact concerns, in order, without repeats."""
    found = [value for name in _PARTIES_OF[type(fact)] if (value := getattr(fact, name)) is not None]
    if isinstance(fact, TransferPosted):
        found += [account[6:] for account in (fact.debit, fact.credit) if account.startswith("party/")]
    return tuple(found) if len(found) < 2 else tuple(dict.fromkeys(found))


def subject(fact: Fact) -> str | None:
    """The contract, need or other channel a fact is about, or None."""
    for name in _SUBJECT_OF[type(fact)]:
        value = getattr(fact, name)
        if value is not None:
            return str(value)
    return None
