"""SetupDR: what a proposal must be before a payee is asked.

Level SC1, aggregator to virtual node: inside an open need of this aggregator, in its area, at its price at most, and
covered by an offer the virtual node signed. Level SC2, virtual node to device: inside an SC1 of this virtual node
that is accepted or active, at its price at most, with a baseline committed for exactly its intervals. The escrow of
an SC1 comes out of the need's, that of an SC2 out of its SC1's.
"""

from typing import Final

import msgspec

from contracts import tokens
from contracts.baseline import PRESETS, window_start_ms
from contracts.core import facts
from contracts.core.codec import digest
from contracts.core.commands import TARGETS_MAX, Offer, SetupDR, Terms, offer_bytes
from contracts.core.context import Context
from contracts.core.errors import Refusal
from contracts.core.facts import Fact
from contracts.core.parties import Party, Role, active_party
from contracts.core.state import State
from contracts.core.units import MS_PER_S
from contracts.demand_response.contract import (
    ChildRecord,
    ContractRecord,
    Level,
    Status,
    check_intervals,
    child_key,
    escrow_transfer,
    put_expiry,
    take_contract,
    terms_end_ms,
)
from contracts.demand_response.needs import PORTFOLIO, NeedRecord, take_open_need
from contracts.settlement import escrow_minor

CHILDREN_MAX: Final = 100_000
#: metering may be awaited so long after the end, no longer: a budget must not be bound for ever
SETTLE_DELAY_MS_MAX: Final = 92 * 86_400 * MS_PER_S


def setup_dr(state: State, sender: Party, command: SetupDR, context: Context) -> list[Fact]:
    """SetupDR: proposes a contract and holds its escrow. Raises Refusal."""
    if state.find(ContractRecord, command.contract_id) is not None:
        raise Refusal("contract_exists", command.contract_id)
    payee = active_party(state, command.payee)
    if payee.party == sender.party:
        raise Refusal("same_party", payee.party)
    if payee.key == sender.key:
        raise Refusal("same_key", payee.party)
    need = take_open_need(state, command.terms.need_id)
    _check_terms(command.terms, context.time_ms)
    if command.parent is None:
        source, price = _check_under_need(need, sender, payee, command, context)
        _count_in_need(state, need)
    else:
        source, price = _check_under_parent(state, need, sender, payee, command)
    return _propose(state, command, sender, source, price)


def _check_terms(terms: Terms, time_ms: int) -> None:
    check_intervals(terms.start_ms, terms.interval_s, terms.obligation_wh)
    if not time_ms < terms.accept_by_ms <= terms.activate_by_ms <= terms.start_ms:
        raise Refusal("deadline_passed", "now < accept_by <= activate_by <= start does not hold")
    if terms.settle_after_ms < terms_end_ms(terms):
        raise Refusal("too_early", "settle_after_ms lies before the end")
    if terms.settle_after_ms > terms_end_ms(terms) + SETTLE_DELAY_MS_MAX:
        raise Refusal("limit_exceeded", "settle_after_ms lies more than 92 days after the end")
    if len(terms.assisting) > TARGETS_MAX:
        raise Refusal("limit_exceeded", f"{len(terms.assisting)} assisting virtual nodes")
    if terms.baseline_preset not in PRESETS:
        raise Refusal("baseline_invalid", f"no preset {terms.baseline_preset}")
    if not 0 < terms.partial_percent <= terms.success_percent <= terms.cap_percent:
        raise Refusal("body_invalid", "0 < partial <= success <= cap percent does not hold")


def _check_under_need(
    need: NeedRecord, sender: Party, payee: Party, command: SetupDR, context: Context
) -> tuple[str, int]:
    terms, request = command.terms, need.request
    if sender.role is not Role.AGGREGATOR or payee.role is not Role.VIRTUAL_NODE:
        raise Refusal("role_not_allowed", f"{sender.role} to {payee.role}")
    if request.aggregator != sender.party:
        raise Refusal("not_party", sender.party)
    if request.area not in (PORTFOLIO, payee.area):
        raise Refusal("offer_invalid", f"the need is of {request.area}, the virtual node of {payee.area}")
    _check_inside(terms, request.start_ms, request.interval_s, len(request.target_wh))
    if terms.energy_price_minor_per_mwh > request.energy_price_minor_per_mwh:
        raise Refusal("price_invalid", command.contract_id)
    if terms.baseline is not None:
        raise Refusal("baseline_invalid", "a virtual node's baseline is the sum of its devices'")
    _check_offer(command, sender, payee, context)
    return tokens.need_account(request.need_id), request.energy_price_minor_per_mwh


def _check_offer(command: SetupDR, sender: Party, payee: Party, context: Context) -> None:
    offer, signature, terms = command.offer, command.offer_signature, command.terms
    if offer is None or signature is None:
        raise Refusal("offer_invalid", "no offer")
    if not context.valid(payee.key, offer_bytes(offer), bytes.fromhex(signature)):
        raise Refusal("offer_invalid", "not signed by the virtual node")
    parties = (offer.need_id, offer.aggregator, offer.virtual_node)
    if parties != (terms.need_id, sender.party, payee.party) or context.time_ms > offer.valid_until_ms:
        raise Refusal("offer_invalid", "of other parties, another need, or expired")
    if terms.energy_price_minor_per_mwh < offer.energy_price_minor_per_mwh or not _covered(terms, offer):
        raise Refusal("offer_invalid", "the terms ask more, or pay less, than was offered")


def _covered(terms: Terms, offer: Offer) -> bool:
    step_ms = terms.interval_s * MS_PER_S
    if offer.interval_s != terms.interval_s or (terms.start_ms - offer.start_ms) % step_ms:
        return False
    first = (terms.start_ms - offer.start_ms) // step_ms
    offered = offer.profile_wh[first : first + len(terms.obligation_wh)] if first >= 0 else ()
    return len(offered) == len(terms.obligation_wh) and all(
        asked <= most for asked, most in zip(terms.obligation_wh, offered, strict=True)
    )


def _check_under_parent(
    state: State, need: NeedRecord, sender: Party, payee: Party, command: SetupDR
) -> tuple[str, int]:
    terms, parent = command.terms, take_contract(state, command.parent or "")
    if sender.role is not Role.VIRTUAL_NODE or payee.role is not Role.DEVICE:
        raise Refusal("role_not_allowed", f"{sender.role} to {payee.role}")
    if parent.payee != sender.party or parent.level is not Level.SC1:
        raise Refusal("not_party", sender.party)
    if payee.area != sender.area:
        raise Refusal("not_party", f"the device is of {payee.area}, the virtual node of {sender.area}")
    if parent.status not in (Status.ACCEPTED, Status.ACTIVE):
        raise Refusal("illegal_transition", f"{parent.contract_id} is {parent.status}")
    if terms.need_id != parent.terms.need_id or terms.settle_after_ms != parent.terms.settle_after_ms:
        raise Refusal("terms_mismatch", "need and metering deadline must be the parent's")
    if parent.status is Status.ACCEPTED and terms.accept_by_ms > parent.terms.activate_by_ms:
        raise Refusal("deadline_passed", "accept_by must not lie after the parent's activation")
    _check_inside(terms, parent.terms.start_ms, parent.terms.interval_s, len(parent.terms.obligation_wh))
    if terms.energy_price_minor_per_mwh > parent.terms.energy_price_minor_per_mwh:
        raise Refusal("price_invalid", command.contract_id)
    if command.offer is not None or command.offer_signature is not None or terms.assisting:
        raise Refusal("offer_invalid", "a device makes no offer and has no assistants")
    _check_baseline(terms, parent.terms.baseline_preset, need.request.start_ms)
    if parent.children >= CHILDREN_MAX:
        raise Refusal("limit_exceeded", f"{parent.contract_id} has {parent.children} contracts")
    state.put(child_key(parent.contract_id, parent.children), ChildRecord(contract_id=command.contract_id))
    state.put(parent.contract_id, msgspec.structs.replace(parent, children=parent.children + 1))
    return tokens.contract_account(parent.contract_id), terms.energy_price_minor_per_mwh


def _check_inside(terms: Terms, start_ms: int, interval_s: int, count: int) -> None:
    last_ms = start_ms + count * interval_s * MS_PER_S
    if terms.interval_s != interval_s or terms.start_ms < start_ms or terms_end_ms(terms) > last_ms:
        raise Refusal("interval_invalid", "outside the intervals above")


def _check_baseline(terms: Terms, preset_name: str, need_start_ms: int) -> None:
    """The committed curve has one value an interval; its window is the preset's, before the need."""
    baseline, preset = terms.baseline, PRESETS[preset_name]
    if baseline is None or terms.baseline_preset != preset_name or baseline.preset != preset_name:
        raise Refusal("baseline_invalid", "missing, or of another preset than the contract above")
    if (baseline.preset_version, baseline.adjustment_cap_percent) != (preset.version, preset.cap_percent):
        raise Refusal("baseline_invalid", "version or cap is not the preset's")
    if len(baseline.curve_wh) != len(terms.obligation_wh):
        raise Refusal("baseline_invalid", "not one value an interval")
    expected = (window_start_ms(preset, need_start_ms), preset.window_s // terms.interval_s)
    if (baseline.adjustment_start_ms, len(baseline.adjustment_wh)) != expected:
        raise Refusal("baseline_invalid", "the adjustment window is not the preset's")


def _count_in_need(state: State, need: NeedRecord) -> None:
    state.put(need.request.need_id, msgspec.structs.replace(need, open_contracts=need.open_contracts + 1))


def _propose(state: State, command: SetupDR, sender: Party, source: str, price_minor_per_mwh: int) -> list[Fact]:
    contract = ContractRecord(
        contract_id=command.contract_id,
        level=Level.SC1 if command.parent is None else Level.SC2,
        parent=command.parent,
        payer=sender.party,
        payee=command.payee,
        terms=command.terms,
        terms_digest=digest(command.terms),
        status=Status.PROPOSED,
    )
    own_account = tokens.contract_account(command.contract_id)
    credit = own_account if command.parent is None else tokens.party_account(command.payee)
    amount = escrow_minor(command.terms, price_minor_per_mwh)
    tokens.hold(state, escrow_transfer(command.contract_id), source, credit, amount)
    state.put(command.contract_id, contract)
    put_expiry(state, contract, command.terms.accept_by_ms)
    return [
        facts.DRSetUp(
            contract_id=command.contract_id,
            parent=command.parent,
            payer=sender.party,
            payee=command.payee,
            terms=command.terms,
        )
    ]
