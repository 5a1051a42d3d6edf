"""The store's promises, each held against PostgreSQL and against the model the simulation runs on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from random import Random
from typing import Any, NoReturn

import pytest

from contracts import rules
from contracts.core import commands as c
from contracts.core.codec import digest, encode
from contracts.core.parties import Role
from ledger.errors import GenesisExists, GenesisInvalid, StoreUnavailable
from ledger.genesis import members
from ledger.log.statetree import buckets_from_records
from ledger.log.tiles import TileId
from ledger.machine import Executed, Head, Machine
from ledger.ordering.block import make_block
from ledger.ordering.signatures import Verdicts
from ledger.store.memory import MemorySource
from ledger.store.postgres import PostgresStore
from ledger.store.source import Source
from ledger.store.state import CheckedTree, StateCache
from ledger.store.store import Founding, RefusalRow, Store
from ledger.verify.merkle import EMPTY_ROOT
from ledger.verify.state import verify_record
from runtime.database import create_engine
from tests.builders import START_MS
from tests.ledger.running import AGGREGATOR_ID, UTILITY_ID
from tests.simulation.cluster import founding
from tests.simulation.models.store import Disk, Faults, MemoryStore
from tests.simulation.workload import enrolment, sealed, transfer, virtual_node

FOUNDED = founding(0, 3)
GENESIS = rules.genesis(FOUNDED.genesis)
FOUNDING = Founding(genesis=encode(FOUNDED.genesis), policy=FOUNDED.policy, records=GENESIS, checkpoint=b"at 0")


@pytest.fixture(params=["postgres", "memory"])
def database(request) -> str | None:
    """A migrated database, None for the model."""
    return None if request.param == "memory" else request.getfixturevalue("new_database")("ledger")


@pytest.fixture
async def open_store(database) -> AsyncIterator[Callable[[], Any]]:
    """Opens the same data once more, as a process does that starts again."""
    if database is None:
        disk = Disk()
        yield lambda: MemoryStore(disk, Faults(Random(1)))
        return
    engine = create_engine(database)
    opened: list[PostgresStore] = []

    def open_() -> PostgresStore:
        opened.append(PostgresStore(engine, "main"))
        return opened[-1]

    yield open_
    for store in opened:
        await store.close()
    await engine.dispose()


class Chain:
    """Blocks that follow each other, and the sizes and notes they leave."""

    def __init__(self) -> None:
        self.source = MemorySource()
        cache = StateCache(CheckedTree())
        plan = cache.plan(GENESIS, self.source)
        self.source.write(GENESIS, plan.buckets)
        cache.accept(GENESIS, plan)
        self.machine = Machine(
            channel="main",
            members=members(FOUNDED.policy),
            contracts_root=FOUNDED.genesis.contracts_root,
            head=Head(0, START_MS, bytes.fromhex(digest(FOUNDED.genesis)), 0, EMPTY_ROOT, {}, None),
            cache=cache,
            verdicts=Verdicts(),
        )
        self.blocks: list[Executed] = []

    def execute(self, *contents: bytes) -> Executed:
        """What a block with these makes of the present state; nothing is taken."""
        head = self.machine.head
        block = make_block(
            channel="main", height=head.height + 1, previous=head.previous, time_ms=head.time_ms + 1,
            proposer=FOUNDED.member, contents=contents, sign=FOUNDED.cosigner_key.sign,
        )  # fmt: skip
        return self.machine.execute(block, 7 * block.header.height, self.machine.read(block), self.source)

    def add(self, *contents: bytes) -> Executed:
        executed = self.execute(*contents)
        self.source.accept(executed)
        self.machine.accept(executed)
        self.blocks.append(executed)
        return executed


def a_chain() -> Chain:
    """Three blocks: parties and money, payments of which one is a duplicate and one is overdrawn, nothing."""
    chain = Chain()
    issues = [
        sealed(UTILITY_ID, c.Issue(to=to, amount_minor=1_000, reference="")) for to in (UTILITY_ID, AGGREGATOR_ID)
    ]
    chain.add(*issues, enrolment(Role.VIRTUAL_NODE, "virtual node"))
    chain.add(
        transfer(1), transfer(2), transfer(1), transfer(3, 10**9), transfer(4, nonce="same"), transfer(5, nonce="same")
    )
    chain.add()
    return chain


def note_of(executed: Executed) -> bytes:
    return b"at %d" % executed.head.size


async def stored(store: Store, chain: Chain) -> None:
    """Height 0 and every block of the chain."""
    await store.create(FOUNDING)
    for executed in chain.blocks:
        await store.apply(lambda source, executed=executed: (executed, note_of(executed)))


async def test_founding_never_replaces_anything_and_nothing_is_loaded_before(open_store):
    store = open_store()
    assert await store.is_empty()
    with pytest.raises(GenesisInvalid):
        await store.load()
    await store.create(FOUNDING)
    with pytest.raises(GenesisExists):
        await open_store().create(FOUNDING)
    loaded = await open_store().load()
    assert (loaded.genesis, loaded.policy, loaded.checkpoint) == (FOUNDING.genesis, FOUNDING.policy, b"at 0")
    assert (loaded.block, loaded.summary, dict(loaded.edge)) == (None, None, {})
    assert not await store.is_empty()


async def test_what_was_applied_is_there_for_whoever_opens_the_data_next(open_store):
    chain = a_chain()
    await stored(open_store(), chain)
    last = chain.blocks[-1]
    loaded = await open_store().load()
    assert loaded.block is not None
    assert (loaded.block.height, loaded.block.size, loaded.block.state_root) == (3, last.head.size, last.plan.root)
    assert (loaded.block.order_revision, loaded.block.summary_hash) == (21, last.head.previous)
    assert (loaded.block.header, loaded.block.signature) == (last.block.header_bytes, last.block.signature)
    assert (loaded.summary, loaded.checkpoint) == (last.entries[-1], note_of(last))
    assert dict(loaded.edge) == dict(last.head.edge)


async def test_work_that_fails_leaves_nothing_and_the_next_block_goes_on(open_store):
    chain, store = a_chain(), open_store()
    await stored(store, chain)

    def failing(source: Source) -> NoReturn:
        raise ZeroDivisionError

    before = await store.load()
    with pytest.raises(ZeroDivisionError):
        await store.apply(failing)
    assert await store.load() == before
    executed = chain.add(transfer(9))
    await store.apply(lambda source: (executed, b"n"))
    assert (await open_store().load()).block.height == 4


async def test_a_height_is_taken_once(open_store):
    """Also by a second process, and nothing of the second block stays."""
    chain, store = a_chain(), open_store()
    await stored(store, chain)
    one, other = chain.execute(transfer(10)), chain.execute(transfer(11), transfer(12))
    await store.apply(lambda source: (one, b"one"))
    with pytest.raises(Exception, match=r"committed by another session|does not follow"):
        await open_store().apply(lambda source: (other, b"other"))
    loaded = await open_store().load()
    assert (loaded.block.size, loaded.checkpoint) == (one.head.size, b"one")
    assert set(await store.results([row.parsed.id for row in other.transactions])) == set()
    assert await store.entries(one.head.size, 10) == []


async def test_an_id_is_taken_once(open_store):
    """The second block would register a transaction of the first again."""
    chain, store = a_chain(), open_store()
    await stored(store, chain)
    chain.source._ids.clear()
    chain.source._nonces.clear()
    twice = chain.execute(transfer(1))
    assert twice.transactions[0].registered
    with pytest.raises(Exception, match=r"transactions_id|transactions_nonce|was executed before"):
        await store.apply(lambda source: (twice, b"twice"))
    assert (await open_store().load()).block.height == 3


async def test_execution_reads_the_state_after_the_last_block(open_store):
    chain, store = a_chain(), open_store()
    await stored(store, chain)
    rows = chain.source.rows
    ids = [row.parsed.id for row in chain.blocks[1].transactions]
    seen: dict[str, Any] = {}

    def look(source: Source) -> NoReturn:
        seen["records"] = dict(source.records([*rows, ("account", "nobody")]))
        seen["scan"] = source.scan("party", "", "~", 3), source.scan("party", "agg-", "agg.", 9)
        seen["buckets"] = dict(source.buckets([1, 2, *chain.blocks[0].plan.buckets]))
        seen["taken"] = source.taken([*ids, "0" * 64], [(AGGREGATOR_ID, "same"), (UTILITY_ID, "same")])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store.apply(look)
    parties = sorted(key for kind, key in rows if kind == "party")
    assert seen["records"] == rows
    assert [key for key, _ in seen["scan"][0]] == parties[:3]
    assert [key for key, _ in seen["scan"][1]] == [AGGREGATOR_ID]
    assert seen["buckets"] == dict(chain.source.buckets([1, 2, *chain.blocks[0].plan.buckets]))
    assert seen["taken"].ids == frozenset(ids)
    assert seen["taken"].nonces == {(AGGREGATOR_ID, "same")}


async def test_readers_find_every_row_and_see_whole_blocks(open_store):
    chain, store = a_chain(), open_store()
    await stored(store, chain)
    entries = [entry for executed in chain.blocks for entry in executed.entries]
    assert await store.entries(0, 100) == entries
    assert await store.entries(4, 2) == entries[4:6]
    rows = [row for executed in chain.blocks for row in executed.transactions]
    first = {row.parsed.id: row for row in rows if row.registered}
    found = await store.results([row.parsed.id for row in rows])
    assert {key: (row.log_index, row.code, row.receipt) for key, row in found.items()} == {
        key: (row.log_index, row.code, row.receipt) for key, row in first.items()
    }
    assert [found[row.parsed.id].facts for row in first.values()] == [
        tuple(fact.body for fact in row.facts) for row in first.values()
    ]
    assert await store.known([*first, "0" * 64]) == frozenset(first)
    assert await store.results([]) == {}
    for row in rows:
        assert await store.body(row.log_index) == (row.parsed.salt, row.parsed.body)
    assert await store.body(10_000) is None
    tiles: dict[TileId, bytes] = {}
    for executed in chain.blocks:
        tiles.update(executed.tiles)
    assert await store.tiles([*tiles, TileId(3, 0)]) == tiles
    assert await store.record("party", virtual_node()) == (chain.source.rows["party", virtual_node()], 3)
    assert await store.record("party", "nobody") == (None, 3)


async def test_a_stored_record_is_proved_by_the_leaves_in_memory(open_store):
    chain, store = a_chain(), open_store()
    await stored(store, chain)
    rows = buckets_from_records((*at, body) for at, body in chain.source.rows.items())
    cache = StateCache(CheckedTree(rows.items()))
    cache.fill_buckets(rows)
    assert cache.tree.root == chain.blocks[-1].plan.root
    for (kind, key), body in [*chain.source.rows.items(), (("party", "nobody"), None)]:
        found, height = await store.record(kind, key)
        assert (found, height) == (body, 3)
        shown = cache.prove(kind, key, (found,))
        assert shown is not None
        verify_record(cache.tree.root, kind, key, shown[0], shown[1])
        if body is not None:
            assert cache.prove(kind, key, (b"{}",)) is None
            assert cache.prove(kind, key, (None,)) is None


async def test_records_and_facts_come_in_order_and_in_pages(open_store):
    chain, store = a_chain(), open_store()
    await stored(store, chain)
    keys = sorted((key for kind, key in chain.source.rows if kind == "party"), key=str.encode)
    assert [key for key, _ in await store.records("party", "", "", 100)] == keys
    assert [key for key, _ in await store.records("party", "", keys[0], 2)] == keys[1:3]
    assert [key for key, _ in await store.records("party", "agg-", "", 9)] == [AGGREGATOR_ID]
    facts = await store.facts((0, 0, 0), None, None, 100)
    places = [(fact.height, fact.log_index, fact.ordinal) for fact in facts]
    assert places == sorted(places)
    assert len(facts) == sum(len(executed.facts) for executed in chain.blocks)
    assert await store.facts(places[1], None, None, 2) == facts[2:4]
    enrolled = await store.facts((0, 0, 0), virtual_node(), None, 100)
    assert enrolled == [fact for fact in facts if virtual_node() in fact.parties]
    async with aclosing(store.stream_records()) as stream:
        streamed = {(row.kind, row.key): (row.body, row.height) async for row in stream}
    assert {at: body for at, (body, _) in streamed.items()} == chain.source.rows
    assert streamed["party", virtual_node()][1] == 1
    assert streamed["party", UTILITY_ID][1] == 0


async def test_the_newest_refusals_stay(open_store):
    store = open_store()
    rows = [RefusalRow(n, None, None, None, "form_invalid", f"number {n}") for n in range(12)]
    await store.add_refusals(rows[:6], keep=5)
    await store.add_refusals(rows[6:], keep=5)
    assert [row["detail"] for row in await store.refusals(3)] == ["number 11", "number 10", "number 9"]
    assert len(await store.refusals(100)) == 5


async def test_a_cancelled_commit_is_there_or_not_and_the_store_goes_on(open_store):
    """However far it got."""
    chain, store = a_chain(), open_store()
    await stored(store, chain)
    for steps in (0, 1, 2, 3, 5, 8):
        executed = chain.execute(transfer(100 + steps))
        task = asyncio.ensure_future(store.apply(lambda source, executed=executed: (executed, b"n")))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        loaded = await open_store().load()
        assert loaded.block.height in (executed.head.height - 1, executed.head.height)
        there = await store.entries(executed.first_index, 10)
        assert there == (list(executed.entries) if loaded.block.height == executed.head.height else [])
        if there:
            chain.add(transfer(100 + steps))


async def test_an_absent_store_is_named_as_such():
    faults = Faults(Random(1))
    faults.down = True
    engine = create_engine("postgresql+psycopg://nobody@127.0.0.1:9/none?connect_timeout=1")
    for store in (MemoryStore(Disk(), faults), PostgresStore(engine, "main")):
        for question in (store.load(), store.results(["0" * 64]), store.record("party", "x"), store.known(["0" * 64])):
            with pytest.raises(StoreUnavailable):
                await question
    await engine.dispose()


async def test_a_block_of_nothing_is_committed_like_any_other(open_store):
    """Its execution asks the database nothing."""
    chain, store = Chain(), open_store()
    chain.add()
    await stored(store, chain)
    assert await store.known(["0" * 64]) == frozenset()
    assert (await open_store().load()).block.height == 1
