"""XML signatures of a home: its messages are signed, and only answers that the VTN signed are believed.

An answer's signer is the VTN if its certificate comes from the authorities the home was enrolled with and names the
VTN's host, or has the fingerprint the settings name.
"""

from __future__ import annotations

import ipaddress
import secrets
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from openadr.errors import SignatureRefused
from openadr.v2 import Leniency, Message, Verified
from openadr.v2.document.safe import parse_safely
from openadr.v2.document.signature import PrivateKey, is_signed, sign, verify_tree
from openadr.v2.parsing import read
from runtime.clock import Clock
from runtime.tls.certificates import read_chain

SKEW_MS = 120_000
_SEEN_MAX = 10_000


class MessageSigning:
    """Signs with a key and believes one VTN. `host` is the VTN's; `fingerprint` AA:BB:.. instead of authorities."""

    def __init__(
        self,
        key: PrivateKey,
        certificate: bytes,
        clock: Clock,
        *,
        host: str,
        authorities: Path | None = None,
        fingerprint: str | None = None,
    ) -> None:
        self._key = key
        self._certificate = certificate
        self._clock = clock
        self._host = host
        self._authorities = [] if authorities is None else read_chain(authorities)
        self._fingerprint = fingerprint
        self._believed: set[str] = set()
        self._seen: dict[str, int] = {}

    def seal(self, body: bytes) -> bytes:
        """The message with our signature."""
        return sign(body, self._key, self._certificate, secrets.token_urlsafe(18), self._clock.wall_ms())

    def open(self, body: bytes, leniencies: list[Leniency]) -> Message:
        """The answer, read from what the VTN's signature covers alone. Raises MessageError."""
        root = parse_safely(body)
        if not is_signed(root):
            raise SignatureRefused("the VTN's answer is not signed")
        verified = verify_tree(root)
        self._check_signer(verified)
        self._check_fresh(verified)
        return read(verified.root, lenient=True, leniencies=leniencies)

    def _check_signer(self, verified: Verified) -> None:
        if verified.fingerprint in self._believed:
            return
        if self._fingerprint is not None:
            genuine = verified.fingerprint == self._fingerprint.upper()
        else:
            genuine = self._is_vtn(x509.load_der_x509_certificate(verified.certificate_der))
        if not genuine:
            raise SignatureRefused(f"the answer is signed by {verified.fingerprint}, which is not this home's VTN")
        self._believed.add(verified.fingerprint)

    def _is_vtn(self, certificate: x509.Certificate) -> bool:
        now = datetime.now(UTC)
        if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
            return False
        try:
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return False
        hosts: list[object] = [*names.get_values_for_type(x509.DNSName), *names.get_values_for_type(x509.IPAddress)]
        if _host(self._host) not in hosts:
            return False
        return any(_issued(certificate, authority) for authority in self._authorities)

    def _check_fresh(self, verified: Verified) -> None:
        now_ms = self._clock.wall_ms()
        if abs(verified.timestamp_ms - now_ms) > SKEW_MS:
            raise SignatureRefused("the answer's signature is from another time: check the clocks")
        if verified.nonce in self._seen:
            raise SignatureRefused("the answer was received before")
        if len(self._seen) >= _SEEN_MAX:
            self._seen = {nonce: at_ms for nonce, at_ms in self._seen.items() if at_ms > now_ms - 2 * SKEW_MS}
        self._seen[verified.nonce] = now_ms


def _host(host: str) -> object:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return host


def _issued(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
