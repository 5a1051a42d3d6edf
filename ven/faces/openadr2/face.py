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

_HALF_A_SECOND_MS = 500
_LONG_AGO_MS = 2**50

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
    time = VtnTime(clock, clock_seen)
    signing = message_signing(settings, identity, credentials, clock, HomeNonces(store.notes))
    if signing is not None:
        signing.heard = time.signed
    link = Link(
        identity.openadr2_url,
        session,
        timeout_s=settings.request_timeout_s,
        count=metrics.count_request,
        tls=credentials.context,
        signing=signing,
        dated=Dated(clock.wall_ms, time.answered),
    )
    desks = Desks(
        EventDesk(link, store, clock, home, created=time.created),
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
        clock,
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


class VtnTime:
    """What the VTN says about the time, from the wall clock to the domain's, for who keeps it."""

    def __init__(self, clock: Clock, seen: ClockSeen | None) -> None:
        self._clock = clock
        self._seen = seen

    def answered(self, theirs_ms: int, before_ms: int, after_ms: int) -> None:
        """The Date of an answer, the middle of its second, between asking and hearing (wall clock)."""
        if self._seen is not None:
            doubt_ms = _HALF_A_SECOND_MS
            bounds = self._domain_ms(before_ms - doubt_ms), self._domain_ms(after_ms + doubt_ms)
            self._seen(self._domain_ms(theirs_ms), *bounds)

    def signed(self, theirs_ms: int) -> None:
        """The time of a signature, made some time before now (wall clock)."""
        if self._seen is not None:
            self._before_now(self._domain_ms(theirs_ms))

    def created(self, theirs_ms: int) -> None:
        """The createdDateTime of an event, made some time before now (domain time)."""
        self._before_now(theirs_ms)

    def _before_now(self, theirs_ms: int) -> None:
        if self._seen is not None and theirs_ms > 0:
            self._seen(theirs_ms, theirs_ms - _LONG_AGO_MS, self._clock.now_ms())

    def _domain_ms(self, wall_ms: int) -> int:
        return self._clock.now_ms() + round((wall_ms - self._clock.wall_ms()) * self._clock.speed)
