"""An authority with one certificate for a VTN and as many for VENs as a test wants: P-256, made in milliseconds."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from openadr.v2 import fingerprint
from openadr.v2.document.signature import PrivateKey, load_key
from runtime.tls import Certificate


@dataclass(frozen=True)
class Holder:
    """Somebody with a certificate."""

    files: Certificate

    @property
    def signer(self) -> tuple[PrivateKey, bytes]:
        return load_key(self.files.key.read_bytes()), self.files.chain.read_bytes()

    @property
    def fingerprint(self) -> str:
        certificate = x509.load_pem_x509_certificate(self.files.chain.read_bytes())
        return fingerprint(certificate.public_bytes(Encoding.DER))


class Authority:
    """Files in `folder`; `ca` is what everybody trusts."""

    def __init__(self, folder: Path, name: str = "Test") -> None:
        self._folder = folder
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._builder(self._name, self._key, 3650).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        self.ca = folder / f"{name}-ca.pem"
        self.ca.write_bytes(certificate.sign(self._key, SHA256()).public_bytes(Encoding.PEM))

    def certify(self, name: str, *hosts: str, days: int = 365) -> Holder:
        """A certificate that names `hosts` (addresses); with days below 0 it is over."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key, days)
        if hosts:
            names = [x509.IPAddress(ipaddress.ip_address(host)) for host in hosts]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        files = Certificate(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        files.chain.write_bytes(builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM))
        files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        files.key.chmod(0o600)
        return Holder(files)

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, days: int) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=400))
            .not_valid_after(now + timedelta(days=days))
        )
