"""Reviews of who belongs where: long enough alike, never while bound, always written down, never in the way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from contracts.core.facts import DRSetUp, ReductionAccepted
from contracts.demand_response.contract import EngagementRecord
from runtime.clock import ManualClock
from tests.builders import START_MS, device_terms
from tests.vtn.aggregator.groups.feeders import DAY_MS, NIGHT, Feeders
from vtn.aggregator.virtual_nodes.groups import likeness
from vtn.aggregator.virtual_nodes.groups.records import ENDING, GroupReview
from vtn.aggregator.virtual_nodes.members.track import TrackRecord

WEEK_MS = 7 * DAY_MS


@pytest.fixture(autouse=True)
def nine_days_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a home was like a month ago is forgotten sooner than in service."""
    monkeypatch.setattr(likeness, "HISTORY_DAYS", 9)
    monkeypatch.setattr(likeness.panel_of, "__defaults__", (9,))


async def changed_home(world: Feeders) -> str:
    """Two groups, and a home of the evening that turned to the night; its venID."""
    ids = await world.homes("e", 22)
    await world.homes("n", 24, peak=NIGHT)
    await world.formation().form()
    await world.use(ids[:1], NIGHT, days=9)
    return ids[0]


async def node_of(world: Feeders, ven_id: str) -> str | None:
    return (await world.opened.vtn.vens.get(ven_id)).virtual_node


async def test_a_home_moves_once_two_reviews_said_so_and_the_log_says_why(
    world: Feeders, clock: ManualClock
) -> None:  # fmt: skip
    home = await changed_home(world)
    reviews = world.reviews()
    first = await reviews.review()
    assert first.moved == 0
    assert first.leaning[home] == ("vn-F1", 1)
    assert await node_of(world, home) == "vn-F1-2"
    clock.advance(3_600_000)
    second = await reviews.review()
    assert (second.moved, second.waiting) == (1, ())
    assert await node_of(world, home) == "vn-F1"
    [last, before] = await world.nodes.moves(ven_id=home)
    assert (last.kind, last.came_from, last.went_to, before.kind) == ("reviewed", "vn-F1-2", "vn-F1", "formed")
    assert last.reason.startswith("2 reviews nearer to vn-F1")
    area = second.areas["F1"]
    assert area.silhouette_after > area.silhouette_before


async def test_a_home_under_contract_moves_when_it_is_free(world: Feeders, clock: ManualClock) -> None:
    home = await changed_home(world)
    party = (await world.opened.vtn.vens.get(home)).party
    engagement = EngagementRecord(contract_id="sc2-n-0-0-1", end_ms=clock.now_ms() + 3 * 3_600_000)
    world.ledger.put("engagement", f"{party}/{clock.now_ms()}", engagement)
    reviews = world.reviews()
    await reviews.review()
    clock.advance(3_600_000)
    review = await reviews.review()
    [waiting] = review.waiting
    assert (review.moved, waiting.ven_id) == (0, home)
    assert "waited: under contract sc2-n-0-0-1" in waiting.reason
    await reviews.look()
    assert await node_of(world, home) == "vn-F1-2"
    clock.advance(2 * 3_600_000)
    await reviews.look()
    assert await node_of(world, home) == "vn-F1", "between reviews, as soon as it was free"
    assert (await world.nodes.reviews("evening"))[0].waiting == ()


async def test_a_group_of_the_least_size_gives_no_home_away(world: Feeders, clock: ManualClock) -> None:
    ids = await world.homes("e", 20)
    await world.homes("n", 24, peak=NIGHT)
    await world.formation().form()
    await world.use(ids[:1], NIGHT, days=9)
    for _ in range(3):
        clock.advance(3_600_000)
        assert (await world.reviews().review()).moved == 0
    assert len(await world.members("vn-F1-2")) == 20


async def test_a_single_group_becomes_two_when_two_reviews_see_two_kinds(world: Feeders, clock: ManualClock) -> None:
    """Homes are new to telemetry when their feeder is first grouped: what they are like shows later."""
    evening, night = await world.homes("e", 24, peak=None), await world.homes("n", 20, peak=None)
    formation = world.formation()
    await formation.form()
    await world.use(evening, 19, days=9)
    await world.use(night, NIGHT, days=9)
    reviews = world.reviews()
    first = await reviews.review()
    assert first.splits == {"vn-F1": 1}
    assert "would be better as two" in first.areas["F1"].outcome
    clock.advance(3_600_000)
    assert (await reviews.review()).moved == 20
    assert await world.members("vn-F1") == set(evening), "the larger part keeps the name, the key and the contracts"
    [node] = await formation.form()
    assert (node.name, await world.members(node.name)) == ("vn-F1-2", set(night))


async def test_a_group_that_fell_below_the_least_size_goes_to_its_neighbours_and_ends(
    world: Feeders, clock: ManualClock
) -> None:
    ids = await world.homes("e", 20)
    await world.homes("n", 20, peak=NIGHT)
    formation = world.formation()
    await formation.form()
    small = (await world.opened.vtn.vens.get(ids[0])).virtual_node
    await world.opened.vtn.vens.remove(ids[0])
    review = await world.reviews().review()
    assert review.moved == 19
    large = "vn-F1" if small == "vn-F1-2" else "vn-F1-2"
    assert len(await world.members(large)) == 39
    [row] = [row for row in await world.nodes.nodes() if row.state == ENDING]
    assert row.name == small
    await formation.form()
    assert [row.name for row in await world.nodes.nodes()] == [large]
    assert [node.name for node in formation.nodes.values()] == [large]


async def test_reviews_come_when_their_days_are_over_and_never_when_switched_off(
    world: Feeders, clock: ManualClock
) -> None:
    await world.homes("e", 20, peak=None)
    await world.formation().form()
    reviews = world.reviews(days=7.0)
    assert await reviews.look() is None
    clock.advance(WEEK_MS)
    found = await reviews.look()
    assert isinstance(found, GroupReview)
    assert found.areas["F1"].outcome == "20 homes: too few for two groups of 20"
    assert await reviews.look() is None
    await reviews.nodes.keep(replace(found, reviewed_ms=clock.now_ms() + 500 * WEEK_MS))
    assert await reviews.look() is not None, "the clock was ahead, and was put right"
    assert await reviews.look() is None
    async with asyncio.timeout(60):
        await world.reviews(days=0.0).run()


async def test_the_event_loop_turns_while_homes_are_compared(
    world: Feeders, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """Comparing waits for something only the event loop can do: were it on the loop, neither would go on."""
    await changed_home(world)
    from vtn.aggregator.virtual_nodes.groups import comparing

    loop = asyncio.get_running_loop()
    real = comparing.compared

    def compared(*given: Any, **named: Any) -> Any:
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(60)
        return real(*given, **named)

    monkeypatch.setattr(comparing, "compared", compared)
    assert (await world.reviews().review()).areas["F1"].outcome


async def test_what_an_operator_put_together_is_left_alone(world: Feeders, clock: ManualClock) -> None:
    home = await changed_home(world)
    await world.nodes.change("vn-F1-2", made_by="operator")
    for _ in range(3):
        clock.advance(3_600_000)
        await world.reviews().review()
    assert await node_of(world, home) == "vn-F1-2"


async def test_what_a_home_did_stays_with_the_home_when_it_moves(world: Feeders, clock: ManualClock) -> None:
    """Calls and deliveries are known by its ledger party, whatever group called it."""
    home = await changed_home(world)
    party = (await world.opened.vtn.vens.get(home)).party or ""
    terms = device_terms(start_ms=START_MS)
    track = TrackRecord(world.program.terms.calendar)
    given = {"contract_id": "sc2-a-0-0-0", "parent": "sc1-a-0", "payer": "vn-a", "payee": party}
    track.observe(DRSetUp(**given, terms=terms))
    track.observe(ReductionAccepted(**given, terms_digest="0" * 64))
    day = world.program.terms.calendar.day_of(START_MS)
    assert track.calls(party, day).day == 1
    for _ in range(2):
        clock.advance(3_600_000)
        await world.reviews().review()
    assert await node_of(world, home) == "vn-F1"
    assert track.calls(party, day).day == 1
