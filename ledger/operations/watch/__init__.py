"""The one line by which a replica's process gets its readiness and metrics."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.config import LedgerSettings
from ledger.operations.watch import readiness
from ledger.operations.watch.auditing import Auditing
from ledger.operations.watch.metrics import MemberMetrics
from ledger.operations.watch.observation import Observer
from ledger.replica import Replica
from runtime.clock import Clock
from runtime.service import READINESS, REGISTRY

AUDITING = web.AppKey("auditing", Auditing)
"""What recomputes at night."""


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
    auditing = Auditing(settings, engine.url.render_as_string(hide_password=False), replicas, clock)
    app[AUDITING] = auditing
    first, *others = replicas()
    readiness.register(app[READINESS], observer, first, settings, clock)
    for replica in others:
        readiness.register_channel(app[READINESS], observer, replica, clock, f" {replica.channel}")
    app[READINESS].register("audit", partial(auditing.check, first))
    for replica in others:
        app[READINESS].register(f"audit {replica.channel}", partial(auditing.check, replica))
    MemberMetrics(app[REGISTRY], observer, replicas, readiness.certificates(settings), clock, auditing.done)
    jobs = [asyncio.create_task(observer.run()), asyncio.create_task(auditing.run())]
    try:
        yield
    finally:
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        await observer.close()
