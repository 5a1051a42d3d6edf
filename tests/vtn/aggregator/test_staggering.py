"""Homes that hold out for an hour of a longer event are called one after the other: on a real ledger and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import text

from contracts.core.commands import RequestReduction
from contracts.demand_response.contract import Status, terms_end_ms
from contracts.tokens import Account
from openadr.model import digest
from tests.ledger.running import AGGREGATOR_ID
from tests.vtn.storm.world import EVENT_MS, INTERVALS, STEP_MS, TERMS, World, a_world
from vtn.aggregator import overview
from vtn.aggregator.virtual_nodes.preview import preview
from vtn.flexibility.calls import DAY
from vtn.flexibility.envelope import Device, Kind
from vtn.services.vens import Resource

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TARGET_WH = 500
AN_HOUR = Device(kind=Kind.RELAY, power_w=1_000, energy_wh=1_000)
"""250 Wh a quarter-hour, four of them."""


@pytest.fixture
def urls(new_database: Callable[..., str]) -> tuple[str, str]:
    """Databases of a ledger and a VTN."""
    return new_database("ledger"), new_database("vtn")


async def give(world: World, devices: Sequence[Device]) -> None:
    """Every home has these devices."""
    resource = Resource(flexible_w=2_000, flexible_percent=50, devices=tuple(devices))
    async with world.vtn.database.transaction() as connection:
        await connection.execute(text("UPDATE vens SET resource = :r"), {"r": msgspec.json.encode(resource)})


async def charge(world: World) -> None:
    """Homes owe what they were called for, so that none of them is let go early; one call a day."""
    terms = msgspec.structs.replace(TERMS, device_tolerance_percent=90, calls_per_day=1)
    await world.vtn.programs.update("evening", terms)
    await world.restart()


async def balances(world: World) -> dict[str, int]:
    """Posted money of every account on the ledger."""
    found = await world.vtn.ledger.records(Account)
    return {key: account.credits_posted - account.debits_posted for key, account in found}


async def call_others_later(world: World, acted: set[str]) -> None:
    """A second need of the same day: who was called has had its call, and says so."""
    second = RequestReduction(
        need_id="m", aggregator=AGGREGATOR_ID, area="F1", start_ms=EVENT_MS + 16 * STEP_MS, interval_s=900,
        target_wh=(TARGET_WH,) * 4, energy_price_minor_per_mwh=200_000, budget_minor=100_000,
    )  # fmt: skip
    await world.utility.submit(second)
    later = await preview(
        world.vtn, await world.vtn.programs.get("evening"), area="F1", start_ms=second.start_ms,
        target_wh=second.target_wh,
    )  # fmt: skip
    party = {home.ven_id: home.party for home in world.homes}
    why = {party[each.candidate.candidate]: each.candidate.excluded for each in later.choices}
    assert {why[each] for each in acted} == {DAY}, "one call a day, and it was had"
    assert DAY not in {why[each] for each in why if each not in acted}
    await world.turn()
    called_again = {contract.payee for contract in (await world.contracts("sc2-m-")).values()}
    assert called_again
    assert not called_again & acted


async def test_homes_that_hold_out_an_hour_cover_two_and_a_half_one_after_the_other(
    urls: tuple[str, str], tmp_path: Path
) -> None:
    async with a_world(
        *urls, tmp_path, homes=28, areas=("F1",), virtual_node_homes_min=20, dispatch="optimal"
    ) as world:
        await give(world, [AN_HOUR])
        await charge(world)
        await world.turn()  # virtual nodes are formed
        program = await world.vtn.programs.get("evening")
        seen = await preview(
            world.vtn, program, area="F1", start_ms=EVENT_MS, target_wh=(TARGET_WH,) * INTERVALS,
            price_minor_per_mwh=200_000,
        )  # fmt: skip
        await world.ask((TARGET_WH,) * INTERVALS, area="F1")
        await world.turn()
        stored = await overview.need(world.vtn, "n")
        [group] = stored.groups
        [asked] = [each for each in seen.groups if each.calls]
        assert asked.asked_wh == group.plan.terms.obligation_wh
        assert asked.solved == group.rounds[0].solved, "what was looked at is what is then done"
        done = {line.choice.candidate.candidate: line.choice for line in stored.choices if line.scope != "n"}
        assert done == {each.candidate.candidate: each for each in seen.choices if each.candidate.candidate in done}
        await world.restart()  # between plan and acceptance
        await world.advance(4 + INTERVALS, parts=1)
        called = await world.contracts()
        windows = {(contract.terms.start_ms, terms_end_ms(contract.terms)) for contract in called.values()}
        assert len(windows) > 2, "starts of their own"
        for contract in called.values():
            terms = contract.terms
            assert EVENT_MS <= terms.start_ms < terms_end_ms(terms) <= EVENT_MS + INTERVALS * STEP_MS
            assert terms.baseline is not None
            assert len(terms.obligation_wh) == len(terms.baseline.curve_wh) <= 5
            stored = await world.vtn.dr_events.get(terms.dr_event_id)
            assert (stored.event.start_ms, stored.event.end_ms) == (terms.start_ms, terms_end_ms(terms))
            assert digest(stored.event) == stored.digest == terms.dr_event_digest
        assert min(world.delivered_wh.values()) >= 0.95 * TARGET_WH, world.delivered_wh
        assert max(world.delivered_wh.values()) <= 2 * TARGET_WH, "no pile of calls at the beginning"

        await call_others_later(world, {contract.payee for contract in called.values()})

        before = sum((await balances(world)).values())
        await world.sign()
        world.clock.advance(TERMS.metering_grace_s * 1000 + STEP_MS)
        for _ in range(4):
            await world.turn()
        [sc1] = [each for each in (await world.contracts("sc1-n-")).values() if each.status is Status.COMPLETED]
        assert sc1.outcome == "success"
        assert all(
            each.status is Status.COMPLETED
            for each in (await world.contracts()).values()
            if each.status not in (Status.REJECTED, Status.EXPIRED)
        )
        assert sum((await balances(world)).values()) == before
        assert {need.need_id: state for need, state in await world.cycle._records.all_needs()}["n"] == "closed"
        homes = [each for each in await overview.need_statements(world.vtn, "n") if each.level == "SC2"]
        assert {each.payee for each in homes if each.amount_minor > 0} == {
            each.payee for each in homes if each.delivered_wh > 0
        }
        assert sum(each.delivered_wh > 0 for each in homes) >= 8
