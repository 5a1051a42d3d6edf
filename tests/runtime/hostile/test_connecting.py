"""Whoever is cancelled while a connection is made leaves none half made."""

from __future__ import annotations

import asyncio
from pathlib import Path

from sqlalchemy import text

from runtime.database import create_engine


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_connections_cancelled_at_any_moment_leave_no_socket(database_url: str) -> None:
    """PostgreSQL waits a minute for the password of a half-open one, and with it DROP DATABASE."""
    engine = create_engine(database_url)

    async def ask() -> None:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    await ask()
    await engine.dispose()
    before = open_files()
    cancelled: list[BaseException | None] = []
    for number in range(25):
        asking = asyncio.create_task(ask())
        await asyncio.sleep(0.0004 * number)
        asking.cancel()
        # kept, as a log or a test report does: what the exception holds must not be a socket
        cancelled += await asyncio.gather(asking, return_exceptions=True)
    await engine.dispose()
    assert any(isinstance(each, asyncio.CancelledError) for each in cancelled)
    assert open_files() == before
