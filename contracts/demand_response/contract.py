"""Contract records, the table of their transitions, and what every step needs: deadlines and escrow names."""

from enum import StrEnum
from typing import ClassVar, Final

import msgspec

from contracts import tokens
from contracts.core.commands import INTERVALS_MAX, Terms
from contracts.core.errors import Refusal
from contracts.core.facts import Fact
from contracts.core.state import Record, State
from contracts.core.units import INTERVAL_S_MIN, MS_PER_S, Hash, Id, Text, TimeMs, WhSum, WhSumUp


class Level(StrEnum):
    """SC1: aggregator to virtual node; SC2: virtual node to device."""

    SC1 = "SC1"
    SC2 = "SC2"


class Status(StrEnum):
    """Where a contract stands."""

    PROPOSED = "proposed"
    ACCEPTED = "accepted"
    ACTIVE = "active"
    SETTLING = "settling"
    SETTLED = "settled"
    COMPLETING = "completing"
    COMPLETED = "completed"
    REJECTED = "rejected"
    EXPIRED = "expired"


class Step(StrEnum):
    """What moves a contract."""

    ACCEPT = "accept"
    REJECT = "reject"
    EXPIRE = "expire"
    ACTIVATE = "activate"
    SETTLE_PART = "settle_part"
    SETTLE = "settle"
    COMPLETE_PART = "complete_part"
    COMPLETE = "complete"


TRANSITIONS: Final[dict[tuple[Level, Status, Step], Status]] = {
    (Level.SC1, Status.PROPOSED, Step.ACCEPT): Status.ACCEPTED,
    (Level.SC1, Status.PROPOSED, Step.REJECT): Status.REJECTED,
    (Level.SC1, Status.PROPOSED, Step.EXPIRE): Status.EXPIRED,
    (Level.SC1, Status.ACCEPTED, Step.ACTIVATE): Status.ACTIVE,
    (Level.SC1, Status.ACCEPTED, Step.EXPIRE): Status.EXPIRED,
    (Level.SC1, Status.ACTIVE, Step.SETTLE_PART): Status.SETTLING,
    (Level.SC1, Status.ACTIVE, Step.SETTLE): Status.SETTLED,
    (Level.SC1, Status.SETTLING, Step.SETTLE_PART): Status.SETTLING,
    (Level.SC1, Status.SETTLING, Step.SETTLE): Status.SETTLED,
    (Level.SC1, Status.SETTLED, Step.COMPLETE_PART): Status.COMPLETING,
    (Level.SC1, Status.SETTLED, Step.COMPLETE): Status.COMPLETED,
    (Level.SC1, Status.COMPLETING, Step.COMPLETE_PART): Status.COMPLETING,
    (Level.SC1, Status.COMPLETING, Step.COMPLETE): Status.COMPLETED,
    (Level.SC2, Status.PROPOSED, Step.ACCEPT): Status.ACCEPTED,
    (Level.SC2, Status.PROPOSED, Step.REJECT): Status.REJECTED,
    (Level.SC2, Status.PROPOSED, Step.EXPIRE): Status.EXPIRED,
    (Level.SC2, Status.ACCEPTED, Step.SETTLE): Status.SETTLED,
    (Level.SC2, Status.SETTLED, Step.COMPLETE): Status.COMPLETED,
}


class ContractRecord(Record, frozen=True, kw_only=True):
    """One contract. children, accepted, accepted_wh, cursor and passed_on_minor serve an SC1; the settled figures are
    of the event: delivered_wh per interval (of an SC1: the signed sum of its devices), counted_wh the sum of what
    counts of its devices' totals."""

    KIND: ClassVar[str] = "contract"
    contract_id: Id
    level: Level
    parent: Id | None
    payer: Id
    payee: Id
    terms: Terms
    terms_digest: Hash
    status: Status
    children: int = 0
    accepted: int = 0
    accepted_wh: WhSumUp = 0
    cursor: int = 0
    delivered_wh: tuple[WhSum, ...] = ()
    total_wh: WhSum = 0
    counted_wh: WhSumUp = 0
    shortfall_wh: WhSumUp = 0
    missing: int = 0
    adjustment_wh: WhSum = 0
    passed_on_minor: int = 0
    outcome: Text = ""


class ChildRecord(Record, frozen=True, kw_only=True):
    """The n-th contract below an SC1; the record's key is parent/n."""

    KIND: ClassVar[str] = "child"
    contract_id: Id


class EngagementRecord(Record, frozen=True, kw_only=True):
    """A device is bound from start (in the record's key) to `end_ms`; it ends with its contract."""

    KIND: ClassVar[str] = "engagement"
    contract_id: Id
    end_ms: TimeMs


class ExpiryRecord(Record, frozen=True, kw_only=True):
    """Something falls due; the record's key begins with the time, so that scans find the earliest."""

    KIND: ClassVar[str] = "expiry"
    contract_id: Id


def step(contract: ContractRecord, move: Step) -> ContractRecord:
    """The contract after a step. Raises Refusal(illegal_transition)."""
    status = TRANSITIONS.get((contract.level, contract.status, move))
    if status is None:
        raise Refusal("illegal_transition", f"{contract.contract_id} is {contract.status}, asked to {move}")
    return msgspec.structs.replace(contract, status=status)


def take_contract(state: State, contract_id: str) -> ContractRecord:
    """The contract. Raises Refusal(contract_unknown)."""
    return state.take(ContractRecord, contract_id, "contract_unknown")


def child_key(parent: str, position: int) -> str:
    """Key of the n-th child record of an SC1."""
    return f"{parent}/{position:06d}"


def check_intervals(start_ms: int, interval_s: int, profile_wh: tuple[int, ...]) -> None:
    """1 to 192 intervals of whole minutes on the grid of their own length, with something to do. Raises Refusal."""
    if not 0 < len(profile_wh) <= INTERVALS_MAX or not sum(profile_wh):
        raise Refusal("interval_invalid", "no intervals, too many, or nothing asked in them")
    if interval_s % INTERVAL_S_MIN or start_ms % (interval_s * MS_PER_S):
        raise Refusal("interval_invalid", "no whole minutes, or start_ms is not a multiple of the interval")


def end_ms(start_ms: int, interval_s: int, count: int) -> int:
    """End of `count` intervals."""
    return start_ms + count * interval_s * MS_PER_S


def terms_end_ms(terms: Terms) -> int:
    """End of a contract's last interval."""
    return end_ms(terms.start_ms, terms.interval_s, len(terms.obligation_wh))


def escrow_transfer(contract_id: str) -> str:
    """Id of the transfer that holds what a contract may pay."""
    return f"contract/{contract_id}/escrow"


def deposit_transfer(contract_id: str) -> str:
    """Id of the transfer that holds the payee's stake."""
    return f"contract/{contract_id}/deposit"


def escrow_held(state: State, contract: ContractRecord) -> int:
    """What the escrow transfer of a contract still holds."""
    return tokens.held_minor(state, escrow_transfer(contract.contract_id))


def put_expiry(state: State, contract: ContractRecord, due_ms: int) -> None:
    """Sets the one deadline that a contract in its present status has."""
    state.put(_expiry_key(contract, due_ms), ExpiryRecord(contract_id=contract.contract_id))


def drop_expiry(state: State, contract: ContractRecord) -> None:
    """Takes the deadline of the contract's present status away."""
    terms = contract.terms
    due_ms = terms.accept_by_ms if contract.status is Status.PROPOSED else terms.activate_by_ms
    state.drop(ExpiryRecord, _expiry_key(contract, due_ms))


def return_to_need(state: State, contract: ContractRecord) -> list[Fact]:
    """What an SC1's escrow account still holds goes back to its need."""
    account = tokens.contract_account(contract.contract_id)
    left = tokens.free_minor(state, account)
    transfer_id = f"contract/{contract.contract_id}/return"
    return tokens.post(state, transfer_id, account, tokens.need_account(contract.terms.need_id), left)


def engaged(state: State, device: str) -> bool:
    """Is the device under a contract that has not been settled?"""
    return bool(state.rows(EngagementRecord, f"{device}/", f"{device}/~", 1))


def disengage(state: State, contract: ContractRecord) -> None:
    """The device is free again."""
    state.drop(EngagementRecord, f"{contract.payee}/{contract.terms.start_ms:016d}")


def _expiry_key(contract: ContractRecord, due_ms: int) -> str:
    # Devices' deadlines before their SC1's at the same instant: "0" sorts before "1".
    return f"{due_ms:016d}/{'1' if contract.level is Level.SC1 else '0'}/{contract.contract_id}"
