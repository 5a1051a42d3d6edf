"""Disks without room: what was acknowledged stays, what cannot be noted is not signed, and it goes on by itself."""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from ledger.errors import OrderingUnavailable
from ledger.marker import FileMarker
from ledger.operations.errors import BackupError, BackupRuns, SigningStopped
from ledger.operations.watch import readiness
from ledger.replication import exchange
from tests.ledger.operations.commands import refused
from tests.ledger.operations.copies import a_filled_ledger, an_engine, backed_up
from tests.ledger.replicas import Ledger, a_replica, a_transfer, an_issue, execute, until_known
from tests.ledger.replication.consortium import until

NewDatabase = Callable[..., str]
FULL = Path("/dev/full")
DIGEST = "d" * 64
NO_ROOM = (
    "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {count}"
    "RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$"
)


@pytest.fixture
def database(new_database: NewDatabase) -> str:
    return new_database("ledger")


async def test_a_full_disk_under_postgresql_delays_blocks_and_is_named(database: str, tmp_path: Path) -> None:
    """The trigger answers what a full disk does; the sequence, which no rollback takes back, counts the tries."""
    async with a_replica(database, tmp_path / "member", answer_timeout_s=0.5) as ledger:
        await ledger.run(an_issue())
        await execute(ledger.engine, "CREATE SEQUENCE tries")
        await execute(ledger.engine, NO_ROOM.format(count="PERFORM nextval('tries'); "))
        await execute(ledger.engine, "CREATE TRIGGER full_disk BEFORE INSERT ON blocks EXECUTE FUNCTION no_room()")
        started_s = asyncio.get_running_loop().time()
        assert (await _answer(ledger, a_transfer("a")))[0] in ("unknown", "unavailable")
        await until(lambda: "no room left" in (ledger.replica._progress.unavailable or ""))
        await asyncio.sleep(2)
        tried = (await ledger.sql("SELECT last_value FROM tries"))[0][0]
        assert tried <= 5 + (asyncio.get_running_loop().time() - started_s), "ever more rarely"
        assert ledger.replica.height == 1
        await execute(ledger.engine, "DROP TRIGGER full_disk ON blocks")
        (result,) = await until_known(ledger, a_transfer("a"))
        assert (result.status, result.height) == ("committed", 2)
        assert ledger.replica.final_height == 2


async def _answer(ledger: Ledger, content: bytes) -> tuple[str, str]:
    try:
        return (await ledger.submit(content))[0].status, ""
    except OrderingUnavailable as error:
        return "unavailable", str(error)


async def test_what_cannot_be_noted_is_not_signed_until_there_is_room(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "_AGAIN_S", 0.05)
    signed = tmp_path / "member" / "signed"
    async with a_replica(database, tmp_path / "member") as ledger:
        await ledger.run(an_issue())
        noted = signed.read_bytes()
        signed.unlink()
        signed.symlink_to(FULL)
        (result,) = await ledger.run(a_transfer("a"))
        assert (result.height, ledger.replica.final_height) == (2, 1), "committed, and not final"
        with pytest.raises(SigningStopped, match=r"No space left.*cosigns nothing.*Make room"):
            await readiness.check_signing(ledger.replica)
        await ledger.run(a_transfer("b"))
        room = tmp_path / "room"
        room.write_bytes(noted)
        room.replace(signed)  # at once: it is tried again at any moment
        await until(lambda: ledger.replica.final_height == 3)
        await readiness.check_signing(ledger.replica)
        assert f" {ledger.replica.head.size:020d} ".encode() in signed.read_bytes()


def test_a_first_marker_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    """An empty file would be taken for a damaged one, and the member would not start any more."""
    (tmp_path / "signed.new").symlink_to(FULL)
    marker = FileMarker(tmp_path / "signed", DIGEST)
    with pytest.raises(OSError, match="No space left"):
        marker.record(3, b"r" * 32)
    assert not (tmp_path / "signed").exists()
    assert (marker.exists, marker.size) == (False, 0)
    (tmp_path / "signed.new").unlink()
    marker.record(3, b"r" * 32)
    assert FileMarker(tmp_path / "signed", DIGEST).size == 3


def test_a_marker_that_somebody_deleted_is_made_again(tmp_path: Path) -> None:
    marker = FileMarker(tmp_path / "signed", DIGEST)
    marker.record(3, b"r" * 32)
    (tmp_path / "signed").unlink()
    marker.record(4, b"s" * 32)
    assert FileMarker(tmp_path / "signed", DIGEST).size == 4


async def test_a_backup_without_room_leaves_nothing_and_says_so(database: str, tmp_path: Path) -> None:
    await a_filled_ledger(database, tmp_path / "member")
    (tmp_path / "b.partial").symlink_to(FULL)
    with pytest.raises(BackupError, match=r"cannot be written.*No space left.*nothing is left of it"):
        await backed_up(database, tmp_path / "member", tmp_path / "b")
    assert not (tmp_path / "b").exists()
    assert not (tmp_path / "b.partial").is_symlink()
    await backed_up(database, tmp_path / "member", tmp_path / "b")


async def test_two_backups_do_not_write_one_file_and_a_killed_one_is_begun_anew(database: str, tmp_path: Path) -> None:
    await a_filled_ledger(database, tmp_path / "member")
    partial = tmp_path / "b.partial"
    with partial.open("ab") as running:
        running.write(b"the first half")
        running.flush()
        fcntl.flock(running, fcntl.LOCK_EX)
        with pytest.raises(BackupRuns, match="another backup is writing"):
            await backed_up(database, tmp_path / "member", tmp_path / "b")
        assert partial.read_bytes() == b"the first half"
    made = await backed_up(database, tmp_path / "member", tmp_path / "b")
    assert made.sha256 == sha256((tmp_path / "b").read_bytes()).hexdigest()
    assert not partial.exists()


def test_a_database_without_room_for_what_is_restored_is_a_sentence(
    database: str, new_database: NewDatabase, tmp_path: Path
) -> None:
    url = new_database("ledger")

    async def prepare() -> None:
        await a_filled_ledger(database, tmp_path / "member")
        await backed_up(database, tmp_path / "member", tmp_path / "b")
        async with an_engine(url) as engine:
            await execute(engine, NO_ROOM.format(count=""))
            await execute(engine, "CREATE TRIGGER full_disk BEFORE INSERT ON entries EXECUTE FUNCTION no_room()")

    asyncio.run(prepare())
    said = refused(7, "restore", tmp_path / "b", "--data-dir", tmp_path / "new", "--database-url", url)
    assert "No space left on device" in said
    assert "nothing was kept" in said
    assert list((tmp_path / "new").glob("*")) == []
