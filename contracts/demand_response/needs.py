"""Needs: a utility's request for less energy, with its budget in escrow until every contract under it has ended."""

from typing import ClassVar, Final

import msgspec

from contracts import tokens
from contracts.core import facts
from contracts.core.codec import INTEGER_MAX
from contracts.core.commands import CloseRequest, RequestReduction
from contracts.core.errors import Refusal
from contracts.core.facts import Fact
from contracts.core.parties import Party, Role, active_party
from contracts.core.state import Record, State
from contracts.core.units import Id, WhSum, charged_minor
from contracts.demand_response.contract import ContractRecord, check_intervals

#: a need's area that any virtual node may serve; otherwise it names a feeder
PORTFOLIO: Final = "portfolio"


class NeedRecord(Record, frozen=True, kw_only=True):
    """A utility's request; `open_contracts` counts the SC1s under it that have not ended."""

    KIND: ClassVar[str] = "need"
    request: RequestReduction
    utility: Id
    open_contracts: int
    delivered_wh: WhSum
    closed: bool


def request_reduction(state: State, sender: Party, command: RequestReduction, time_ms: int) -> list[Fact]:
    """RequestReduction: a need, with its budget in escrow."""
    if state.find(NeedRecord, command.need_id) is not None:
        raise Refusal("need_exists", command.need_id)
    if active_party(state, command.aggregator).role is not Role.AGGREGATOR:
        raise Refusal("role_not_allowed", command.aggregator)
    check_intervals(command.start_ms, command.interval_s, command.target_wh)
    if command.start_ms <= time_ms:
        raise Refusal("deadline_passed", "the need has begun")
    if charged_minor(sum(command.target_wh), command.energy_price_minor_per_mwh) > command.budget_minor:
        raise Refusal("funds_insufficient", "the budget does not cover the target at the energy price")
    budget, escrow = f"need/{command.need_id}/budget", tokens.need_account(command.need_id)
    posted = tokens.post(state, budget, tokens.party_account(sender.party), escrow, command.budget_minor)
    record = NeedRecord(request=command, utility=sender.party, open_contracts=0, delivered_wh=0, closed=False)
    state.put(command.need_id, record)
    requested = facts.ReductionRequested(
        need_id=command.need_id,
        utility=sender.party,
        aggregator=command.aggregator,
        area=command.area,
        start_ms=command.start_ms,
        interval_s=command.interval_s,
        target_wh=command.target_wh,
        energy_price_minor_per_mwh=command.energy_price_minor_per_mwh,
        budget_minor=command.budget_minor,
    )
    return [requested, *posted]


def close_request(state: State, sender: Party, command: CloseRequest) -> list[Fact]:
    """CloseRequest: what the escrow of an ended need still holds goes back to the utility."""
    need = take_open_need(state, command.need_id)
    if sender.role is not Role.AUDITOR and sender.party not in (need.utility, need.request.aggregator):
        raise Refusal("not_party", sender.party)
    if need.open_contracts:
        raise Refusal("children_open", f"{need.open_contracts} contracts")
    escrow = tokens.need_account(command.need_id)
    left = tokens.free_minor(state, escrow)
    posted = tokens.post(state, f"need/{command.need_id}/return", escrow, tokens.party_account(need.utility), left)
    state.put(command.need_id, msgspec.structs.replace(need, closed=True))
    closed = facts.RequestClosed(
        need_id=command.need_id,
        utility=need.utility,
        aggregator=need.request.aggregator,
        delivered_wh=need.delivered_wh,
        returned_minor=left,
    )
    return [closed, *posted]


def take_open_need(state: State, need_id: str) -> NeedRecord:
    """The need, if it is not closed. Raises Refusal."""
    need = state.take(NeedRecord, need_id, "need_unknown")
    if need.closed:
        raise Refusal("need_closed", need_id)
    return need


def end_in_need(state: State, contract: ContractRecord, delivered_wh: int) -> None:
    """An SC1 ended: its need counts one less. The sum stops at what a record holds: no figure may keep a contract from
    ending."""
    need = state.take(NeedRecord, contract.terms.need_id, "need_unknown")
    total_wh = max(-INTEGER_MAX, min(INTEGER_MAX, need.delivered_wh + delivered_wh))
    state.put(
        contract.terms.need_id,
        msgspec.structs.replace(need, open_contracts=need.open_contracts - 1, delivered_wh=total_wh),
    )
