"""Backup and restore: what comes back is what was there, and a file that is not whole leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from sqlalchemy import text

from ledger.config import LedgerSettings
from ledger.errors import Diverged, GenesisInvalid
from ledger.operations.backup_file import BackupReader, TablePart
from ledger.operations.backup_key import BackupKey, Recipient
from ledger.operations.errors import BackupDamaged, BackupError, BackupKeyWrong, RestoreRefused
from ledger.operations.restore import restore
from ledger.store import tables
from runtime.database import upgrade
from runtime.errors import KeyFileError
from tests.ledger.operations.commands import answered, refused
from tests.ledger.operations.copies import a_filled_ledger, an_engine, backed_up, contents, keys_of, restored
from tests.ledger.replicas import a_replica, an_issue, execute, transfers
from tests.ledger.running import founded

NewDatabase = Callable[..., str]


@pytest.fixture(autouse=True)
def tables_url(new_database: NewDatabase) -> str:
    """The template is made outside of a test's event loop."""
    return new_database("ledger")


@pytest.fixture
async def ledger_url(tables_url: str, tmp_path: Path) -> str:
    """A database with a ledger whose folder is tmp_path / "member"."""
    await a_filled_ledger(tables_url, tmp_path / "member")
    return tables_url


async def test_what_is_restored_is_what_was_there(ledger_url: str, new_database: NewDatabase, tmp_path: Path) -> None:
    made = await backed_up(ledger_url, tmp_path / "member", tmp_path / "b")
    assert made.sha256 == sha256((tmp_path / "b").read_bytes()).hexdigest()

    url = new_database()
    done = await restored(url, tmp_path / "new", tmp_path / "b")

    assert await contents(url) == await contents(ledger_url)
    assert done.channels == made.channels
    assert done.verified["main"].height == made.channels["main"].height > 1
    assert not done.keys
    for name in ("genesis.json", "policy.txt"):
        assert (tmp_path / "new" / name).read_bytes() == (tmp_path / "member" / name).read_bytes()


async def test_a_restored_member_goes_on(ledger_url: str, new_database: NewDatabase, tmp_path: Path) -> None:
    key = BackupKey.create(tmp_path / "keys" / "backup.key")
    file = tmp_path / "b"
    await backed_up(ledger_url, tmp_path / "member", file, recipients=[key.recipient], keys=keys_of(tmp_path))
    url = new_database()
    done = await restored(url, tmp_path / "new", file, key=key)
    assert done.keys
    assert (tmp_path / "new" / "cosigner.key").stat().st_mode & 0o777 == 0o600

    async with a_replica(url, tmp_path / "new") as ledger:
        height = ledger.replica.head.height
        await ledger.run(*transfers(1, first=900))
        assert ledger.replica.head.height == height + 1


async def test_two_backups_of_one_height_hold_the_same_rows(ledger_url: str, tmp_path: Path) -> None:
    first = await backed_up(ledger_url, tmp_path / "member", tmp_path / "a")
    second = await backed_up(ledger_url, tmp_path / "member", tmp_path / "b")
    assert first.sha256 == second.sha256


async def test_a_backup_beside_a_busy_replica_is_of_one_height(new_database: NewDatabase, tmp_path: Path) -> None:
    url = new_database("ledger")
    async with a_replica(url, tmp_path / "member") as ledger:
        await ledger.run(an_issue())
        for number in range(4):
            await ledger.run(*transfers(3, first=10 * number))
            await backed_up(url, tmp_path / "member", tmp_path / str(number))
            await ledger.run(*transfers(3, first=10 * number + 5))
    for number in range(4):
        fresh = new_database()
        done = await restored(fresh, tmp_path / f"new{number}", tmp_path / str(number))
        assert done.verified["main"].size == done.channels["main"].size


async def test_a_sealed_backup_shows_no_body(ledger_url: str, new_database: NewDatabase, tmp_path: Path) -> None:
    key = BackupKey.create(tmp_path / "backup.key")
    await backed_up(ledger_url, tmp_path / "member", tmp_path / "plain")
    await backed_up(ledger_url, tmp_path / "member", tmp_path / "sealed", recipients=[key.recipient])
    assert b'"energy_wh":[500,600]' in (tmp_path / "plain").read_bytes()
    sealed = (tmp_path / "sealed").read_bytes()
    assert b"energy_wh" not in sealed
    assert b"gridpact.local" not in sealed

    await restored(new_database(), tmp_path / "new", tmp_path / "sealed", key=key)


async def test_a_sealed_backup_needs_one_of_its_keys(
    ledger_url: str, new_database: NewDatabase, tmp_path: Path
) -> None:
    first, second, other = (BackupKey.create(tmp_path / f"{name}.key") for name in ("first", "second", "other"))
    await backed_up(ledger_url, tmp_path / "member", tmp_path / "b", recipients=[first.recipient, second.recipient])
    url = new_database()
    for key in (None, other):
        with pytest.raises(BackupKeyWrong, match=first.recipient.fingerprint):
            await restored(url, tmp_path / "new", tmp_path / "b", key=key)
    await restored(url, tmp_path / "new", tmp_path / "b", key=second)


async def test_a_backup_is_sealed_unless_the_operator_says_otherwise(ledger_url: str, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="--recipient"):
        await backed_up(ledger_url, tmp_path / "member", tmp_path / "b", plain=False)
    with pytest.raises(BackupError, match="sealed backup only"):
        await backed_up(ledger_url, tmp_path / "member", tmp_path / "b", keys=keys_of(tmp_path))
    assert not (tmp_path / "b").exists()


async def test_a_backup_replaces_no_file(ledger_url: str, tmp_path: Path) -> None:
    (tmp_path / "b").write_text("mine")
    with pytest.raises(BackupError, match="never written over"):
        await backed_up(ledger_url, tmp_path / "member", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "mine"


async def test_a_database_without_a_ledger_has_nothing_to_back_up(new_database: NewDatabase, tmp_path: Path) -> None:
    with pytest.raises(GenesisInvalid, match="nothing to back up"):
        await backed_up(new_database("ledger"), tmp_path, tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


async def test_only_an_empty_database_is_restored_into(
    ledger_url: str, new_database: NewDatabase, tmp_path: Path
) -> None:
    await backed_up(ledger_url, tmp_path / "member", tmp_path / "b")
    before = await contents(ledger_url)
    with pytest.raises(RestoreRefused, match="not empty"):
        await restored(ledger_url, tmp_path / "member", tmp_path / "b")
    assert await contents(ledger_url) == before

    remnant = new_database("ledger")
    async with an_engine(remnant) as engine:
        await execute(engine, "INSERT INTO tiles VALUES ('main', 0, 0, 'x')")
    with pytest.raises(RestoreRefused, match="tiles has rows"):
        await restored(remnant, tmp_path / "new", tmp_path / "b")


async def test_a_folder_of_another_ledger_is_left_alone(
    ledger_url: str, new_database: NewDatabase, tmp_path: Path
) -> None:
    await backed_up(ledger_url, tmp_path / "member", tmp_path / "b")
    founded(LedgerSettings(data_dir=tmp_path / "other"))
    before = {path.name: path.read_bytes() for path in (tmp_path / "other").iterdir()}
    url = new_database()
    with pytest.raises(RestoreRefused, match="another ledger or member"):
        await restored(url, tmp_path / "other", tmp_path / "b")
    assert {path.name: path.read_bytes() for path in (tmp_path / "other").iterdir()} == before
    assert await is_empty(url)


async def test_tables_of_another_version_are_refused(
    ledger_url: str, new_database: NewDatabase, tmp_path: Path
) -> None:
    await backed_up(ledger_url, tmp_path / "member", tmp_path / "b")
    async with an_engine(new_database("ledger")) as engine:
        await execute(engine, "UPDATE alembic_version_ledger SET version_num = 'from the future'")
        with pytest.raises(RestoreRefused, match="from the future"):
            await restore(engine, tmp_path / "new", tmp_path / "b")


async def test_edited_rows_travel_but_are_not_kept(ledger_url: str, new_database: NewDatabase, tmp_path: Path) -> None:
    """A backup of a falsified database is whole: only executing it again shows what is wrong."""
    async with an_engine(ledger_url) as engine:
        await execute(engine, "UPDATE facts SET time_ms = time_ms + 1 WHERE height = 2")
    await backed_up(ledger_url, tmp_path / "member", tmp_path / "b")
    url = new_database()
    with pytest.raises(Diverged, match="block 2"):
        await restored(url, tmp_path / "new", tmp_path / "b")
    assert await is_empty(url)
    assert list((tmp_path / "new").glob("*")) == []
    done = await restored(url, tmp_path / "new", tmp_path / "b", verify=False)
    assert done.verified == {}


async def is_empty(url: str) -> bool:
    async with an_engine(url) as engine:
        async with engine.connect() as connection:
            made = await connection.scalar(text("SELECT to_regclass('meta')"))
        return made is None or not any(
            [await execute(engine, f"SELECT 1 FROM {table} LIMIT 1") for table in tables.metadata.tables]
        )


@pytest.mark.parametrize("sealed", [False, True])
async def test_every_damaged_file_is_named_and_leaves_nothing(
    ledger_url: str, new_database: NewDatabase, tmp_path: Path, sealed: bool
) -> None:
    key = BackupKey.create(tmp_path / "backup.key") if sealed else None
    recipients = [key.recipient] if key else []
    await backed_up(ledger_url, tmp_path / "member", tmp_path / "b", recipients=recipients)
    whole = (tmp_path / "b").read_bytes()
    damaged = [whole[:at] for at in (0, 5, 30, 400, len(whole) // 2, len(whole) - 1)]
    damaged += [whole + b"\n", b"PK\x03\x04" + whole[4:], b"\0" * 1000]
    for at in range(0, len(whole), len(whole) // 40):
        damaged.append(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    url = new_database("ledger")
    before = await contents(url)
    file = tmp_path / "damaged"
    for data in damaged:
        file.write_bytes(data)
        with pytest.raises((BackupDamaged, BackupKeyWrong)):
            await restored(url, tmp_path / "new", file, key=key)
    assert await contents(url) == before
    assert list((tmp_path / "new").glob("*")) == []


async def test_a_frame_left_out_or_moved_is_noticed(ledger_url: str, tmp_path: Path) -> None:
    await backed_up(ledger_url, tmp_path / "member", tmp_path / "b")
    whole = (tmp_path / "b").read_bytes()
    frames, at = [], whole.index(b"\n") + 1
    while at < len(whole):
        end = at + 5 + int.from_bytes(whole[at + 1 : at + 5], "big") + 32
        frames.append(whole[at:end])
        at = end
    first = whole[: whole.index(b"\n") + 1]
    for edited in ([*frames[:3], *frames[4:]], [*frames[:3], frames[4], frames[3], *frames[5:]], frames[:-1]):
        file = tmp_path / "edited"
        file.write_bytes(first + b"".join(edited))
        with pytest.raises(BackupDamaged, match="frame"):
            read_through(file)


def read_through(file: Path) -> None:
    with file.open("rb") as opened:
        for _, data in BackupReader(opened, None).parts():
            list(data)


async def test_data_travels_in_frames_of_bounded_size(new_database: NewDatabase, tmp_path: Path) -> None:
    """A table larger than a frame is many frames: neither side holds it whole."""
    url = new_database("ledger")
    await a_filled_ledger(url, tmp_path / "member")
    async with an_engine(url) as engine:
        await execute(
            engine,
            "INSERT INTO refusals (channel, received_ms, code, detail) "
            "SELECT 'main', n, 'x', repeat(md5(n::text), 2000) FROM generate_series(1, 100) AS n",
        )
    await backed_up(url, tmp_path / "member", tmp_path / "b")
    with (tmp_path / "b").open("rb") as file:
        sizes = {
            part.table: [len(piece) for piece in data]
            for part, data in BackupReader(file, None).parts()
            if isinstance(part, TablePart) or list(data) is None
        }
    assert len(sizes["refusals"]) > 5
    assert max(map(max, filter(None, sizes.values()))) == 1 << 20


def test_a_backup_key_is_taken_by_its_public_half_alone(tmp_path: Path) -> None:
    key = BackupKey.create(tmp_path / "backup.key")
    assert Recipient.read(str(tmp_path / "backup.pub")).text == key.recipient.text
    assert Recipient.read(key.recipient.text).fingerprint == key.recipient.fingerprint
    assert BackupKey.load(tmp_path / "backup.key").recipient.text == key.recipient.text
    with pytest.raises(KeyFileError, match=r"nor a \.pub file"):
        Recipient.read(str(tmp_path / "backup.key"))
    with pytest.raises(KeyFileError, match="exists"):
        BackupKey.create(tmp_path / "backup.key")
    (tmp_path / "backup.key").chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        BackupKey.load(tmp_path / "backup.key")


async def test_a_backup_made_before_a_migration_is_migrated_when_it_is_restored(
    ledger_url: str, new_database: NewDatabase, tmp_path: Path
) -> None:
    old = new_database()
    await upgrade(old, "ledger", "0001")
    columns = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
    async with an_engine(old) as before, an_engine(ledger_url) as engine:
        kept = {tuple(row) for row in await execute(before, columns)}
        for table, column in await execute(engine, columns):
            if (table, column) not in kept and table in {name for name, _ in kept}:
                await execute(engine, f"ALTER TABLE {table} DROP COLUMN {column}")
        for table in {row[0] for row in await execute(engine, columns)} - {name for name, _ in kept}:
            await execute(engine, f"DROP TABLE IF EXISTS {table} CASCADE")
        await execute(engine, "UPDATE alembic_version_ledger SET version_num = '0001'")
    await backed_up(ledger_url, tmp_path / "member", tmp_path / "b")
    url = new_database()
    done = await restored(url, tmp_path / "new", tmp_path / "b")
    assert done.verified["main"].height == done.channels["main"].height
    async with an_engine(url) as engine:
        assert await execute(engine, "SELECT version_num FROM alembic_version_ledger") > [("0001",)]
        assert await execute(engine, "SELECT * FROM finality") == []


def test_the_commands_make_a_key_a_backup_and_a_restored_member(
    tables_url: str, new_database: NewDatabase, tmp_path: Path
) -> None:
    asyncio.run(a_filled_ledger(tables_url, tmp_path / "member"))
    made = answered("backup-key", tmp_path / "backup.key")
    here = ("--data-dir", tmp_path / "member", "--database-url", tables_url)
    assert "--recipient" in refused(7, "backup", tmp_path / "b", *here)
    done = answered("backup", tmp_path / "b", "--recipient", made["public_file"], "--with-keys", *here)
    assert (done["sealed_for"], done["keys"]) == ([made["fingerprint"]], 2)
    assert done["sha256"] == sha256((tmp_path / "b").read_bytes()).hexdigest()

    there = ("--data-dir", tmp_path / "new", "--database-url", new_database())
    assert made["fingerprint"] in refused(7, "restore", tmp_path / "b", *there)
    back = answered("restore", tmp_path / "b", "--key", tmp_path / "backup.key", *there)
    assert back["channels"] == done["channels"]
    assert back["verified"]["main"]["height"] == done["channels"]["main"]["height"]
    assert answered("verify", *there)["size"] == back["verified"]["main"]["size"]
    assert "not empty" in refused(7, "restore", tmp_path / "b", "--key", tmp_path / "backup.key", *there)
