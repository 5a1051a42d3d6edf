"""Each package has its own schema version in a database, and a program refuses one that is not its own."""

import asyncio
import secrets

import pytest
from sqlalchemy import make_url, text

from runtime import database
from runtime.database import check_schema, create_engine, migrations_folder, upgrade
from runtime.errors import DatabaseUnreachable, SchemaError, StaleSchema

MIGRATION = """
from alembic import op
import sqlalchemy as sa

revision = "{revision}"
down_revision = {before!r}


def upgrade():
    {statement}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The migrations of the package `sample`, none yet."""
    (tmp_path / "versions").mkdir()
    monkeypatch.setattr(database, "migrations_folder", lambda _: tmp_path)
    return tmp_path


def add_migration(folder, revision, before, statement):
    path = folder / "versions" / f"{revision}.py"
    path.write_text(MIGRATION.format(revision=revision, before=before, statement=statement))


@pytest.fixture
def two_versions(folder):
    add_migration(folder, "0001", None, 'op.create_table("things", sa.Column("id", sa.Integer, primary_key=True))')
    add_migration(folder, "0002", "0001", 'op.add_column("things", sa.Column("name", sa.Text))')
    return folder


@pytest.fixture
async def engine(database_url):
    engine = create_engine(database_url, application_name="a test")
    yield engine
    await engine.dispose()


async def test_an_empty_database_is_stale_and_the_command_is_named(two_versions, engine):
    with pytest.raises(StaleSchema, match="no tables of sample yet: run `dr-sample migrate`"):
        await check_schema(engine, "sample")


async def test_upgrade_makes_the_tables_and_the_check_passes(two_versions, engine):
    await upgrade(engine, "sample")
    await check_schema(engine, "sample")
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT id, name FROM things"))).all() == []
        versions = await connection.execute(text("SELECT version_num FROM alembic_version_sample"))
        assert versions.scalars().all() == ["0002"]


async def test_a_database_one_version_behind_is_stale_until_upgraded(folder, engine):
    add_migration(folder, "0001", None, 'op.execute("CREATE TABLE things (id int)")')
    await upgrade(engine, "sample")
    add_migration(folder, "0002", "0001", 'op.execute("ALTER TABLE things ADD name text")')
    with pytest.raises(StaleSchema, match="at version 0001, this program needs 0002: run `dr-sample migrate`"):
        await check_schema(engine, "sample")
    await upgrade(engine, "sample")
    await check_schema(engine, "sample")


async def test_a_database_of_a_newer_program_is_refused(two_versions, engine):
    await upgrade(engine, "sample")
    (two_versions / "versions" / "0002.py").unlink()
    with pytest.raises(StaleSchema, match="at version 0002, made by a newer program"):
        await check_schema(engine, "sample")
    with pytest.raises(SchemaError, match="cannot be migrated"):
        await upgrade(engine, "sample")


async def test_many_processes_may_upgrade_at_once(two_versions, engine, database_url):
    await asyncio.gather(*(upgrade(database_url, "sample") for _ in range(4)))
    await check_schema(engine, "sample")


async def test_a_failing_migration_leaves_nothing_behind(two_versions, engine):
    add_migration(two_versions, "0003", "0002", 'op.execute("SELECT nothing_of_this_name")')
    with pytest.raises(SchemaError, match="nothing_of_this_name"):
        await upgrade(engine, "sample")
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT to_regclass('things')"))).scalar() is None


async def test_two_packages_keep_their_versions_apart_in_one_database(two_versions, engine):
    await upgrade(engine, "sample")
    with pytest.raises(StaleSchema, match="no tables of other"):
        await check_schema(engine, "other")


async def test_connections_carry_the_name_and_utc(engine):
    async with engine.connect() as connection:
        row = await connection.execute(text("SELECT current_setting('application_name'), current_setting('timezone')"))
        assert tuple(row.one()) == ("a test", "UTC")


async def test_texts_are_texts_in_a_database_without_an_encoding(folder, engine, database_url):
    name = f"ascii_{secrets.token_hex(4)}"
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        await connection.execute(text(f"CREATE DATABASE {name} ENCODING SQL_ASCII LC_COLLATE 'C' LC_CTYPE 'C' "
                                      "TEMPLATE template0"))  # fmt: skip
    url = make_url(database_url).set(database=name).render_as_string(hide_password=False)
    add_migration(folder, "0001", None, 'op.create_table("names", sa.Column("name", sa.Text))')
    await upgrade(url, "sample")
    there = create_engine(url)
    try:
        async with there.begin() as connection:
            await connection.execute(text("INSERT INTO names VALUES (:name)"), {"name": "Müller"})
            assert (await connection.execute(text("SELECT name FROM names"))).scalar_one() == "Müller"
    finally:
        await there.dispose()
        async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            await connection.execute(text(f"DROP DATABASE {name}"))


@pytest.mark.parametrize("package", ["ledger", "vtn"])
def test_a_checkout_keeps_the_migrations_beside_the_packages(package):
    assert migrations_folder(package).parts[-2:] == ("migrations", package)


def test_an_installation_keeps_the_migrations_in_the_package(tmp_path, monkeypatch):
    (tmp_path / "installed" / "migrations" / "versions").mkdir(parents=True)
    (tmp_path / "installed" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert migrations_folder("installed") == tmp_path / "installed" / "migrations"


def test_a_package_without_migrations_is_named():
    with pytest.raises(SchemaError, match="no migrations of runtime"):
        migrations_folder("runtime")


async def test_a_server_that_is_not_there_is_named_without_its_password():
    engine = create_engine("postgresql+psycopg://home:hunter2@127.0.0.1:9/ledger")
    with pytest.raises(DatabaseUnreachable, match=r"no connection to .*127\.0\.0\.1:9/ledger") as refused:
        await check_schema(engine, "ledger")
    await engine.dispose()
    assert "hunter2" not in str(refused.value)
