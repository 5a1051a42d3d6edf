"""A turn that is interrupted or fails in part: the next one goes on, and nothing else waits for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec.structs import replace as replace_fields

from contracts.core.codec import digest
from contracts.core.commands import Offer, RequestReduction, SetupDR
from contracts.demand_response.contract import ContractRecord, Level, Status
from contracts.demand_response.needs import NeedRecord
from contracts.tokens import Account
from ledger.client import Refused
from runtime.clock import ManualClock
from tests.builders import START_MS, a_baseline, a_key, device_terms
from tests.vtn.opened import Opened
from vtn.aggregator.cycle import Cycle
from vtn.aggregator.dispatch import Candidate
from vtn.aggregator.gateway import ProgramEvents
from vtn.aggregator.ports import Member, Rejection, SignedOffer
from vtn.aggregator.records import AggregatorRecords
from vtn.aggregator.virtual_nodes.agent import Surroundings, VirtualNode
from vtn.aggregator.virtual_nodes.members.candidacy import Evaluation
from vtn.aggregator.virtual_nodes.members.track import TrackRecord
from vtn.services.vens import insert_ven

HOUR_MS = 3_600_000
NEED_START_MS = START_MS + 6 * HOUR_MS


def a_request(need_id: str = "a", **given: Any) -> RequestReduction:
    defaults: dict[str, Any] = {
        "aggregator": "agg", "area": "portfolio", "start_ms": NEED_START_MS, "interval_s": 900,
        "target_wh": (1_000,) * 8, "energy_price_minor_per_mwh": 200_000, "budget_minor": 100_000,
    }  # fmt: skip
    return RequestReduction(need_id=need_id, **{**defaults, **given})


class Ledger:
    """Needs, contracts and what was proposed; `broken` needs are refused."""

    party = "agg"

    def __init__(self, *requests: RequestReduction, broken: str = "") -> None:
        self.needs = {each.need_id: each for each in requests}
        self.contracts: dict[str, ContractRecord] = {}
        self.broken = broken
        self.asked: list[str] = []
        self.proposed: list[SetupDR] = []

    async def record(self, kind: type[Any], key: str) -> Any:
        self.asked.append(key)
        if key == self.broken:
            raise Refused("limit_exceeded")
        if kind is NeedRecord:
            return NeedRecord(request=self.needs[key], utility="utl", open_contracts=0, delivered_wh=0, closed=False)
        if kind is Account and key.startswith("need/"):
            return Account(credits_posted=self.needs[key.removeprefix("need/")].budget_minor)
        return self.contracts.get(key) if kind is ContractRecord else None

    async def records(self, kind: type[Any], prefix: str = "") -> list[tuple[str, Any]]:
        found = self.contracts.items() if kind is ContractRecord else ()
        return [(key, value) for key, value in found if key.startswith(prefix)]

    async def submit_many(self, commands: Sequence[SetupDR]) -> list[Any]:
        self.proposed += commands
        return [SimpleNamespace(status="committed", code="ok") for _ in commands]


class Node:
    """A virtual node that offers everything from the earliest start on."""

    area = "F1"

    def __init__(self, name: str, clock: ManualClock) -> None:
        self.name, self.party, self._clock = name, f"party-{name}", clock

    async def offer(self, request: RequestReduction) -> SignedOffer:
        offer = Offer(
            need_id=request.need_id, aggregator="agg", virtual_node=self.party, start_ms=request.start_ms,
            interval_s=900, profile_wh=request.target_wh, energy_price_minor_per_mwh=1, valid_until_ms=NEED_START_MS,
        )  # fmt: skip
        return SignedOffer(offer=offer, signature="0" * 128, reliability_bp=9_000, forecast_wh=5_000)

    async def advance(self, contract: ContractRecord) -> None:
        raise Refused("deadline_passed")

    async def shortfall_wh(self, contract: ContractRecord) -> tuple[int, ...]:
        return (0,) * len(contract.terms.obligation_wh)


class Interrupted(AggregatorRecords):
    """The process ends when it is about to store a plan."""

    async def add_group_plans(self, *_: Any) -> None:
        raise InterruptedError

    async def add_round(self, *_: Any) -> None:
        raise InterruptedError


async def surroundings(opened: Opened, clock: ManualClock, records: AggregatorRecords) -> Surroundings:
    program = await opened.vtn.programs.get("evening")
    events = ProgramEvents(opened.vtn.dr_events, "evening")
    track = TrackRecord(program.terms.calendar)
    return Surroundings(cast("Any", None), events, records, program, clock, track)


def a_cycle(ledger: Ledger, records: AggregatorRecords, around: Surroundings, *nodes: Node) -> Cycle:
    async def nothing() -> None: ...

    formation = SimpleNamespace(nodes={node.party: node for node in nodes}, form=nothing, keep_funded=nothing)
    return Cycle(cast("Any", ledger), records, cast("Any", formation), around)


def a_contract(contract_id: str, need_id: str = "a", **given: Any) -> ContractRecord:
    terms = given.pop("terms", device_terms(need_id=need_id, start_ms=NEED_START_MS))
    defaults: dict[str, Any] = {"level": Level.SC1, "parent": None, "payer": "agg", "payee": "vn"}
    return ContractRecord(
        contract_id=contract_id,
        terms=terms,
        terms_digest=digest(terms),
        **{**defaults, "status": Status.ACTIVE, **given},
    )


@pytest.fixture
def records(opened_vtn: Opened) -> AggregatorRecords:
    return AggregatorRecords(opened_vtn.vtn.database)


async def test_a_need_that_fails_holds_up_no_other(
    opened_vtn: Opened, clock: ManualClock, records: AggregatorRecords
) -> None:
    ledger = Ledger(a_request("a"), a_request("b"), broken="a")
    for request in ledger.needs.values():
        await records.add_need(request, START_MS)
    await a_cycle(ledger, records, await surroundings(opened_vtn, clock, records)).turn()
    assert "b" in ledger.asked


async def test_a_virtual_node_that_fails_does_not_keep_its_need_from_closing(
    opened_vtn: Opened, clock: ManualClock, records: AggregatorRecords
) -> None:
    """What is due is asked for although the agent of the contract is refused each turn."""
    request = a_request("a")
    ledger = Ledger(request)
    node = Node("vn-F1", clock)
    ledger.contracts["sc1-a-0"] = a_contract("sc1-a-0", payee=node.party)
    await records.add_need(request, START_MS)
    submitted: list[str] = []

    async def submit(command: object) -> None:
        submitted.append(type(command).__name__)
        raise Refused("too_early")

    ledger.submit = submit  # type: ignore[attr-defined]
    clock.advance(24 * HOUR_MS)
    await a_cycle(ledger, records, await surroundings(opened_vtn, clock, records), node).turn()
    assert submitted == ["SettleDR"]


async def test_a_need_planned_again_after_a_kill_may_be_planned_otherwise(
    opened_vtn: Opened, clock: ManualClock, records: AggregatorRecords
) -> None:
    """The event of the first attempt must not stand in the way of the second, which chose another virtual node."""
    ledger = Ledger(a_request("a"))
    await records.add_need(a_request("a"), START_MS)
    interrupted = Interrupted(opened_vtn.vtn.database)
    around = await surroundings(opened_vtn, clock, interrupted)
    await a_cycle(ledger, interrupted, around, Node("vn-F1", clock)).turn()
    assert ledger.proposed == []
    around = await surroundings(opened_vtn, clock, records)
    await a_cycle(ledger, records, around, Node("vn-F2", clock)).turn()
    [proposal] = ledger.proposed
    assert proposal.payee == "party-vn-F2"
    assert (await opened_vtn.vtn.dr_events.get(proposal.terms.dr_event_id)).digest == proposal.terms.dr_event_digest


async def test_contracts_of_a_need_whose_id_begins_alike_are_not_its_own(
    opened_vtn: Opened, clock: ManualClock, records: AggregatorRecords
) -> None:
    """Need "a-1" has the contract sc1-a-1-0; need "a" would otherwise wait for it before it closes."""
    ledger = Ledger(a_request("a"), a_request("a-1"))
    ledger.contracts["sc1-a-1-0"] = a_contract("sc1-a-1-0", need_id="a-1")
    ledger.contracts["sc1-a-0"] = a_contract("sc1-a-0", payer="another aggregator")
    cycle = a_cycle(ledger, records, await surroundings(opened_vtn, clock, records))
    assert await cycle._contracts(a_request("a")) == {}
    assert list(await cycle._contracts(a_request("a-1"))) == ["sc1-a-1-0"]


def a_node(ledger: Ledger, around: Surroundings) -> VirtualNode:
    """A virtual node with one member that can always be called."""
    node = VirtualNode("vn-F1", "F1", "vn", a_key(), cast("Any", ledger), around)

    async def evaluate(
        request: RequestReduction, start_ms: int, count: int, exclude: Sequence[str]
    ) -> list[Evaluation]:
        member = Member(ven_id="ven-1", ven_name="h", party="dev", area="F1", flexible_w=500, flexible_percent=50)
        candidate = Candidate(
            candidate="ven-1", available_wh=(1_000,) * count, forecast_wh=1, price_minor_per_mwh=1, reliability_bp=9_000
        )
        baseline = a_baseline(request.start_ms, (700,) * count)
        return [Evaluation(member=member, candidate=candidate, baseline=baseline)]

    node._evaluate = evaluate  # type: ignore[method-assign]
    return node


async def test_a_round_that_was_not_stored_leaves_no_event_behind(
    opened_vtn: Opened, clock: ManualClock, records: AggregatorRecords
) -> None:
    ledger = Ledger(a_request("a"))
    terms = device_terms(need_id="a", start_ms=NEED_START_MS, obligation_wh=(1_000,) * 8, baseline=None)
    contract = ledger.contracts["sc1-a-0"] = a_contract("sc1-a-0", terms=terms)
    await records.add_need(a_request("a"), START_MS)
    clock.advance(6 * HOUR_MS)
    node = a_node(ledger, await surroundings(opened_vtn, clock, Interrupted(opened_vtn.vtn.database)))
    with pytest.raises(InterruptedError):
        await node._plan_round(contract, 0, "first", terms.obligation_wh, NEED_START_MS + HOUR_MS // 2, ())
    events = await opened_vtn.vtn.dr_events.list()
    assert events == [], "an event without a stored plan keeps its id from the next attempt"


async def test_a_need_off_the_programme_s_grid_is_declined(
    opened_vtn: Opened, clock: ManualClock, records: AggregatorRecords
) -> None:
    """Its contracts would all be refused: the baseline is made on the programme's intervals."""
    node = a_node(Ledger(), await surroundings(opened_vtn, clock, records))
    assert isinstance(await node.offer(a_request(interval_s=300)), Rejection)
    assert isinstance(await node.offer(a_request(start_ms=NEED_START_MS + 60_000)), Rejection)
    assert isinstance(await node.offer(a_request()), SignedOffer)


async def test_a_home_that_is_asked_for_one_need_is_not_offered_to_another(
    opened_vtn: Opened, clock: ManualClock, records: AggregatorRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it accepts no engagement on the ledger shows it: both contracts would be proposed, one in vain."""
    ledger = Ledger(a_request("a"))
    around = await surroundings(opened_vtn, clock, records)
    await records.add_need(a_request("a"), START_MS)
    await a_cycle(ledger, records, around, Node("vn-F1", clock)).turn()
    [plan] = await records.group_plans("a")
    contract = a_contract(plan.contract_id, terms=plan.terms, status=Status.ACCEPTED, payee="vn")
    await a_node(ledger, around)._plan_round(contract, 0, "first", plan.terms.obligation_wh, NEED_START_MS, ())
    [asked] = await records.asked(clock.now_ms())

    seen: dict[str, bool] = {}
    calls: dict[str, int] = {}

    def evaluate(member: Member, *_: object, engaged: bool, planned: Sequence[object], **__: object) -> None:
        seen[member.party] = engaged
        calls[member.party] = len(planned)

    class OneHome:
        async def of_group(self, group: str) -> list[Member]:
            return [
                Member(ven_id=party, ven_name=party, party=party, area="F1", flexible_w=1, flexible_percent=1)
                for party in (asked.device, "another")
            ]

        async def readings(self, ven_ids: Sequence[str], *_: int) -> dict[str, dict[int, int]]:
            return {ven_id: {} for ven_id in ven_ids}

        async def unavailable(self, *_: object) -> dict[str, str]:
            return {}

    monkeypatch.setattr("vtn.aggregator.virtual_nodes.members.group.evaluate", evaluate)
    node = VirtualNode(
        "vn-F1", "F1", "vn", a_key(), cast("Any", ledger), replace(around, members=cast("Any", OneHome()))
    )
    await node._evaluate(a_request("b"), NEED_START_MS, 8, ())
    assert seen == {asked.device: True, "another": False}
    await node._evaluate(a_request("b"), NEED_START_MS + 24 * HOUR_MS, 8, ())
    assert seen == {asked.device: False, "another": False}
    assert calls == {asked.device: 1, "another": 0}, "it counts among the calls of its day"


async def test_a_budget_that_cannot_hold_the_contracts_plans_what_it_can(
    opened_vtn: Opened, clock: ManualClock, records: AggregatorRecords
) -> None:
    """8,000 Wh at 2.00/kWh held at the cap of 120 % cost 1,920; a budget of 960 holds half of each interval."""
    ledger = Ledger(a_request("a", budget_minor=960))
    around = await surroundings(opened_vtn, clock, records)
    await records.add_need(ledger.needs["a"], START_MS)
    await a_cycle(ledger, records, around, Node("one", clock)).turn()
    [plan] = await records.group_plans("a")
    assert plan.terms.obligation_wh == (500,) * 8


async def test_events_of_contracts_that_end_before_they_begin_are_taken_back(
    opened_vtn: Opened, clock: ManualClock, records: AggregatorRecords
) -> None:
    """A home whose contract expired, then the virtual node itself: on the wire nobody acts for nothing."""
    vtn = opened_vtn.vtn
    template = await vtn.vens.add("template", "F1", "evening")
    async with vtn.database.transaction() as connection:
        await insert_ven(connection, replace_fields(template, ven_id="ven-1", ven_name="h"))
    ledger = Ledger(a_request("a"))
    around = await surroundings(opened_vtn, clock, records)
    await records.add_need(a_request("a"), START_MS)
    await a_cycle(ledger, records, around, Node("vn-F1", clock)).turn()
    [planned] = await records.group_plans("a")
    contract = a_contract(planned.contract_id, terms=planned.terms, status=Status.ACCEPTED)
    node = a_node(ledger, around)
    await node._plan_round(contract, 0, "first", planned.terms.obligation_wh, NEED_START_MS, ())
    await node._propose_missing(contract)
    [plan] = await records.device_plans(contract.contract_id)
    event_id = plan.terms.dr_event_id
    assert [each.cancelled for each in await vtn.dr_events.applicable("ven-1")] == [False]

    expired = a_contract(plan.contract_id, terms=plan.terms, parent=contract.contract_id, status=Status.EXPIRED)
    ledger.contracts[plan.contract_id] = expired
    await node._propose_missing(contract)
    assert [each.cancelled for each in await vtn.dr_events.applicable("ven-1")] == [True]
    assert (await vtn.dr_events.get(event_id)).status == "published"

    await node.advance(replace_fields(contract, status=Status.EXPIRED))
    assert (await vtn.dr_events.get(event_id)).status == "cancelled"
