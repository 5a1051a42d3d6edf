"""The VTN's process: everything is built here, once.

settings ── PostgreSQL ── services ─┬─ 2.0b face, enrolment, health, metrics        HTTP
                                    ├─ listener, ledger outbox, open enrolments     background
                                    ├─ aggregator's cycle                           background, in one process
                                    ├─ link to a utility's VTN                      background, one worker leads
                                    └─ forecasts by the clock                       background, one worker leads
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ssl as ssl_module
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from aiohttp import web

from ledger.client import LedgerError
from runtime import service
from runtime.connections import HEAD_S, BoundedSite
from runtime.errors import GridpactError
from runtime.logs import get_logger
from runtime.service import READINESS, REGISTRY, new_app
from runtime.tls import client_context
from vtn.aggregator import start as aggregator
from vtn.analytics.service.work import Analytics
from vtn.auth.gate import Gate, Signer
from vtn.config import VtnSettings
from vtn.context import Vtn, open_vtn
from vtn.faces.enrolment import EnrolmentFace
from vtn.faces.openadr2 import Openadr2Face
from vtn.metrics import VtnMetrics
from vtn.records.retention import EVERY_S, Retention
from vtn.upstream.service import Upstream

Background = Callable[[Vtn], Awaitable[None]]
"""Something that runs beside the faces until it is cancelled: the aggregator's cycle."""

ENROLMENT_BYTES_MAX = 65_536
_RESTART_S = 1.0
_COLLECT_EVERY = 10_000
"""Objects, where Python has 700."""
_log = get_logger("vtn.app")


async def serve(settings: VtnSettings) -> None:
    """Serve until SIGTERM or SIGINT. Raises what `open_vtn` raises, InsecureAddress, SettingsError."""
    tls = settings.tls()
    service.refuse_plain_http(settings.host, tls)
    async with open_vtn(settings) as vtn:
        background = aggregator.run if settings.aggregator else None
        app = build_app(vtn, tls=tls, background=background, scheduled=settings.forecast_schedule)
        _spare_collector()
        async with _enrolment_port(vtn):
            await service.serve(app, settings.host, settings.port, tls, name="dr-vtn")


def _spare_collector() -> None:
    """What is there at the start stays: the collector, whose full rounds take 100 ms, need not look at it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_EVERY)


def build_app(
    vtn: Vtn,
    *,
    tls: ssl_module.SSLContext | None = None,
    background: Background | None = None,
    scheduled: bool = False,
) -> web.Application:
    """The application over an open VTN; `background` and, if `scheduled`, the forecasts run while it does."""
    settings = vtn.settings
    app = new_app(client_max_size=settings.request_bytes_max)
    metrics = VtnMetrics(app[REGISTRY])
    gate = Gate(
        vtn.database,
        vtn.clock,
        Signer(settings.signing_certificates(), vtn.clock),
        skew_s=settings.signature_skew_s,
        require_certificate=tls is not None or bool(settings.trusted_proxies),
        proxies=settings.proxies(),
        require_signatures=settings.require_signatures,
    )
    face = Openadr2Face(
        vtn.database,
        vtn.database_url,
        vtn.clock,
        vens=vtn.vens,
        registrations=vtn.registrations,
        opts=vtn.opts,
        reports=vtn.reports,
        telemetry=vtn.telemetry,
        collected=vtn.collected,
        source=vtn.report_source,
        contacts=vtn.contacts,
        metrics=metrics,
        vtn_id=settings.vtn_id,
        poll_interval_s=settings.poll_interval_s,
        redeliver_s=settings.redeliver_s,
        lenient=settings.lenient,
        gate=gate,
        push_tls=_push_tls(settings) if gate.require_certificate else None,
        request_bytes_max=settings.request_bytes_max,
    )
    face.add_to(app)
    EnrolmentFace(vtn, metrics).add_to(app)
    metrics.listening.set_function(lambda: float(face.directory.wakeups.up))
    app[READINESS].register("postgres", vtn.database.ping)
    app[READINESS].register("notifications", lambda: _listening(face))
    upstream = None if settings.upstream_url is None else Upstream(vtn, app[REGISTRY])
    if upstream is not None:
        app[READINESS].register("upstream", upstream.check)

    analytics = Analytics(vtn, app[REGISTRY]) if scheduled else None

    beside = [
        face.directory.wakeups.run,
        gate.watch,
        face.pushing.run,
        vtn.contacts.run,
        lambda: _reports_due(vtn),
        lambda: _outbox(vtn, metrics),
        lambda: _forgotten(vtn),
    ]
    kept = [background, None if upstream is None else upstream.run, None if analytics is None else analytics.run]
    beside += [partial(_kept_running, vtn, each) for each in kept if each is not None]
    app.cleanup_ctx.append(partial(_beside, beside))
    return app


async def _beside(work: Sequence[Callable[[], Coroutine[Any, Any, None]]], _: web.Application) -> AsyncIterator[None]:
    """What runs while the application does."""
    running = [asyncio.create_task(each()) for each in work]
    yield
    for task in running:
        task.cancel()
    for task in running:
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.asynccontextmanager
async def _enrolment_port(vtn: Vtn) -> AsyncIterator[None]:
    """Enrolment on a port of its own where the other wants a certificate: who joins has none yet.

    Raises SettingsError."""
    settings = vtn.settings
    tls = settings.enrolment_tls()
    if tls is None:
        yield
        return
    app = new_app(client_max_size=ENROLMENT_BYTES_MAX)
    EnrolmentFace(vtn, VtnMetrics(app[REGISTRY])).add_to(app)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, keepalive_timeout=HEAD_S)
    await runner.setup()
    try:
        await BoundedSite(runner, settings.host, settings.enrolment_port, ssl_context=tls).start()
        print(f"dr-vtn enrolment at {service.address(runner, settings.host, tls)}", flush=True)
        yield
    finally:
        await runner.cleanup()


async def _listening(face: Openadr2Face) -> None:
    if not face.directory.wakeups.up:
        raise GridpactError("notifications of the database do not arrive")


def _push_tls(settings: VtnSettings) -> ssl_module.SSLContext | None:
    """As what the VTN shows itself to VENs it posts to. Their certificates name no host: the fingerprint is checked."""
    certificates, authorities = settings.signing_certificates(), settings.device_authorities()
    if not certificates or not authorities:
        return None
    context = client_context(authorities, certificates[0])
    context.check_hostname = False
    return context


async def _reports_due(vtn: Vtn) -> None:
    """Queue the reports VENs asked the VTN for when they are due."""
    while True:
        try:
            await vtn.report_source.queue_due()
        except Exception:
            _log.exception("reports that are due were not queued")
        await asyncio.sleep(vtn.settings.outbox_interval_s)


async def _forgotten(vtn: Vtn) -> None:
    """Remove what was done long ago."""
    retention = Retention(vtn.database, vtn.clock, days=vtn.settings.retention_days)
    while True:
        try:
            if removed := await retention.remove_old():
                _log.info("old messages and deliveries removed", rows=removed)
        except Exception:
            _log.exception("old messages and deliveries were not removed")
        await asyncio.sleep(EVERY_S)


async def _outbox(vtn: Vtn, metrics: VtnMetrics) -> None:
    """Bring what waits to the ledger, and interrupted enrolments to their end."""
    while True:
        try:
            await vtn.ledger_outbox.deliver()
            await vtn.enrolments.complete_pending()
        except LedgerError as error:
            metrics.ledger_outbox_failures.inc()
            _log.warning("the ledger is not reached", error=str(error))
        except Exception:
            metrics.ledger_outbox_failures.inc()
            _log.exception("ledger outbox failed")
        await asyncio.sleep(vtn.settings.outbox_interval_s)


async def _kept_running(vtn: Vtn, background: Background) -> None:
    while True:
        try:
            await background(vtn)
            return
        except Exception:
            _log.exception("background task ended, it is started again")
        await asyncio.sleep(_RESTART_S)
