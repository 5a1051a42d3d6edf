"""A judge with TLS and signatures, and certificates for both sides."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from runtime.tls import Certificate
from tests.conformance.v2.ven.judged import Ven, a_ven
from tests.conformance.v2.ven.judging import Judge
from tests.conformance.v2.ven.security.signing import Signing
from tests.vtn.faces.certificates import Authority


@dataclass(frozen=True)
class Certificates:
    """Files of the VTN, its VEN, and another VEN of the same authority."""

    authority: Authority
    vtn: Certificate
    ven: Certificate
    other: Certificate


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """ECDSA for the VTN and one VEN; made once."""
    authority = Authority(tmp_path_factory.mktemp("authority"))
    vtn, ven = (authority.issue(name, ec.generate_private_key(ec.SECP256R1()))[0] for name in ("vtn", "ven"))
    other, _ = authority.issue("other-ven", ec.generate_private_key(ec.SECP256R1()), hosts=False)
    return Certificates(authority, vtn, ven, other)


@pytest.fixture(scope="session")
def rsa_pair(certificates: Certificates) -> tuple[Certificate, Certificate]:
    """RSA certificates of the VTN and the VEN."""
    vtn, ven = (
        certificates.authority.issue(f"{name}-rsa", rsa.generate_private_key(65537, 2048))[0] for name in ("t", "e")
    )
    return vtn, ven


@pytest.fixture
async def signing(judge: Judge, certificates: Certificates) -> Signing:
    """The judge signs and checks."""
    return Signing(judge, certificates.vtn, certificates.ven)


@pytest.fixture
async def ven(judge: Judge, signing: Signing, certificates: Certificates, tmp_path: Path) -> AsyncIterator[Ven]:
    """A VEN that signs, and believes what its VTN signed alone."""
    files = certificates.ven
    given = {"sign_messages": True, "server_ca": certificates.authority.path}
    async with a_ven(judge, tmp_path, certificate=files.chain, certificate_key=files.key, **given) as ven:
        yield ven
