"""The 2.0b side of one home, put together from its settings and its store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

import aiohttp

from openadr.client.link import Dated, Link
from openadr.client.registration import Registrar
from openadr.client.signing import MessageSigning, Nonces
from openadr.v2 import ResourceStatus
from openadr.v2.document.signature import PrivateKey, load_key
from runtime.clock import Clock
from runtime.errors import SettingsError
from ven.account.credentials import Credentials
from ven.account.identity import Identity
from ven.config import VenSettings
from ven.devices.base import Reporting
from ven.devices.errors import DeviceError
from ven.faces.openadr2.conversation import Conversation
from ven.faces.openadr2.engine import Desks, Engine
from ven.faces.openadr2.events import EventDesk
from ven.faces.openadr2.opts import OptDesk
from ven.faces.openadr2.reach import Reach, push_address
from ven.faces.openadr2.registration import HomeNonces, HomeShelf
from ven.faces.openadr2.reporting.desk import ReportDesk
from ven.faces.openadr2.reporting.sourced import SourcedDesk
from ven.faces.openadr2.reporting.statuses import StatusReports
from ven.home.owner import read_owner
from ven.home.store import Store
from ven.metrics import Metrics

ClockSeen = Callable[[int, int, int], None]
"""Hears what the VTN takes the time for, between two moments of ours (domain time, ms)."""


@dataclass(frozen=True)
class Face:
    """`engine` nudged and looked at, `registrar` asked; `run` is all of it at work."""

    registrar: Registrar
    engine: Engine
    reach: Reach | None

    async def run(self) -> None:
        """Works for ever. Raises AddressUnusable where the VTN's posts cannot be listened for."""
        if self.reach is None:
            await self.engine.run()
            return
        async with self.reach.listener.serving(), asyncio.TaskGroup() as tasks:
            tasks.create_task(self.engine.run())
            tasks.create_task(self.reach.follow_renewals())


def make_face(
    settings: VenSettings,
    identity: Identity,
    store: Store,
    credentials: Credentials,
    device: Reporting,
    *,
    clock: Clock,
    session: aiohttp.ClientSession,
    metrics: Metrics,
    changed: Callable[[bool], None],
    clock_seen: ClockSeen | None = None,
) -> Face:
    """`changed(events)` is called after each exchange; `events`: some are new or changed. Raises SettingsError,
    InsecureAddress."""
    home = identity.ven_name
    seen = partial(_seen, clock, clock_seen)
    signing = message_signing(settings, identity, credentials, clock, HomeNonces(store.notes))
    if signing is not None:
        signing.heard = lambda theirs_ms: seen(theirs_ms, clock.wall_ms(), clock.wall_ms())
    link = Link(
        identity.openadr2_url,
        session,
        timeout_s=settings.request_timeout_s,
        count=metrics.count_request,
        tls=credentials.context,
        signing=signing,
        dated=Dated(clock.wall_ms, seen),
    )
    desks = Desks(
        EventDesk(link, store, clock, home, created=lambda at_ms: _created(clock, clock_seen, at_ms)),
        ReportDesk(
            link,
            store,
            StatusReports(store.notes, partial(_state, device, store, clock), kept=settings.report_intervals_max),
            clock,
            metrics,
            resource=home,
            interval_s=settings.interval_s,
            chunk=settings.report_intervals_max,
        ),
        SourcedDesk(link, store, home=home),
        OptDesk(link, store, home=home),
    )
    address = push_address(settings, credentials)
    registrar = Registrar(link, HomeShelf(store), ven_name=home, ven_id=identity.ven_id, transport_address=address)
    conversation = Conversation(registrar, desks.events, desks.reports, desks.sourced, home=home)
    engine = Engine(
        link,
        registrar,
        conversation,
        desks,
        store.notes,
        clock,
        home=home,
        poll_s=settings.poll_s,
        backoff_max_s=settings.backoff_max_s,
        changed=changed,
        push_check_s=None if address is None else settings.push_check_s,
    )
    reach = None if address is None else Reach(settings, identity, credentials, engine, signing, metrics)
    return Face(registrar, engine, reach)


def message_signing(
    settings: VenSettings, identity: Identity, credentials: Credentials, clock: Clock, nonces: Nonces
) -> MessageSigning | None:
    """How the home signs its messages, None where it does not. Raises SettingsError."""
    if not settings.sign_messages:
        return None
    if credentials.exists:
        signer = credentials.signing
    elif settings.certificate is not None and settings.certificate_key is not None:
        pair = load_key(settings.certificate_key.read_bytes()), settings.certificate.read_bytes()

        def signer() -> tuple[PrivateKey, bytes]:
            return pair
    else:
        raise SettingsError("sign_messages needs a certificate: that of the enrolment, or the setting certificate")
    authorities = credentials.ca or settings.server_ca
    if authorities is None and settings.vtn_fingerprint is None:
        raise SettingsError("sign_messages needs to know who signs for the VTN: set vtn_fingerprint or server_ca")
    host = urlsplit(identity.openadr2_url).hostname or ""
    return MessageSigning(
        signer, clock, host=host, authorities=authorities, fingerprint=settings.vtn_fingerprint, nonces=nonces
    )


def _state(device: Reporting, store: Store, clock: Clock) -> ResourceStatus:
    """Online: the device answers; overridden: its owner opted out, or a limit of the owner's ended a reduction."""
    now_ms = clock.now_ms()
    try:
        released_by = device.status(now_ms).released_by
    except DeviceError:
        return ResourceStatus(online=False, manual_override=False)
    return ResourceStatus(True, released_by is not None or read_owner(store.notes).opted_out(now_ms))


def _seen(clock: Clock, clock_seen: ClockSeen | None, theirs_ms: int, before_ms: int, after_ms: int) -> None:
    """From the wall clock to the domain's, on which a second of doubt lasts longer where it runs faster."""
    if clock_seen is None:
        return
    now_ms, wall_ms, doubt_ms = clock.now_ms(), clock.wall_ms(), 1000 * (clock.speed - 1)

    def domain_ms(at_ms: float) -> int:
        return now_ms + round((at_ms - wall_ms) * clock.speed)

    clock_seen(domain_ms(theirs_ms), domain_ms(before_ms) - round(doubt_ms), domain_ms(after_ms) + round(doubt_ms))


def _created(clock: Clock, clock_seen: ClockSeen | None, created_ms: int) -> None:
    """An event that is made in our future says that the VTN's clock is ahead by that much at least."""
    now_ms = clock.now_ms()
    if clock_seen is not None and created_ms > now_ms:
        clock_seen(created_ms, now_ms, now_ms)
