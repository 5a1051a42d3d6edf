"""X.509 for both ends: private keys on disk, requests for certificates, certificates read from files.

    key (0600, made where it is used, never over another) ── request (PEM) ──▶ an authority ──▶ chain (PEM)

ECDSA P-256 and RSA only: what OpenADR 2.0b's profile names and what its devices can check.
"""

from __future__ import annotations

import contextlib
import os
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from runtime.errors import KeyFileError, SettingsError
from runtime.keys import create_key_file

CertificateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

RSA_BITS_MIN = 2048
_RSA_BITS_MAX = 4096


def new_key(*, rsa_bits: int | None = None) -> CertificateKey:
    """A new key: P-256, or RSA of so many bits."""
    return ec.generate_private_key(ec.SECP256R1()) if rsa_bits is None else rsa.generate_private_key(65537, rsa_bits)


def write_key(path: Path, key: CertificateKey) -> None:
    """Keep a key as PEM for its owner alone (0600). Raises KeyFileError where there is a file."""
    create_key_file(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def read_key(path: Path) -> CertificateKey:
    """The key in an unencrypted PEM file. Raises KeyFileError: missing, readable by others, of another kind."""
    try:
        mode = path.stat().st_mode
        key = load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError:
        raise KeyFileError(f"there is no private key at {path}") from None
    except (OSError, ValueError, TypeError) as error:
        raise KeyFileError(f"the private key {path} cannot be read: {error}") from None
    if os.name == "posix" and mode & 0o077:
        raise KeyFileError(f"{path} can be read by other users: run `chmod 600 {path}`, replace the key if it leaked")
    if isinstance(key, rsa.RSAPrivateKey) or (
        isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1)
    ):
        return key
    raise KeyFileError(f"{path} holds a key that is neither ECDSA P-256 nor RSA")


def request_certificate(key: CertificateKey, common_name: str) -> bytes:
    """A PEM request for a certificate of this key; the authority decides what it will say besides the key."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, SHA256())
    return request.public_bytes(Encoding.PEM)


def usable_public_key(key: object) -> bool:
    """Is it a public key certificates are made for: P-256, or RSA of 2048 to 4096 bits?"""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return isinstance(key.curve, ec.SECP256R1)
    return isinstance(key, rsa.RSAPublicKey) and RSA_BITS_MIN <= key.key_size <= _RSA_BITS_MAX


def read_chain(path: Path) -> list[x509.Certificate]:
    """The certificates of a PEM file, at least one. Raises SettingsError."""
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SettingsError(f"the certificate {path} cannot be read: {error}") from None


def remaining_life(certificate: x509.Certificate, now: datetime) -> float:
    """The part of a certificate's validity that is left: 1 when it begins, 0 and less when it is over."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return (end - now) / (end - begin)


def replace_file(path: Path, content: bytes, *, private: bool = False) -> None:
    """Put a whole file in the place of an older one; a reader finds the one or the other, never a part."""
    partial = path.with_name(f".{path.name}.new")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o644)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
