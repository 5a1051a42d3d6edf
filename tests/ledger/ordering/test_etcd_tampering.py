"""Somebody with write rights to etcd changes the order behind the members' backs: each watcher notices."""

from __future__ import annotations

import asyncio

import pytest

from ledger.errors import OrderTampered, OrderTrimmed
from ledger.ordering.etcd.client import delete, put
from ledger.ordering.etcd.settings import EtcdSettings
from tests.ledger.ordering.etcd_orders import EtcdOrders
from tests.ledger.ordering.suite import blocks, filled


@pytest.fixture
async def orders(etcd_servers, channel):
    orders = EtcdOrders(EtcdSettings(endpoints=etcd_servers.endpoints, channel=channel, member=""))
    yield orders
    await orders.close()


async def tamper(orders, *operations) -> int:
    return (await orders.client.txn([], operations)).revision


MISDEEDS = {
    "overwritten": lambda keys: [[put(keys.block(2), b"forged")]],
    "deleted": lambda keys: [[delete(keys.block(2))]],
    "created again": lambda keys: [[delete(keys.block(2))], [put(keys.block(2), b"forged")]],
    "newest deleted": lambda keys: [[delete(keys.block(3))]],
    "inserted": lambda keys: [[put(keys.block(9), b"forged")]],
    "no number": lambda keys: [[put(keys.block(3) + b"x", b"forged")]],
    "line past the end": lambda keys: [[put(keys.line, b"%016d" % 4), delete(keys.block(1), keys.block(4))]],
    "line is no number": lambda keys: [[put(keys.line, b"many")]],
}


@pytest.mark.parametrize("misdeed", MISDEEDS)
async def test_a_watcher_notices_as_it_happens(orders, misdeed):
    orderer = await filled(orders, 3)
    watching = asyncio.create_task(blocks(orderer, 1, 99))
    await asyncio.sleep(0.1)
    for operations in MISDEEDS[misdeed](orders.keys):
        await tamper(orders, *operations)
    with pytest.raises(OrderTampered):
        await watching


@pytest.mark.parametrize("misdeed", ["overwritten", "deleted", "created again", "inserted", "no number"])
async def test_a_watcher_that_comes_later_notices_too(orders, misdeed):
    orderer = await filled(orders, 3)
    for operations in MISDEEDS[misdeed](orders.keys):
        await tamper(orders, *operations)
    with pytest.raises(OrderTampered):
        await blocks(orderer, 1, 99)


async def test_a_tip_that_went_back_is_noticed(orders):
    orderer = await filled(orders, 3)
    assert await orderer.tip() == 3
    await tamper(orders, delete(orders.keys.block(3)))
    with pytest.raises(OrderTampered, match="block 3 was in the order and is gone"):
        await orderer.tip()


async def test_compaction_hides_no_replaced_block_from_a_watcher_that_was_away(orders):
    """The watch resumes behind the compaction, so it must list again and know the last block it saw."""
    orderer = await filled(orders, 3)
    watch = orderer.watch(1)
    assert [(await anext(watch)).height for _ in range(3)] == [1, 2, 3]
    original = orderer._client.watch
    orderer._client.watch = lambda key, end, revision, silence_s: original(key, end, 1, silence_s)
    await tamper(orders, delete(orders.keys.block(3)))
    await orders.client.compact(await tamper(orders, put(orders.keys.block(3), b"forged")))
    with pytest.raises(OrderTampered, match="block 3"):
        await anext(watch)


async def test_a_watcher_that_fell_behind_the_line_learns_where_the_order_begins(orders):
    orderer = await filled(orders, 12)
    watch = orderer.watch(1)
    assert (await anext(watch)).height == 1
    await orders.new("b.example/2").trim(11)
    assert [(await anext(watch)).height for _ in range(7)] == list(range(2, 9)), "read before, in one page"
    with pytest.raises(OrderTrimmed) as raised:
        await anext(watch)
    assert raised.value.first == 11
