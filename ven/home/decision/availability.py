"""When the owner takes part: the opt-out of the moment, and opt schedules, of which the newest that covers a moment
decides.

    opt-out of two weeks    |---------------------------------------|
    opt-in of an evening              |----|
    takes part          ----|         |----|                         |----
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ven.home.owner import Owner
from ven.home.store import Opt, OptSchedule


@dataclass(frozen=True)
class Availability:
    """The owner's word on when `resource` takes part. `schedules`: those that hold, the newest last."""

    owner: Owner
    schedules: Sequence[OptSchedule] = ()
    resource: str = ""

    def absence(self, at_ms: int, program: str | None = None) -> str | None:
        """Why the home takes no part at a moment (in a programme), None if it does."""
        if self.owner.opted_out(at_ms):
            return "the owner has opted out"
        for schedule in reversed(self.schedules):
            if not self._concerns(schedule, program):
                continue
            if any(start_ms <= at_ms < end_ms for start_ms, end_ms in schedule.windows):
                return f"the owner's schedule {schedule.opt_id}: {schedule.reason}" if _is_out(schedule) else None
        return None

    def absence_within(self, start_ms: int, end_ms: int, program: str | None = None) -> str | None:
        """Why the home takes no part at some moment of [start_ms, end_ms), None if it does throughout."""
        moments = [start_ms, *(edge for edge in self.edges() if start_ms < edge < end_ms)]
        return next((why for at_ms in moments if (why := self.absence(at_ms, program)) is not None), None)

    def edges(self) -> list[int]:
        """Moments at which the answer may change."""
        found = [edge for schedule in self.schedules for window in schedule.windows for edge in window]
        if self.owner.opt_out and self.owner.opt_out_until_ms is not None:
            found.append(self.owner.opt_out_until_ms)
        return sorted(set(found))

    def _concerns(self, schedule: OptSchedule, program: str | None) -> bool:
        return schedule.resource in (None, self.resource) and schedule.market_context in (None, program)


def _is_out(schedule: OptSchedule) -> bool:
    return schedule.opt is Opt.OUT
