"""A storm on a real ledger and PostgreSQL: devices that die at once, are late or lie, and a VTN that dies as well."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from contracts.demand_response.contract import Status
from openadr.model import Reading
from tests.vtn.storm.world import EVENT_MS, INTERVALS, STEP_MS, UNBOUND, Home, World, a_world, claims_export
from vtn.aggregator import overview
from vtn.aggregator.virtual_nodes.escalation import ASSISTANCE, EXHAUSTED, MEMBERS, OUTCOME
from vtn.aggregator.virtual_nodes.preview import preview

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
"""Seconds of work, but a busy machine may take minutes for the many small transactions."""

TARGET_WH = 2_000
STRUCK_AT = 3


@pytest.fixture
def urls(new_database: Callable[..., str]) -> tuple[str, str]:
    """Databases of a ledger and a VTN."""
    return new_database("ledger"), new_database("vtn")


async def called(world: World) -> list[Home]:
    """Homes under contract."""
    acting = {each.payee for each in (await world.contracts()).values() if each.status not in UNBOUND}
    return [home for home in world.homes if home.party in acting]


def met_percent(world: World, first: int, target_wh: int) -> float:
    """What was met of the target from an interval on; what is beyond it makes up for nothing."""
    given = [min(world.delivered_wh[n], target_wh) for n in range(first, INTERVALS)]
    return 100 * sum(given) / target_wh / len(given)


async def test_a_third_of_the_devices_lost_at_once_is_made_up_for_by_others(
    urls: tuple[str, str], tmp_path: Path
) -> None:
    """Three in ten of the homes called die after three quarter-hours, one is late, one claims an export it does not
    have, and the VTN dies wherever it has half done its answer. Others are called by new contracts: at once where two
    of a group are gone, after a silent interval where one is. Before that the group gave more than is paid for, and
    homes were let go."""
    async with a_world(*urls, tmp_path, homes=32, virtual_node_homes_min=12) as world:
        program = (await world.vtn.programs.list())[0]
        seen = await preview(world.vtn, program, area="portfolio", start_ms=EVENT_MS, target_wh=[TARGET_WH] * INTERVALS)
        assert seen.calls
        assert not any(seen.lacking_wh)
        await world.ask((TARGET_WH,) * INTERVALS)
        await world.advance(4, parts=2)
        world.kill_at("homes let go")
        await world.advance(STRUCK_AT, parts=2)
        assert min(world.delivered_wh.values()) >= TARGET_WH
        assert world.delivered_wh[STRUCK_AT - 1] < world.delivered_wh[0] <= TARGET_WH * 1.5, "trimmed"
        struck = await called(world)
        for home in struck[: -(-len(struck) * 3 // 10)]:
            home.dead = True
        struck[-1].late, struck[-2].tells, struck[-2].gives_percent = 1, claims_export, 0
        world.kill_at("plan stored, no event", "event stored, not published", "event published, no contract")
        await world.advance(INTERVALS - STRUCK_AT, parts=2)
        assert world.kills == 4

        assert world.delivered_wh[STRUCK_AT] < TARGET_WH
        assert met_percent(world, STRUCK_AT + 2, TARGET_WH) >= 95, world.delivered_wh
        assert max(world.delivered_wh[n] for n in range(STRUCK_AT + 3, INTERVALS)) <= 1.2 * TARGET_WH
        found = await overview.need(world.vtn, "n")
        first = found.escalations[0]
        assert first.step == MEMBERS
        assert "missed their polls at once" in first.reason or "missed its polls" in first.reason
        assert first.at_ms < EVENT_MS + (STRUCK_AT + 2) * STEP_MS, "seen within two intervals"
        assert all(contract.level == "SC2" for contract in found.contracts if "-1-" in contract.contract_id)

        await world.settle()
        await world.check()
        ended = (await world.contracts("sc1-n-")).values()
        assert {contract.status for contract in ended} == {Status.COMPLETED}
        assert [state for _, state in await world.cycle._records.all_needs()] == ["closed"]


async def test_what_nobody_can_deliver_is_said_and_stays_a_partial_failure(
    urls: tuple[str, str], tmp_path: Path
) -> None:
    """Two thirds of all homes die: members are called, then assistance is asked for, during which the VTN dies, then
    nobody is left; at last all are gone. The log of the need says so, and the ledger calls it a failure."""
    async with a_world(*urls, tmp_path, homes=26, virtual_node_homes_min=12, dispatch="merit") as world:
        await world.ask((1_500,) * INTERVALS)
        await world.advance(4 + 1, parts=1)
        world.kill_at("assistance planned, not proposed")
        for home in world.homes[: len(world.homes) * 2 // 3]:
            home.dead = True
        await world.advance(3, parts=1)
        steps = [each.step for each in (await overview.need(world.vtn, "n")).escalations]
        assert steps[0] == MEMBERS
        assert ASSISTANCE in steps
        assert world.kills == 1
        for home in world.homes:
            home.dead = True
        await world.advance(INTERVALS - 4, parts=1)
        await world.settle()
        await world.check()
        found = (await overview.need(world.vtn, "n")).escalations
        assert EXHAUSTED in [each.step for each in found]
        assert (found[-1].step, found[-1].reason) == (OUTCOME, "failure")


async def test_readings_that_come_late_in_any_order_are_counted_when_they_come(
    urls: tuple[str, str], tmp_path: Path
) -> None:
    """One home reports an interval late, one three intervals late and then all at once, backwards, twice, the last
    value wrong at first. The one that said nothing for long is replaced and then counted on again; nobody is called
    twice, nothing is missing, and in the end every reading counts with its last value."""
    async with a_world(*urls, tmp_path, homes=14, areas=("F1",), virtual_node_homes_min=12) as world:
        await world.ask((800,) * INTERVALS)
        await world.advance(4 + 1, parts=2)
        once, thrice, *_ = await called(world)
        once.late, thrice.late = 1, 4
        await world.advance(4, parts=2)
        burst, thrice.unsent, thrice.late = thrice.unsent, [], 0
        wrong = Reading("energy", burst[-1].start_ms, 900, 0, "ok")
        for readings in ([wrong], burst[::-1], burst):
            await world.vtn.telemetry.store(thrice.ven_id, readings)
        once.late = 0
        await world.advance(INTERVALS - 5, parts=2)
        assert met_percent(world, 0, 800) >= 95, world.delivered_wh
        found = await overview.need(world.vtn, "n")
        reasons = {each.reason for each in found.escalations}
        assert reasons <= {"no reading for 2 intervals"}, "late by one interval is not lost"
        intervals = [each for group in found.groups for each in group.intervals]
        assert all(each.reporting == each.contracted for each in intervals)
        by_interval = dict.fromkeys((each.start_ms for each in intervals), 0)
        for each in intervals:
            by_interval[each.start_ms] += each.delivered_wh
        for start_ms, delivered_wh in by_interval.items():
            true_wh = world.delivered_wh[(start_ms - EVENT_MS) // STEP_MS]
            assert delivered_wh == pytest.approx(true_wh, abs=10 * len(world.homes))
        await world.settle()
        await world.check()


async def test_odd_readings_are_shown_to_the_operator_and_exclude_nobody(urls: tuple[str, str], tmp_path: Path) -> None:
    """One home's meter stands still, one tells what it was to use, one an export, one a thousandfold; the others are
    honest and give double. Only readings no connection carries cost a home its place."""
    area, settings = ("F1",), {"virtual_node_homes_min": 12, "dispatch": "merit"}
    async with a_world(*urls, tmp_path, homes=14, areas=area, **settings) as world:
        await world.ask((1_200,) * INTERVALS)
        await world.advance(4, parts=1)
        frozen, copied, export, thousand, *honest = await called(world)
        plans = {each.payee: each.terms for each in (await world.contracts()).values()}

        def as_asked(home: Home, at_ms: int) -> int:
            terms = plans[home.party]
            position = (at_ms - terms.start_ms) // STEP_MS
            assert terms.baseline is not None
            return terms.baseline.curve_wh[position] - terms.obligation_wh[position]

        frozen.tells = lambda home, _: home.base_wh - 100
        copied.tells = as_asked
        export.tells = lambda home, _: -home.base_wh
        thousand.tells = lambda home, at_ms: 1_000 * home.used_wh[at_ms]
        for home in honest:
            home.gives_percent = 200
        await world.advance(INTERVALS, parts=2)
        found = await overview.need(world.vtn, "n")
        flags = {each.ven_id: "; ".join(each.flags) for each in found.suspicions}
        assert set(flags) == {frozen.ven_id, copied.ven_id, export.ven_id, thousand.ven_id}
        assert "the same value in" in flags[frozen.ven_id]
        assert "exactly its baseline" in flags[copied.ven_id]
        assert "never did before" in flags[export.ven_id]
        assert "beyond what its connection carries" in flags[thousand.ven_id]
        opts = {ven_id: opt for each in found.groups for ven_id, opt in await _opts(world, each)}
        assert "withdrawn" in opts.values(), "double is more than is paid for"
        reasons = {reason for each in found.escalations for reason in each.reason.split("; ")}
        odd = {reason for reason in reasons if not reason.startswith("the group delivers")}
        assert odd <= {"readings beyond what its connection carries"}, "nobody is called for a suspicion"
        assert max(world.delivered_wh[n] for n in range(3, INTERVALS)) < world.delivered_wh[0]
        await world.settle()
        await world.check()


async def _opts(world: World, group: overview.GroupView) -> list[tuple[str, str]]:
    events = {each.terms.dr_event_id for each in group.members}
    return [pair for event in events for pair in (await world.cycle._around.events.opts(event)).items()]
