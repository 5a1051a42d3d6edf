"""Our VEN in real time, as the crossed runs have it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client import CollectorRegistry

from runtime.clock import DomainClock, SystemClock
from ven.account.identity import Identity
from ven.agent import HomeAgent, Surroundings
from ven.config import VenSettings
from ven.devices.dimmer import Dimmer
from ven.home.store import Store
from ven.metrics import Metrics

MINUTE_MS = 60_000


@contextlib.asynccontextmanager
async def our_ven(url: str, folder: Path, **settings: Any) -> AsyncIterator[HomeAgent]:
    """Our VEN, whose meter's next minute ends in two seconds."""
    now_ms = SystemClock().wall_ms()
    clock = DomainClock(now_ms, (now_ms // MINUTE_MS + 1) * MINUTE_MS - 2000, 1.0)
    chosen = VenSettings(
        openadr2_url=url, data_dir=folder, require_contract=False, device="dimmer", interval_s=60, reading_delay_s=0,
        history_days=0, backoff_max_s=0.5, clock_tolerance_s=300, **settings,
    )  # fmt: skip
    store = Store(folder / "ven.sqlite")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=chosen.tls())) as session:
        around = Surroundings(clock, session, Metrics(CollectorRegistry()))
        identity = Identity(ven_name="H1", ven_id=None, openadr2_url=url)
        agent = HomeAgent(chosen, folder, store, identity, Dimmer("dimmer", 900), around)
        task = asyncio.create_task(agent.run())
        try:
            yield agent
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            store.close()
