"""A storm on a real ledger and PostgreSQL: devices that die at once, are late or lie, and a restart in between."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from contracts.demand_response.contract import Status
from tests.vtn.storm.world import EVENT_MS, INTERVALS, STEP_MS, TERMS, a_world
from vtn.aggregator import overview
from vtn.aggregator.virtual_nodes.escalation import ASSISTANCE, EXHAUSTED, MEMBERS
from vtn.aggregator.virtual_nodes.preview import preview

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
"""Seconds of work, but a busy machine may take minutes for the many small transactions."""

TARGET_WH = 2_000
STRUCK_AT = 3
ANSWERED_FROM = STRUCK_AT + 3


@pytest.fixture
def urls(new_database: Callable[..., str]) -> tuple[str, str]:
    """Databases of a ledger and a VTN."""
    return new_database("ledger"), new_database("vtn")


async def test_a_third_of_the_devices_lost_at_once_is_made_up_for_by_others(
    urls: tuple[str, str], tmp_path: Path
) -> None:
    """Three in ten of the homes called die after three quarter-hours, one is late, one claims an export it does not
    have, and the VTN starts anew between loss and answer. Two silent intervals later others are called by new
    contracts. Before that the group gave more than is paid for, and a home was let go."""
    async with a_world(*urls, tmp_path, homes=32, virtual_node_homes_min=12) as world:
        program = (await world.vtn.programs.list())[0]
        seen = await preview(world.vtn, program, area="portfolio", start_ms=EVENT_MS, target_wh=[TARGET_WH] * INTERVALS)
        assert seen.calls
        assert not any(seen.lacking_wh)
        await world.ask((TARGET_WH,) * INTERVALS)
        await world.advance(4 + STRUCK_AT, parts=2)
        assert min(world.delivered_wh.values()) >= TARGET_WH
        assert world.delivered_wh[STRUCK_AT - 1] < world.delivered_wh[0] <= TARGET_WH * 1.5, "trimmed"
        acting = {contract.payee for contract in (await world.contracts()).values()}
        struck = [home for home in world.homes if home.party in acting]
        for home in struck[: -(-len(struck) * 3 // 10)]:
            home.dead = True
        struck[-1].late, struck[-2].lying = 1, True
        await world.advance(2, parts=2)
        await world.restart()
        await world.advance(INTERVALS - STRUCK_AT - 2, parts=2)

        assert world.delivered_wh[STRUCK_AT] < TARGET_WH
        after = [world.delivered_wh[n] for n in range(ANSWERED_FROM, INTERVALS)]
        assert sum(after) >= 0.95 * TARGET_WH * len(after), world.delivered_wh
        found = await overview.need(world.vtn, "n")
        first = found.escalations[0]
        assert first.step == MEMBERS
        assert first.reason.startswith("no reading for 2 intervals")
        assert first.at_ms < EVENT_MS + ANSWERED_FROM * STEP_MS
        assert all(contract.level == "SC2" for contract in found.contracts if "-1-" in contract.contract_id)

        await world.sign()
        world.clock.advance(TERMS.metering_grace_s * 1000 + STEP_MS)
        for _ in range(4):
            await world.turn()
        ended = (await world.contracts("sc1-n-")).values()
        assert {contract.status for contract in ended} == {Status.COMPLETED}
        assert [state for _, state in await world.cycle._records.all_needs()] == ["closed"]


async def test_what_nobody_can_deliver_is_said_and_stays_a_partial_failure(
    urls: tuple[str, str], tmp_path: Path
) -> None:
    """Two thirds of all homes die: assistance is asked for, then nobody is left, and the log of the need says so."""
    async with a_world(*urls, tmp_path, homes=26, virtual_node_homes_min=12) as world:
        await world.ask((1_500,) * INTERVALS)
        await world.advance(4 + 1, parts=1)
        for home in world.homes[: len(world.homes) * 2 // 3]:
            home.dead = True
        await world.advance(6, parts=1)
        steps = [each.step for each in (await overview.need(world.vtn, "n")).escalations]
        assert steps[0] == MEMBERS
        assert ASSISTANCE in steps
        assert EXHAUSTED in steps
