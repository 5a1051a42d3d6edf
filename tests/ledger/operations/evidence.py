"""A replica behind HTTP whose contract went from proposal to expiry, and the bundle somebody exports of it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

from aiohttp import web

from ledger.app import build
from ledger.client import LedgerClient
from ledger.client.transport import Transport
from ledger.config import LedgerSettings
from ledger.operations.export import Exported, LogReader, export
from ledger.verify.bundle import Scope
from runtime.clock import SystemClock
from tests.builders import START_MS, a_clock
from tests.ledger.replicas import ACCEPT_BY_MS, a_proposal, a_replica, readings
from tests.ledger.running import founded


class Served(NamedTuple):
    url: str
    folder: Path


@contextlib.asynccontextmanager
async def a_story_served(url: str, folder: Path) -> AsyncIterator[Served]:
    """need-1, sc1-1 proposed and expired by its deadline, some readings; then served at an address."""
    clock = a_clock()
    async with a_replica(url, folder, clock) as ledger:
        await ledger.run(*a_proposal())
        await ledger.run(readings(500, 600))
        clock.advance(ACCEPT_BY_MS - START_MS + 1)
        await ledger.run(readings(700, start_ms=START_MS - 7_200_000))
    settings = LedgerSettings(database_url=url, data_dir=folder)
    runner = web.AppRunner(build(settings, founded(settings)), access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield Served(f"http://127.0.0.1:{runner.addresses[0][1]}", folder)
    finally:
        await runner.cleanup()


async def exported(served: Served, **scope: Any) -> Exported:
    wanted = Scope(**{"contract": None, "from_ms": None, "to_ms": None, "party": None} | scope)
    transport = Transport(served.url, "main", session=None, ssl=None, deadline_s=5)
    async with LedgerClient(served.url, clock=SystemClock(), deadline_s=5) as client:
        try:
            return await export(client, LogReader(transport.get), wanted, wait_s=2)
        finally:
            await transport.close()
