"""Builds the replica's process: PostgreSQL, the replica itself, its interface, and what watches them."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import web
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.api import LIMITS, METRICS, REPLICA, STREAMS, Limits, Streams, add_routes
from ledger.config import LedgerSettings
from ledger.founding import Founded
from ledger.metrics import Metrics
from ledger.ordering.local import LocalOrderer
from ledger.replica import Replica
from ledger.store.postgres import PostgresStore
from runtime.clock import Clock
from runtime.database import check_schema, create_engine
from runtime.postgres import postgres
from runtime.service import READINESS, REGISTRY, new_app


def build(settings: LedgerSettings, founded: Founded) -> web.Application:
    """The application of one replica; it starts with PostgreSQL and ends with it. Starting raises StaleSchema."""
    app = new_app(client_max_size=settings.request_bytes_max)
    app[STREAMS] = Streams()
    app[LIMITS] = Limits(
        batch_max=settings.batch_max,
        page_max=settings.page_max,
        streams_max=settings.streams_max,
        heartbeat_s=settings.heartbeat_s,
        slow_reader_s=settings.slow_reader_s,
    )
    add_routes(app, founded.genesis.channel)

    async def replica(app: web.Application) -> AsyncIterator[None]:
        # one context: should a later step fail, PostgreSQL is stopped all the same
        async with postgres(
            settings.database_url, settings.postgres_dir, "ledger", binaries=settings.postgres_binaries
        ) as url:
            engine = create_engine(url, application_name="dr-ledger")
            try:
                await check_schema(engine, "ledger")
                async with local_replica(engine, founded, settings, settings.clock()) as running:
                    _attach(app, engine, running)
                    yield
            finally:
                await engine.dispose()

    app.cleanup_ctx.append(replica)
    return app


def local_replica(engine: AsyncEngine, founded: Founded, settings: LedgerSettings, clock: Clock) -> Replica:
    """The only member of its ledger: it orders for itself on its own PostgreSQL."""
    channel = founded.genesis.channel
    orderer = LocalOrderer(engine, channel, founded.member)
    return Replica(PostgresStore(engine, channel), founded, settings, clock, orderer)


def _attach(app: web.Application, engine: AsyncEngine, replica: Replica) -> None:
    async def ping() -> None:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    app[REPLICA] = replica
    app[METRICS] = Metrics(app[REGISTRY], replica.status, lambda: app[STREAMS].open)
    app[READINESS].register("postgres", ping)
    app[READINESS].register("orderer", replica.check_orderer)
    app[READINESS].register("log", replica.check_log)
