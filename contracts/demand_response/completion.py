"""SettleDR and DRCompletion: an SC1 calls the SC2s below it, at most 200 a transaction, resumable by anyone.

SettleDR reads what the devices recorded, never what the payer says. It adds each device's signed delivery to the
SC1's profile; when the last device is in, the SC1's outcome stands. DRCompletion then splits what the group
delivered by the share rule of settlement.py, pays or penalises each SC2, and with the last one ends the SC1:

    need escrow --(accepted)--> contract account --> devices: share at the SC2 price, less penalties
                                                 --> virtual node: its price for the group, less devices and penalty
                                                 --> aggregator: difference between the need's price and the SC1's
                                                 --> need escrow: the rest
"""

from functools import partial
from typing import Final

import msgspec

from contracts import settlement, tokens
from contracts.core import facts
from contracts.core.commands import DRCompletion, SettleDR
from contracts.core.context import Context
from contracts.core.errors import Refusal
from contracts.core.facts import Fact
from contracts.core.state import State
from contracts.core.units import MS_PER_S, earned_minor
from contracts.demand_response.contract import (
    ChildRecord,
    ContractRecord,
    Level,
    Status,
    Step,
    child_key,
    deposit_transfer,
    disengage,
    escrow_transfer,
    return_to_need,
    step,
    take_contract,
)
from contracts.demand_response.needs import NeedRecord, end_in_need
from contracts.measurements import readings

CASCADE_MAX: Final = 200


def settle_dr(state: State, command: SettleDR, context: Context) -> list[Fact]:
    """SettleDR of an SC1: measures the next 200 devices; the last one settles it. Raises Refusal."""
    contract = _take_sc1(state, command.contract_id)
    if context.time_ms < contract.terms.settle_after_ms:
        raise Refusal("too_early", f"readings may come until {contract.terms.settle_after_ms}")
    happened: list[Fact] = []
    zeros = (0,) * len(contract.terms.obligation_wh)
    profile, counted, missing = list(contract.delivered_wh or zeros), contract.counted_wh, contract.missing
    position = contract.cursor
    for child in _children(state, contract):
        position += 1
        if child.status is Status.PROPOSED:
            raise Refusal("children_open", f"{child.contract_id} is past its deadline and about to expire")
        if child.status is Status.ACCEPTED:
            settled = context.call(state, partial(_settle_device, contract=child, happened=happened))
            offset = (settled.terms.start_ms - contract.terms.start_ms) // (contract.terms.interval_s * MS_PER_S)
            for n, value in enumerate(settled.delivered_wh):
                profile[offset + n] += value
            counted += settlement.clamped_wh(settled.terms, settled.total_wh)
            missing += settled.missing
    last = position >= contract.children
    after = msgspec.structs.replace(
        step(contract, Step.SETTLE if last else Step.SETTLE_PART),
        cursor=0 if last else position,
        delivered_wh=tuple(profile),
        total_wh=sum(profile),
        counted_wh=counted,
        missing=missing,
    )
    if last:
        after = _with_outcome(after)
        happened.append(_settled(after))
    state.put(contract.contract_id, after)
    return happened


def complete_dr(state: State, command: DRCompletion, context: Context) -> list[Fact]:
    """DRCompletion of an SC1: pays the next 200 devices; the last one ends it. Raises Refusal."""
    contract = _take_sc1(state, command.contract_id)
    happened: list[Fact] = []
    group_wh = settlement.clamped_wh(contract.terms, contract.total_wh)
    passed_on, position = contract.passed_on_minor, contract.cursor
    step(contract, Step.COMPLETE_PART)
    for child in _children(state, contract):
        position += 1
        if child.status is Status.SETTLED:
            passed_on += context.call(
                state,
                partial(
                    _complete_device,
                    contract=child,
                    group_wh=group_wh,
                    counted_sum_wh=contract.counted_wh,
                    happened=happened,
                ),
            )
    last = position >= contract.children
    after = msgspec.structs.replace(
        step(contract, Step.COMPLETE if last else Step.COMPLETE_PART),
        cursor=0 if last else position,
        passed_on_minor=passed_on,
    )
    state.put(contract.contract_id, after)
    if last:
        happened += _complete_group(state, after, group_wh)
    return happened


def _take_sc1(state: State, contract_id: str) -> ContractRecord:
    contract = take_contract(state, contract_id)
    if contract.level is not Level.SC1:
        raise Refusal("illegal_transition", "a device's contract is settled and ended by the one above it")
    return contract


def _children(state: State, contract: ContractRecord) -> list[ContractRecord]:
    last = min(contract.children, contract.cursor + CASCADE_MAX)
    rows = [
        state.take(ChildRecord, child_key(contract.contract_id, position), "contract_unknown")
        for position in range(contract.cursor, last)
    ]
    return [take_contract(state, row.contract_id) for row in rows]


def _settle_device(state: State, contract: ContractRecord, happened: list[Fact]) -> ContractRecord:
    terms = contract.terms
    if terms.baseline is None:
        raise Refusal("baseline_invalid", contract.contract_id)
    window, device = terms.baseline, contract.payee
    delivery = settlement.device_delivery(
        terms,
        window,
        readings(state, device, terms.start_ms, terms.interval_s, len(terms.obligation_wh)),
        readings(state, device, window.adjustment_start_ms, terms.interval_s, len(window.adjustment_wh)),
    )
    after = msgspec.structs.replace(
        step(contract, Step.SETTLE),
        delivered_wh=delivery.delivered_wh,
        total_wh=delivery.total_wh,
        shortfall_wh=delivery.shortfall_wh,
        missing=delivery.missing,
        adjustment_wh=delivery.adjustment_wh,
        outcome=settlement.outcome(terms, delivery.total_wh),
    )
    state.put(contract.contract_id, after)
    disengage(state, contract)
    happened.append(_settled(after))
    return after


def _with_outcome(contract: ContractRecord) -> ContractRecord:
    terms = contract.terms
    lacks = (
        settlement.lack_wh(obligation, delivered, terms.tolerance_percent)
        for obligation, delivered in zip(terms.obligation_wh, contract.delivered_wh, strict=True)
    )
    outcome = settlement.outcome(terms, contract.total_wh)
    return msgspec.structs.replace(contract, shortfall_wh=sum(lacks), outcome=outcome)


def _complete_device(
    state: State, contract: ContractRecord, group_wh: int, counted_sum_wh: int, happened: list[Fact]
) -> int:
    """Pays or penalises one device; returns what its contract cost the one above (negative: it paid a penalty)."""
    counted_wh = settlement.clamped_wh(contract.terms, contract.total_wh)
    paid_wh = settlement.share_wh(counted_wh, group_wh, counted_sum_wh)
    held = tokens.held_minor(state, deposit_transfer(contract.contract_id))
    due = settlement.payment(contract.terms, paid_wh, contract.shortfall_wh, held)
    state.put(contract.contract_id, step(contract, Step.COMPLETE))
    happened += tokens.resolve(state, escrow_transfer(contract.contract_id), due.from_escrow_minor)
    happened += tokens.resolve(state, deposit_transfer(contract.contract_id), due.from_deposit_minor)
    happened.append(_completed(contract, paid_wh, due, 0))
    return due.from_escrow_minor - due.from_deposit_minor


def _complete_group(state: State, contract: ContractRecord, group_wh: int) -> list[Fact]:
    """Ends the SC1: virtual node, aggregator, and the rest back to the need."""
    need = state.take(NeedRecord, contract.terms.need_id, "need_unknown")
    account = tokens.contract_account(contract.contract_id)
    held = tokens.held_minor(state, deposit_transfer(contract.contract_id))
    due = settlement.payment(
        contract.terms, group_wh, contract.shortfall_wh, held, passed_on_minor=contract.passed_on_minor
    )
    margin = earned_minor(group_wh, need.request.energy_price_minor_per_mwh) - due.energy_minor
    name = f"contract/{contract.contract_id}"
    happened = tokens.resolve(state, deposit_transfer(contract.contract_id), due.from_deposit_minor)
    happened += tokens.post(
        state, f"{name}/virtual_node", account, tokens.party_account(contract.payee), due.from_escrow_minor
    )
    happened += tokens.post(state, f"{name}/aggregator", account, tokens.party_account(contract.payer), margin)
    happened += return_to_need(state, contract)
    end_in_need(state, contract, contract.total_wh)
    return [_completed(contract, group_wh, due, contract.passed_on_minor), *happened]


def _settled(contract: ContractRecord) -> Fact:
    return facts.DRSettled(
        contract_id=contract.contract_id,
        parent=contract.parent,
        payer=contract.payer,
        payee=contract.payee,
        outcome=contract.outcome,
        obligation_wh=sum(contract.terms.obligation_wh),
        delivered_wh=contract.total_wh,
        shortfall_wh=contract.shortfall_wh,
        missing=contract.missing,
        adjustment_wh=contract.adjustment_wh,
    )


def _completed(
    contract: ContractRecord, paid_wh: int, due: settlement.Payment, passed_on_minor: int
) -> facts.DRCompleted:
    return facts.DRCompleted(
        contract_id=contract.contract_id,
        parent=contract.parent,
        payer=contract.payer,
        payee=contract.payee,
        outcome=contract.outcome,
        obligation_wh=sum(contract.terms.obligation_wh),
        delivered_wh=contract.total_wh,
        paid_wh=paid_wh,
        energy_minor=due.energy_minor,
        children_minor=passed_on_minor,
        penalty_minor=due.penalty_minor,
        amount_minor=due.from_escrow_minor - due.from_deposit_minor,
    )
