"""AcceptReduction, RejectReduction, and the deadlines of those who do neither."""

from typing import Final

import msgspec

from contracts import tokens
from contracts.core import facts
from contracts.core.commands import AcceptReduction, RejectReduction
from contracts.core.errors import Refusal
from contracts.core.facts import Fact
from contracts.core.parties import Party
from contracts.core.state import State
from contracts.core.units import percent_of
from contracts.demand_response.contract import (
    ContractRecord,
    EngagementRecord,
    ExpiryRecord,
    Level,
    Status,
    Step,
    deposit_transfer,
    drop_expiry,
    escrow_held,
    escrow_transfer,
    put_expiry,
    return_to_need,
    step,
    take_contract,
    terms_end_ms,
)
from contracts.demand_response.needs import end_in_need

#: a device's open contracts that are searched for an overlap: with more, one could be missed and the device paid twice
ENGAGEMENTS_MAX: Final = 192


def accept_reduction(state: State, sender: Party, command: AcceptReduction, time_ms: int) -> list[Fact]:
    """AcceptReduction: binds the payee; an SC2 may bring its SC1 to life."""
    contract = _take_for_payee(state, sender, command.contract_id)
    if time_ms > contract.terms.accept_by_ms:
        raise Refusal("deadline_passed", command.contract_id)
    if command.terms_digest != contract.terms_digest:
        raise Refusal("terms_mismatch", command.contract_id)
    after = step(contract, Step.ACCEPT)
    drop_expiry(state, contract)
    root = contract.parent or contract.contract_id
    escrow = tokens.contract_account(root)
    payee = tokens.party_account(contract.payee)
    happened: list[Fact] = [
        facts.ReductionAccepted(
            contract_id=contract.contract_id,
            parent=contract.parent,
            payer=contract.payer,
            payee=contract.payee,
            terms_digest=contract.terms_digest,
        )
    ]
    if contract.level is Level.SC1:
        happened += tokens.resolve(state, escrow_transfer(contract.contract_id), escrow_held(state, contract))
        put_expiry(state, after, contract.terms.activate_by_ms)
    else:
        _engage(state, contract)
        happened += _count_acceptance(state, contract)
    tokens.hold(state, deposit_transfer(contract.contract_id), payee, escrow, contract.terms.deposit_minor)
    state.put(contract.contract_id, after)
    return happened


def reject_reduction(state: State, sender: Party, command: RejectReduction) -> list[Fact]:
    """RejectReduction: no penalty, the escrow returns."""
    contract = _take_for_payee(state, sender, command.contract_id)
    after = step(contract, Step.REJECT)
    drop_expiry(state, contract)
    happened = _release(state, contract)
    state.put(contract.contract_id, after)
    rejected = facts.ReductionRejected(
        contract_id=contract.contract_id,
        parent=contract.parent,
        payer=contract.payer,
        payee=contract.payee,
        reason=command.reason,
    )
    return [rejected, *happened]


def expire_due(state: State, time_ms: int, limit: int) -> list[Fact]:
    """What fell due up to `time_ms`, in (time, level, id) order: proposals nobody accepted expire; an accepted SC1
    goes ahead with the devices it has, or expires if it has none."""
    happened: list[Fact] = []
    for key, due in state.rows(ExpiryRecord, "", f"{time_ms:016d}~", limit):
        contract = take_contract(state, due.contract_id)
        state.drop(ExpiryRecord, key)
        if contract.status is Status.ACCEPTED and contract.accepted:
            happened += _activate(state, contract)
        else:
            happened += _expire(state, contract)
    return happened


def _take_for_payee(state: State, sender: Party, contract_id: str) -> ContractRecord:
    contract = take_contract(state, contract_id)
    if sender.party != contract.payee:
        raise Refusal("not_party", sender.party)
    return contract


def _engage(state: State, contract: ContractRecord) -> None:
    start, end = contract.terms.start_ms, terms_end_ms(contract.terms)
    open_now = state.rows(EngagementRecord, f"{contract.payee}/", f"{contract.payee}/{end:016d}", ENGAGEMENTS_MAX)
    if len(open_now) == ENGAGEMENTS_MAX:
        raise Refusal("limit_exceeded", f"{contract.payee} has {ENGAGEMENTS_MAX} contracts that start before")
    if any(engagement.end_ms > start for _, engagement in open_now):
        raise Refusal("device_engaged", contract.payee)
    engagement = EngagementRecord(contract_id=contract.contract_id, end_ms=end)
    state.put(f"{contract.payee}/{start:016d}", engagement)


def _count_acceptance(state: State, contract: ContractRecord) -> list[Fact]:
    parent = take_contract(state, contract.parent or "")
    if parent.status not in (Status.ACCEPTED, Status.ACTIVE):
        raise Refusal("illegal_transition", f"{parent.contract_id} is {parent.status}")
    grown = msgspec.structs.replace(
        parent,
        accepted=parent.accepted + 1,
        accepted_wh=parent.accepted_wh + sum(contract.terms.obligation_wh),
    )
    state.put(parent.contract_id, grown)
    needed = percent_of(sum(parent.terms.obligation_wh), parent.terms.minimum_percent)
    if grown.status is Status.ACCEPTED and grown.accepted_wh >= needed:
        drop_expiry(state, grown)
        return _activate(state, grown)
    return []


def _activate(state: State, contract: ContractRecord) -> list[Fact]:
    state.put(contract.contract_id, step(contract, Step.ACTIVATE))
    return [
        facts.DRActivated(
            contract_id=contract.contract_id,
            payer=contract.payer,
            payee=contract.payee,
            accepted=contract.accepted,
            accepted_wh=contract.accepted_wh,
        )
    ]


def _expire(state: State, contract: ContractRecord) -> list[Fact]:
    happened = _release(state, contract)
    state.put(contract.contract_id, step(contract, Step.EXPIRE))
    expired = facts.DRExpired(
        contract_id=contract.contract_id, parent=contract.parent, payer=contract.payer, payee=contract.payee
    )
    return [expired, *happened]


def _release(state: State, contract: ContractRecord) -> list[Fact]:
    """Gives back the escrow of a contract that never came to life."""
    happened = tokens.resolve(state, escrow_transfer(contract.contract_id), 0) if escrow_held(state, contract) else []
    if contract.level is Level.SC1:
        if contract.status is Status.ACCEPTED:
            happened += tokens.resolve(state, deposit_transfer(contract.contract_id), 0)
            happened += return_to_need(state, contract)
        end_in_need(state, contract, 0)
    return happened
