"""Blocks as bytes, the local order, and the pool before it."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import OrderingUnavailable, QueueFull
from ledger.ordering.block import BlockInvalid, make_block, parse_block, render_block
from ledger.ordering.local import LocalOrderer
from ledger.ordering.orderer import Committed, Conflict, Ordered
from ledger.ordering.pool import Pool, TransactionResult
from ledger.ordering.signatures import Verdicts
from ledger.ordering.transactions import parse
from runtime.database import create_engine
from tests.builders import START_MS, a_key
from tests.ledger.replicas import execute, transfers


def a_block(*contents: bytes):
    return make_block(
        channel="main", height=1, previous=bytes(32), time_ms=START_MS, proposer="member.example/1", contents=contents,
        sign=a_key().sign,
    )  # fmt: skip


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_a_block_is_read_as_it_was_written(contents):
    assert parse_block(render_block(a_block(*contents))) == a_block(*contents)


@given(st.binary(max_size=300))
@settings(max_examples=200)
def test_bytes_that_are_no_block_are_refused(data):
    with pytest.raises(BlockInvalid):
        parse_block(data)


@given(st.integers(0, 10**6))
def test_a_block_cut_short_is_refused(at):
    data = render_block(a_block(b"one", b"two"))
    with pytest.raises(BlockInvalid):
        parse_block(data[: at % len(data)])


@pytest.fixture
async def engine(database_url):
    engine = create_engine(database_url)
    yield engine
    await engine.dispose()


async def test_a_proposed_block_is_in_the_order_at_once_and_watched_in_order(engine):
    orderer = LocalOrderer(engine, "main")
    await orderer.start(7)
    assert await orderer.propose(8, b"eight") == Committed(8)
    assert await orderer.propose(9, b"nine") == Committed(9)
    assert await orderer.propose(9, b"another") == Conflict()
    watch = orderer.watch(8)
    assert [await anext(watch), await anext(watch)] == [Ordered(8, b"eight", 8), Ordered(9, b"nine", 9)]
    await orderer.stop()


async def test_a_gap_in_the_order_is_refused(engine):
    orderer = LocalOrderer(engine, "main")
    await orderer.start(0)
    with pytest.raises(OrderingUnavailable):
        await orderer.propose(2, b"two")
    await orderer.stop()


async def test_a_second_orderer_of_a_channel_is_refused_until_the_first_stops(engine):
    first, second, elsewhere = (LocalOrderer(engine, channel) for channel in ("main", "main", "other"))
    await first.start(0)
    await elsewhere.start(0)
    with pytest.raises(OrderingUnavailable, match="another replica"):
        await second.start(0)
    await first.stop()
    await second.start(0)
    await second.stop()
    await elsewhere.stop()


async def test_a_lost_lock_is_taken_again(engine):
    orderer = LocalOrderer(engine, "main")
    await orderer.start(0)
    await execute(engine, "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
    await orderer.check()
    (held,) = await execute(engine, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted")
    assert held[0] == 1
    await orderer.stop()


async def test_a_full_pool_takes_nothing_of_a_batch():
    pool = Pool(3)
    pool.add(map(parse, transfers(2)))
    with pytest.raises(QueueFull):
        pool.add(map(parse, transfers(2, first=2)))
    assert len(pool) == 2
    pool.add(map(parse, transfers(3)))  # two of them wait already


async def test_a_transaction_sent_twice_waits_once_and_both_are_answered():
    pool = Pool(10)
    (parsed,) = map(parse, transfers(1))
    (one,), (two,) = pool.add([parsed]), pool.add([parsed])
    assert [ticket.parsed for ticket in pool.take(10**6, 10)] == [parsed]
    (three,) = pool.add([parsed])
    assert not pool.arrived.is_set()
    result = TransactionResult(parsed.id, "committed", "ok", 1, 0)
    pool.resolve(result)
    assert [one.result(), two.result(), three.result()] == [result] * 3
    assert len(pool) == 0


async def test_what_two_wait_for_is_not_withdrawn_by_one_and_a_batch_is_withdrawn_whole_or_not():
    """Who is answered "unknown" may rely on it being kept."""
    pool, (shared, alone) = Pool(9), [parse(content) for content in transfers(2)]
    pool.add([shared])
    pool.add([shared, alone])
    assert pool.withdraw([shared.id, alone.id]) == set()
    assert pool.withdraw([alone.id]) == {alone.id}
    assert len(pool) == 1


async def test_the_pool_is_taken_in_order_up_to_a_size_and_put_back_in_order():
    pool = Pool(10)
    parsed = [parse(content) for content in transfers(5)]
    pool.add(parsed)
    size = sum(len(each.content) for each in parsed[:2])
    assert [ticket.parsed for ticket in pool.take(size, 10)] == parsed[:2]
    assert [ticket.parsed for ticket in pool.take(1, 10)] == parsed[2:3], "one at least"
    pool.put_back([each.content for each in parsed[:3]])
    assert [ticket.parsed for ticket in pool.take(10**6, 4)] == parsed[:4]


async def test_gathering_ends_when_as_many_are_there_or_the_time_is_over():
    pool = Pool(10)
    parsed = [parse(content) for content in transfers(3)]
    pool.add(parsed[:1])
    gathering = asyncio.create_task(pool.gather(3, 30))
    await asyncio.sleep(0)
    pool.add(parsed[1:])
    await asyncio.wait_for(gathering, 1)
    await asyncio.wait_for(pool.gather(4, 0.01), 1)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=30))
def test_a_remembered_verdict_is_the_verdict(asked):
    """With room for two, whatever was asked before and however."""
    key, verdicts = a_key(), Verdicts(remembered_max=2)
    for number, genuine in asked:
        message = bytes([number])
        signature = key.sign(message if genuine else b"other")
        if number % 2:
            verdicts.ahead([(key.public, message, signature)] * 2)
        assert verdicts.verify(key.public, message, signature) is genuine
