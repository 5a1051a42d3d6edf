"""What is done is forgotten after a while: closed messages, and deliveries of events that are long over.

    message acknowledged ── retention ──▶ removed        open: kept, however old
    event over, VEN answered ── retention ──▶ its delivery removed; the event and its versions stay

A few rows a transaction, and only rows nobody has locked: nothing waits for it, and any number of workers may do it.
"""

from __future__ import annotations

from sqlalchemy import delete, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from runtime.clock import Clock
from vtn.records.database import Database
from vtn.records.tables import dr_events, event_deliveries, messages

EVERY_S = 600.0
"""Wall seconds between two rounds."""
_ROWS = 1000
_ROUNDS = 100
_DAY_MS = 86_400_000


class Retention:
    """Removes what is older than `days` of domain time."""

    def __init__(self, database: Database, clock: Clock, *, days: int) -> None:
        self._database = database
        self._clock = clock
        self._kept_ms = days * _DAY_MS

    async def remove_old(self) -> int:
        """One round; how many rows it removed. What is left over is for the next."""
        before_ms = self._clock.now_ms() - self._kept_ms
        total = 0
        for remove in (_messages, _deliveries):
            for _ in range(_ROUNDS):
                async with self._database.transaction() as connection:
                    removed = await remove(connection, before_ms)
                total += removed
                if removed < _ROWS:
                    break
        return total


async def _messages(connection: AsyncConnection, before_ms: int) -> int:
    m = messages.c
    old = (
        select(m.sequence)
        .where(m.acknowledged_ms < before_ms)
        .order_by(m.sequence)
        .limit(_ROWS)
        .with_for_update(skip_locked=True)
    )
    return (await connection.execute(delete(messages).where(m.sequence.in_(old)))).rowcount


async def _deliveries(connection: AsyncConnection, before_ms: int) -> int:
    e, d, m = dr_events.c, event_deliveries.c, messages.c
    waiting = select(m.sequence).where(m.ven_id == d.ven_id, m.key == d.event_id, m.acknowledged_ms.is_(None))
    old = (
        select(d.event_id, d.ven_id)
        .join(dr_events, e.event_id == d.event_id)
        # one without an end is over when it was cancelled
        .where(or_(e.end_ms < before_ms, e.end_ms.is_(None) & (e.status == "cancelled") & (e.changed_ms < before_ms)))
        .where(d.answered_ms < before_ms, ~waiting.exists())
        .limit(_ROWS)
        .with_for_update(of=event_deliveries, skip_locked=True)
    )
    chosen = old.cte("old").prefix_with("MATERIALIZED")
    statement = delete(event_deliveries).where(d.event_id == chosen.c.event_id, d.ven_id == chosen.c.ven_id)
    return (await connection.execute(statement)).rowcount
