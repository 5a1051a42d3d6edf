"""The one line by which a replica's process gets its readiness and metrics."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.config import LedgerSettings
from ledger.operations.watch import readiness
from ledger.operations.watch.metrics import MemberMetrics
from ledger.operations.watch.observation import Observer
from ledger.replica import Replica
from runtime.clock import Clock
from runtime.service import READINESS, REGISTRY


@contextlib.asynccontextmanager
async def watched(
    app: web.Application,
    engine: AsyncEngine,
    settings: LedgerSettings,
    clock: Clock,
    replicas: Callable[[], list[Replica]],
) -> AsyncIterator[None]:
    """`/readyz` and `/metrics` of `app` tell of these replicas, the first channel first, for the time of the block."""
    observer = Observer(engine, replicas, clock)
    first, *others = replicas()
    readiness.register(app[READINESS], observer, first, settings, clock)
    for replica in others:
        readiness.register_channel(app[READINESS], observer, replica, clock, f" {replica.channel}")
    MemberMetrics(app[REGISTRY], observer, replicas, readiness.certificates(settings), clock)
    looking = asyncio.create_task(observer.run())
    try:
        yield
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        await observer.close()
