"""What a member looks at every few seconds, so that probes of `/readyz` and `/metrics` are cheap and wait for nobody.

every EVERY_S:  PostgreSQL (latency), schema, tip of the order, clocks of the other members
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.errors import PeerUnavailable, ReplicaError
from ledger.replica import Replica
from ledger.store.reading import STORE_ERRORS, first_line
from runtime.clock import Clock
from runtime.database import check_schema
from runtime.errors import GridpactError

T = TypeVar("T")

EVERY_S: Final = 5.0
_ASK_S: Final = 2.0
PING_S: Final = 1.5
_SCHEMA_EVERY: Final = 12


@dataclass(slots=True)
class Observation:
    """The newest look. store_s: seconds a query of PostgreSQL took, None: it does not answer. schema: why the tables
    cannot be used. tip: by channel the highest ordered block, where the order tells. ahead_s: by member how far its
    clock is ahead of ours, where that is sure."""

    store_s: float | None = None
    store_error: str = ""
    schema: str | None = None
    tip: dict[str, int] = field(default_factory=dict)
    ahead_s: dict[str, float] = field(default_factory=dict)


class Observer:
    """One for a process; `run` it for as long as the replicas run."""

    def __init__(self, engine: AsyncEngine, replicas: Callable[[], list[Replica]], clock: Clock) -> None:
        self._engine = engine
        self._replicas = replicas
        self._clock = clock
        self._looks = 0
        self._pinging: asyncio.Task[float] | None = None
        self.seen = Observation()

    async def run(self) -> None:
        """For ever."""
        while True:
            await self.look()
            await asyncio.sleep(EVERY_S)

    async def look(self) -> None:
        """Asks everybody at once; whoever does not answer in two seconds is not waited for."""
        found = Observation(schema=self.seen.schema)
        await asyncio.gather(self._store(found), *(self._order(found, each) for each in self._replicas()))
        peers = {name: each for each in self._replicas() for name in each.peers.names}
        await asyncio.gather(*(self._peer(found, each, name) for name, each in peers.items()))
        self.seen = found
        self._looks += 1

    async def ping(self) -> float:
        """Seconds a query takes. Raises what the driver raises, TimeoutError after PING_S: whoever asks while a query
        is on its way waits for that one, so a server that says nothing costs one connection."""
        if self._pinging is None or self._pinging.done():
            self._pinging = asyncio.create_task(self._ping())
        asked = self._pinging
        await asyncio.wait({asked}, timeout=PING_S)
        if not asked.done():
            raise TimeoutError(f"no answer in {PING_S:g} s")
        return asked.result()

    async def close(self) -> None:
        """Nothing is asked any more."""
        asked, self._pinging = self._pinging, None
        if asked is not None:
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)

    async def _ping(self) -> float:
        loop = asyncio.get_running_loop()
        started = loop.time()
        async with self._engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
        return loop.time() - started

    async def _store(self, found: Observation) -> None:
        try:
            found.store_s = await self.ping()
            if self._looks % _SCHEMA_EVERY == 0:
                found.schema = await self._schema()
        except TimeoutError:
            found.store_error = f"no answer in {PING_S:g} s"
        except STORE_ERRORS as error:
            found.store_error = first_line(error)

    async def _schema(self) -> str | None:
        try:
            await check_schema(self._engine, "ledger")
        except GridpactError as error:
            return str(error)
        return None

    async def _order(self, found: Observation, replica: Replica) -> None:
        with contextlib.suppress(ReplicaError, TimeoutError):
            found.tip[replica.channel] = await _within(replica.tip())

    async def _peer(self, found: Observation, replica: Replica, name: str) -> None:
        """Its clock lies between what it said and what it said plus the time the answer took."""
        before_ms = self._clock.wall_ms()
        with contextlib.suppress(PeerUnavailable, TimeoutError):
            status = await _within(replica.peers.status(name))
            after_ms = self._clock.wall_ms()
            if status.wall_ms > after_ms:
                found.ahead_s[name] = (status.wall_ms - after_ms) / 1000
            elif 0 < status.wall_ms < before_ms:
                found.ahead_s[name] = (status.wall_ms - before_ms) / 1000
            elif status.wall_ms:
                found.ahead_s[name] = 0.0


async def _within(question: Awaitable[T]) -> T:
    async with asyncio.timeout(_ASK_S):
        return await question
