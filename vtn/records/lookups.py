"""Many who look for one row each: those that ask while a query runs go together into the next.

    find("a") ── query ["a"] ──▶ a
    find("b") ┐
    find("c") ┴─ wait ─────────── query ["b", "c"] ──▶ b, c

After a restart every VEN is a stranger to a worker. One query each would keep it busy for minutes, and some would wait
for a connection until they are refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, TypeVar

Row = TypeVar("Row")

_BATCH = 1000


class Lookups(Generic[Row]):
    """Looks rows up by a text key. `fetch` returns those of some keys that exist."""

    def __init__(self, fetch: Callable[[list[str]], Awaitable[Mapping[str, Row]]]) -> None:
        self._fetch = fetch
        self._waiting: dict[str, asyncio.Future[Row | None]] = {}
        self._running: asyncio.Task[None] | None = None

    async def find(self, key: str) -> Row | None:
        """The row as it is at some moment after this call, None without one. Raises what `fetch` raises."""
        future = self._waiting.get(key)
        if future is None:
            future = self._waiting[key] = asyncio.get_running_loop().create_future()
            if self._running is None or self._running.done():
                self._running = asyncio.create_task(self._run())
        return await asyncio.shield(future)  # others may wait for it too

    async def _run(self) -> None:
        while self._waiting:
            asked = {key: self._waiting.pop(key) for key in list(self._waiting)[:_BATCH]}
            try:
                found = await self._fetch(list(asked))
            except Exception as error:
                for future in asked.values():
                    future.set_exception(error)
                    future.exception()  # whoever asked may be gone
                continue
            for key, future in asked.items():
                future.set_result(found.get(key))
