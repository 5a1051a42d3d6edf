"""TLS contexts for both ends: TLS 1.2 and later, mutual where trust files for the peer are given.

An OpenADR 2.0b VTN must present an RSA and an ECC certificate at once, and certified VENs exist that know only the two
CBC suites of the profile: they stand last in the list.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from runtime.errors import SettingsError

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE-ECDSA-AES128-SHA256:ECDHE-RSA-AES128-SHA256:AES128-SHA256"
"""OpenADR 2.0b profile, section 10.7 (ECDHE-ECDSA-AES128-SHA256 and AES128-SHA256), behind the modern suites."""


class Certificate(NamedTuple):
    """A PEM certificate chain and its private key."""

    chain: Path
    key: Path


def server_context(
    certificates: Sequence[Certificate], client_ca: Path | Sequence[Path] | None = None
) -> ssl.SSLContext:
    """A server's context that offers every certificate; with `client_ca` (PEM files) a client must present one of
    theirs. An intermediate among them is trusted as it stands, so that one vendor's devices can be let in alone.

    Raises SettingsError for a file that cannot be used.
    """
    if not certificates:
        raise SettingsError("a TLS server needs a certificate")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _restrict(context)
    for certificate in certificates:
        _load(context, certificate)
    if client_ca is not None:
        for path in [client_ca] if isinstance(client_ca, Path) else client_ca:
            _trust(context, path)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(
    server_ca: Path | Sequence[Path] | None = None, certificate: Certificate | None = None
) -> ssl.SSLContext:
    """A client's context that checks the server's name against `server_ca` (PEM files; None is the system's trust).

    Raises SettingsError for a file that cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _restrict(context)
    if server_ca is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        for path in [server_ca] if isinstance(server_ca, Path) else server_ca:
            _trust(context, path)
    if certificate is not None:
        _load(context, certificate)
    return context


def _restrict(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_ciphers(CIPHERS)


def _load(context: ssl.SSLContext, certificate: Certificate) -> None:
    try:
        context.load_cert_chain(certificate.chain, certificate.key)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"certificate {certificate.chain} with key {certificate.key}: {error}") from error


def _trust(context: ssl.SSLContext, ca: Path) -> None:
    try:
        context.load_verify_locations(ca)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"trusted certificates {ca}: {error}") from error
