"""Members of the etcd cluster die, stop and come back; the order stays one, and says in time when it cannot go on."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from ledger.errors import OrderingUnavailable
from ledger.ordering.etcd.errors import EtcdUnreachable, NoMajority, OrderBehind
from ledger.ordering.etcd.orderer import EtcdOrderer
from ledger.ordering.etcd.settings import EtcdSettings
from ledger.ordering.orderer import Committed, Fenced, Unknown
from tests.ledger.ordering.etcd_orders import EtcdOrders
from tests.ledger.ordering.suite import blocks, data, leading, started


@pytest.fixture
async def orders(etcd_servers, channel):
    orders = EtcdOrders(EtcdSettings(endpoints=etcd_servers.endpoints, channel=channel, member=""))
    yield orders
    await etcd_servers.start()
    await orders.close()


async def ordered(orderer: EtcdOrderer, height: int, within_s: float) -> float:
    """Proposes until it is committed, as a replica does; the seconds that took."""
    begun = time.monotonic()
    async with asyncio.timeout(within_s):
        while True:
            with contextlib.suppress(OrderingUnavailable):
                if isinstance(await orderer.propose(height, data(height)), Committed):
                    return time.monotonic() - begun
            await asyncio.sleep(0.02)


async def test_the_leaders_death_stops_the_order_for_a_moment_only(etcd_servers, orders):
    orderer = await started(orders)
    await ordered(orderer, 1, 2)
    watching = asyncio.create_task(blocks(orderer, 1, 6))
    etcd_servers.kill(await etcd_servers.leader())
    await ordered(orderer, 2, 3)
    for height in range(3, 7):
        await ordered(orderer, height, 1)
    assert [each.data for each in await watching] == [data(height) for height in range(1, 7)]
    assert orderer.leads, "the lease outlives a leader of etcd"


async def test_a_follower_that_dies_is_not_noticed_by_who_asks_another(etcd_servers, orders):
    leader = await etcd_servers.leader()
    follower = next(server for server in etcd_servers.servers if server.name != leader)
    others = [server.client_url for server in etcd_servers.servers if server is not follower]
    orderer = orders.new("a.example/1", endpoints=others)
    await orderer.start(0)
    await leading(orderer)
    etcd_servers.kill(follower.name)
    slowest = max([await ordered(orderer, height, 1) for height in range(1, 41)])
    assert slowest < 0.25, "not even one attempt timed out"


async def test_an_endpoint_that_dies_costs_one_hop(etcd_servers, orders):
    leader = await etcd_servers.leader()
    follower = next(server for server in etcd_servers.servers if server.name != leader)
    mine = [follower.client_url, *(url for url in etcd_servers.endpoints if url != follower.client_url)]
    orderer = orders.new("a.example/1", endpoints=mine)
    await orderer.start(0)
    await leading(orderer)
    watching = asyncio.create_task(blocks(orderer, 1, 3))
    await ordered(orderer, 1, 1)
    etcd_servers.kill(follower.name)
    assert await ordered(orderer, 2, 1) < 0.5
    await ordered(orderer, 3, 1)
    assert len(await watching) == 3
    assert orderer.state()["endpoint"] != follower.client_url


@pytest.mark.slow
async def test_a_leader_that_is_stopped_in_the_middle_is_left_for_another(etcd_servers, orders):
    leader = await etcd_servers.leader()
    silent = next(server for server in etcd_servers.servers if server.name == leader)
    mine = [silent.client_url, *(url for url in etcd_servers.endpoints if url != silent.client_url)]
    orderer = orders.new("a.example/1", endpoints=mine)
    await orderer.start(0)
    await leading(orderer)
    watching = asyncio.create_task(blocks(orderer, 1, 3))
    await ordered(orderer, 1, 1)
    etcd_servers.freeze(leader)
    try:
        await ordered(orderer, 2, 4)
        await ordered(orderer, 3, 1)
        assert [each.height for each in await asyncio.wait_for(watching, 3)] == [1, 2, 3]
    finally:
        etcd_servers.thaw(leader)


@pytest.mark.slow
async def test_without_a_majority_writes_are_refused_in_time_and_go_on_by_themselves(etcd_servers, orders):
    orderer = await started(orders)
    await ordered(orderer, 1, 2)
    watching = asyncio.create_task(blocks(orderer, 1, 2))
    leader = await etcd_servers.leader()
    first, second = [server.name for server in etcd_servers.servers if server.name != leader]
    etcd_servers.kill(first)
    etcd_servers.kill(second)
    await asyncio.sleep(1)
    for refused, within_s in ((orderer.check, 2), (orderer.tip, 0.8), (orderer.first, 0.8), (orderer.check, 0.8)):
        begun = time.monotonic()
        with pytest.raises(NoMajority, match=r"no majority.*Start the missing"):
            await refused()
        assert time.monotonic() - begun < within_s, "it is tried for long only the first time"
    begun = time.monotonic()
    with contextlib.suppress(NoMajority):
        assert isinstance(await orderer.propose(2, data(2)), Unknown | Fenced)
    assert time.monotonic() - begun < 0.8
    async with asyncio.timeout(4):
        while orderer.leads:
            await orderer.changed()
    await etcd_servers.launch(first)
    await leading(orderer)
    await orderer.check()
    await ordered(orderer, 2, 2)
    assert len(await watching) == 2


async def test_an_order_whose_every_member_is_away_is_named(channel):
    orderer = EtcdOrderer(
        EtcdSettings(endpoints=["http://127.0.0.1:9", "http://localhost:9"], channel=channel, member="a")
    )
    begun = time.monotonic()
    with pytest.raises(EtcdUnreachable, match=r"no etcd endpoint answers.*127\.0\.0\.1:9.*start etcd"):
        await orderer.start(0)
    assert time.monotonic() - begun < 2
    await orderer.stop()


@pytest.mark.slow
async def test_the_lease_of_a_dead_proposer_ends_by_itself_and_its_own_return_ends_it_at_once(orders):
    dead = orders.new("a.example/1", lease_s=2)
    await dead.start(0)
    await leading(dead)
    other = orders.new("b.example/2", lease_s=2)
    await other.start(0)
    orders.kill(dead)
    begun = time.monotonic()
    await leading(other)
    assert 0.5 < time.monotonic() - begun < 4.5
    orders.kill(other)
    begun = time.monotonic()
    returned = orders.new("b.example/2", lease_s=2)
    await returned.start(0)
    await leading(returned)
    assert time.monotonic() - begun < 0.5, "a process knows the lease of the one before it by its member's name"


async def test_a_lapsed_proposer_never_says_fenced_of_a_block_that_may_still_be_ordered(orders):
    """Its lease has passed by its own clock, but etcd still holds the key: an attempt on its way can succeed."""
    orderer = await started(orders)
    await ordered(orderer, 1, 2)
    with orders.unanswered(orderer, arrives=False):
        assert isinstance(await orderer.propose(2, data(2)), Unknown)
    orders.lapse(orderer)
    assert not orderer.leads
    assert await orderer.propose(2, data(2)) == Unknown(
        "an earlier attempt of this replica may still be ordered until its lease ends"
    )
    await orders.depose(orderer)
    assert await orderer.propose(2, data(2)) == Fenced(None)


async def test_a_lapsed_proposer_finds_what_was_ordered_before_it_lapsed(orders):
    orderer = await started(orders)
    await ordered(orderer, 1, 2)
    with orders.unanswered(orderer, arrives=True):
        assert isinstance(await orderer.propose(2, data(2)), Unknown)
    orders.lapse(orderer)
    assert isinstance(await orderer.propose(2, data(2)), Committed)
    assert await orderer.propose(3, data(3)) == Fenced(None), "it does not lead any more"


async def test_a_proposer_that_meets_another_fence_knows_that_it_leads_no_more(orders):
    orderer = await started(orders)
    await orders.depose(orderer)
    assert orderer.leads, "nobody has told it"
    changed = asyncio.create_task(orderer.changed())
    await asyncio.sleep(0)
    assert await orderer.propose(1, data(1)) == Fenced(None)
    assert not orderer.leads
    await asyncio.wait_for(changed, 1)


async def test_an_order_founded_after_a_height_goes_on_there(orders):
    anew = orders.new("a.example/1")
    await anew.found(41)
    await anew.found(41)
    with pytest.raises(OrderBehind):
        await orders.new("b.example/2").start(42)
    await anew.start(41)
    await leading(anew)
    assert (await anew.first(), await anew.tip()) == (42, 41)
    await ordered(anew, 42, 1)
    assert [each.height for each in await blocks(anew, 42, 42)] == [42]
    with pytest.raises(OrderingUnavailable, match="cannot follow"):
        await anew.propose(50, data(50))
