"""The owner's opt schedules: when the home takes no part, or does, as told to the VTN by EiOpt."""

from __future__ import annotations

from typing import Any

import msgspec

from ven.home.store.database import Database
from ven.home.store.events import Opt

REASONS = (
    "economic", "emergency", "mustRun", "notParticipating", "outageRunStatus", "overrideStatus", "participating",
)  # fmt: skip
"""optReason of OpenADR 2.0b; another begins with x-."""

_SELECT = "SELECT body, cancelled FROM opt_schedule"


class OptSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """Out of (or in) demand response in `windows`, half-open [start_ms, end_ms) in order of time. `resource` None is
    the whole home; `market_context` None is every programme. `reason` is an optReason of 2.0b."""

    opt_id: str
    opt: Opt
    windows: tuple[tuple[int, int], ...]
    resource: str | None = None
    reason: str = "notParticipating"
    market_context: str | None = None
    created_ms: int = 0
    cancelled: bool = False

    @property
    def end_ms(self) -> int:
        """End of the last window."""
        return max(end_ms for _, end_ms in self.windows)


class Schedules:
    """Schedules by id, and what the VTN was told of each."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, schedule: OptSchedule) -> None:
        """Stores a schedule, to be told to the VTN."""
        self._database.run(
            "INSERT INTO opt_schedule (opt_id, body, created_ms, end_ms) VALUES (?, ?, ?, ?)",
            (schedule.opt_id, msgspec.json.encode(schedule), schedule.created_ms, schedule.end_ms),
        )

    def cancel(self, opt_id: str) -> bool:
        """Takes a schedule back; False if there is none, or it is taken back already."""
        found = self._database.run(
            "UPDATE opt_schedule SET cancelled = 1 WHERE opt_id = ? AND cancelled = 0", (opt_id,)
        )
        # what the VTN never heard of need not be taken back there
        self._database.run("UPDATE opt_schedule SET told = 2 WHERE opt_id = ? AND told = 0", (opt_id,))
        return found > 0

    def live(self) -> list[OptSchedule]:
        """Those that hold, the newest last."""
        return self._select("cancelled = 0")

    def all(self) -> list[OptSchedule]:
        return self._select("1")

    def untold(self) -> list[OptSchedule]:
        """What the VTN is to be told: new ones, and those taken back."""
        return self._select("(cancelled = 0 AND told = 0) OR (cancelled = 1 AND told < 2)")

    def mark_told(self, opt_id: str, *, cancelled: bool) -> None:
        """The VTN answered about a schedule, or about its end; also with an error, which is final."""
        self._database.run("UPDATE opt_schedule SET told = ? WHERE opt_id = ?", (2 if cancelled else 1, opt_id))

    def tell_again(self) -> None:
        """A new registration: the VTN knows none of them."""
        self._database.run("UPDATE opt_schedule SET told = CASE cancelled WHEN 0 THEN 0 ELSE 2 END")

    def forget(self, before_ms: int) -> int:
        """Drops schedules that were over before `before_ms`; returns how many."""
        return self._database.run("DELETE FROM opt_schedule WHERE end_ms < ?", (before_ms,))

    def _select(self, condition: str) -> list[OptSchedule]:
        rows: list[tuple[Any, ...]] = self._database.rows(f"{_SELECT} WHERE {condition} ORDER BY created_ms, opt_id")
        return [
            msgspec.structs.replace(msgspec.json.decode(body, type=OptSchedule), cancelled=bool(cancelled))
            for body, cancelled in rows
        ]
