"""Waiting that ends: for an event while others work beside it, and for all of it no longer than a deadline."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Protocol

from demo.processes import CommandFailed


class Watched(Protocol):
    """Something that can say what it waits for, and how its logs end."""

    doing: str

    def report(self, lines: int = 8) -> str: ...


async def until(done: asyncio.Event, *others: Coroutine[None, None, None]) -> None:
    """Runs `others` until `done` is set; raises the first error of any of them at once."""
    waiter = asyncio.create_task(done.wait())
    running: set[asyncio.Task[Any]] = {waiter, *map(asyncio.create_task, others)}
    try:
        while not waiter.done():
            finished, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in finished:
                task.result()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


@contextlib.asynccontextmanager
async def within(deadline_s: float, watched: Watched) -> AsyncIterator[None]:
    """Gives up after `deadline_s`. Raises CommandFailed: what was waited for, and the end of every log."""
    try:
        async with asyncio.timeout(deadline_s) as limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise CommandFailed(
            f"not over after {deadline_s:.0f} s; it waited for {watched.doing}\n{watched.report()}"
        ) from None
