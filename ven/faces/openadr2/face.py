"""The 2.0b side of one home, put together from its settings and its store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp

from openadr.client.link import Link
from openadr.client.registration import Registrar
from openadr.client.signing import MessageSigning
from openadr.v2.document.signature import PrivateKey, load_key
from runtime.clock import Clock
from runtime.errors import SettingsError
from ven.account.credentials import Credentials
from ven.account.identity import Identity
from ven.config import VenSettings
from ven.faces.openadr2.engine import Engine
from ven.faces.openadr2.events import EventDesk
from ven.faces.openadr2.registration import HomeShelf
from ven.faces.openadr2.reports import ReportDesk
from ven.home.store import Store
from ven.metrics import Metrics


@dataclass(frozen=True)
class Face:
    """`engine` is to run; `registrar` knows the registration."""

    registrar: Registrar
    engine: Engine


def make_face(
    settings: VenSettings,
    identity: Identity,
    store: Store,
    credentials: Credentials,
    *,
    clock: Clock,
    session: aiohttp.ClientSession,
    metrics: Metrics,
    changed: Callable[[bool], None],
) -> Face:
    """`changed(events)` is called after each exchange; `events`: some are new or changed. Raises SettingsError,
    InsecureAddress."""
    home = identity.ven_name
    link = Link(
        identity.openadr2_url,
        session,
        timeout_s=settings.request_timeout_s,
        count=metrics.count_request,
        tls=credentials.context,
        signing=message_signing(settings, identity, credentials, clock),
    )
    registrar = Registrar(link, HomeShelf(store), ven_name=home, ven_id=identity.ven_id)
    reports = ReportDesk(
        link,
        store,
        clock,
        metrics,
        resource=home,
        interval_s=settings.interval_s,
        chunk=settings.report_intervals_max,
    )
    engine = Engine(
        link,
        registrar,
        EventDesk(link, store, clock, home),
        reports,
        clock,
        home=home,
        poll_s=settings.poll_s,
        backoff_max_s=settings.backoff_max_s,
        changed=changed,
    )
    return Face(registrar, engine)


def message_signing(
    settings: VenSettings, identity: Identity, credentials: Credentials, clock: Clock
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
    return MessageSigning(signer, clock, host=host, authorities=authorities, fingerprint=settings.vtn_fingerprint)
