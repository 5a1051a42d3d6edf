"""A home's certificate: key and request made here, the chain from its VTN, renewed before it ends.

    client.new.key (0600) ── request ──▶ VTN ──▶ client.pem (0600: key and chain, one file, replaced whole)
                                                 ca.pem     (who the VTN's own certificates come from)

A home without these files uses what the settings name, if anything.
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from openadr.v2.document.signature import PrivateKey, load_key
from runtime.logs import get_logger
from runtime.tls import Certificate, client_context
from runtime.tls.certificates import (
    new_key,
    read_chain,
    read_key,
    remaining_life,
    replace_file,
    request_certificate,
    write_key,
)
from ven.errors import EnrolmentRefused

CLIENT_FILE, CA_FILE, PENDING_FILE = "client.pem", "ca.pem", "client.new.key"
RENEW_BELOW = 1 / 3
"""A certificate is renewed when less than this part of its life is left."""

_log = get_logger("ven.account.credentials")


class HandedCertificate(msgspec.Struct, frozen=True):
    """What the VTN answers a request with: PEM chain and authorities, and its end (wall clock)."""

    chain: str
    authorities: str
    not_after_ms: int


class Credentials:
    """The certificate in the folder of a home."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._context: ssl.SSLContext | None = None
        self._made_of: int | None = None

    @property
    def exists(self) -> bool:
        """Was a certificate handed to this home?"""
        return self._client.exists()

    @property
    def ca(self) -> Path | None:
        """Whom the VTN's certificate comes from, if the home was told."""
        path = self._folder / CA_FILE
        return path if path.exists() else None

    def trust(self, authorities: str) -> None:
        """Keep whom the VTN's certificate comes from. Raises EnrolmentRefused."""
        try:
            x509.load_pem_x509_certificates(authorities.encode())
        except ValueError as error:
            raise EnrolmentRefused(f"the VTN's authorities cannot be read: {error}") from None
        replace_file(self._folder / CA_FILE, authorities.encode())

    def context(self) -> ssl.SSLContext | None:
        """How the VTN is checked and what it is shown; None without files of this home. A renewed certificate is taken
        up at once. Raises SettingsError."""
        if self.ca is None:
            return None
        stamp = self._client.stat().st_mtime_ns if self.exists else 0
        if self._context is None or stamp != self._made_of:
            pair = Certificate(self._client, self._client) if self.exists else None
            self._context, self._made_of = client_context(self.ca, pair), stamp
        return self._context

    def request(self, common_name: str) -> str:
        """The PEM request for a certificate; its key is made once and kept until a certificate came. Raises
        KeyFileError."""
        pending = self._folder / PENDING_FILE
        if not pending.exists():
            write_key(pending, new_key())
        return request_certificate(read_key(pending), common_name).decode()

    def install(self, handed: HandedCertificate) -> None:
        """Put the new certificate in the place of the old one. Raises EnrolmentRefused if it is not for our key."""
        pending = self._folder / PENDING_FILE
        try:
            certificate = x509.load_pem_x509_certificates(handed.chain.encode())[0]
        except ValueError as error:
            raise EnrolmentRefused(f"the VTN's certificate cannot be read: {error}") from None
        if not pending.exists() and self.exists and certificate in read_chain(self._client):
            return
        key = read_key(pending)
        if certificate.public_key() != key.public_key():
            raise EnrolmentRefused("the VTN's certificate is for another key than this home's")
        self.trust(handed.authorities)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        replace_file(self._client, private + handed.chain.encode(), private=True)
        pending.unlink()
        _log.info("certificate installed", until=f"{certificate.not_valid_after_utc:%Y-%m-%d}")

    def due(self) -> bool:
        """Is it time for a new certificate?"""
        if not self.exists:
            return False
        return remaining_life(read_chain(self._client)[0], datetime.now(UTC)) < RENEW_BELOW

    def signing(self) -> tuple[PrivateKey, bytes]:
        """The key and the PEM certificate with which messages are signed. Raises SettingsError, RenderError."""
        chain = read_chain(self._client)
        private = self._client.read_bytes().partition(b"-----BEGIN CERTIFICATE")[0]
        return load_key(private), chain[0].public_bytes(Encoding.PEM)

    @property
    def client(self) -> Path | None:
        """The file with key and chain, if there is one."""
        return self._client if self.exists else None

    @property
    def _client(self) -> Path:
        return self._folder / CLIENT_FILE
