"""A certificate that vouches for nobody: its own key signed it."""

from __future__ import annotations

from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from runtime.tls.certificates import CertificateKey


def self_signed(key: CertificateKey) -> bytes:
    """PEM of a certificate for this key, valid for decades."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nobody")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    dated = builder.not_valid_before(datetime(2025, 1, 1, tzinfo=UTC)).not_valid_after(datetime(2045, 1, 1, tzinfo=UTC))
    return dated.serial_number(1).sign(key, SHA256()).public_bytes(Encoding.PEM)
