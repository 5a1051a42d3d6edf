"""The VTN's own authorities: made once with `dr-vtn pki init`, they vouch for the server and for devices.

    root-ecdsa ── intermediate-ecdsa ─┬─ server-ecdsa          root-rsa ── intermediate-rsa ─┬─ server-rsa
                                      └─ devices (P-256)                                     └─ devices (RSA)

Two trees, because a certified device that knows RSA only cannot check a chain with an ECDSA signature in it, and the
other way round. A root's key is needed for new intermediates alone: move `root-*.key` to a safe place. Keys are 0600
and never written over another.

`ca.pem` holds the roots: what a device trusts. `authorities.pem` holds roots and intermediates: what the VTN accepts
device certificates from, also from devices that send no intermediate.
"""

from __future__ import annotations

import ipaddress
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from runtime.errors import SettingsError
from runtime.tls import Certificate
from runtime.tls.certificates import (
    CertificateKey,
    new_key,
    read_chain,
    read_key,
    replace_file,
    usable_public_key,
    write_key,
)
from vtn.errors import InvalidInput

Kind = Literal["ecdsa", "rsa"]
KINDS: tuple[Kind, ...] = ("ecdsa", "rsa")
ROOT_DAYS, INTERMEDIATE_DAYS, SERVER_DAYS, DEVICE_DAYS = 7_300, 3_650, 397, 365
REQUEST_BYTES_MAX = 16_384

_CA_FILE, _AUTHORITIES_FILE = "ca.pem", "authorities.pem"
_RSA_BITS = {"root": 3072, "intermediate": 3072, "server": 2048}
_BACKDATED = timedelta(minutes=10)
"""Clocks of two machines may differ by so much."""
_BOTH_ENDS = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
"""In push mode the VTN is the client and the device the server, with the certificates they always have."""


@dataclass(frozen=True)
class Issued:
    """A new certificate: its chain as PEM (its own first, then the intermediate)."""

    certificate: x509.Certificate
    chain: bytes


class Pki:
    """The authorities in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def create(cls, folder: Path, hosts: Sequence[str], name: str) -> Pki:
        """Make both trees and the server's certificates for `hosts` (DNS names and addresses), all or nothing.

        Raises SettingsError where there are authorities already, or for a host that is no name.
        """
        if folder.exists():
            raise SettingsError(f"{folder} exists: authorities are made once and never over others")
        if not hosts:
            raise SettingsError("the server's certificate needs at least one name or address: --host")
        names = [_general_name(host) for host in hosts]
        growing = folder.with_name(f".{folder.name}.new")
        shutil.rmtree(growing, ignore_errors=True)
        growing.mkdir(parents=True, mode=0o700)
        pki = cls(growing)
        for kind in KINDS:
            pki._make_tree(kind, name, names)
        roots = [read_chain(pki._chain("root", kind))[0] for kind in KINDS]
        intermediates = [read_chain(pki._chain("intermediate", kind))[0] for kind in KINDS]
        (growing / _CA_FILE).write_bytes(_pem(roots))
        (growing / _AUTHORITIES_FILE).write_bytes(_pem([*roots, *intermediates]))
        growing.rename(folder)
        return cls(folder)

    @property
    def exists(self) -> bool:
        """Were the authorities made?"""
        return self.ca.exists()

    @property
    def ca(self) -> Path:
        """What devices trust: the roots."""
        return self.folder / _CA_FILE

    @property
    def authorities(self) -> Path:
        """Whom device certificates are accepted from: roots and intermediates."""
        return self.folder / _AUTHORITIES_FILE

    def servers(self) -> list[Certificate]:
        """The server's certificates, ECDSA and RSA."""
        return [Certificate(self._chain("server", kind), self._key("server", kind)) for kind in KINDS]

    def certificates(self) -> dict[str, x509.Certificate]:
        """What there is, by file name without its ending."""
        names = [f"{role}-{kind}" for role in ("root", "intermediate", "server") for kind in KINDS]
        return {name: read_chain(self.folder / f"{name}.pem")[0] for name in names}

    def issue(self, request_pem: bytes, subject: str, organisation: str, *, days: int = DEVICE_DAYS) -> Issued:
        """A certificate for the key of a request; nothing else in the request counts. It names no host.

        It never outlives the intermediate. Raises InvalidInput for a request that is none, is not signed by its own
        key, or has another key than P-256 or RSA of 2048 to 4096 bits; KeyFileError without the intermediate's key.
        """
        public_key = requested_key(request_pem)
        kind: Kind = "ecdsa" if isinstance(public_key, ec.EllipticCurvePublicKey) else "rsa"
        issuer, key = self._authority("intermediate", kind)
        name = _name(subject, organisation)
        certificate = (
            _leaf(name, public_key, issuer, days).add_extension(_BOTH_ENDS, critical=False).sign(key, SHA256())
        )
        return Issued(certificate, _pem([certificate, issuer]))

    def renew_servers(self, hosts: Sequence[str] = (), *, days: int = SERVER_DAYS) -> None:
        """New server certificates of the same keys, for `hosts` or the names they have. A `serve` takes them up when it
        is started again. Raises SettingsError, KeyFileError."""
        for kind in KINDS:
            old = read_chain(self._chain("server", kind))[0]
            alternative = old.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            names = [_general_name(host) for host in hosts] or list(alternative)
            self._write_server(kind, read_key(self._key("server", kind)), old.subject, names, days)

    def _make_tree(self, kind: Kind, name: str, names: Sequence[x509.GeneralName]) -> None:
        root_key = self._new_key("root", kind)
        root_name = _name(f"{name} root {kind.upper()}", name)
        root = _authority(root_name, root_name, root_key, root_key, ROOT_DAYS, path_length=1)
        self._chain("root", kind).write_bytes(_pem([root]))
        key = self._new_key("intermediate", kind)
        subject = _name(f"{name} intermediate {kind.upper()}", name)
        intermediate = _authority(subject, root.subject, key, root_key, INTERMEDIATE_DAYS, path_length=0)
        self._chain("intermediate", kind).write_bytes(_pem([intermediate]))
        self._write_server(kind, self._new_key("server", kind), _name(str(names[0].value), name), names, SERVER_DAYS)

    def _write_server(
        self, kind: Kind, key: CertificateKey, subject: x509.Name, names: Sequence[x509.GeneralName], days: int
    ) -> None:
        issuer, issuer_key = self._authority("intermediate", kind)
        builder = _leaf(subject, key.public_key(), issuer, days, key_encipherment=kind == "rsa")
        certificate = (
            builder.add_extension(_BOTH_ENDS, critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(issuer_key, SHA256())
        )
        replace_file(self._chain("server", kind), _pem([certificate, issuer]))

    def _authority(self, role: str, kind: Kind) -> tuple[x509.Certificate, CertificateKey]:
        return read_chain(self._chain(role, kind))[0], read_key(self._key(role, kind))

    def _new_key(self, role: str, kind: Kind) -> CertificateKey:
        key = new_key(rsa_bits=_RSA_BITS[role] if kind == "rsa" else None)
        write_key(self._key(role, kind), key)
        return key

    def _chain(self, role: str, kind: Kind) -> Path:
        return self.folder / f"{role}-{kind}.pem"

    def _key(self, role: str, kind: Kind) -> Path:
        return self.folder / f"{role}-{kind}.key"


def requested_key(request_pem: bytes) -> CertificatePublicKeyTypes:
    """The key a PEM request asks a certificate for. Raises InvalidInput."""
    try:
        if len(request_pem) > REQUEST_BYTES_MAX:
            raise ValueError(f"it has more than {REQUEST_BYTES_MAX} bytes")
        request = x509.load_pem_x509_csr(request_pem)
        key = request.public_key()
        proven = request.is_signature_valid
    except Exception as error:  # cryptography raises many kinds for a request that is damaged on purpose
        raise InvalidInput("request_invalid", f"this is no certificate request: {str(error)[:200]}") from None
    if not proven:
        raise InvalidInput("request_invalid", "the certificate request is not signed by the key it names")
    if not usable_public_key(key):
        raise InvalidInput("request_invalid", "certificates are made for P-256 keys and RSA keys of 2048 to 4096 bits")
    return key


def _leaf(
    subject: x509.Name,
    key: CertificatePublicKeyTypes,
    issuer: x509.Certificate,
    days: int,
    *,
    key_encipherment: bool = False,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    end = min(now + timedelta(days=days), issuer.not_valid_after_utc)
    issuer_id = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True, key_encipherment=key_encipherment), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_id), critical=False)
    )


def _authority(
    subject: x509.Name,
    issuer: x509.Name,
    key: CertificateKey,
    issuer_key: CertificateKey,
    days: int,
    *,
    path_length: int,
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_usage(key_cert_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    return builder.sign(issuer_key, SHA256())


def _usage(
    *, digital_signature: bool = False, key_encipherment: bool = False, key_cert_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        # AES128-SHA256, the oldest suite of the profile, hands over its key encrypted to the server's RSA key
        key_encipherment=key_encipherment,
        key_cert_sign=key_cert_sign,
        crl_sign=key_cert_sign,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str, organisation: str) -> x509.Name:
    attributes = ((NameOID.ORGANIZATION_NAME, organisation), (NameOID.COMMON_NAME, common_name))
    return x509.Name([x509.NameAttribute(kind, value[:64]) for kind, value in attributes])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        if not host or host.strip() != host:
            raise ValueError("empty, or with blanks around it")
        return x509.DNSName(host)
    except ValueError as error:
        raise SettingsError(f"{host!r} is neither a DNS name nor an address: {error}") from None


def _pem(certificates: Sequence[x509.Certificate]) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)
