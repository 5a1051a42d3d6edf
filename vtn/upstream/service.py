"""The link to a utility's VTN as a task of every worker, of which one leads.

    every worker: wait for the advisory lock ──▶ the leader ─┬─ conversation with the VTN       (session)
                                                             ├─ events decided, needs moved on  (decisions, needs)
                                                             └─ the lock is still held?          no: begin anew

The lock lives as long as its connection, so a worker that is killed is followed by another at once. Everything is
stored before it is acted on: who follows goes on where the last one was.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
from prometheus_client import CollectorRegistry, Counter, Gauge
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.core.parties import Role
from ledger.client import LedgerClient, LedgerError, party_id
from openadr.client.link import Link
from openadr.client.registration import Registrar, Registration
from openadr.client.signing import MessageSigning
from runtime.clock import happened
from runtime.errors import Attention, GridpactError, SettingsError
from runtime.keys import PrivateKey
from runtime.logs import get_logger
from runtime.tls import Certificate, client_context
from runtime.tls.certificates import read_key
from vtn.config import VtnSettings
from vtn.context import Vtn
from vtn.services.programs import Program
from vtn.upstream import records
from vtn.upstream.decisions import Decisions
from vtn.upstream.events import EventDesk
from vtn.upstream.needs import NeedDesk
from vtn.upstream.reports.desk import ReportDesk
from vtn.upstream.session import Session, Shelf

_LOCK = 0x6772_6964_7570
"""The advisory lock of the database whose holder leads."""
_OPEN = (records.RECEIVED, records.HELD, records.APPROVED, records.REQUESTED)
"""States of events that wait for something."""
_FOLLOW_S = 2.0
_TURN_S = 1.0
_LOOK_TURNS = 3
_SILENT_POLLS = 5

_log = get_logger("vtn.upstream")


class Upstream:
    """The link of one worker. Its metrics are on `registry`. Raises SettingsError, KeyFileError, InsecureAddress."""

    def __init__(self, vtn: Vtn, registry: CollectorRegistry) -> None:
        self._vtn = vtn
        self._key = PrivateKey.load(_key_file(vtn.settings))
        self._utility = party_id(Role.UTILITY, self._key.public)
        self._tls = _tls(vtn.settings)
        self._signing = _signing(vtn)
        self._messages = Counter(
            "gridpact_vtn_upstream_messages_total",
            "Messages sent to the utility's VTN by result: ok, refused, unreachable",
            ["message", "result"],
            registry=registry,
        )
        self._leads = Gauge(
            "gridpact_vtn_upstream_leads", "1 in the worker that talks to the utility's VTN", registry=registry
        )
        self._events = Gauge(
            "gridpact_vtn_upstream_events", "Events of the utility that wait, by state", ["state"], registry=registry
        )

    async def run(self, vtn: Vtn) -> None:
        """Works until cancelled; waits while another worker leads. Raises SettingsError."""
        settings = vtn.settings
        async with LedgerClient(
            settings.ledger_url, channel=settings.channel, key=self._key, party=self._utility, clock=vtn.clock
        ) as ledger:
            vtn.ledger_outbox.add_sender(ledger)
            while True:
                async with _lock(vtn) as lock:
                    if lock is not None:
                        await self._lead_while_possible(lock)
                await asyncio.sleep(_FOLLOW_S)

    async def check(self) -> None:
        """Raises Attention where somebody should look: VENs are served all the same."""
        vtn = self._vtn
        async with vtn.database.reading() as connection:
            kept = await records.read_link(connection, vtn.settings.upstream_url or "")
        if not kept.enabled:
            raise Attention("the link to the utility has ended: `dr-vtn upstream register` makes it again")
        if kept.error is not None:
            raise Attention(f"the utility's VTN: {kept.error}")
        if kept.reached_ms is None:
            raise Attention("the utility's VTN was not reached yet")
        quiet_s = (vtn.clock.wall_ms() - kept.reached_ms) / 1000
        if quiet_s > 60 + _SILENT_POLLS * vtn.clock.wall_seconds(vtn.settings.upstream_poll_s):
            raise Attention(f"nobody talked to the utility's VTN for {quiet_s:.0f} s")

    async def _lead_while_possible(self, lock: AsyncConnection) -> None:
        self._leads.set(1)
        _log.info("this worker talks to the utility", url=self._vtn.settings.upstream_url)
        try:
            await self._lead(lock)
        except* (_LockLost, SQLAlchemyError) as errors:
            _log.warning("no longer the one that talks to the utility", error=str(errors.exceptions[0]))
        finally:
            self._leads.set(0)

    async def _lead(self, lock: AsyncConnection) -> None:
        vtn = self._vtn
        program = await _program(vtn)
        async with aiohttp.ClientSession() as http:
            nudged, woken, shelf = asyncio.Event(), asyncio.Event(), Shelf()
            session = self._session(http, program, shelf, nudged, woken)
            turns = self._turns(Decisions(vtn, program, self._utility), NeedDesk(vtn), shelf, nudged, woken)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_guard(lock))
                tasks.create_task(session.run())
                tasks.create_task(turns)

    def _session(
        self, http: aiohttp.ClientSession, program: Program, shelf: Shelf, nudged: asyncio.Event, woken: asyncio.Event
    ) -> Session:
        vtn, settings = self._vtn, self._vtn.settings
        link = Link(
            settings.upstream_url or "",
            http,
            timeout_s=settings.upstream_timeout_s,
            count=lambda message, result: self._messages.labels(message=message, result=result).inc(),
            tls=lambda: self._tls,
            signing=self._signing,
            lenient=settings.upstream_lenient,
        )
        registrar = Registrar(link, shelf, ven_name=settings.upstream_ven_name or "", ven_id=settings.upstream_ven_id)
        events = EventDesk(vtn.database, vtn.clock)
        reports = ReportDesk(link, vtn, program)
        return Session(vtn, link, registrar, shelf, events, reports, nudged=nudged, received=woken.set)

    async def _turns(
        self, decisions: Decisions, needs: NeedDesk, shelf: Shelf, nudged: asyncio.Event, woken: asyncio.Event
    ) -> None:
        """Decide and move on what there is, each second and when events came; the utility hears at once."""
        number = 0
        while True:
            try:
                if await self._turn(decisions, needs, shelf.registration, look=number % _LOOK_TURNS == 0):
                    nudged.set()
            except LedgerError as error:
                _log.warning("turn interrupted", error=str(error))
            except SQLAlchemyError:
                raise
            except Exception:
                _log.exception("turn failed")
            number += 1
            await happened(woken, _TURN_S)
            woken.clear()

    async def _turn(
        self, decisions: Decisions, needs: NeedDesk, registration: Registration | None, *, look: bool
    ) -> bool:
        """True if something was decided. What fails for one event holds up no other."""
        decided = False
        async with self._vtn.database.reading() as connection:
            events = await records.list_events(connection, *_OPEN)
        for state in _OPEN:
            self._events.labels(state=state).set(sum(each.state == state for each in events))
        for event in events:
            try:
                if event.state == records.HELD:
                    decided = await decisions.lapse(event) or decided
                elif event.state in (records.RECEIVED, records.APPROVED) and registration is not None:
                    decided = await decisions.decide(event, registration.ven_id) or decided
            except LedgerError:
                raise
            except Exception:
                _log.exception("event not decided", dr_event_id=event.event_id)
        await needs.let_go()
        if look:
            await needs.look()
        return bool(await needs.submit()) or decided


class _LockLost(GridpactError):
    """The connection that held the lock is gone, and with it the lock."""


@contextlib.asynccontextmanager
async def _lock(vtn: Vtn) -> AsyncIterator[AsyncConnection | None]:
    """The connection that holds the lock; None while another worker has it, or the database does not answer."""
    async with contextlib.AsyncExitStack() as stack:
        try:
            connection = await stack.enter_async_context(vtn.database.engine.connect())
            # no transaction stays open on it: an idle one would hold back vacuum
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            mine = await connection.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": _LOCK})
        except (SQLAlchemyError, OSError) as error:
            _log.warning("the database does not answer", error=str(error).splitlines()[0])
            yield None
            return
        try:
            yield connection if mine else None
        finally:
            with contextlib.suppress(SQLAlchemyError, OSError):
                if mine and not connection.invalidated:
                    await connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": _LOCK})


async def _guard(lock: AsyncConnection) -> None:
    """Raises _LockLost when the lock is gone."""
    while True:
        await asyncio.sleep(_FOLLOW_S)
        try:
            await lock.execute(text("SELECT 1"))
        except (SQLAlchemyError, OSError) as error:
            raise _LockLost(str(error).splitlines()[0]) from None


async def _program(vtn: Vtn) -> Program:
    """The program whose homes serve; waits for it."""
    name = vtn.settings.upstream_program
    while True:
        found = [each for each in await vtn.programs.list() if name in (None, each.name)]
        if len(found) > 1:
            raise SettingsError("there are several programs: upstream_program names the one whose homes serve")
        if found:
            return found[0]
        await asyncio.sleep(_FOLLOW_S)


def _key_file(settings: VtnSettings) -> Path:
    if settings.upstream_key is None:
        raise SettingsError("upstream_key is missing: the key of the utility's ledger party signs needs")
    return settings.upstream_key


def _certificate(settings: VtnSettings) -> Certificate | None:
    if settings.upstream_certificate is None or settings.upstream_certificate_key is None:
        return None
    return Certificate(settings.upstream_certificate, settings.upstream_certificate_key)


def _tls(settings: VtnSettings) -> ssl.SSLContext | None:
    if urlsplit(settings.upstream_url or "").scheme != "https":
        return None
    return client_context(settings.upstream_ca, _certificate(settings))


def _signing(vtn: Vtn) -> MessageSigning | None:
    settings = vtn.settings
    certificate = _certificate(settings)
    if not settings.upstream_sign_messages or certificate is None:
        return None
    if settings.upstream_fingerprint is None and settings.upstream_ca is None:
        raise SettingsError("with upstream_sign_messages upstream_fingerprint or upstream_ca says whom to believe")
    try:
        chain = certificate.chain.read_bytes()
    except OSError as error:
        raise SettingsError(f"upstream_certificate {certificate.chain} cannot be read: {error}") from error
    key = read_key(certificate.key)
    return MessageSigning(
        lambda: (key, chain),
        vtn.clock,
        host=urlsplit(settings.upstream_url or "").hostname or "",
        authorities=settings.upstream_ca,
        fingerprint=settings.upstream_fingerprint,
    )
