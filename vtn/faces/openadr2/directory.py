"""Who is registered and for whom something waits, in memory, so that an empty poll does not touch the database.

    poll ──▶ registered? ──▶ anything due? ── no ──▶ pre-rendered answer
               │ unknown        │ yes
               ▼                ▼
             database         database

PostgreSQL's notifications keep it current; while they are interrupted every question goes to the database.
"""

from __future__ import annotations

from collections.abc import Callable

from runtime.clock import Clock
from vtn.records.database import Database
from vtn.records.lookups import Lookups
from vtn.records.messages import vens_with_open_messages
from vtn.records.wakeups import Wakeups
from vtn.services.vens import ENROLLED, Ven, Vens

_NEVER_MS = 2**63


class Directory:
    """The memory of one worker; everything in it can be lost."""

    def __init__(self, database: Database, database_url: str, vens: Vens, clock: Clock) -> None:
        self.wakeups = Wakeups(database_url, self._resynchronise)
        self.wakeups.on("message", self._message_queued)
        self.wakeups.on("ven", self._ven_changed)
        self.on_message: Callable[[], None] | None = None
        """Called when something was queued for a VEN that may have to be pushed to."""
        self._database = database
        self._lookups = Lookups(vens.find_all)
        self._clock = clock
        self._known: dict[str, Ven] = {}
        self._due_ms: dict[str, int] = {}
        self._changes = 0

    async def ven(self, ven_id: str) -> Ven | None:
        """An enrolled VEN, None for everybody else."""
        if self.wakeups.up and (known := self._known.get(ven_id)) is not None:
            return known
        changes = self._changes
        found = await self._lookups.find(ven_id)
        if found is None or found.status != ENROLLED:
            return None
        if self.wakeups.up and changes == self._changes:  # otherwise it may have changed while it was read
            self._known[ven_id] = found
        return found

    def something_due(self, ven_id: str) -> bool:
        """May there be a message to hand out now? False is certain."""
        return not self.wakeups.up or self._due_ms.get(ven_id, _NEVER_MS) <= self._clock.now_ms()

    def looking(self, ven_id: str) -> None:
        """The queue of a VEN is about to be read: a message queued from here on is not overlooked."""
        self._due_ms.pop(ven_id, None)

    def looked(self, ven_id: str, next_due_ms: int | None) -> None:
        """The queue of a VEN was read; its next message is due then."""
        if next_due_ms is not None:
            self._due_ms[ven_id] = min(next_due_ms, self._due_ms.get(ven_id, _NEVER_MS))

    async def _resynchronise(self) -> None:
        self._changes += 1
        self._known.clear()
        self._due_ms.clear()
        async with self._database.reading() as connection:
            waiting = await vens_with_open_messages(connection)
        # what a notification brings later only adds to it
        self._due_ms.update(dict.fromkeys(waiting, 0))

    def _message_queued(self, ven_id: str) -> None:
        self._due_ms[ven_id] = 0
        known = self._known.get(ven_id)
        if self.on_message is not None and (known is None or not known.http_pull):
            self.on_message()  # not for each of thousands that poll

    def _ven_changed(self, ven_id: str) -> None:
        self._changes += 1
        self._known.pop(ven_id, None)
