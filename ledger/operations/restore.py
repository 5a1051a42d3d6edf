"""`dr-ledger restore`: a backup into an empty database and folder, checked before and after it is kept.

    FILE ─ BackupReader (each frame checked) ─ COPY ─▶ one transaction ─ heights as the header says ─▶ COMMIT
                                                                                                         │
    an older schema is restored at its own version and then migrated                              audit (verify)
                                                                            differs: the tables are emptied again

Nothing is replaced: tables with a row, or a folder with another genesis, policy or key, are refused. Whatever goes
wrong before the commit leaves the database as it was.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger.audit import Audited, audit
from ledger.operations.backup import (
    CHANNELS_FOLDER,
    FILE_BYTES_MAX,
    PRIVATE_SUFFIX,
    channel_at,
    driver_of,
    stored_columns,
)
from ledger.operations.backup_file import BackupReader, ChannelAt, FilePart, TablePart
from ledger.operations.backup_key import BackupKey
from ledger.operations.errors import BackupDamaged, RestoreRefused
from ledger.operations.public_member import founded_as_signed
from ledger.store import tables
from runtime.database import found_version, upgrade, versions

Columns = Mapping[str, tuple[str, ...]]

_PATH: Final = re.compile(rf"({CHANNELS_FOLDER}/[A-Za-z0-9_-]+/)?[A-Za-z0-9_-][A-Za-z0-9._-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Restored:
    """What is there now. `verified`: by channel, empty without verification; `keys`: the member's keys are there."""

    file: str
    digest: str
    channels: Mapping[str, ChannelAt]
    rows: int
    files: tuple[str, ...]
    keys: bool
    verified: Mapping[str, Audited]


async def restore(
    engine: AsyncEngine, data_dir: Path, source: Path, *, key: BackupKey | None = None, verify: bool = True
) -> Restored:
    """Reads `source` into the database of `engine` and the folder `data_dir`.

    Raises BackupDamaged, BackupKeyWrong, RestoreRefused; Diverged where the content does not verify."""
    with source.open("rb") as file:
        reader = BackupReader(file, key)
        await _prepare(engine, reader.header.schema)
        folder = _Folder(data_dir)
        try:
            async with engine.connect() as connection, connection.begin():
                columns = await stored_columns(connection)
                await _require_empty(connection, columns)
                rows = await _fill(connection, reader, folder, columns)
                await _check_heights(connection, reader.header.channels, folder, columns)
                folder.write()
        except BaseException:
            folder.take_back()
            raise
    verified: dict[str, Audited] = {}
    try:
        await upgrade(engine, "ledger")
        async with engine.connect() as connection:
            await (await connection.execution_options(isolation_level="AUTOCOMMIT")).execute(text("ANALYZE"))
        for channel in reader.header.channels if verify else ():
            agreed = await founded_as_signed(engine, channel, data_dir / "member.json")
            verified[channel] = await audit(engine, agreed)
    except Exception:
        await _empty(engine)
        folder.take_back()
        raise
    keys = (data_dir / f"cosigner{PRIVATE_SUFFIX}").exists()
    return Restored(str(source), reader.digest, reader.header.channels, rows, folder.written, keys, verified)


async def _prepare(engine: AsyncEngine, wanted: str) -> None:
    """Tables of the backup's version, made if there are none."""
    if wanted not in versions("ledger"):
        raise RestoreRefused(
            f"the backup holds tables of version {wanted[:40]!r}, which this program does not know: "
            "restore it with the program that made it, or a newer one"
        )
    found = await found_version(engine, "ledger")
    if found is None:
        await upgrade(engine, "ledger", wanted)
    elif found != wanted:
        raise RestoreRefused(
            f"the database has tables of version {found}, the backup of {wanted}: "
            "restore into a database without tables"
        )


async def _require_empty(connection: AsyncConnection, columns: Columns) -> None:
    for name in columns:
        table = sql.Identifier(name).as_string(None)
        await connection.execute(text(f"LOCK TABLE {table} IN EXCLUSIVE MODE"))
        if await connection.scalar(text(f"SELECT EXISTS (SELECT FROM {table})")):  # noqa: S608  # names of our tables
            raise RestoreRefused(
                f"the database is not empty (table {name} has rows): a backup is restored into an empty one only; "
                "make a new database and name it with --database-url, or another folder with --data-dir"
            )


async def _fill(connection: AsyncConnection, reader: BackupReader, folder: _Folder, columns: Columns) -> int:
    driver, rows, seen = await driver_of(connection), 0, set[tuple[str, str]]()
    for part, data in reader.parts():
        if isinstance(part, FilePart):
            folder.add(part.path, data)
            continue
        if part.channel not in reader.header.channels or (part.channel, part.table) in seen:
            raise RestoreRefused(f"the backup holds rows of {part.channel[:40]!r} that its header does not announce")
        if part.columns != columns.get(part.table):
            raise RestoreRefused(f"the backup's table {part.table[:40]!r} has other columns than the database's")
        seen.add((part.channel, part.table))
        rows += await _copy(driver, part, data)
    wanted = {(channel, name) for channel in reader.header.channels for name in columns}
    if seen != wanted:
        missing = ", ".join(f"{name} of {channel}" for channel, name in sorted(wanted - seen))
        raise RestoreRefused(f"the backup is not whole: it has no part for the table {missing}")
    return rows


async def _copy(driver: psycopg.AsyncConnection[Any], part: TablePart, data: Iterator[bytes]) -> int:
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
        sql.Identifier(part.table), sql.SQL(", ").join(map(sql.Identifier, part.columns))
    )
    try:
        async with driver.cursor() as cursor:
            async with cursor.copy(statement) as copy:
                for piece in data:
                    await copy.write(piece)
            return max(cursor.rowcount, 0)
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        why = error.diag.message_primary
        raise BackupDamaged(f"the backup's table {part.table} cannot be taken over: {why}") from None


async def _check_heights(
    connection: AsyncConnection, channels: Mapping[str, ChannelAt], folder: _Folder, columns: Columns
) -> None:
    """What the tables hold now is what header and folder say."""
    for name in columns:
        table = sql.Identifier(name).as_string(None)
        query = text(f"SELECT EXISTS (SELECT FROM {table} WHERE channel <> ALL(:channels))")  # noqa: S608
        if await connection.scalar(query, {"channels": sorted(channels)}):
            raise RestoreRefused(f"the backup's table {name} holds rows of a channel its header does not announce")
    of = tables.meta.c
    for channel, expected in channels.items():
        row = (await connection.execute(select(of.genesis, of.policy).where(of.channel == channel))).one_or_none()
        if row is None or await channel_at(connection, channel, row[0]) != expected:
            raise RestoreRefused(f"the rows of channel {channel} do not reach the height that the header announces")
        folder.require_genesis(row[0])


async def _empty(engine: AsyncEngine) -> None:
    names = ", ".join(sql.Identifier(name).as_string(None) for name in sorted(tables.metadata.tables))
    async with engine.begin() as connection:
        await connection.execute(text(f"TRUNCATE {names}"))


class _Folder:
    """The files of a backup on their way into the data folder: written at the end, taken back if that fails."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._files: dict[str, bytes] = {}
        self._made: list[Path] = []

    @property
    def written(self) -> tuple[str, ...]:
        return tuple(path.relative_to(self._data_dir).as_posix() for path in self._made)

    def add(self, path: str, data: Iterator[bytes]) -> None:
        """A file of the backup. Raises RestoreRefused where the folder has another one of that name."""
        held = b"".join(data)
        if not _PATH.fullmatch(path) or len(held) > FILE_BYTES_MAX:
            raise RestoreRefused(f"the backup names a file {path[:80]!r}, which is none of a data folder")
        there = self._data_dir / path
        if there.exists() and there.read_bytes() != held:
            raise RestoreRefused(
                f"{there} is there and differs from the backup's: it belongs to another ledger or member; "
                "restore into another folder with --data-dir"
            )
        self._files[path] = held

    def require_genesis(self, genesis: bytes) -> None:
        """Raises RestoreRefused unless the genesis of the tables is one of the folder's files."""
        folders = [self._data_dir, *self._data_dir.glob(f"{CHANNELS_FOLDER}/*")]
        there = [path.read_bytes() for folder in folders if (path := folder / "genesis.json").exists()]
        files = [data for path, data in self._files.items() if path.rpartition("/")[2] == "genesis.json"]
        if genesis not in (files or there):
            raise RestoreRefused("the genesis in the backup's tables is not that of its files, or of the data folder")

    def write(self) -> None:
        """Makes the files that are not there, durable."""
        for name, data in self._files.items():
            path = self._data_dir / name
            if path.exists():
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            mode = 0o600 if path.suffix == PRIVATE_SUFFIX else 0o644
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                self._made.append(path)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())

    def take_back(self) -> None:
        """Removes what `write` made."""
        while self._made:
            self._made.pop().unlink(missing_ok=True)
