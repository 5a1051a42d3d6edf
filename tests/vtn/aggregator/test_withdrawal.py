"""Homes and virtual nodes whose contract came to nothing are told that the event is off."""

from __future__ import annotations

from typing import Any, cast

from contracts.demand_response.contract import ContractRecord, Status
from tests.builders import device_terms
from vtn.aggregator.records import DevicePlan
from vtn.aggregator.virtual_nodes.withdrawal import Withdrawals


class Told:
    """The events port: what it was told."""

    def __init__(self) -> None:
        self.acts: list[tuple[Any, ...]] = []

    async def withdraw(self, event_id: str, ven_ids: list[str]) -> None:
        self.acts.append(("withdraw", event_id, *ven_ids))

    async def cancel(self, event_id: str) -> None:
        self.acts.append(("cancel", event_id))


def a_plan(name: str) -> DevicePlan:
    return DevicePlan(
        contract_id=f"sc2-{name}", sc1="sc1", round=0, device=f"dev-{name}", ven_id=f"ven-{name}",
        terms=device_terms(dr_event_id="evt-1"), reliability_bp=9000,
    )  # fmt: skip


def contracts(**statuses: Status) -> dict[str, ContractRecord]:
    return {
        f"sc2-{name}": cast("ContractRecord", type("Record", (), {"status": status})())
        for name, status in statuses.items()
    }


async def test_homes_whose_contract_ended_before_it_began_are_told_once() -> None:
    told = Told()
    withdrawals = Withdrawals(cast("Any", told))
    plans = [a_plan(each) for each in ("a", "b", "c", "d", "e")]
    ended = contracts(a=Status.REJECTED, b=Status.EXPIRED, c=Status.ACCEPTED)
    for _ in range(2):
        await withdrawals.of_members(plans, ended, {"sc2-d"})
    assert told.acts == [("withdraw", "evt-1", "ven-a", "ven-b", "ven-d")]
    await withdrawals.of_members(plans, ended | contracts(c=Status.EXPIRED), {"sc2-d"})
    assert told.acts[1:] == [("withdraw", "evt-1", "ven-c")]


async def test_the_end_of_a_virtual_nodes_contract_cancels_all_its_events_once() -> None:
    told = Told()
    withdrawals = Withdrawals(cast("Any", told))
    contract = type("Record", (), {"contract_id": "sc1-a", "terms": device_terms(dr_event_id="evt-0")})()
    for _ in range(2):
        await withdrawals.of_contract(cast("ContractRecord", contract), [a_plan("a"), a_plan("b")])
    assert told.acts == [("cancel", "evt-0"), ("cancel", "evt-1")]
