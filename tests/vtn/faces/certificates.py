"""A small authority for tests: server certificates in RSA and ECC, one client certificate a VEN."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from openadr.v2 import fingerprint
from runtime.tls import Certificate, client_context, server_context

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Authority:
    """Certificates in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._sign("authority", self._key, None)
        self.path = folder / "ca.pem"
        self.path.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def server(self) -> ssl.SSLContext:
        """The VTN's context: an RSA and an ECC certificate, VENs must show theirs."""
        rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pair = [self.issue("vtn-rsa", rsa_key)[0], self.issue("vtn-ecc", ec.generate_private_key(ec.SECP256R1()))[0]]
        return server_context(pair, self.path)

    def client(self, name: str) -> tuple[ssl.SSLContext, str]:
        """A VEN's context and its fingerprint."""
        certificate, printed = self.issue(name, ec.generate_private_key(ec.SECP256R1()))
        return client_context(self.path, certificate), printed

    def issue(self, name: str, key: Key, *, hosts: bool = True) -> tuple[Certificate, str]:
        """A certificate for this machine, or with `hosts` false for none, with its OpenADR fingerprint."""
        certificate = self._sign(name, key, self._certificate, hosts)
        chain, private = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return Certificate(chain, private), fingerprint(certificate.public_bytes(serialization.Encoding.DER))

    def _sign(self, name: str, key: Key, issuer: x509.Certificate | None, hosts: bool = True) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if issuer is None else issuer.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        )
        if issuer is not None and hosts:
            names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("localhost")])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, hashes.SHA256())
