"""What a witness has cosigned, durable before a signature leaves: SQLite, one row a log.

    log(origin, size, root, time_s, note)      the largest tree cosigned, when, and the checkpoint as the log signed it

`advance` compares and replaces in one transaction that holds SQLite's write lock and is on disk when it returns, so
that requests at once, a second process on the folder and kill -9 all leave one history. A record that goes back, from a
backup for example, makes a witness that may sign two trees: it must never be restored. A lost one is never made anew
under the old key (ledger.witness.folder).
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ledger.witness.errors import WitnessExists, WitnessInvalid

_BUSY_S: Final = 5.0
_SCHEMA: Final = (
    "CREATE TABLE witness(vkey TEXT NOT NULL)",
    "CREATE TABLE log(origin TEXT PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL, time_s INTEGER NOT NULL, "
    "note BLOB NOT NULL) WITHOUT ROWID",
)


@dataclass(frozen=True, slots=True)
class Cosigned:
    """The checkpoint of a log that was cosigned last; `time_s`: POSIX seconds of that cosignature."""

    origin: str
    size: int
    root: bytes
    time_s: int
    note: bytes


class Record:
    """The open file. Its methods block until the disk has answered; they may be called from any thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    @classmethod
    def create(cls, path: Path, vkey: str) -> None:
        """Make the empty record of a witness. Raises WitnessExists."""
        if path.exists():
            raise WitnessExists(f"{path} exists: what a witness has signed is never begun anew")
        connection = _connect(path, "rwc")
        try:
            with connection:
                for statement in _SCHEMA:
                    connection.execute(statement)
                connection.execute("INSERT INTO witness VALUES (?)", (vkey,))
        finally:
            connection.close()

    @classmethod
    def open(cls, path: Path, vkey: str) -> Record:
        """Raises WitnessInvalid where there is none, where it is damaged, or where it is of another key."""
        try:
            connection = _connect(path, "rw")
            rows = connection.execute("SELECT vkey FROM witness").fetchall()
            [(damage,)] = connection.execute("PRAGMA quick_check(1)").fetchall()
        except sqlite3.Error as error:
            raise WitnessInvalid(
                f"what this witness has signed cannot be read from {path} ({error}): without it the key must not sign "
                "any more; make a new witness in another folder"
            ) from None
        if damage != "ok" or rows != [(vkey,)]:
            connection.close()
            reason = "damaged" if damage != "ok" else "of another key than the one beside it"
            raise WitnessInvalid(f"{path} is {reason}: it must not be made anew; make a new witness in another folder")
        return cls(connection)

    def close(self) -> None:
        """End."""
        with self._lock:
            self._connection.close()

    def logs(self) -> list[Cosigned]:
        """The last cosigned checkpoint of each log, by origin."""
        with self._lock:
            rows = self._connection.execute("SELECT * FROM log ORDER BY origin").fetchall()
        return [Cosigned(*row) for row in rows]

    def advance(self, origin: str, step: Callable[[Cosigned | None], Cosigned]) -> Cosigned:
        """What `step` makes of the last checkpoint of a log takes its place, durably. `step` raises to leave it."""
        with self._lock, self._writing() as connection:
            row = connection.execute("SELECT * FROM log WHERE origin = ?", (origin,)).fetchone()
            new = step(None if row is None else Cosigned(*row))
            connection.execute(
                "INSERT OR REPLACE INTO log VALUES (?, ?, ?, ?, ?)",
                (new.origin, new.size, new.root, new.time_s, new.note),
            )
        return new

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction that nobody else writes beside; on disk when the block is left."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=_BUSY_S,
        isolation_level=None,  # transactions are begun by hand
        check_same_thread=False,
    )
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute("PRAGMA synchronous = EXTRA")  # the folder is synced, too, before a commit returns
    return connection
