"""Who is the VTN: by its certificate's fingerprint, or by an authority that is trusted and a name that is the VTN's.

The same authorities issue the certificates of other VENs: whom they vouch for is not the VTN yet.
"""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from openadr.v2 import fingerprint
from runtime.tls.certificates import read_chain


class VtnTrust:
    """`host` is the VTN's as it is called; `fingerprint` AA:BB:.. decides alone where it is given; `authorities` is a
    PEM file. Raises SettingsError for one that cannot be read."""

    def __init__(self, host: str, *, authorities: Path | None = None, fingerprint: str | None = None) -> None:
        self._host = _name(host)
        self._fingerprint = None if fingerprint is None else fingerprint.upper()
        self._authorities = [] if authorities is None else read_chain(authorities)

    def signer(self, certificate_der: bytes) -> bool:
        """Is this the VTN's certificate, issued by an authority?"""
        if self._fingerprint is not None:
            return fingerprint(certificate_der) == self._fingerprint
        certificate = x509.load_der_x509_certificate(certificate_der)
        return self._names_vtn(certificate) and any(_issued(certificate, each) for each in self._authorities)

    def peer(self, certificate_der: bytes) -> bool:
        """Is this the VTN's certificate? For one whose chain TLS has checked."""
        if self._fingerprint is not None:
            return fingerprint(certificate_der) == self._fingerprint
        return self._names_vtn(x509.load_der_x509_certificate(certificate_der))

    def _names_vtn(self, certificate: x509.Certificate) -> bool:
        if not certificate.not_valid_before_utc <= datetime.now(UTC) < certificate.not_valid_after_utc:
            return False
        try:
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return False
        return self._host in {*names.get_values_for_type(x509.DNSName), *names.get_values_for_type(x509.IPAddress)}


def _name(host: str) -> object:
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
