"""Certificates of a consortium: a small authority, what it vouches for, and when that ends.

    authority ── ca.pem (everybody) ── ca.key (one place, offline after signing)
        │ signs requests; keys never leave the machine that made them
        ├─▶ a member's replica   serverAuth + clientAuth   peer interface, clients' interface
        ├─▶ a member's etcd      serverAuth + clientAuth   etcd's clients and peers
        └─▶ a device, a VTN      whichever of the two it is

All keys are ECDSA P-256, written 0600 and never over another. An etcd's certificate has the name ETCD_PEER beside those
of its machine: etcd takes nobody for a peer who does not show it, so that no certificate of a replica, a device or a
VTN, though of the same authority, can join the order's servers.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ledger.errors import ReplicaError

CA_FILE = "ca.pem"
CA_KEY_FILE = "ca.key"
ETCD_PEER = "etcd-peer.gridpact.internal"
"""A name in the certificates of etcd servers alone; no machine has it."""
AUTHORITY_DAYS = 3_650
CERTIFICATE_DAYS = 365
#: clocks of two machines may differ by so much
_BACKDATED = timedelta(minutes=10)
_COMMON_NAME_MAX = 64


class CertificateError(ReplicaError):
    """A certificate, key or request that cannot be made, read or trusted."""

    exit_code = 2


class Pair(NamedTuple):
    """Files of a certificate (PEM) and its private key (PEM, 0600)."""

    chain: Path
    key: Path


class Named(NamedTuple):
    """A certificate file, whom it names, and the end of its validity."""

    path: Path
    subject: str
    not_after: datetime
    names: tuple[str, ...]


class Authority:
    """The consortium's root, loaded with its key."""

    def __init__(self, folder: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.folder = folder
        self._certificate = certificate
        self._key = key

    @property
    def ca(self) -> Path:
        """What everybody trusts."""
        return self.folder / CA_FILE

    @classmethod
    def create(cls, folder: Path, name: str = "Gridpact consortium", days: int = AUTHORITY_DAYS) -> Authority:
        """A new root in `folder`. Raises CertificateError where there is one."""
        chain, key_file = folder / CA_FILE, folder / CA_KEY_FILE
        _refuse_existing(chain, key_file)
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _subject(name)
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATED)
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, SHA256())
        )
        folder.mkdir(parents=True, exist_ok=True)
        _write_key(key_file, key)
        chain.write_bytes(certificate.public_bytes(Encoding.PEM))
        return cls(folder, certificate, key)

    @classmethod
    def load(cls, folder: Path) -> Authority:
        """What `create` made. Raises CertificateError."""
        certificate, key = read(folder / CA_FILE), _read_key(folder / CA_KEY_FILE)
        if certificate.public_key() != key.public_key():
            raise CertificateError(f"{folder / CA_KEY_FILE} is not the key of {folder / CA_FILE}")
        return cls(folder, certificate, key)

    def sign(
        self,
        request: bytes,
        chain: Path,
        *,
        days: int = CERTIFICATE_DAYS,
        server: bool = True,
        client: bool = True,
    ) -> Path:
        """Writes the certificate of a PEM request, over an older one if need be (a renewal).

        Subject and names are taken from the request: look at them before you sign. It never outlives the root.
        Raises CertificateError."""
        try:
            asked = x509.load_pem_x509_csr(request)
            asked_names = asked.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (ValueError, x509.ExtensionNotFound) as error:
            raise CertificateError(f"this is no request with names of machines in it: {error}") from None
        if not asked.is_signature_valid:
            raise CertificateError("the request is not signed by the key it names")
        purposes = [
            purpose
            for purpose, wanted in (
                (ExtendedKeyUsageOID.SERVER_AUTH, server),
                (ExtendedKeyUsageOID.CLIENT_AUTH, client),
            )
            if wanted
        ]
        now = datetime.now(UTC)
        end = min(now + timedelta(days=days), self._certificate.not_valid_after_utc)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(asked.subject)
            .issuer_name(self._certificate.subject)
            .public_key(asked.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(min(now, end) - _BACKDATED)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(asked_names, critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, SHA256())
        )
        chain.parent.mkdir(parents=True, exist_ok=True)
        partial = chain.with_name(chain.name + ".partial")
        partial.write_bytes(certificate.public_bytes(Encoding.PEM))
        partial.rename(chain)
        return chain

    def issue(self, pair: Pair, subject: str, hosts: Sequence[str], *, days: int = CERTIFICATE_DAYS) -> Pair:
        """A key and its certificate in one act, for machines that the authority's holder runs as well."""
        request_certificate(pair.key, subject, hosts)
        self.sign(_request_file(pair.key).read_bytes(), pair.chain, days=days)
        return pair


def request_certificate(key_file: Path, subject: str, hosts: Sequence[str]) -> Path:
    """Makes a key (kept, if there is one: a renewal) and writes the request for its certificate beside it as .csr.

    hosts: DNS names and IP addresses under which the machine is reached. Raises CertificateError."""
    if not hosts:
        raise CertificateError("a certificate needs at least one name or address of the machine: --host")
    key = _read_key(key_file) if key_file.exists() else ec.generate_private_key(ec.SECP256R1())
    if not key_file.exists():
        key_file.parent.mkdir(parents=True, exist_ok=True)
        _write_key(key_file, key)
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(_subject(subject))
        .add_extension(x509.SubjectAlternativeName([_name(host) for host in hosts]), critical=False)
        .sign(key, SHA256())
    )
    path = _request_file(key_file)
    path.write_bytes(request.public_bytes(Encoding.PEM))
    return path


def read(path: Path) -> x509.Certificate:
    """The first certificate of a PEM file. Raises CertificateError."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CertificateError(f"the certificate {path} cannot be read: {error}") from None


def named(path: Path) -> Named:
    """Whom a certificate names, and until when. Raises CertificateError."""
    certificate = read(path)
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    subject = str(common[0].value) if common else certificate.subject.rfc4514_string()
    names: tuple[str, ...] = ()
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            names = tuple(str(name.value) for name in extension.value)
    return Named(path, subject, certificate.not_valid_after_utc, names)


def expires_within(path: Path, days: float, now: datetime | None = None) -> datetime | None:
    """When the certificate ends, if that is less than `days` from now or over; None while it lasts longer.

    Raises CertificateError for a file that is no certificate."""
    end = read(path).not_valid_after_utc
    return end if end - (now or datetime.now(UTC)) < timedelta(days=days) else None


def vouched_for(path: Path, ca: Path) -> bool:
    """Is a certificate of the chain in `path` issued by an authority in the bundle `ca`? False where either cannot be
    read: who asks says that by itself."""
    try:
        chain, authorities = (x509.load_pem_x509_certificates(each.read_bytes()) for each in (path, ca))
    except (OSError, ValueError):
        return False
    for certificate in chain:
        for authority in authorities:
            with contextlib.suppress(ValueError, TypeError, InvalidSignature):
                certificate.verify_directly_issued_by(authority)
                return True
    return False


def check_signed_by(path: Path, ca: Path) -> None:
    """Raises CertificateError if the authority in `ca` did not sign the certificate, or it is not valid today."""
    certificate, authority = read(path), read(ca)
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        raise CertificateError(f"{path} was not signed by {ca}: both must come from the same consortium") from None
    now = datetime.now(UTC)
    if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
        raise CertificateError(
            f"{path} is valid from {certificate.not_valid_before_utc:%Y-%m-%d} to "
            f"{certificate.not_valid_after_utc:%Y-%m-%d}, not today: renew it, or set this machine's clock"
        )


def local_names() -> tuple[str, ...]:
    """Names under which programs on this machine reach each other."""
    return ("127.0.0.1", "::1", "localhost", socket.gethostname())


def _request_file(key_file: Path) -> Path:
    return key_file.with_suffix(".csr")


def _subject(name: str) -> x509.Name:
    if not 0 < len(name) <= _COMMON_NAME_MAX:
        raise CertificateError(f"a certificate's subject has 1 to {_COMMON_NAME_MAX} characters: {name!r}")
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host)
    except ValueError as error:
        raise CertificateError(f"{host!r} is neither a DNS name nor an address: {error}") from None


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _refuse_existing(*paths: Path) -> None:
    for path in paths:
        if path.exists():
            raise CertificateError(f"{path} exists: an authority is made once and never over another")


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise CertificateError(f"the private key {path} cannot be read: {error}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateError(f"{path} holds a key of another kind than ECDSA P-256")
    return key
