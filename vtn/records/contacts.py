"""When each VEN was last heard of, so that one that falls silent is noticed before its next report is due.

    a VEN's request ── note (memory) ── every second ──▶ ven_contacts, contact_watch ── unheard ──▶ aggregator

A VEN that polls and misses three of its polls is unheard, if the VTN was there to hear it: `contact_watch` says since
when some worker listened without a break, and nobody counts as unheard for a time in which nobody at all was heard.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from sqlalchemy import BigInteger, Column, Integer, Table, Text, func, select, text

from runtime.clock import Clock
from runtime.logs import get_logger
from vtn.records.database import Database
from vtn.records.tables import metadata, vens

MISSED_POLLS = 3
"""One may be lost and one be late."""
EVERY_S = 1.0
"""Wall seconds between two writes."""
_RESOLUTION_MS = 20_000
_BREAK_MS, _BREAK_WALL_S = 120_000, 15.0
"""So long without a write, by the domain clock and by the wall's, and nobody was listening."""

ven_contacts = Table(
    "ven_contacts",
    metadata,
    Column("ven_id", Text, primary_key=True),
    Column("contact_ms", BigInteger, nullable=False),
    prefixes=["UNLOGGED"],
)
contact_watch = Table(
    "contact_watch",
    metadata,
    Column("watch", Integer, primary_key=True, autoincrement=False, comment="always 1"),
    Column("since_ms", BigInteger, nullable=False, comment="somebody listened from here on"),
    Column("until_ms", BigInteger, nullable=False, comment="to here"),
    prefixes=["UNLOGGED"],
)

_WRITE = text(
    "INSERT INTO ven_contacts (ven_id, contact_ms) "
    "SELECT * FROM unnest(CAST(:ven_ids AS text[]), CAST(:times AS bigint[])) "
    "ON CONFLICT (ven_id) DO UPDATE SET contact_ms = greatest(ven_contacts.contact_ms, excluded.contact_ms)"
)
_WATCH = text(
    "INSERT INTO contact_watch AS w (watch, since_ms, until_ms) VALUES (1, :now, :now) "
    "ON CONFLICT (watch) DO UPDATE SET until_ms = greatest(w.until_ms, excluded.until_ms), "
    "since_ms = CASE WHEN excluded.until_ms - w.until_ms > :gap THEN excluded.since_ms ELSE w.since_ms END"
)

_log = get_logger("vtn.contacts")


class Contacts:
    """The memory of one worker, and what all of them wrote."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._noted: dict[str, int] = {}
        self._waiting: dict[str, int] = {}

    def note(self, ven_id: str) -> None:
        """It was heard of now. Costs next to nothing: one request in 20 s is remembered."""
        now_ms = self._clock.now_ms()
        if now_ms - self._noted.get(ven_id, -_RESOLUTION_MS) >= _RESOLUTION_MS:
            self._noted[ven_id] = self._waiting[ven_id] = now_ms

    async def run(self) -> None:
        """Writes until cancelled."""
        while True:
            try:
                await self.write()
            except Exception:
                _log.exception("contacts were not written")
            await asyncio.sleep(EVERY_S)

    async def write(self) -> None:
        """What was noted since, and that somebody listens."""
        waiting, self._waiting = self._waiting, {}
        # One order for all workers: they must not wait for each other in a circle.
        ven_ids = sorted(waiting)
        try:
            async with self._database.transaction() as connection:
                if ven_ids:
                    times = [waiting[ven_id] for ven_id in ven_ids]
                    await connection.execute(_WRITE, {"ven_ids": ven_ids, "times": times})
                gap_ms = max(_BREAK_MS, self._domain_ms(_BREAK_WALL_S))
                await connection.execute(_WATCH, {"now": self._clock.now_ms(), "gap": gap_ms})
        except BaseException:
            self._waiting = waiting | self._waiting
            raise

    async def unheard(self, ven_ids: Collection[str]) -> dict[str, bool]:
        """Of those that poll and were ever heard of: has it missed three polls? Push VENs say nothing by silence."""
        c, v = ven_contacts.c, vens.c
        query = (
            select(v.ven_id, v.poll_interval_s, c.contact_ms)
            .join(ven_contacts, c.ven_id == v.ven_id)
            .where(v.ven_id.in_(ven_ids), v.http_pull)
        )
        watch = select(
            contact_watch.c.since_ms, contact_watch.c.until_ms, select(func.max(c.contact_ms)).scalar_subquery()
        )
        async with self._database.reading() as connection:
            listened = (await connection.execute(watch)).one_or_none()
            if listened is None or listened[2] is None:
                return {}
            since_ms, until_ms, latest_ms = listened
            found = (await connection.execute(query)).all()
        # A stall of some seconds on an accelerated clock is many polls.
        least_ms = self._domain_ms(_BREAK_WALL_S)
        return {
            ven_id: min(until_ms, latest_ms) - max(since_ms, contact_ms) >= max(MISSED_POLLS * 1000 * poll_s, least_ms)
            for ven_id, poll_s, contact_ms in found
        }

    def _domain_ms(self, wall_s: float) -> int:
        return int(wall_s * 1000 * self._clock.speed)
