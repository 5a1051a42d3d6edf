"""Sealed ledger transactions until the ledger answered: sealed once, stored, and only then sent.

A transaction found here after a crash may have been executed or not; it is the same transaction, so sending it again
gives its first result.
"""

from __future__ import annotations

import msgspec

from contracts.core.codec import encode
from contracts.core.envelope import Transaction, parse_transaction, transaction_id
from ven.home.store.database import Database


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """A transaction on its way. `subject` is what it is about: a contract id, or the first interval's start."""

    transaction_id: str
    command: str
    subject: str
    transaction: Transaction


class Outbox:
    """Transactions in the order they were sealed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, transaction: Transaction, subject: str, *, not_before_ms: int = 0) -> str:
        """Stores a sealed transaction, to be sent from `not_before_ms` on, and returns its id."""
        sealed_id = transaction_id(transaction.header)
        self._database.run(
            "INSERT INTO outbox (transaction_id, command, subject, body, not_before_ms) VALUES (?, ?, ?, ?, ?)",
            (sealed_id, transaction.header.command, subject, encode(transaction), not_before_ms),
        )
        return sealed_id

    def pending(self, limit: int = 64, now_ms: int = 2**53) -> list[Sealed]:
        """What is to be sent, of that whose time has come at `now_ms`."""
        rows = self._database.rows(
            "SELECT transaction_id, command, subject, body FROM outbox WHERE result IS NULL AND not_before_ms <= ?"
            " ORDER BY position LIMIT ?",
            (now_ms, limit),
        )
        return [
            Sealed(transaction_id=row[0], command=row[1], subject=row[2], transaction=parse_transaction(bytes(row[3])))
            for row in rows
        ]

    def drop(self, transaction_id: str) -> None:
        """The transaction is committed, or replaced by another."""
        self._database.run("DELETE FROM outbox WHERE transaction_id = ?", (transaction_id,))

    def refuse(self, transaction_id: str, code: str) -> None:
        """The ledger will never execute it: kept for the operator, not sent again."""
        self._database.run("UPDATE outbox SET result = ? WHERE transaction_id = ?", (code, transaction_id))

    def count(self) -> int:
        """Number of transactions still to be answered."""
        row = self._database.row("SELECT count(*) FROM outbox WHERE result IS NULL")
        assert row is not None
        return int(row[0])

    def refused(self) -> list[tuple[str, str, str]]:
        """(command, subject, code) of refused transactions."""
        rows = self._database.rows(
            "SELECT command, subject, result FROM outbox WHERE result IS NOT NULL ORDER BY position"
        )
        return [(str(command), str(subject), str(code)) for command, subject, code in rows]

    def forget(self, keep: int) -> int:
        """Drops refused transactions beyond the `keep` newest; returns how many. What is not answered stays."""
        return self._database.run(
            "DELETE FROM outbox WHERE result IS NOT NULL AND position NOT IN"
            " (SELECT position FROM outbox WHERE result IS NOT NULL ORDER BY position DESC LIMIT ?)",
            (keep,),
        )
