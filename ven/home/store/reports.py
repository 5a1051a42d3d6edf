"""Report requests of the VTN, and the intervals each still lacks."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from openadr.v2 import ReportRequest
from ven.home.store.database import Database


class RunningReport(msgspec.Struct, frozen=True, kw_only=True):
    """A request that runs; `due_ms` is when its next report is to be sent."""

    request: ReportRequest
    due_ms: int


class Reports:
    """What was asked, and what is owed: an interval is owed to a request until the VTN acknowledged it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, request: ReportRequest, now_ms: int) -> None:
        """Starts a report, or starts it anew if its terms changed; it owes stored readings from its start on."""
        with self._database.transaction():
            known = self._database.row(
                "SELECT body FROM report WHERE report_request_id = ?", (request.report_request_id,)
            )
            if known is not None and msgspec.json.decode(known[0], type=ReportRequest) == request:
                return
            self.end(request.report_request_id)
            self._database.run(
                "INSERT INTO report VALUES (?, ?, ?)", (request.report_request_id, msgspec.json.encode(request), now_ms)
            )
            if request.start_ms is not None:
                until_ms = _end_ms(request)
                self._database.run(
                    "INSERT INTO report_due SELECT ?, start_ms FROM meter WHERE start_ms >= ? AND start_ms < ?",
                    (request.report_request_id, request.start_ms, until_ms),
                )

    def end(self, report_request_id: str) -> None:
        self._database.run("DELETE FROM report WHERE report_request_id = ?", (report_request_id,))

    def end_all(self) -> None:
        """The registration ended, and with it every request."""
        self._database.run("DELETE FROM report")

    def running(self) -> list[RunningReport]:
        rows = self._database.rows("SELECT body, due_ms FROM report ORDER BY report_request_id")
        return [
            RunningReport(request=msgspec.json.decode(body, type=ReportRequest), due_ms=due_ms) for body, due_ms in rows
        ]

    def owe(self, starts_ms: Sequence[int]) -> None:
        """New readings: every running report that covers them owes them."""
        for report in self.running():
            request = report.request
            covered = [start_ms for start_ms in starts_ms if (request.start_ms or 0) <= start_ms < _end_ms(request)]
            self._database.run_many(
                "INSERT OR IGNORE INTO report_due VALUES (?, ?)",
                [(request.report_request_id, start_ms) for start_ms in covered],
            )

    def owed(self, report_request_id: str, limit: int) -> list[tuple[int, int, int]]:
        """(start_ms, interval_s, energy_wh) of the oldest intervals owed."""
        rows = self._database.rows(
            "SELECT start_ms, interval_s, energy_wh FROM report_due JOIN meter USING (start_ms)"
            " WHERE report_request_id = ? ORDER BY start_ms LIMIT ?",
            (report_request_id, limit),
        )
        return [(int(start_ms), int(interval_s), int(energy_wh)) for start_ms, interval_s, energy_wh in rows]

    def acknowledge(self, report_request_id: str, starts_ms: Sequence[int]) -> None:
        self._database.run_many(
            "DELETE FROM report_due WHERE report_request_id = ? AND start_ms = ?",
            [(report_request_id, start_ms) for start_ms in starts_ms],
        )

    def put_off(self, report_request_id: str, due_ms: int) -> None:
        """The next report is due at `due_ms`."""
        self._database.run("UPDATE report SET due_ms = ? WHERE report_request_id = ?", (due_ms, report_request_id))

    def count_owed(self) -> int:
        row = self._database.row("SELECT count(*) FROM report_due")
        assert row is not None
        return int(row[0])


def _end_ms(request: ReportRequest) -> int:
    """A report without duration, or of 0 s, runs until it is cancelled."""
    if request.start_ms is None or not request.duration_s:
        return 2**53
    return request.start_ms + request.duration_s * 1000
