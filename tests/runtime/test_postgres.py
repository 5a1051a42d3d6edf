"""The embedded PostgreSQL: made, kept private, alone on its folder, and back after kill -9 of anybody."""

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from runtime.errors import DataFolderLocked, PostgresError, PostgresUnavailable, SettingsError, WrongDataVersion
from runtime.postgres import EmbeddedPostgres, normal_url, postgres
from runtime.postgres import account as accounts
from runtime.postgres.account import system_account
from runtime.postgres.folder import find_binaries, socket_folder

OWNER = """
import asyncio, sys
from pathlib import Path
from runtime.postgres import postgres

async def main():
    async with postgres(None, Path(sys.argv[1]), "ledger") as url:
        print(url, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""
pytestmark = pytest.mark.slow  # nearly every test makes a server: half a second each
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes the user")


def query(url: str, statement: str) -> list[tuple]:
    conninfo = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


async def until_answering(url: str, statement: str = "SELECT 1") -> list[tuple]:
    for _ in range(200):
        try:
            return await asyncio.to_thread(query, url, statement)
        except psycopg.OperationalError:
            await asyncio.sleep(0.1)
    raise AssertionError("no answer in 20 s")


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def folder_of(data_dir: Path) -> Path:
    """Where the server's data lies: there, or with the system user where root may not use namespaces."""
    return Path((data_dir / "folder").read_text().strip())


@pytest.fixture
async def server(tmp_path):
    server = EmbeddedPostgres(tmp_path / "postgres")
    await server.start()
    yield server
    await server.stop()


async def test_data_survives_a_clean_stop_and_the_second_start_keeps_the_password(tmp_path):
    async with postgres(None, tmp_path / "postgres", "ledger") as first:
        query(first, "CREATE TABLE kept AS SELECT 42 AS value")
    async with postgres(None, tmp_path / "postgres", "ledger") as second:
        assert second == first
        assert query(second, "SELECT value FROM kept") == [(42,)]


async def test_the_server_keeps_the_promises_of_its_settings(server):
    url = await server.ensure_database("ledger")
    wanted = {
        "data_checksums": "on",
        "fsync": "on",
        "full_page_writes": "on",
        "listen_addresses": "",
        "password_encryption": "scram-sha-256",
        "server_encoding": "UTF8",
        "synchronous_commit": "on",
        "TimeZone": "UTC",
    }
    for name, value in wanted.items():
        assert query(url, f"SHOW {name}") == [(value,)], name
    locale = "SELECT datcollate, datctype FROM pg_database WHERE datname = 'ledger'"
    assert query(url, locale) == [("C", "C")]


async def test_nobody_gets_in_without_the_password(server):
    url = make_url(await server.ensure_database("ledger"))
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        query(url.set(password="guess").render_as_string(hide_password=False), "SELECT 1")


async def test_socket_password_and_data_are_for_the_owner_alone(server):
    sockets = Path(make_url(await server.ensure_database("ledger")).query["host"])
    data = folder_of(server.data_dir)
    for path, mode in [(sockets, 0o700), (data / "password", 0o600), (data / "pgdata", 0o700)]:
        assert path.stat().st_mode & 0o777 == mode, path


async def test_the_folders_above_the_data_may_be_closed_and_stay_so(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    async with postgres(None, closed / "postgres", "ledger") as url:
        assert query(url, "SELECT 1") == [(1,)]
    assert closed.stat().st_mode & 0o777 == 0o700


async def test_the_server_does_not_run_as_root(server):
    query(await server.ensure_database("ledger"), "SELECT 1")
    status = Path(f"/proc/{server.pid}/status").read_text()
    capabilities = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff"))
    assert int(capabilities, 16) == 0


async def test_a_clean_stop_leaves_no_process_and_no_socket(tmp_path):
    server = EmbeddedPostgres(tmp_path / "postgres")
    await server.start()
    pid, sockets = server.pid, Path(make_url(await server.ensure_database("ledger")).query["host"])
    assert pid is not None
    await server.stop()
    assert not is_running(pid)
    assert not sockets.exists()
    assert "database system is shut down" in (folder_of(tmp_path / "postgres") / "server.log").read_text()


async def test_a_second_owner_of_the_folder_is_refused_with_the_first_ones_id(tmp_path, server):
    with pytest.raises(DataFolderLocked, match=f"in use by process {os.getpid()}"):
        await EmbeddedPostgres(server.data_dir).start()
    query(await server.ensure_database("ledger"), "SELECT 1")  # the refusal did not touch the first


async def test_another_process_may_attach_to_a_running_server_and_leave_it_running(server):
    url = await server.ensure_database("ledger")
    async with postgres(None, server.data_dir, "ledger", attach=True) as attached:
        assert attached == url
    assert query(url, "SELECT 1") == [(1,)]


async def test_the_server_is_back_with_its_data_after_kill_9(tmp_path):
    async with postgres(None, tmp_path / "postgres", "ledger") as url:
        query(url, "CREATE TABLE kept AS SELECT 42 AS value")
        pid = int((folder_of(tmp_path / "postgres") / "pgdata" / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(0.3)
        assert await until_answering(url, "SELECT value FROM kept") == [(42,)]
        again = int((folder_of(tmp_path / "postgres") / "pgdata" / "postmaster.pid").read_text().split()[0])
        assert again != pid


async def test_a_start_waits_while_processes_of_a_killed_server_linger(tmp_path):
    """A process that is stopped cannot see that its postmaster died, so it holds the shared memory until it goes on."""
    server = EmbeddedPostgres(tmp_path / "postgres")
    await server.start()
    url = await server.ensure_database("ledger")
    conninfo = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    connection = psycopg.connect(conninfo)
    backend = connection.info.backend_pid
    assert server.pid is not None
    os.kill(backend, signal.SIGSTOP)
    os.kill(server.pid, signal.SIGKILL)
    await server.stop()

    async def resume() -> None:
        await asyncio.sleep(1)
        os.kill(backend, signal.SIGCONT)

    resumed = asyncio.create_task(resume())
    started = time.monotonic()
    await server.start()
    assert time.monotonic() - started > 0.5
    assert query(url, "SELECT 1") == [(1,)]
    await resumed
    connection.close()
    await server.stop()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_a_new_owner_takes_over_what_a_killed_one_left(tmp_path, number):
    data_dir = tmp_path / "postgres"
    with subprocess.Popen([sys.executable, "-c", OWNER, str(data_dir)], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        url = (await asyncio.to_thread(owner.stdout.readline)).strip()
        query(url, "CREATE TABLE kept AS SELECT 42 AS value")
        orphan = int((folder_of(data_dir) / "pgdata" / "postmaster.pid").read_text().split()[0])
        owner.send_signal(number)
        owner.wait()
    assert is_running(orphan)
    async with postgres(None, data_dir, "ledger") as again:
        assert not is_running(orphan)
        assert query(again, "SELECT value FROM kept") == [(42,)]


async def test_what_a_killed_owner_left_can_be_ended_without_a_new_owner(tmp_path, server):
    assert not await EmbeddedPostgres(tmp_path / "nothing").end_left()
    with pytest.raises(DataFolderLocked):
        await EmbeddedPostgres(server.data_dir).end_left()
    orphan = server.pid
    server._lock.close()  # as the death of the owner does
    assert await EmbeddedPostgres(server.data_dir).end_left()
    assert not is_running(orphan)


async def test_a_bystander_with_the_number_of_a_dead_server_is_left_alone_and_does_not_hinder_the_start(tmp_path):
    server = EmbeddedPostgres(tmp_path / "postgres")
    await server.start()
    await server.stop()
    with subprocess.Popen(["sleep", "60"]) as bystander:
        pid_file = folder_of(tmp_path / "postgres") / "pgdata" / "postmaster.pid"
        pid_file.write_text(f"{bystander.pid}\n{tmp_path}\n0\n5432\n\n\n\n")
        await server.start()
        assert bystander.poll() is None
        await server.stop()
        bystander.kill()


async def test_a_half_made_data_folder_is_made_again(tmp_path):
    (tmp_path / "postgres").mkdir()
    account = accounts.choose_account(find_binaries(None), tmp_path / "postgres")
    partial = account.folder / "pgdata.new"
    partial.mkdir(parents=True)
    (partial / "PG_VERSION").write_text("16\n")
    async with postgres(None, tmp_path / "postgres", "ledger") as url:
        assert query(url, "SELECT 1") == [(1,)]
    assert not partial.exists()


async def test_data_of_another_major_version_is_refused_with_both_versions(tmp_path):
    async with postgres(None, tmp_path / "postgres", "ledger"):
        pass
    (folder_of(tmp_path / "postgres") / "pgdata" / "PG_VERSION").write_text("9\n")
    with pytest.raises(WrongDataVersion, match=r"made by PostgreSQL 9, the programs in .* are version 16"):
        await EmbeddedPostgres(tmp_path / "postgres").start()


def test_a_socket_path_that_is_too_long_is_refused_before_anything_is_made(tmp_path):
    base = tmp_path / ("x" * 80)
    with pytest.raises(PostgresError, match="107 bytes"):
        socket_folder(tmp_path, base)


def test_a_long_folder_for_temporary_files_falls_back_to_a_short_one(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / ("x" * 80)))
    assert len(os.fsencode(socket_folder(tmp_path) / ".s.PGSQL.5432")) <= 107


async def test_a_socket_folder_somebody_else_prepared_is_refused(tmp_path):
    with tempfile.TemporaryDirectory() as base:  # pytest's own folder may be too deep for a socket
        prepared = socket_folder(tmp_path / "postgres", Path(base))
        prepared.mkdir()
        prepared.chmod(0o777)
        with pytest.raises(PostgresError, match="not a private folder"):
            await EmbeddedPostgres(tmp_path / "postgres", socket_base=Path(base)).start()


def test_missing_binaries_are_explained(tmp_path, monkeypatch):
    with pytest.raises(PostgresUnavailable, match="no program `postgres`"):
        find_binaries(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(PostgresUnavailable, match="DATABASE_URL"):
        find_binaries(None)


@as_root
def test_root_without_any_way_is_told_both_and_the_url(tmp_path, monkeypatch):
    monkeypatch.setattr(accounts, "_NAMESPACE", ("false",))
    monkeypatch.setattr(accounts, "system_account", lambda *_: (_ for _ in ()).throw(OSError("read-only")))
    with pytest.raises(PostgresUnavailable, match=r"user namespace.*system user gridpact.*read-only.*DATABASE_URL"):
        accounts.choose_account(find_binaries(None), tmp_path)


@as_root
async def test_a_system_user_runs_a_copy_of_the_binaries_where_namespaces_are_refused(tmp_path, monkeypatch):
    home = Path(f"/var/tmp/gridpact-test-{os.getpid()}")  # not below pytest's closed folder
    monkeypatch.setattr(accounts, "_NAMESPACE", ("false",))
    monkeypatch.setattr(
        accounts, "system_account", lambda binaries, folder: system_account(binaries, folder, "nobody", home)
    )
    try:
        async with postgres(None, tmp_path / "postgres", "ledger") as url:
            query(url, "CREATE TABLE kept AS SELECT 42 AS value")
            (data,) = (home / "data").iterdir()
            assert data.owner() == "nobody"
            pid = int((data / "pgdata" / "postmaster.pid").read_text().split()[0])
            assert Path(f"/proc/{pid}").stat().st_uid == pwd.getpwnam("nobody").pw_uid
            async with postgres(None, tmp_path / "postgres", "ledger", attach=True) as attached:
                assert attached == url
        async with postgres(None, tmp_path / "postgres", "ledger") as url:
            assert query(url, "SELECT value FROM kept") == [(42,)]
    finally:
        shutil.rmtree(home)


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("postgresql://u:p@db/own", "postgresql+psycopg://u:p@db/own"),
        ("postgresql://u:p@db:5433", "postgresql+psycopg://u:p@db:5433/ledger"),
    ],
)
async def test_a_url_names_a_server_of_your_own(tmp_path, given, normal):
    assert normal_url(given, "ledger") == normal
    async with postgres(given, tmp_path / "postgres", "ledger") as url:
        assert url == normal
    assert not (tmp_path / "postgres").exists()


async def test_a_dead_server_nobody_has_buried_does_not_hinder_the_start(tmp_path):
    """The lock beside the socket holds a number as well: of a zombie here, after a reboot of any other process."""
    server = EmbeddedPostgres(tmp_path / "postgres")
    await server.start()
    await server.stop()
    sockets = socket_folder(server.data_dir)
    sockets.mkdir(mode=0o700)
    with subprocess.Popen(["true"]) as zombie:
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)  # it has ended and is not waited for
        (sockets / ".s.PGSQL.5432.lock").write_text(f"{zombie.pid}\n{server.data_dir}/pgdata\n0\n5432\n{sockets}\n")
        await server.start()
        assert query(await server.ensure_database("ledger"), "SELECT 1") == [(1,)]
        await server.stop()


async def test_damaged_data_is_explained_at_once(tmp_path):
    data_dir = tmp_path / "postgres"
    async with postgres(None, data_dir, "ledger"):
        pass
    folder = folder_of(data_dir)
    password = (folder / "password").read_text()
    for path, content, reason in (
        ("password", None, "password of the PostgreSQL .* cannot be read"),
        ("password", "guess", "is not the password of the PostgreSQL beside it"),
        ("pgdata/PG_VERSION", "", "PG_VERSION is empty"),
        ("pgdata/PG_VERSION", None, "is no data folder of PostgreSQL"),
    ):
        (folder / path).unlink() if content is None else (folder / path).write_text(content)
        started = time.monotonic()
        with pytest.raises(PostgresError, match=reason):
            await EmbeddedPostgres(data_dir).start()
        assert time.monotonic() - started < 20
        (folder / "password").write_text(password)


async def test_a_file_in_the_place_of_the_data_folder_is_explained(tmp_path):
    (tmp_path / "postgres").write_text("")
    with pytest.raises(PostgresError, match="cannot be made"):
        await EmbeddedPostgres(tmp_path / "postgres").start()


def test_a_url_that_is_none_is_refused_without_repeating_it():
    with pytest.raises(SettingsError, match="postgresql://USER@HOST") as refused:
        normal_url("hunter2 at home", "ledger")
    assert "hunter2" not in str(refused.value)


RUN = """
import asyncio, sys
from pathlib import Path
from runtime.postgres import postgres
from runtime.service import run

async def main():
    async with postgres(None, Path(sys.argv[1]), "ledger"):
        print("up", flush=True)
        await asyncio.sleep(60)

run(main())
"""


def test_sigterm_ends_a_process_with_its_postgres(tmp_path):
    data_dir = tmp_path / "postgres"
    with subprocess.Popen([sys.executable, "-c", RUN, str(data_dir)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        server = int((folder_of(data_dir) / "pgdata" / "postmaster.pid").read_text().split()[0])
        process.terminate()
        assert process.wait(30) == 143
    assert not is_running(server)
