"""What every order promises, as tests. `OneMember` is for all orders, `SeveralMembers` for those of a cluster.

A test module makes a class of it and gives the fixture `orders`, whose orderers share one new, empty order each test:

    class TestEtcd(SeveralMembers):
        @pytest.fixture
        async def orders(self): ...
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, aclosing
from random import Random
from typing import Protocol

import pytest

from ledger.errors import OrderingUnavailable, OrderTrimmed
from ledger.ordering.orderer import Committed, Conflict, Fenced, Ordered, Orderer, Unknown

PATIENCE_S = 8.0


class Orders(Protocol):
    """The orderers of one order."""

    def new(self, member: str) -> Orderer:
        """An orderer that was not started."""

    async def depose(self, orderer: Orderer) -> None:
        """Its lease ends without its knowledge, and it is kept from running again."""

    def unanswered(self, orderer: Orderer, *, arrives: bool) -> AbstractContextManager[None]:
        """While this is open its proposals get no answer, whether they arrive or not."""


async def leading(orderer: Orderer) -> Orderer:
    """Returns when it leads."""
    async with asyncio.timeout(PATIENCE_S):
        while not orderer.leads:
            await orderer.changed()
    return orderer


async def started(orders: Orders, member: str = "a.example/1") -> Orderer:
    orderer = orders.new(member)
    await orderer.start(0)
    return await leading(orderer)


async def filled(orders: Orders, heights: int) -> Orderer:
    orderer = await started(orders)
    for height in range(1, heights + 1):
        assert isinstance(await orderer.propose(height, data(height)), Committed)
    return orderer


def data(height: int, by: str = "") -> bytes:
    return f"block {height} {by}".encode()


async def blocks(orderer: Orderer, first: int, last: int) -> list[Ordered]:
    """What a watcher from `first` sees up to `last`."""
    found: list[Ordered] = []
    async with asyncio.timeout(PATIENCE_S), aclosing(_generator(orderer.watch(first))) as watch:
        async for ordered in watch:
            found.append(ordered)
            if ordered.height >= last:
                break
    return found


async def _generator(watch: AsyncIterator[Ordered]) -> AsyncIterator[Ordered]:
    async for ordered in watch:
        yield ordered


class OneMember:
    """For every order, also that of a replica without others."""

    async def test_an_order_begins_empty(self, orders):
        orderer = await started(orders)
        assert (await orderer.first(), await orderer.tip()) == (1, 0)
        await orderer.check()

    async def test_the_only_member_leads_and_says_so(self, orders):
        orderer = await started(orders, "a.example/1")
        assert orderer.leads
        assert orderer.proposer == "a.example/1"
        assert orderer.state()["proposer"] == "a.example/1"
        assert orderer.state()["lease"] is True

    async def test_a_committed_block_is_watched_with_its_bytes_and_revision(self, orders):
        orderer = await started(orders)
        outcomes = [await orderer.propose(height, data(height)) for height in (1, 2, 3)]
        revisions = [outcome.revision for outcome in outcomes if isinstance(outcome, Committed)]
        assert await blocks(orderer, 1, 3) == [Ordered(h, data(h), revisions[h - 1]) for h in (1, 2, 3)]
        assert revisions == sorted(set(revisions))
        assert await orderer.tip() == 3

    async def test_a_watcher_waits_for_what_comes(self, orders):
        orderer = await started(orders)
        watching = asyncio.create_task(blocks(orderer, 1, 3))
        for height in (1, 2, 3):
            await asyncio.sleep(0.02)
            await orderer.propose(height, data(height))
        assert [ordered.data for ordered in await watching] == [data(1), data(2), data(3)]

    async def test_a_watcher_may_begin_in_the_middle(self, orders):
        orderer = await filled(orders, 12)
        assert [ordered.height for ordered in await blocks(orderer, 5, 12)] == list(range(5, 13))

    async def test_the_same_bytes_again_are_the_same_block(self, orders):
        orderer = await filled(orders, 2)
        again = await orderer.propose(2, data(2))
        assert isinstance(again, Committed)
        assert [each.revision for each in await blocks(orderer, 2, 2)] == [again.revision]
        assert await orderer.tip() == 2

    async def test_a_height_has_one_block_for_ever(self, orders):
        orderer = await filled(orders, 3)
        assert await orderer.propose(3, b"another") == Conflict()
        assert await orderer.propose(1, b"another") == Conflict()
        assert [each.data for each in await blocks(orderer, 1, 3)] == [data(1), data(2), data(3)]

    async def test_a_gap_is_refused_and_leaves_nothing(self, orders):
        orderer = await filled(orders, 1)
        with pytest.raises(OrderingUnavailable):
            await orderer.propose(3, data(3))
        assert await orderer.tip() == 1
        assert isinstance(await orderer.propose(2, data(2)), Committed)

    async def test_a_large_block_comes_back_whole(self, orders):
        orderer = await started(orders)
        large = Random(1).randbytes(1_400_000)
        assert isinstance(await orderer.propose(1, large), Committed)
        assert (await blocks(orderer, 1, 1))[0].data == large

    async def test_trimmed_blocks_are_gone_and_a_watcher_is_told_where_the_order_begins(self, orders):
        orderer = await filled(orders, 6)
        await orderer.trim(4)
        assert (await orderer.first(), await orderer.tip()) == (4, 6)
        with pytest.raises(OrderTrimmed) as raised:
            await blocks(orderer, 3, 6)
        assert raised.value.first == 4
        assert [ordered.height for ordered in await blocks(orderer, 4, 6)] == [4, 5, 6]

    async def test_trimming_twice_and_below_the_line_does_nothing(self, orders):
        orderer = await filled(orders, 4)
        await orderer.trim(3)
        await orderer.trim(3)
        await orderer.trim(1)
        assert await orderer.first() == 3

    async def test_the_newest_block_is_never_trimmed(self, orders):
        orderer = await filled(orders, 3)
        await orderer.trim(100)
        assert (await orderer.first(), await orderer.tip()) == (3, 3)
        assert isinstance(await orderer.propose(4, data(4)), Committed)

    async def test_nothing_comes_back_below_the_line(self, orders):
        orderer = await filled(orders, 5)
        await orderer.trim(4)
        assert await orderer.propose(2, b"another") == Conflict()
        assert await orderer.first() == 4

    async def test_trimming_an_empty_order_changes_nothing(self, orders):
        orderer = await started(orders)
        await orderer.trim(7)
        assert (await orderer.first(), await orderer.tip()) == (1, 0)
        assert isinstance(await orderer.propose(1, data(1)), Committed)


class SeveralMembers(OneMember):
    """For the order of a cluster."""

    async def test_one_leads_the_others_know_it_and_are_fenced(self, orders):
        leader = await started(orders, "a.example/1")
        other = orders.new("b.example/2")
        await other.start(0)
        assert not other.leads
        assert other.proposer == "a.example/1"
        assert await other.propose(1, b"not mine to propose") == Fenced("a.example/1")
        assert await leader.tip() == 0

    async def test_whoever_stops_hands_over_at_once(self, orders):
        leader = await started(orders, "a.example/1")
        other = orders.new("b.example/2")
        await other.start(0)
        changed = asyncio.create_task(other.changed())
        await asyncio.sleep(0)
        begun = asyncio.get_running_loop().time()
        await leader.stop()
        await leading(other)
        assert asyncio.get_running_loop().time() - begun < 2, "much less than a lease lives"
        await asyncio.wait_for(changed, 1)
        assert other.proposer == "b.example/2"
        assert not leader.leads

    async def test_all_watchers_see_the_same_bytes_whenever_they_begin(self, orders):
        leader = await started(orders, "a.example/1")
        other, late = orders.new("b.example/2"), orders.new("c.example/3")
        await other.start(0)
        early = [asyncio.create_task(blocks(each, 1, 10)) for each in (leader, other)]
        for height in range(1, 11):
            await leader.propose(height, data(height))
        await late.start(0)
        seen = [await each for each in early] + [await blocks(late, 1, 10)]
        assert seen[0] == seen[1] == seen[2]
        assert [ordered.data for ordered in seen[0]] == [data(height) for height in range(1, 11)]

    async def test_every_member_knows_the_tip_once_it_is_committed(self, orders):
        leader = await filled(orders, 3)
        other = orders.new("b.example/2")
        await other.start(0)
        for height in (4, 5, 6):
            await leader.propose(height, data(height))
            assert await other.tip() == height

    async def test_a_replica_ahead_of_the_order_refuses_it(self, orders):
        await filled(orders, 2)
        ahead = orders.new("b.example/2")
        await ahead.start(2)
        await ahead.stop()
        with pytest.raises(OrderingUnavailable):
            await ahead.start(3)

    async def test_a_proposer_that_lost_its_lease_unawares_orders_nothing(self, orders):
        old = await started(orders, "a.example/1")
        await old.propose(1, data(1))
        await orders.depose(old)
        new = orders.new("b.example/2")
        await new.start(0)
        await leading(new)
        assert await old.propose(2, b"too late") == Fenced("b.example/2")
        assert isinstance(await new.propose(2, data(2, "new")), Committed)
        assert isinstance(await old.propose(2, b"too late"), Conflict | Fenced)
        assert [ordered.data for ordered in await blocks(old, 1, 2)] == [data(1), data(2, "new")]

    async def test_an_unanswered_block_that_was_ordered_is_committed_when_proposed_again(self, orders):
        orderer = await filled(orders, 1)
        with orders.unanswered(orderer, arrives=True):
            assert isinstance(await orderer.propose(2, data(2)), Unknown)
        outcome = await orderer.propose(2, data(2))
        assert isinstance(outcome, Committed)
        assert [each.revision for each in await blocks(orderer, 2, 2)] == [outcome.revision]

    async def test_an_unanswered_block_that_was_lost_is_ordered_when_proposed_again(self, orders):
        orderer = await filled(orders, 1)
        with orders.unanswered(orderer, arrives=False):
            assert isinstance(await orderer.propose(2, data(2)), Unknown)
        assert await orderer.tip() == 1
        assert isinstance(await orderer.propose(2, data(2)), Committed)

    async def test_an_unanswered_block_is_a_conflict_if_another_took_its_height(self, orders):
        old = await filled(orders, 1)
        with orders.unanswered(old, arrives=False):
            assert isinstance(await old.propose(2, data(2, "old")), Unknown)
        await orders.depose(old)
        new = orders.new("b.example/2")
        await new.start(1)
        await leading(new)
        await new.propose(2, data(2, "new"))
        assert await old.propose(2, data(2, "old")) == Conflict()

    async def test_an_unanswered_block_stays_committed_though_the_lease_is_lost(self, orders):
        old = await filled(orders, 1)
        with orders.unanswered(old, arrives=True):
            assert isinstance(await old.propose(2, data(2)), Unknown)
        await orders.depose(old)
        assert isinstance(await old.propose(2, data(2)), Committed), "it is in the order: fenced would be untrue"

    async def test_what_was_trimmed_by_one_member_is_gone_for_all(self, orders):
        leader = await filled(orders, 6)
        other = orders.new("b.example/2")
        await other.start(0)
        watching = asyncio.create_task(blocks(other, 5, 7))
        await asyncio.sleep(0.05)
        await leader.trim(5)
        await leader.propose(7, data(7))
        assert [ordered.height for ordered in await watching] == [5, 6, 7], "who is ahead of the line is not disturbed"
        with pytest.raises(OrderTrimmed):
            await blocks(other, 1, 7)

    async def test_a_tip_is_right_after_others_trimmed_past_what_was_known(self, orders):
        leader = await filled(orders, 3)
        other = orders.new("b.example/2")
        assert await other.tip() == 3
        for height in range(4, 10):
            await leader.propose(height, data(height))
        await leader.trim(8)
        assert await other.tip() == 9

    @pytest.mark.parametrize("seed", [1, 2])
    async def test_members_that_all_propose_make_one_order(self, orders, seed):
        """Each tries to lead, proposes what it likes, stops now and then; all see one block a height, and each
        Committed block is among them."""
        random, members = Random(seed), ["a.example/1", "b.example/2", "c.example/3"]
        committed: dict[int, bytes] = {}

        async def propose(member: str) -> None:
            orderer = orders.new(member)
            await orderer.start(0)
            for round_ in range(12):
                height = await orderer.tip() + random.choice((0, 1, 1, 1))
                mine = data(height, f"{member} {round_}")
                outcome = await orderer.propose(height, mine) if height else Conflict()
                if isinstance(outcome, Committed):
                    assert committed.setdefault(height, mine) == mine
                if random.random() < 0.2:
                    await orderer.stop()
                    await orderer.start(await orderer.tip())
                await asyncio.sleep(random.random() * 0.01)

        async with asyncio.timeout(30):
            await asyncio.gather(*map(propose, members))
        watcher = orders.new("d.example/4")
        tip = await watcher.tip()
        seen = await blocks(watcher, 1, tip) if tip else []
        assert {ordered.height: ordered.data for ordered in seen} == committed
        assert list(committed) == sorted(committed)
        assert committed
