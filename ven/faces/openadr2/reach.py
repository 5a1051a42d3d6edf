"""Where the VTN posts to, in push mode: a listener with the certificate that this home shows as a client too."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from openadr.client.listener import Listener
from openadr.client.signing import MessageSigning
from openadr.client.trust import VtnTrust
from runtime.errors import SettingsError
from runtime.logs import get_logger
from runtime.tls import Certificate, server_context
from ven.account.credentials import Credentials
from ven.account.identity import Identity
from ven.config import VenSettings
from ven.faces.openadr2.engine import Engine
from ven.metrics import Metrics

_log = get_logger("ven.faces.openadr2.reach")
_RENEWED_S = 30.0
"""How often the listener looks for a renewed certificate."""


def push_address(settings: VenSettings, credentials: Credentials) -> str | None:
    """The oadrTransportAddress of the home, None where it polls."""
    if not settings.push_port:
        return None
    if settings.push_url is not None:
        return settings.push_url.rstrip("/")
    host = f"[{settings.push_host}]" if ":" in settings.push_host else settings.push_host
    scheme = "http" if _own_certificate(settings, credentials) is None else "https"
    return f"{scheme}://{host}:{settings.push_port}"


class Reach:
    """Where the VTN posts to: the listener, with the certificate this home shows to the VTN as a client too."""

    def __init__(
        self,
        settings: VenSettings,
        identity: Identity,
        credentials: Credentials,
        engine: Engine,
        signing: MessageSigning | None,
        metrics: Metrics,
    ) -> None:
        self._certificate = _own_certificate(settings, credentials)
        self._made_of = self._stamp()
        self._tls = self._context(credentials.ca or settings.server_ca)
        host = urlsplit(identity.openadr2_url).hostname or ""
        trust = VtnTrust(host, fingerprint=settings.vtn_fingerprint) if self._tls is not None else None
        self.listener = Listener(
            engine.pushed,
            settings.push_host,
            settings.push_port,
            tls=self._tls,
            trust=trust,
            signing=signing,
            count=metrics.count_push,
        )

    async def follow_renewals(self) -> None:
        """A renewed certificate is shown from the next connection on."""
        while True:
            await asyncio.sleep(_RENEWED_S)
            if self._tls is None or self._certificate is None:
                continue
            try:
                if (stamp := self._stamp()) != self._made_of:
                    self._tls.load_cert_chain(self._certificate.chain, self._certificate.key)
                    self._made_of = stamp
            except (OSError, ssl.SSLError) as error:  # in the middle of being written, or wrong: the old one stays
                _log.warning("the renewed certificate cannot be used yet", error=str(error))

    def _context(self, authorities: Path | None) -> ssl.SSLContext | None:
        if self._certificate is None:
            return None
        if authorities is None:
            raise SettingsError("push over TLS has to know who the VTN's certificate comes from: set server_ca")
        return server_context([self._certificate], authorities)

    def _stamp(self) -> int:
        return 0 if self._certificate is None else self._certificate.chain.stat().st_mtime_ns


def _own_certificate(settings: VenSettings, credentials: Credentials) -> Certificate | None:
    if credentials.client is not None:
        return Certificate(credentials.client, credentials.client)
    if settings.certificate is not None and settings.certificate_key is not None:
        return Certificate(settings.certificate, settings.certificate_key)
    return None
