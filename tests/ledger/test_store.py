"""The store's promises, on PostgreSQL."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.util import await_only

from ledger.errors import GenesisExists, GenesisInvalid
from ledger.log.tiles import TileId
from ledger.store import postgres
from ledger.store.cache.seen import Seen
from ledger.store.driver.session import rows
from ledger.store.postgres import PostgresStore
from ledger.store.reading import STORE_ERRORS
from ledger.store.store import Founding, RefusalRow
from ledger.store.tables import VIEWS, metadata
from runtime.database import create_engine
from tests.ledger.replicas import (
    AGGREGATOR_ID,
    DEVICE_ID,
    UTILITY_ID,
    a_proposal,
    a_replica,
    a_transfer,
    an_issue,
    execute,
    readings,
    transfers,
)


@pytest.fixture
def url(new_database):
    return new_database("ledger")


@pytest.fixture
async def engine(url):
    engine = create_engine(url)
    yield engine
    await engine.dispose()


FOUNDING = Founding(genesis=b"g", policy=b"p", records={("account", "a"): b"{}"}, checkpoint=b"c")


async def test_the_migration_makes_the_tables_of_the_program(engine):
    async with engine.connect() as connection:

        def difference(sync):
            return compare_metadata(MigrationContext.configure(sync, opts={"compare_type": True}), metadata)

        found = await connection.run_sync(difference)
    assert [change for change in found if "alembic_version" not in str(change)] == []


async def test_creating_never_replaces_anything(engine):
    store = PostgresStore(engine, "main")
    with pytest.raises(GenesisInvalid):
        await store.load()
    assert await store.is_empty()
    await store.create(FOUNDING)
    assert not await store.is_empty()
    with pytest.raises(GenesisExists):
        await store.create(FOUNDING)
    assert (await store.load()).genesis == b"g"
    assert await PostgresStore(engine, "other").is_empty()


async def test_creating_over_the_remains_of_a_ledger_changes_nothing(engine):
    store = PostgresStore(engine, "main")
    await store.create(FOUNDING)
    await execute(engine, "DELETE FROM meta")
    with pytest.raises(GenesisExists):
        await store.create(FOUNDING)
    assert await execute(engine, "SELECT * FROM meta") == []


async def test_a_block_is_there_with_all_of_it_or_not_at_all(url, tmp_path):
    """A row that is in the way in the last table written."""
    async with a_replica(url, tmp_path) as ledger:
        await ledger.run(an_issue())
        height, size = ledger.replica.head.height, ledger.replica.head.size
        await ledger.sql("INSERT INTO checkpoints VALUES ('main', :size, 99, '')", size=size + 2)
        with pytest.raises(Exception, match="checkpoints_pkey"):
            await ledger.submit(*transfers(1))
        for table in ("blocks", "transactions", "records", "facts"):
            (row,) = await ledger.sql(f"SELECT max(height) FROM {table}")
            assert row[0] == height
        for table in ("entries", "bodies"):
            (row,) = await ledger.sql(f"SELECT max(log_index) FROM {table}")
            assert row[0] < size


async def test_a_commit_of_a_session_that_was_given_up_is_recognised_and_stops_nothing(url, tmp_path):
    """Cut off before its answer, a session may commit the block after the replica has loaded the height before it."""
    async with a_replica(url, tmp_path) as ledger:
        await ledger.run(an_issue())
        store, former = ledger.replica._store, PostgresStore(create_engine(url), "main")
        apply, done = store.apply, []

        async def raced(work, final=None):
            def late(source):
                executed = work(source)
                if not done:
                    done.append(await_only(former.apply(lambda _: executed)))
                return executed

            return await apply(late, final)

        store.apply = raced
        height = ledger.replica.height
        await ledger.submit(*transfers(1))  # unknown, as whenever the store has to be asked
        async with asyncio.timeout(60):
            await ledger.replica._progress.reached(height + 1)
        known, next_one = await ledger.submit(*transfers(2))
        assert (known.code, known.height) == ("ok", height + 1)
        assert (next_one.code, next_one.height) == ("ok", height + 2)
        await former.close()
        await former._engine.dispose()


def test_the_filter_of_ids_never_takes_a_taken_id_for_new_and_seldom_a_new_one_for_taken():
    seen = Seen(1 << 14)
    taken = [("sender", f"nonce {n}") for n in range(1_024)]
    seen.add(taken)
    assert seen.perhaps(["new"]) == ["new"]  # not all of the table was read
    seen.complete = True
    assert seen.perhaps(taken) == taken
    assert len(seen.perhaps(f"new {n}" for n in range(10_000))) < 300


def test_where_the_filter_of_ids_is_full_a_larger_one_is_filled_anew():
    seen = Seen(1 << 10)
    seen.complete = True
    seen.add(range(63))
    assert seen.grown() is seen
    seen.add([64])
    larger = seen.grown()
    assert not larger.complete
    assert larger.until == 0
    larger.add(range(64 * 8 - 1))
    assert larger.grown() is larger


async def test_an_id_is_taken_for_ever_however_much_of_the_table_was_read(url, tmp_path, monkeypatch):
    """After a start the ids of the table are read a page with each block; meanwhile, and where a block was dropped, the
    table is asked."""
    monkeypatch.setattr(postgres, "PAGE", 8)
    old = transfers(20)
    async with a_replica(url, tmp_path) as ledger:
        await ledger.run(an_issue(), a_transfer("first", nonce="once"))
        first = await ledger.submit(*old)
    assert {each.code for each in first} == {"ok"}
    async with a_replica(url, tmp_path) as ledger:
        store, complete = ledger.replica._store, []
        for number in range(6):
            complete.append(store._seen.complete)
            again, (reused, _) = (
                await ledger.submit(*old),
                await ledger.submit(a_transfer(f"other {number}", nonce="once"), a_transfer(f"new {number}")),
            )
            assert [(each.code, each.height) for each in again] == [(each.code, each.height) for each in first]
            assert reused.code == "nonce_reused"
            if number == 4:  # a block that is dropped leaves nothing behind

                def failing(_source):
                    raise ZeroDivisionError

                with pytest.raises(ZeroDivisionError):
                    await store.apply(failing)
                assert not store._seen.complete
        assert complete[0] is False
        assert complete[4] is True


async def test_what_is_certainly_new_is_not_asked_of_the_table(url, tmp_path, monkeypatch):
    asked = []

    async def counted(connection, query, values):
        asked.append(query)
        return await rows(connection, query, values)

    async with a_replica(url, tmp_path) as ledger:
        await ledger.run(an_issue())
        monkeypatch.setattr(postgres, "rows", counted)
        results = await ledger.submit(*transfers(10))
        assert {each.code for each in results} == {"ok"}
        assert not {postgres._TAKEN, postgres._KNOWN} & set(asked)
        assert [each.code for each in await ledger.submit(*transfers(10))] == ["ok"] * 10
        assert postgres._KNOWN in asked


async def test_what_is_committed_is_durable_even_where_the_server_would_not_wait_for_its_disk(url, engine):
    name = make_url(url).database
    await execute(engine, f"ALTER DATABASE {name} SET synchronous_commit = off")
    await engine.dispose()
    assert await execute(engine, "SHOW synchronous_commit") == [("off",)]
    store = PostgresStore(engine, "main")
    for session in (store._writer, store._asker):
        async with session.use() as driver:
            assert await (await driver.execute("SHOW synchronous_commit")).fetchall() == [("on",)]
    await store.close()


async def test_sql_users_read_records_through_views(url, tmp_path):
    async with a_replica(url, tmp_path) as ledger:
        await ledger.run(*a_proposal())
        await ledger.run(readings(100, -200))
        rows = {view: await ledger.sql(f"SELECT * FROM {view} ORDER BY record_key") for view in VIEWS}
        kinds = dict(await ledger.sql("SELECT kind, count(*) FROM records GROUP BY kind"))
        assert {VIEWS[view]: len(found) for view, found in rows.items()} == {
            kind: kinds[kind] for kind in VIEWS.values()
        }
        assert [row.energy_wh for row in rows["measurements"]] == [100, -200]
        assert rows["contracts"][0].terms["obligation_wh"] == [1000] * 4
        assert rows["dr_requests"][0].request["budget_minor"] == 5_000
        (account,) = await ledger.sql(f"SELECT * FROM accounts WHERE record_key = 'party/{UTILITY_ID}'")
        assert (account.credits_posted, account.debits_posted) == (100_000, 5_000)


async def test_records_are_paged_in_bytewise_order(url, tmp_path):
    async with a_replica(url, tmp_path) as ledger:
        await ledger.run(*a_proposal())
        await ledger.run(readings(1, 2, 3))
        records = ledger.replica.records
        keys = [key for key, _ in await records("party", "", "", 100)]
        assert keys == sorted(keys, key=str.encode)
        assert len(keys) == 5
        assert [key for key, _ in await records("party", "", keys[1], 2)] == keys[2:4]
        assert [key for key, _ in await records("party", "dev-", "", 10)] == [DEVICE_ID]
        assert await records("party", "dev_", "", 10) == []
        assert await records("party", "dev%", "", 10) == []
        assert len(await records("measurement", f"{DEVICE_ID}/", f"{DEVICE_ID}/", 10)) == 3


async def test_facts_are_read_by_place_party_and_contract(url, tmp_path):
    async with a_replica(url, tmp_path) as ledger:
        await ledger.run(*a_proposal())
        await ledger.run(readings(1))
        facts = ledger.replica.facts
        everything = await facts((0, 0, 0), None, None, 100)
        cursors = [tuple(map(int, fact.cursor.split("."))) for fact in everything]
        assert cursors == sorted(cursors)
        for party in (DEVICE_ID, AGGREGATOR_ID, UTILITY_ID, "nobody"):
            expected = [fact for fact in everything if party in fact.parties]
            assert await facts((0, 0, 0), party, None, 100) == expected
        assert await facts(cursors[2], None, None, 3) == everything[3:6]
        concerned = await facts((0, 0, 0), None, "sc1-1", 100)
        assert [fact.fact["fact"] for fact in concerned] == ["DRSetUp"]
        assert (
            await facts((0, 0, 0), UTILITY_ID, "need-1", 1)
            == [fact for fact in everything if fact.contract == "need-1"][:1]
        )


async def test_a_stored_tile_serves_every_older_width(url, tmp_path):
    async with a_replica(url, tmp_path) as ledger:
        await ledger.run(an_issue())
        short = await ledger.replica.tile(0, 0, 2)
        await ledger.run(*transfers(300))
        row = (await PostgresStore(ledger.engine, "main").tiles([TileId(0, 0)]))[TileId(0, 0)]
        assert (len(row), row[:64]) == (256 * 32, short)
        assert await ledger.replica.tile(0, 0, 256) == row
        assert await ledger.replica.tile(0, 1, 256) is None
        assert await ledger.replica.entries(0, 256) is not None
        assert await ledger.replica.entries(1, 256) is None


async def test_only_the_newest_refusals_are_kept(engine):
    store = PostgresStore(engine, "main")
    rows = [RefusalRow(n, None, None, None, "form_invalid", f"number {n}") for n in range(30)]
    await store.add_refusals(rows[:15], keep=10)
    await store.add_refusals(rows[15:], keep=10)
    assert [row["detail"] for row in await store.refusals(100)] == [f"number {n}" for n in range(29, 19, -1)]


async def test_a_fault_in_the_data_is_not_taken_for_an_absent_database(engine):
    """Only an absent database is waited for."""
    store = PostgresStore(engine, "main")
    with pytest.raises((DBAPIError, psycopg.Error)) as found:
        await store.add_refusals([RefusalRow(0, None, None, None, "form_invalid", "\0")], keep=10)
    assert not isinstance(found.value, STORE_ERRORS)
