"""Money on the ledger: double entry in integer minor units, after TigerBeetle's two-phase transfers.

An account holds four counters, never a balance. A transfer has one debit and one credit account and never changes,
except that a pending one is resolved once: posted (in part; the rest is released) or voided.

    free funds = credits_posted - debits_posted - debits_pending      (pending credits are no funds)

Free funds never go below zero, except for `issuance`, the one account that stands for money outside the ledger.
"""

from enum import StrEnum
from typing import ClassVar, Final

import msgspec

from contracts.core.commands import Issue, Transfer
from contracts.core.errors import Refusal
from contracts.core.facts import Fact, TransferPosted
from contracts.core.parties import Party, active_party
from contracts.core.state import Record, State
from contracts.core.units import MinorSum, Text

ISSUANCE: Final = "issuance"


class Account(Record, frozen=True, kw_only=True):
    """Four counters in minor units."""

    KIND: ClassVar[str] = "account"
    debits_pending: MinorSum = 0
    debits_posted: MinorSum = 0
    credits_pending: MinorSum = 0
    credits_posted: MinorSum = 0


class TransferState(StrEnum):
    """pending -> posted | voided; a one-step transfer starts posted."""

    PENDING = "pending"
    POSTED = "posted"
    VOIDED = "voided"


class TransferRecord(Record, frozen=True, kw_only=True):
    """A transfer; `amount_minor` is what was asked, `posted_minor` what moved."""

    KIND: ClassVar[str] = "transfer"
    debit: Text
    credit: Text
    amount_minor: MinorSum
    posted_minor: MinorSum
    state: TransferState


def party_account(party: str) -> str:
    """Account of a party."""
    return f"party/{party}"


def need_account(need_id: str) -> str:
    """Escrow of a need."""
    return f"need/{need_id}"


def contract_account(contract_id: str) -> str:
    """Escrow of an aggregator contract, from which its devices are paid."""
    return f"contract/{contract_id}"


def free_minor(state: State, account: str) -> int:
    """Funds that may be spent or held; 0 for an account never used."""
    found = state.find(Account, account) or Account()
    return found.credits_posted - found.debits_posted - found.debits_pending


def post(state: State, transfer_id: str, debit: str, credit: str, amount_minor: int) -> list[Fact]:
    """Moves money at once. Raises Refusal. Nothing happens for an amount of 0."""
    if amount_minor == 0:
        return []
    _open_transfer(state, transfer_id, debit, credit, amount_minor, TransferState.POSTED)
    _move(state, debit, posted_debit=amount_minor)
    _move(state, credit, posted_credit=amount_minor)
    return [TransferPosted(transfer_id=transfer_id, debit=debit, credit=credit, amount_minor=amount_minor)]


def hold(state: State, transfer_id: str, debit: str, credit: str, amount_minor: int) -> None:
    """Reserves money: it leaves the free funds of `debit` and waits. Raises Refusal. Nothing for an amount of 0."""
    if amount_minor == 0:
        return
    _open_transfer(state, transfer_id, debit, credit, amount_minor, TransferState.PENDING)
    _move(state, debit, pending_debit=amount_minor)
    _move(state, credit, pending_credit=amount_minor)


def resolve(state: State, transfer_id: str, amount_minor: int) -> list[Fact]:
    """Posts `amount_minor` of a held transfer and releases the rest; 0 voids it. A transfer never held (because its
    amount was 0) resolves to 0 only. Raises Refusal."""
    record = state.find(TransferRecord, transfer_id)
    if record is None:
        if amount_minor == 0:
            return []
        raise Refusal("transfer_unknown", transfer_id)
    if record.state is not TransferState.PENDING:
        raise Refusal("transfer_resolved", transfer_id)
    if not 0 <= amount_minor <= record.amount_minor:
        raise Refusal("escrow_exceeded", f"{amount_minor} of {record.amount_minor}")
    _move(state, record.debit, pending_debit=-record.amount_minor)
    _move(state, record.credit, pending_credit=-record.amount_minor)
    outcome = TransferState.POSTED if amount_minor else TransferState.VOIDED
    state.put(transfer_id, msgspec.structs.replace(record, posted_minor=amount_minor, state=outcome))
    if not amount_minor:
        return []
    _move(state, record.debit, posted_debit=amount_minor)
    _move(state, record.credit, posted_credit=amount_minor)
    return [
        TransferPosted(transfer_id=transfer_id, debit=record.debit, credit=record.credit, amount_minor=amount_minor)
    ]


def held_minor(state: State, transfer_id: str) -> int:
    """Amount of a transfer that is still pending, else 0."""
    record = state.find(TransferRecord, transfer_id)
    return record.amount_minor if record is not None and record.state is TransferState.PENDING else 0


def issue(state: State, command: Issue, transaction_id: str) -> list[Fact]:
    """Issue: money enters the account of an active party."""
    _positive(command.amount_minor)
    active_party(state, command.to)
    return post(state, f"issue/{transaction_id}", ISSUANCE, party_account(command.to), command.amount_minor)


def transfer(state: State, sender: Party, command: Transfer, transaction_id: str) -> list[Fact]:
    """Transfer: from the sender to another active party."""
    _positive(command.amount_minor)
    active_party(state, command.to)
    if command.to == sender.party:
        raise Refusal("same_party", sender.party)
    debit, credit = party_account(sender.party), party_account(command.to)
    return post(state, f"transfer/{transaction_id}", debit, credit, command.amount_minor)


def _positive(amount_minor: int) -> None:
    if amount_minor <= 0:
        raise Refusal("amount_invalid", str(amount_minor))


def _open_transfer(
    state: State, transfer_id: str, debit: str, credit: str, amount_minor: int, opened: TransferState
) -> None:
    _positive(amount_minor)
    if debit == credit:
        raise Refusal("same_party", debit)
    if state.find(TransferRecord, transfer_id) is not None:
        raise Refusal("transfer_exists", transfer_id)
    if debit != ISSUANCE and free_minor(state, debit) < amount_minor:
        raise Refusal("funds_insufficient", f"{debit} holds {free_minor(state, debit)}, asked {amount_minor}")
    posted = amount_minor if opened is TransferState.POSTED else 0
    state.put(
        transfer_id,
        TransferRecord(debit=debit, credit=credit, amount_minor=amount_minor, posted_minor=posted, state=opened),
    )


def _move(
    state: State,
    account: str,
    *,
    pending_debit: int = 0,
    posted_debit: int = 0,
    pending_credit: int = 0,
    posted_credit: int = 0,
) -> None:
    before = state.find(Account, account) or Account()
    after = Account(
        debits_pending=before.debits_pending + pending_debit,
        debits_posted=before.debits_posted + posted_debit,
        credits_pending=before.credits_pending + pending_credit,
        credits_posted=before.credits_posted + posted_credit,
    )
    if min(after.debits_pending, after.debits_posted, after.credits_pending, after.credits_posted) < 0:
        raise Refusal("out_of_range", account)
    state.put(account, after)
