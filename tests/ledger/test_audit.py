"""The audit finds any changed byte in any table, and names the block and the transaction."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url, text

from ledger.audit import LedgerDiffers, audit, audit_history
from ledger.config import LedgerSettings
from ledger.errors import GenesisInvalid
from ledger.store import tables
from ledger.store.history import History
from runtime.database import create_engine
from tests.builders import a_clock
from tests.ledger.replicas import (
    ACCEPT_BY_MS,
    a_proposal,
    a_replica,
    a_transfer,
    an_issue,
    execute,
    founded,
    readings,
    transfers,
)

_AUDITED = (tables.meta, tables.blocks, tables.entries, tables.transactions, tables.bodies, tables.facts,
            tables.fact_parties, tables.records, tables.tiles, tables.checkpoints, tables.finality)  # fmt: skip
_COLUMNS = [(table.name, column.name) for table in _AUDITED for column in table.c]
_COLUMNS.remove(("finality", "channel"))  # such a row is none: nothing is final yet


@pytest.fixture(scope="module")
def lived(databases, tmp_path_factory):
    """A ledger with all kinds of entries: genesis, transactions, refusals, a deadline, facts, readings."""
    folder = tmp_path_factory.mktemp("ledger")
    url = databases.new("ledger")
    asyncio.run(_live(url, folder))
    yield url, folder
    databases.drop(url)


@pytest.fixture
async def engine(lived, databases):
    """A copy of that ledger, to be spoilt."""
    name = make_url(lived[0]).database
    url = make_url(lived[0]).set(database=f"{name}_copy")
    with psycopg.connect(
        url.set(drivername="postgresql", database="postgres").render_as_string(hide_password=False), autocommit=True
    ) as admin:
        admin.execute(f"CREATE DATABASE {name}_copy TEMPLATE {name} STRATEGY file_copy")
    engine = create_engine(url.render_as_string(hide_password=False))
    yield engine
    await engine.dispose()
    databases.drop(url.render_as_string(hide_password=False))


async def _live(url: str, folder: Path) -> None:
    clock = a_clock()
    async with a_replica(url, folder, clock) as ledger:
        await ledger.run(an_issue())
        await ledger.run(*a_proposal())
        await ledger.run(*transfers(20))
        await ledger.submit(a_transfer("too much", 10**9))
        await ledger.run(readings(100, 200, 300))
        clock.advance(ACCEPT_BY_MS - clock.now_ms())
        await ledger.run(a_transfer("after the deadline"))
        await ledger.sql(
            "INSERT INTO finality (channel, size, height, note) "
            "SELECT channel, size, height, note FROM checkpoints ORDER BY size DESC LIMIT 1 "
            "ON CONFLICT DO NOTHING"
        )


async def audited(engine, folder: Path):
    return await audit(engine, founded(LedgerSettings(data_dir=folder)))


async def test_an_untouched_ledger_is_executed_again_and_found_equal(lived, engine):
    result = await audited(engine, lived[1])
    (heights,) = await execute(engine, "SELECT max(height), max(size) FROM blocks")
    assert (result.height, result.size) == tuple(heights)
    assert result.transactions == result.re_executed == 29
    assert (result.hash_verified, result.erased) == (0, 0)
    assert result.final_size == result.size
    assert result.checkpoint.splitlines()[1] == str(result.size)


@pytest.mark.parametrize("last", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["first", "last"])
@pytest.mark.parametrize(("table", "column"), _COLUMNS)
async def test_one_changed_value_in_any_column_is_found(lived, engine, table: str, column: str, last: bool):
    """Every column of every audited table, in its first row and in its last."""
    await _flip(engine, table, column, "DESC" if last else "")
    with pytest.raises((LedgerDiffers, GenesisInvalid)) as found:
        await audited(engine, lived[1])
    if isinstance(found.value, LedgerDiffers):
        assert table in found.value.what or column in ("channel", "height", "log_index"), found.value.what


@pytest.mark.parametrize("table", [table.name for table in _AUDITED if table.name != "finality"])
async def test_a_row_that_is_missing_is_found(lived, engine, table: str):
    await execute(engine, f"DELETE FROM {table} WHERE ctid = (SELECT min(ctid) FROM {table})")
    with pytest.raises((LedgerDiffers, GenesisInvalid)):
        await audited(engine, lived[1])


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("blocks", {"height": "1000"}),
        ("entries", {"log_index": "1000000"}),
        ("transactions", {"log_index": "1000000", "height": "1000", "id": "'x'", "nonce": "'x'"}),
        ("transactions", {"log_index": "1000000", "id": "'x'", "nonce": "'x'"}),
        ("bodies", {"log_index": "1000000"}),
        ("facts", {"height": "1000"}),
        ("fact_parties", {"party": "'x'"}),
        ("records", {"key": "'x'"}),
        ("tiles", {"number": "77"}),
        ("checkpoints", {"size": "1000000", "height": "1000"}),
    ],
)
async def test_a_row_too_many_is_found(lived, engine, table: str, change: dict[str, str]):
    names = [column.name for column in tables.metadata.tables[table].c]
    values = ", ".join(change.get(name, name) for name in names)
    await execute(engine, f"INSERT INTO {table} ({', '.join(names)}) SELECT {values} FROM {table} LIMIT 1")
    with pytest.raises(LedgerDiffers):
        await audited(engine, lived[1])


async def test_the_first_block_and_its_transaction_are_named(lived, engine):
    """Of two changed bodies the earlier one."""
    rows = await execute(engine, "SELECT log_index, height, id FROM transactions ORDER BY log_index LIMIT 5")
    places = [rows[2].log_index, rows[4].log_index]
    await execute(engine, f"UPDATE bodies SET body = {_flipped('body')} WHERE log_index = ANY(:places)", places=places)
    with pytest.raises(LedgerDiffers) as found:
        await audited(engine, lived[1])
    assert (found.value.height, found.value.transaction_id) == (rows[2].height, rows[2].id)


async def test_a_changed_record_is_named_by_the_transaction_that_wrote_it(lived, engine):
    (row,) = await execute(engine, "SELECT key, height FROM records WHERE kind = 'measurement' ORDER BY key LIMIT 1")
    await execute(engine, f"UPDATE records SET body = {_flipped('body')} WHERE key = :key", key=row.key)
    with pytest.raises(LedgerDiffers) as found:
        await audited(engine, lived[1])
    (by,) = await execute(engine, "SELECT id FROM transactions WHERE command = 'RecordMeasurements'")
    assert (found.value.height, found.value.transaction_id) == (row.height, by.id)


async def erase(engine, where: str) -> None:
    """What ledger.channels.erasure does, without its waiting time."""
    places = f"(SELECT log_index FROM transactions WHERE {where})"
    await execute(engine, f"INSERT INTO erasures SELECT channel, log_index, 7 FROM transactions WHERE {where}")
    for table in ("fact_parties", "facts", "bodies"):
        await execute(engine, f"DELETE FROM {table} WHERE log_index IN {places}")


async def test_erased_bodies_are_reported_and_what_is_left_is_verified(lived, engine):
    """Up to the erased block everything is executed again, from there on hashes and signatures hold."""
    whole = await audited(engine, lived[1])
    await erase(engine, "height = 3")
    result = await audited(engine, lived[1])
    counted = "SELECT count(*) FILTER (WHERE height < 3), count(*) FILTER (WHERE height = 3) FROM transactions"
    ((before, within),) = await execute(engine, counted)
    assert (result.re_executed, result.erased) == (before, within)
    assert result.re_executed + result.hash_verified == result.transactions == whole.transactions
    for name in ("height", "size", "records", "state_root", "checkpoint", "final_size"):
        assert getattr(result, name) == getattr(whole, name), name


async def test_with_every_body_erased_nothing_is_executed_and_the_chain_still_verifies(lived, engine):
    await erase(engine, "true")
    result = await audited(engine, lived[1])
    assert (result.re_executed, result.hash_verified, result.erased) == (0, 29, 29)


@pytest.mark.parametrize(
    ("table", "column"),
    [at for at in _COLUMNS if at[0] in ("blocks", "entries", "transactions", "facts", "fact_parties", "records")],
)
async def test_one_changed_value_is_found_where_bodies_were_erased_too(lived, engine, table: str, column: str):
    """The last row of every table lies behind the erased block; facts of the deadline keep their key."""
    await erase(engine, "height = 3")
    await _flip(engine, table, column, "DESC")
    with pytest.raises((LedgerDiffers, GenesisInvalid)):
        await audited(engine, lived[1])


@pytest.mark.parametrize(
    ("table", "where"),
    [
        ("entries", "log_index = (SELECT min(log_index) FROM transactions WHERE height = 3)"),
        ("transactions", "height = 3"),
        ("erasures", "true"),
        ("facts", "height = (SELECT max(height) FROM facts)"),
        ("fact_parties", "height = (SELECT max(height) FROM facts)"),
        ("bodies", "log_index = (SELECT max(log_index) FROM bodies)"),
        ("checkpoints", "height = 3"),
        ("records", "kind = 'party'"),
    ],
)
async def test_a_row_missing_in_an_erased_block_is_found(lived, engine, table: str, where: str):
    await erase(engine, "height = 3")
    await execute(engine, f"DELETE FROM {table} WHERE ctid = (SELECT min(ctid) FROM {table} WHERE {where})")
    with pytest.raises(LedgerDiffers):
        await audited(engine, lived[1])


async def test_a_body_that_is_missing_without_an_erasure_is_no_erased_one(lived, engine):
    await execute(engine, "DELETE FROM bodies WHERE log_index = (SELECT max(log_index) FROM bodies)")
    with pytest.raises(LedgerDiffers, match="were not erased"):
        await audited(engine, lived[1])


async def test_an_erasure_of_nothing_and_of_what_is_still_there_are_found(lived, engine):
    await erase(engine, "height = 3")
    await execute(engine, "INSERT INTO erasures VALUES ('main', 1000000, 7)")
    with pytest.raises(LedgerDiffers, match="erasures"):
        await audited(engine, lived[1])
    await execute(
        engine, "UPDATE erasures SET log_index = (SELECT max(log_index) FROM bodies) WHERE log_index = 1000000"
    )
    with pytest.raises(LedgerDiffers, match="that was erased"):
        await audited(engine, lived[1])


async def test_a_body_erased_and_another_put_in_its_place_is_found(lived, engine):
    await erase(engine, "log_index < (SELECT max(log_index) FROM bodies)")
    await execute(engine, f"UPDATE bodies SET body = {_flipped('body')}")
    with pytest.raises(LedgerDiffers, match="bodies"):
        await audited(engine, lived[1])


async def test_an_edited_record_is_found_by_the_last_root_where_nothing_can_be_executed(lived, engine):
    await erase(engine, "true")
    await execute(
        engine, "UPDATE records SET body = '{}', value_hash = sha256('{}') WHERE ctid = (SELECT min(ctid) FROM records)"
    )
    with pytest.raises(LedgerDiffers, match="state root of the last block"):
        await audited(engine, lived[1])


async def test_a_final_checkpoint_of_another_tree_is_found(lived, engine):
    await execute(engine, "UPDATE finality SET note = (SELECT note FROM checkpoints ORDER BY size LIMIT 1)")
    with pytest.raises(LedgerDiffers, match="finality"):
        await audited(engine, lived[1])


async def test_a_folder_of_another_ledger_does_not_fit(engine, tmp_path):
    """The same parties, other log keys: the policy differs."""
    with pytest.raises(LedgerDiffers, match="meta"):
        await audited(engine, tmp_path)


async def _flip(engine, table: str, column: str, order: str) -> None:
    """Changes one value of the first row in `order` to one that meets no other row."""
    await execute(engine, _flip_of(table, column, order))


def _flip_of(table: str, column: str, order: str) -> str:
    described = tables.metadata.tables[table]
    kind = described.c[column].type.python_type
    new = {bytes: _flipped(column), int: f"{column} + 1000000", bool: f"NOT {column}", str: f"{column} || 'x'"}
    appended = f"array_append({column}, 'x')"
    keys = ", ".join(f"{key.name} {order}" for key in described.primary_key)
    return (
        f"UPDATE {table} SET {column} = {new.get(kind, appended)} WHERE ctid = "
        f"(SELECT ctid FROM {table} WHERE {column} IS NOT NULL ORDER BY {keys} LIMIT 1)"
    )


def _flipped(column: str) -> str:
    """One bit of the byte in the middle."""
    at = f"length({column}) / 2"
    return f"set_byte({column}, {at}, get_byte({column}, {at}) # 1)"


async def test_by_hashes_alone_one_changed_value_in_any_column_is_found_too(lived, engine):
    """As the nightly recomputation looks: nothing is executed. Each change is taken back."""
    agreed = founded(LedgerSettings(data_dir=lived[1]))
    whole, again = await audit(engine, agreed), await audit(engine, agreed, execute=False)
    assert (again.re_executed, again.hash_verified) == (0, whole.transactions)
    for name in ("height", "size", "records", "state_root", "checkpoint", "final_size"):
        assert getattr(again, name) == getattr(whole, name), name
    unseen = []
    for table, column in _COLUMNS:
        async with engine.connect() as connection:
            await connection.execute(text(_flip_of(table, column, "")))
            try:
                await audit_history(History(connection, "main"), agreed, execute=False)
                unseen.append((table, column))
            except (LedgerDiffers, GenesisInvalid):
                pass
            await connection.rollback()
    assert unseen == []
