"""Needs whose homes are bound: what changes with the event, and how they end."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from contracts.core.codec import digest
from contracts.core.commands import (
    AcceptReduction,
    CloseRequest,
    Enrolment,
    EnrolParty,
    Offer,
    SetupDR,
    enrolment_bytes,
    offer_bytes,
)
from contracts.core.parties import Role
from contracts.demand_response.contract import ContractRecord
from contracts.demand_response.needs import NeedRecord
from ledger.client import LedgerClient, party_id
from openadr.errors import ResponseCode
from openadr.model import digest as event_digest
from openadr.v2 import RefusedEvent
from runtime.clock import ManualClock
from tests.builders import START_MS, a_dr_event, a_key, device_terms
from tests.vtn.opened import PROGRAM, Opened
from tests.vtn.upstream.world import EVENT_MS, HOUR_MS, Desks, an_event, listed
from vtn.aggregator.records import AggregatorRecords, GroupPlan
from vtn.upstream import records
from vtn.upstream.needs import delivered
from vtn.upstream.records import UpstreamNeed

NODE = a_key(201)
NODE_ID = party_id(Role.VIRTUAL_NODE, NODE.public)
HOME = "ven-vn-F1-0"


@pytest.fixture
async def bound(aggregator: Opened, desks: Desks, clock: ManualClock) -> Desks:
    """An event of 4 kW that was taken; a virtual node accepted its contract, and a home was called."""
    await desks.receive(an_event())
    [need] = await desks.needs_of()
    await contracted(aggregator, clock, need)
    return desks


async def contracted(aggregator: Opened, clock: ManualClock, need: UpstreamNeed) -> None:
    """What the aggregator's cycle would have done by now."""
    vtn, request = aggregator.vtn, need.request
    program = await vtn.programs.get(PROGRAM)
    enrolment = Enrolment(party=NODE_ID, role=Role.VIRTUAL_NODE, key=NODE.public, sponsor=vtn.party, area="F1")
    await vtn.ledger.submit(EnrolParty(enrolment=enrolment, proof=NODE.sign(enrolment_bytes(enrolment)).hex()))
    event = a_dr_event("evt-1", start_ms=EVENT_MS, program=program.market_context, targets=())
    offer = Offer(
        need_id=need.need_id, aggregator=vtn.party, virtual_node=NODE_ID, start_ms=EVENT_MS, interval_s=900,
        profile_wh=request.target_wh, energy_price_minor_per_mwh=150_000, valid_until_ms=EVENT_MS,
    )  # fmt: skip
    terms = device_terms(
        need_id=need.need_id, dr_event_id="evt-1", dr_event_digest=event_digest(event), start_ms=EVENT_MS,
        obligation_wh=request.target_wh, energy_price_minor_per_mwh=150_000, deposit_minor=0, baseline=None,
    )  # fmt: skip
    signature = NODE.sign(offer_bytes(offer)).hex()
    contract_id = f"sc1-{need.need_id}-0"
    plan = GroupPlan(
        contract_id=contract_id, need_id=need.need_id, virtual_node=NODE_ID, kind="initial", terms=terms, offer=offer,
        offer_signature=signature, planned_ms=START_MS,
    )  # fmt: skip
    book = AggregatorRecords(vtn.database)
    await book.add_need(request, START_MS)
    await book.add_group_plans([plan], (), request.target_wh, need.need_id, START_MS)
    await vtn.ledger.submit(
        SetupDR(
            contract_id=contract_id, parent=None, payee=NODE_ID, terms=terms, offer=offer, offer_signature=signature
        )
    )
    async with LedgerClient(vtn.settings.ledger_url, key=NODE, party=NODE_ID, clock=clock) as node:
        await node.submit(AcceptReduction(contract_id=contract_id, terms_digest=digest(terms)))
    await vtn.dr_events.create(event, PROGRAM)
    await vtn.dr_events.publish("evt-1", [HOME])


async def test_more_is_asked_for_by_a_second_need_and_the_contracts_stand(bound):
    event = await bound.receive(an_event(kw="6", modification_number=1))
    first, second = await bound.needs_of()
    assert (event.state, event.opt_type) == (records.TAKEN, "optIn")
    assert (first.state, first.withdraw_ms) == (records.TAKEN, None)
    assert second.request.target_wh == (500,) * 4  # 6 kW less the 4 kW that homes are bound to


async def test_less_needs_no_second_need_and_a_shorter_event_lets_homes_go_at_its_end(bound):
    event = await bound.receive(an_event(kw="3", minutes=30, modification_number=1))
    [need] = await bound.needs_of()
    assert (event.state, event.opt_type) == (records.TAKEN, "optIn")
    assert need.withdraw_ms == EVENT_MS + 30 * 60_000


async def test_an_event_moved_to_another_time_lets_the_bound_homes_go(bound):
    await bound.receive(an_event(start_ms=EVENT_MS + 3 * HOUR_MS, modification_number=1))
    first, second = await bound.needs_of()
    assert first.state == records.WITHDRAWN
    assert second.request.start_ms == EVENT_MS + 3 * HOUR_MS


async def test_homes_are_let_go_during_the_event_and_the_need_ends_with_its_contracts(aggregator, bound, clock):
    vtn = aggregator.vtn
    clock.advance(6 * HOUR_MS + 900_000)
    event = await bound.receive(an_event(modification_number=1, cancelled=True))
    [need] = await bound.needs_of()
    assert (event.state, event.opt_type) == (records.CANCELLED, "optIn")
    assert need.state == records.WITHDRAWN
    [told] = await vtn.dr_events.applicable(HOME)
    assert (told.event_id, told.cancelled) == ("evt-1", True)
    assert await AggregatorRecords(vtn.database).open_needs() == [], "nobody else is called for it"
    record = await vtn.ledger.record(NeedRecord, need.need_id)
    assert not record.closed, "its contract has not ended"
    aggregator.ledger.tick()
    await bound.needs.look()
    [need] = await bound.needs_of()
    assert need.state == records.CLOSED
    assert (await vtn.ledger.record(NeedRecord, need.need_id)).closed
    assert need.delivered_wh is None, "no home took part"


async def test_a_change_that_cannot_be_read_lets_bound_homes_go(bound):
    refused = RefusedEvent("peak-1", 1, ResponseCode.SIGNAL_NOT_SUPPORTED, "a signal in units nobody knows")
    await bound.events.receive(msgspec.structs.replace(listed(), refused=(refused,)))
    await bound.work()
    [need] = await bound.needs_of()
    assert need.state == records.WITHDRAWN


async def test_a_need_that_was_withdrawn_before_the_aggregator_saw_it_is_never_worked_on(desks):
    await desks.receive(an_event())
    await desks.receive(an_event(modification_number=1, cancelled=True))
    [need] = await desks.needs_of()
    assert need.state == records.CLOSED
    book = AggregatorRecords(desks.vtn.database)
    await book.add_need(need.request, START_MS)
    assert await book.open_needs() == []


async def test_a_need_the_aggregator_closed_is_over(aggregator, bound, clock):
    clock.advance(8 * HOUR_MS)
    [need] = await bound.needs_of()
    await bound.needs.look()
    assert (await bound.needs_of())[0].state == records.TAKEN
    await end(aggregator, need)
    await bound.needs.look()
    [need] = await bound.needs_of()
    assert (need.state, need.settled_ms) == (records.CLOSED, clock.now_ms())


async def end(aggregator: Opened, need: UpstreamNeed) -> None:
    """As the cycle closes a need when its contracts have ended."""
    aggregator.ledger.tick()
    await aggregator.vtn.ledger.submit(CloseRequest(need_id=need.need_id))


@pytest.mark.parametrize(("homes", "sums"), [(4, None), (5, (900, 700, 700, 700))])
async def test_what_was_delivered_is_told_of_five_homes_at_least(bound, homes: int, sums: Any):
    [need] = await bound.needs_of()
    [(_, contract)] = await bound.vtn.ledger.records(ContractRecord, "sc1-")
    settled = msgspec.structs.replace(contract, accepted=homes, delivered_wh=(900, 700, 700, 700))
    assert delivered(need, [settled]) == sums
