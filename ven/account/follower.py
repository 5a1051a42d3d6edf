"""One stream of facts for all homes of a process."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Callable, Collection
from typing import Protocol

from ledger.client import START, FactRecord, LedgerError
from runtime.logs import get_logger
from ven.account.desk import Desk
from ven.errors import StoreFull

_log = get_logger("ven.account.follower")


class Facts(Protocol):
    """What the follower needs of `ledger.client.LedgerClient`."""

    def follow(self, after: str = START, *, parties: Collection[str] = ()) -> AsyncGenerator[FactRecord, None]: ...


class Follower:
    """Hands each fact to the homes it concerns. A home that has seen it already is left alone, so the stream begins at
    the oldest cursor of them all."""

    def __init__(self, facts: Facts, *, backoff_max_s: float) -> None:
        self._facts = facts
        self._backoff_max_s = backoff_max_s
        self._homes: dict[str, tuple[Desk, Callable[[], None]]] = {}
        self._places: dict[str, tuple[int, ...]] = {}
        self._others = asyncio.Event()

    def add(self, desk: Desk, changed: Callable[[], None]) -> None:
        """`changed()` is called after a fact was taken in."""
        self._homes[desk.party] = (desk, changed)
        self._places[desk.party] = place(desk.cursor)
        self._others.set()

    def remove(self, party: str) -> None:
        """A home that is followed no more."""
        self._homes.pop(party, None)
        self._places.pop(party, None)
        self._others.set()

    async def run(self) -> None:
        """Follows for ever; the stream begins anew when another home is added."""
        while True:
            self._others.clear()
            following = asyncio.ensure_future(self._follow())
            others = asyncio.ensure_future(self._others.wait())
            try:
                await asyncio.wait((following, others), return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (following, others):
                    task.cancel()
                ended, _ = await asyncio.gather(following, others, return_exceptions=True)
            if isinstance(ended, Exception):
                raise ended

    async def _follow(self) -> None:
        pause_s = 1.0
        while self._homes:
            after = ".".join(map(str, min(self._places.values())))
            try:
                stream = self._facts.follow(after, parties=frozenset(self._homes))
                async with contextlib.aclosing(stream) as records:
                    async for record in records:
                        pause_s = 1.0
                        self.hand_out(record)
            except (LedgerError, StoreFull) as error:  # a home without room hears of it again when there is some
                _log.warning("following facts failed", error=str(error))
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(self._backoff_max_s, 2 * pause_s)
        await asyncio.Event().wait()  # for a home

    def hand_out(self, record: FactRecord) -> None:
        here = place(record.cursor)
        for party in record.parties:
            if party in self._homes and self._places[party] < here:
                desk, changed = self._homes[party]
                desk.observe(record)
                self._places[party] = here
                changed()


def place(cursor: str) -> tuple[int, ...]:
    """A cursor "height.index.ordinal" as numbers, for comparison."""
    return tuple(int(part) for part in cursor.split("."))
