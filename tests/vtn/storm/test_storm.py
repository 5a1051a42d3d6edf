"""A storm on a real ledger and PostgreSQL: devices that die at once, are late or lie, and a restart in between."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.vtn.storm.world import EVENT_MS, INTERVALS, STEP_MS, a_world
from vtn.aggregator import overview
from vtn.aggregator.virtual_nodes.preview import preview

TARGET_WH = 2_000
STRUCK_AT = 2
ANSWERED_FROM = 5


@pytest.fixture
def urls(new_database: Callable[..., str]) -> tuple[str, str]:
    """Databases of a ledger and a VTN."""
    return new_database("ledger"), new_database("vtn")


async def test_a_third_of_the_devices_lost_at_once_is_made_up_for_by_others(
    urls: tuple[str, str], tmp_path: Path
) -> None:
    """Three in ten of the homes called die after two quarter-hours, one is late, one claims an export it does not have, and
    the VTN starts anew between loss and answer. Two silent intervals later others are called: first of the same
    virtual node, then the assisting one."""
    async with a_world(*urls, tmp_path, homes=32, virtual_node_homes_min=12) as world:
        program = (await world.vtn.programs.list())[0]
        seen = await preview(world.vtn, program, area="portfolio", start_ms=EVENT_MS, target_wh=[TARGET_WH] * INTERVALS)
        assert seen.calls
        assert not any(seen.lacking_wh)
        await world.ask((TARGET_WH,) * INTERVALS)
        await world.advance(4 + STRUCK_AT, parts=1)
        called = {contract.payee for contract in (await world.contracts()).values()}
        struck = [home for home in world.homes if home.party in called]
        for home in struck[: -(-len(struck) * 3 // 10)]:
            home.dead = True
        struck[-1].late, struck[-2].lying = 1, True
        await world.advance(2, parts=2)
        await world.restart()
        await world.advance(INTERVALS - STRUCK_AT - 2, parts=2)

        before = [world.delivered_wh[n] for n in range(STRUCK_AT)]
        after = [world.delivered_wh[n] for n in range(ANSWERED_FROM, INTERVALS)]
        assert min(before) >= TARGET_WH
        assert world.delivered_wh[STRUCK_AT] < TARGET_WH
        assert sum(after) >= 0.95 * TARGET_WH * len(after)
        found = await overview.need(world.vtn, "n")
        rounds = [each for group in found.groups for each in group.rounds]
        assert any(each.reason.startswith("no reading for 2 intervals") for each in rounds)
        assert all(each.planned_ms <= EVENT_MS + (STRUCK_AT + 3) * STEP_MS for each in rounds[1:2])
