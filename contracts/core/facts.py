"""Facts: what the ledger recorded. Each is a leaf under its transaction's receipt, so that a party can prove one
fact without showing the others; `parties` says whom it concerns (and who is served it first)."""

from typing import Final

import msgspec

from contracts.core.commands import Terms
from contracts.core.parties import Role
from contracts.core.units import Hash, Id, Minor, MinorSum, PublicKey, Text, TimeMs, Wh, WhSum, WhSumUp, WhUp


class Fact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="fact", tag=True):
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
    | DRSettled
    | DRCompleted
)

FACTS: Final[tuple[type[Fact], ...]] = AnyFact.__args__

_PARTY_FIELDS: Final = ("party", "sponsor", "utility", "aggregator", "payer", "payee", "device")


def parties(fact: Fact) -> tuple[str, ...]:
    """Ids of the parties a fact concerns, in order, without repeats."""
    found = [value for name in _PARTY_FIELDS if (value := getattr(fact, name, None)) is not None]
    if isinstance(fact, TransferPosted):
        found += [account[6:] for account in (fact.debit, fact.credit) if account.startswith("party/")]
    return tuple(dict.fromkeys(found))


def subject(fact: Fact) -> str | None:
    """The contract or need a fact is about, or None."""
    for name in ("contract_id", "need_id"):
        value = getattr(fact, name, None)
        if value is not None:
            return str(value)
    return None
