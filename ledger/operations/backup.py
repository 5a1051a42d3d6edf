"""`dr-ledger backup`: everything a member holds, at one height of each channel, in one checked file.

    one snapshot (REPEATABLE READ) ─ COPY of each table, row by row ─▶ BackupWriter ─▶ FILE.partial ─ fsync ─▶ FILE
    data folder: genesis, policy, members ─────────────────────────────────┘

It runs beside a serving replica. The whole file is sealed, not the bodies alone: readings stand in `records` and
`facts` as well. Without a recipient it is refused unless --plain says that this is meant.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, Final

import psycopg
from psycopg import sql
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger.config import LedgerSettings
from ledger.errors import GenesisInvalid
from ledger.operations.backup_file import BackupWriter, ChannelAt, FilePart, TablePart, sync, sync_folder
from ledger.operations.backup_key import Recipient
from ledger.operations.errors import BackupError, BackupRuns
from ledger.store import tables
from runtime.database import found_version

CHANNELS_FOLDER: Final = "channels"
PRIVATE_SUFFIX: Final = ".key"
_PUBLIC_SUFFIXES: Final = (".json", ".txt")
Piece = bytes | bytearray | memoryview
FILE_BYTES_MAX: Final = 1 << 20
_COLUMNS: Final = text(
    "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema() "
    "AND is_identity = 'NO' AND table_name = ANY(:names) ORDER BY table_name, ordinal_position"
)


@dataclass(frozen=True, slots=True)
class BackedUp:
    """What was written. `sha256`: of the file's bytes, as sha256sum gives it; keys: how many private ones are in it."""

    file: str
    bytes: int
    sha256: str
    channels: Mapping[str, ChannelAt]
    parts: int
    sealed_for: tuple[str, ...]
    keys: int
    created_ms: int


async def backup(
    engine: AsyncEngine,
    data_dir: Path,
    target: Path,
    *,
    created_ms: int,
    recipients: Sequence[Recipient] = (),
    plain: bool = False,
    keys: Sequence[Path] = (),
) -> BackedUp:
    """Writes `target`, which must not exist. `keys`: private key files to go with it, into a sealed file only.

    Raises BackupError, GenesisInvalid (no ledger there)."""
    if not recipients and not plain:
        raise BackupError(
            "a backup holds readings and amounts, so it is sealed: name a key with --recipient FILE.pub "
            "(`dr-ledger backup-key FILE` makes one), or say --plain if the file's place is protected otherwise"
        )
    if keys and not recipients:
        raise BackupError("private keys go into a sealed backup only: name a key with --recipient FILE.pub")
    if target.exists():  # noqa: ASYNC240  # one file, once
        raise BackupError(f"{target} exists: a backup is never written over another file; choose another name")
    partial = target.with_name(target.name + ".partial")
    schema = await found_version(engine, "ledger")
    try:
        raw = partial.open("ab")
    except OSError as error:
        raise BackupError(f"{target} cannot be written ({error}): choose another place") from None
    try:
        with raw:
            _hold(raw, partial, target)
            partial.chmod(0o600)
            file = _Hashed(raw)
            async with engine.connect() as connection:
                await connection.execution_options(isolation_level="REPEATABLE READ")
                channels = await _channels(connection)
                if schema is None or not channels:
                    raise GenesisInvalid("the database holds no ledger: there is nothing to back up")
                writer = BackupWriter(
                    file,  # type: ignore[arg-type]  # writes, and nothing else, are asked of it
                    created_ms=created_ms,
                    program=version("gridpact"),
                    schema=schema,
                    channels=channels,
                    recipients=recipients,
                )
                parts = _write_files(writer, data_dir, keys)
                parts += await _write_tables(writer, connection, sorted(channels))
                writer.close()
            sync(raw)
            partial.rename(target)
            sync_folder(target.parent)
    except BackupRuns:
        raise
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise BackupError(
                f"{target} cannot be written ({error}): nothing is left of it; choose a place with room"
            ) from None
        raise
    return BackedUp(
        str(target), file.length, file.hashed.hexdigest(), channels, parts,
        tuple(each.fingerprint for each in recipients), len(keys), created_ms,
    )  # fmt: skip


async def stored_columns(connection: AsyncConnection) -> dict[str, tuple[str, ...]]:
    """The ledger's tables that the database has (an older version may have fewer) with their columns, but for numbers
    that the database itself gives."""
    names = [str(table.name) for table in tables.metadata.sorted_tables]
    found: dict[str, tuple[str, ...]] = {}
    for name, column in (await connection.execute(_COLUMNS, {"names": names})).all():
        found[name] = (*found.get(name, ()), column)
    return {name: found[name] for name in names if name in found}


async def driver_of(connection: AsyncConnection) -> psycopg.AsyncConnection[Any]:
    """The psycopg connection below, for COPY; it shares the transaction."""
    driver = (await connection.get_raw_connection()).driver_connection
    assert isinstance(driver, psycopg.AsyncConnection)
    return driver


async def channel_at(connection: AsyncConnection, channel: str, genesis: bytes) -> ChannelAt:
    """Where a channel stands in the transaction of `connection`."""
    of = tables.blocks.c
    query = select(func.coalesce(func.max(of.height), 0), func.coalesce(func.max(of.size), 0))
    height, size = (await connection.execute(query.where(of.channel == channel))).one()
    return ChannelAt(int(height), int(size), sha256(genesis).hexdigest())


async def _channels(connection: AsyncConnection) -> dict[str, ChannelAt]:
    rows = (await connection.execute(select(tables.meta.c.channel, tables.meta.c.genesis))).all()
    return {row[0]: await channel_at(connection, row[0], row[1]) for row in sorted(rows)}


def private_keys(settings: LedgerSettings) -> list[Path]:
    """The keys by which this member signs, and those in its channels' folders."""
    own = [settings.log_key_file, settings.cosigner_key_file]
    return [*own, *sorted(settings.channels_dir.glob(f"*/*{PRIVATE_SUFFIX}"))]


def _write_files(writer: BackupWriter, data_dir: Path, keys: Sequence[Path]) -> int:
    found = [path for pattern in ("*", f"{CHANNELS_FOLDER}/*/*") for path in data_dir.glob(pattern)]
    chosen = {
        path.relative_to(data_dir).as_posix(): path
        for path in found
        if path.suffix in _PUBLIC_SUFFIXES and path.is_file()
    }
    for path in keys:  # those of a folder of their own come back into the data folder
        inside = path.is_relative_to(data_dir)
        chosen[path.relative_to(data_dir).as_posix() if inside else path.name] = path
    for name, path in sorted(chosen.items()):
        data = path.read_bytes()
        if len(data) > FILE_BYTES_MAX:
            raise BackupError(f"{path} has {len(data)} bytes: it is none of the ledger's files; move it elsewhere")
        writer.begin(FilePart(name))
        writer.write(data)
        writer.end()
    return len(chosen)


async def _write_tables(writer: BackupWriter, connection: AsyncConnection, channels: Sequence[str]) -> int:
    driver, stored, count = await driver_of(connection), await stored_columns(connection), 0
    for channel in channels:
        for name, columns in stored.items():
            part = TablePart(channel, name, columns)
            writer.begin(part)
            async for data in _rows(driver, part):
                writer.write(data)
            writer.end()
            count += 1
    return count


async def _rows(driver: psycopg.AsyncConnection[Any], part: TablePart) -> AsyncIterator[Piece]:
    # in key order: two backups of one height hold the same bytes in their parts
    statement = sql.SQL("COPY (SELECT {} FROM {} WHERE channel = {} ORDER BY {}) TO STDOUT (FORMAT binary)").format(
        sql.SQL(", ").join(map(sql.Identifier, part.columns)),
        sql.Identifier(part.table),
        sql.Literal(part.channel),
        sql.SQL(", ").join(sql.Identifier(column.name) for column in tables.metadata.tables[part.table].primary_key),
    )
    async with driver.cursor() as cursor, cursor.copy(statement) as copy:
        async for data in copy:
            yield data


def _hold(raw: IO[bytes], partial: Path, target: Path) -> None:
    """What a killed backup left is begun anew; what one that runs is writing, or has just finished, is let be. Raises
    BackupRuns."""
    opened = os.fstat(raw.fileno())
    try:
        fcntl.flock(raw, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(opened, partial.stat()):
            raise FileNotFoundError
    except (BlockingIOError, FileNotFoundError):
        raise BackupRuns(f"another backup is writing {target}: wait for it, or choose another name") from None
    if opened.st_size:
        raw.truncate(0)


class _Hashed:
    """A file to write to, with the SHA-256 of all that was written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.hashed = sha256()
        self.length = 0

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self.hashed.update(data)
        self.length += len(data)
