"""Meter history: whole Wh by interval start, written once."""

from __future__ import annotations

from collections.abc import Sequence

from ven.home.store.database import Database


class Meter:
    """Readings of the home's meter, import > 0, export < 0; intervals are half-open and lie on the UTC grid."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, interval_s: int, readings: Sequence[tuple[int, int]]) -> None:
        """Stores (start_ms, energy_wh) pairs; an interval that has a reading keeps it."""
        self._database.run_many(
            "INSERT OR IGNORE INTO meter (start_ms, interval_s, energy_wh) VALUES (?, ?, ?)",
            [(start_ms, interval_s, energy_wh) for start_ms, energy_wh in readings],
        )

    def between(self, from_ms: int, until_ms: int) -> dict[int, int]:
        """Interval start -> Wh, for starts in [from_ms, until_ms), in order."""
        rows = self._database.rows(
            "SELECT start_ms, energy_wh FROM meter WHERE start_ms >= ? AND start_ms < ? ORDER BY start_ms",
            (from_ms, until_ms),
        )
        return {int(start_ms): int(energy_wh) for start_ms, energy_wh in rows}

    def span(self) -> tuple[int, int, int | None]:
        """(number of readings, start of the last, its Wh); (0, 0, None) if there is none."""
        row = self._database.row(
            "SELECT (SELECT count(*) FROM meter), start_ms, energy_wh FROM meter ORDER BY start_ms DESC LIMIT 1"
        )
        return (0, 0, None) if row is None else (int(row[0]), int(row[1]), int(row[2]))

    def unsealed(self, party: str, starts_ms: Sequence[int]) -> dict[int, int]:
        """Readings of these intervals that no transaction of `party` carries yet, in order."""
        if not starts_ms:
            return {}
        rows = self._database.rows(
            "SELECT start_ms, energy_wh FROM meter WHERE start_ms BETWEEN ? AND ? AND NOT EXISTS"
            " (SELECT 1 FROM sealed WHERE sealed.start_ms = meter.start_ms AND party IN (?, '')) ORDER BY start_ms",
            (min(starts_ms), max(starts_ms), party),
        )
        wanted = frozenset(starts_ms)
        return {int(start_ms): int(energy_wh) for start_ms, energy_wh in rows if start_ms in wanted}

    def mark_sealed(self, party: str, starts_ms: Sequence[int], transaction_id: str) -> None:
        self._database.run_many(
            "INSERT INTO sealed VALUES (?, ?, ?)", [(party, start_ms, transaction_id) for start_ms in starts_ms]
        )

    def sealed_until(self, transaction_id: str) -> int:
        """Start of the last interval that a transaction carries; -1 for none."""
        row = self._database.row("SELECT max(start_ms) FROM sealed WHERE transaction_id = ?", (transaction_id,))
        return -1 if row is None or row[0] is None else int(row[0])

    def release(self, transaction_id: str) -> None:
        """The readings of a transaction that was not executed may be sealed into another."""
        self._database.run("DELETE FROM sealed WHERE transaction_id = ?", (transaction_id,))

    def withdraw(self, from_ms: int) -> list[int]:
        """Takes back readings from `from_ms` on that nobody was given; returns their starts. They may be read again."""
        rows = self._database.rows(
            "DELETE FROM meter WHERE start_ms >= ? AND start_ms NOT IN (SELECT start_ms FROM sealed)"
            " RETURNING start_ms",
            (from_ms,),
        )
        starts_ms = sorted(int(start_ms) for (start_ms,) in rows)
        self._database.run_many("DELETE FROM report_due WHERE start_ms = ?", [(start_ms,) for start_ms in starts_ms])
        return starts_ms

    def forget(self, before_ms: int) -> int:
        """Drops readings before `before_ms`, with what was still owed of them; returns how many."""
        self._database.run("DELETE FROM sealed WHERE start_ms < ?", (before_ms,))
        self._database.run("DELETE FROM report_due WHERE start_ms < ?", (before_ms,))
        return self._database.run("DELETE FROM meter WHERE start_ms < ?", (before_ms,))
