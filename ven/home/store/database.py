"""The SQLite file of one home: WAL with synchronous=FULL, so that what was committed survives kill -9 and power loss.

One connection, used in the event loop: a home writes a few rows a minute, and a write that returned is on the disk.
Other processes (the owner's commands) may read and write beside it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ven.errors import StoreError, StoreFull

SCHEMA_VERSION = 4
APPLICATION_ID = 0x47505645  # "GPVE": marks the file as ours
_BUSY_TIMEOUT_MS = 10_000
_WAL_BYTES_KEPT = 8 << 20  # the log beside the file is cut to this once it was carried over
#: a card that fails is often made read-only by the system
_NO_ROOM = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY)

_SEALED = (
    # which transaction carries a reading to the ledger, for each id the home has there ('': its only one so far)
    "CREATE TABLE sealed (party TEXT NOT NULL, start_ms INTEGER NOT NULL, transaction_id TEXT NOT NULL,"
    " PRIMARY KEY (party, start_ms)) STRICT, WITHOUT ROWID",
    "CREATE INDEX sealed_by_transaction ON sealed (transaction_id)",
)

_SCHEDULES = (
    # told: 0 not yet, 1 the VTN knows it, 2 it knows that it is taken back
    "CREATE TABLE opt_schedule (opt_id TEXT PRIMARY KEY, body BLOB NOT NULL, created_ms INTEGER NOT NULL,"
    " end_ms INTEGER NOT NULL, cancelled INTEGER NOT NULL DEFAULT 0, told INTEGER NOT NULL DEFAULT 0) STRICT",
)

_OUTCOME = (
    # what came of each contract by the home's own meter, written once
    "CREATE TABLE outcome (contract_id TEXT PRIMARY KEY, start_ms INTEGER NOT NULL, body BLOB NOT NULL) STRICT"
)

_SCHEMA = (
    # small values by name: identity, registration, ledger cursor, owner's preferences, device state
    "CREATE TABLE note (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE meter (start_ms INTEGER PRIMARY KEY, interval_s INTEGER NOT NULL, energy_wh INTEGER NOT NULL) STRICT",
    *_SEALED,
    # opt NULL: not decided; sent: the modification and opt the VTN acknowledged
    "CREATE TABLE event (event_id TEXT PRIMARY KEY, body BLOB NOT NULL, digest TEXT NOT NULL,"
    " offset_s INTEGER NOT NULL, received_ms INTEGER NOT NULL, request_id TEXT NOT NULL,"
    " gone INTEGER NOT NULL DEFAULT 0, opt TEXT, opt_code INTEGER NOT NULL DEFAULT 200,"
    " opt_reason TEXT NOT NULL DEFAULT '', sent TEXT) STRICT",
    "CREATE TABLE contract (contract_id TEXT PRIMARY KEY, parent TEXT NOT NULL, payer TEXT NOT NULL,"
    " event_id TEXT NOT NULL, start_ms INTEGER NOT NULL, received_ms INTEGER NOT NULL, terms BLOB NOT NULL,"
    " terms_digest TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '', outcome BLOB,"
    " payee TEXT NOT NULL DEFAULT '', missing INTEGER) STRICT",
    "CREATE INDEX contract_by_event ON contract (event_id)",
    # result NULL: not answered for good; a committed transaction leaves, a refused one stays for the operator
    "CREATE TABLE outbox (position INTEGER PRIMARY KEY AUTOINCREMENT, transaction_id TEXT NOT NULL UNIQUE,"
    " command TEXT NOT NULL, subject TEXT NOT NULL, body BLOB NOT NULL, result TEXT,"
    " not_before_ms INTEGER NOT NULL DEFAULT 0) STRICT",
    "CREATE TABLE report (report_request_id TEXT PRIMARY KEY, body BLOB NOT NULL, due_ms INTEGER NOT NULL) STRICT",
    "CREATE TABLE report_due (report_request_id TEXT NOT NULL REFERENCES report ON DELETE CASCADE,"
    " start_ms INTEGER NOT NULL, PRIMARY KEY (report_request_id, start_ms)) STRICT, WITHOUT ROWID",
    # proof NULL: to be fetched
    "CREATE TABLE proof (contract_id TEXT NOT NULL, kind TEXT NOT NULL, transaction_id TEXT NOT NULL,"
    " fact_index INTEGER NOT NULL, proof BLOB, opening BLOB, PRIMARY KEY (contract_id, kind)) STRICT",
    *_SCHEDULES,
    _OUTCOME,
)

_UPGRADES = {
    1: (
        *_SEALED,
        "INSERT INTO sealed SELECT '', start_ms, sealed_in FROM meter WHERE sealed_in IS NOT NULL",
        "ALTER TABLE meter DROP COLUMN sealed_in",
        "ALTER TABLE contract ADD COLUMN payee TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE contract ADD COLUMN missing INTEGER",
        *_SCHEDULES,
    ),
    2: ("ALTER TABLE outbox ADD COLUMN not_before_ms INTEGER NOT NULL DEFAULT 0",),
    3: (_OUTCOME,),
}
"""What leads from a version to the next: a home that runs keeps what it has."""


class Database:
    """An open file; made with its tables if it is not there. Raises StoreError for a file of another program.

    Whatever writes raises StoreFull where the disk has no room or does not answer; what was written before is there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # readings say when somebody is at home
        try:
            self._connection = sqlite3.connect(path, isolation_level=None)
            with contextlib.ExitStack() as refused:
                refused.callback(self._connection.close)
                self._connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = FULL")
                self._connection.execute("PRAGMA foreign_keys = ON")
                self._connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES_KEPT}")
                self._prepare()
                refused.pop_all()
        except sqlite3.DatabaseError as error:
            raise StoreError(f"{path} cannot be used as the store of a home: {error}") from error

    def close(self) -> None:
        self._connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; a transaction inside another joins it."""
        if self._connection.in_transaction:
            yield
            return
        with self._room():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                self._undo()
                raise

    def run(self, statement: str, parameters: Sequence[Any] = ()) -> int:
        """Executes a statement and returns the number of rows it changed."""
        with self._room():
            return self._connection.execute(statement, parameters).rowcount

    def run_many(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """Executes a statement for each row: all or none, and one write to the disk."""
        if rows:
            with self.transaction():
                self._connection.executemany(statement, rows)

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(query, parameters).fetchall()

    def row(self, query: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        found: tuple[Any, ...] | None = self._connection.execute(query, parameters).fetchone()
        return found

    def foreign_version(self) -> int:
        """A number that changes when another process has written to the file."""
        found = self.row("PRAGMA data_version")
        assert found is not None
        return int(found[0])

    def _undo(self) -> None:
        """Where there is no room, SQLite may have undone the transaction by itself."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    @contextlib.contextmanager
    def _room(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            # the lower byte is the kind of error, the rest says which of that kind
            if error.sqlite_errorcode & 0xFF in _NO_ROOM:
                advice = "make room on the disk, or replace it"
                raise StoreFull(f"{self.path} cannot be written: {error}; {advice}") from error
            raise

    def _prepare(self) -> None:
        with self.transaction():
            [(version,)] = self.rows("PRAGMA user_version")
            [(application,)] = self.rows("PRAGMA application_id")
            if version == 0 and not self.rows("SELECT 1 FROM sqlite_schema LIMIT 1"):
                for statement in _SCHEMA:
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
                return
        if application != APPLICATION_ID:
            raise StoreError(f"{self.path} is a database of another program")
        while version in _UPGRADES:
            with self.transaction():
                for statement in _UPGRADES[version]:
                    self._connection.execute(statement)
                version += 1
                self._connection.execute(f"PRAGMA user_version = {version}")
        if version != SCHEMA_VERSION:
            raise StoreError(
                f"{self.path} has schema version {version}, this program knows {SCHEMA_VERSION}: use the release that "
                "wrote it"
            )
