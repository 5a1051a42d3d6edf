"""Mutual TLS with an RSA and an ECC certificate at once, for old and new peers."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from runtime.errors import SettingsError
from runtime.tls import Certificate, client_context, server_context


def write_certificate(folder, name, key):
    """A self-signed certificate for 127.0.0.1, its own authority."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    files.chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    made = {
        "rsa": write_certificate(folder, "rsa", rsa.generate_private_key(65537, 2048)),
        "ecc": write_certificate(folder, "ecc", ec.generate_private_key(ec.SECP256R1())),
        "ven": write_certificate(folder, "ven", ec.generate_private_key(ec.SECP256R1())),
        "stranger": write_certificate(folder, "stranger", ec.generate_private_key(ec.SECP256R1())),
    }
    (folder / "both.pem").write_bytes(made["rsa"].chain.read_bytes() + made["ecc"].chain.read_bytes())
    return made


@pytest.fixture
async def port(certificates):
    """The port of a server that says hello to VENs it trusts."""

    async def greet(_, writer):
        writer.write(b"hello\n")
        await writer.drain()
        writer.close()

    context = server_context([certificates["rsa"], certificates["ecc"]], client_ca=certificates["ven"].chain)
    server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def greeting(port, context):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        return (
            await reader.readline(),
            writer.get_extra_info("cipher")[0],
            writer.get_extra_info("ssl_object").version(),
        )
    finally:
        writer.close()


async def is_greeted(port, context):
    """In TLS 1.3 a client may finish its side before the server refuses it: it then reads an error or the end."""
    try:
        return (await greeting(port, context))[0] == b"hello\n"
    except (ssl.SSLError, ConnectionError):
        return False


def ven_context(certificates, name="ven"):
    return client_context(certificates["rsa"].chain.with_name("both.pem"), certificates[name])


async def test_a_modern_peer_gets_tls_1_3(certificates, port):
    hello, _, version = await greeting(port, ven_context(certificates))
    assert (hello, version) == (b"hello\n", "TLSv1.3")


@pytest.mark.parametrize("suite", ["AES128-SHA256", "ECDHE-ECDSA-AES128-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"])
async def test_a_certified_peer_of_tls_1_2_finds_its_suite_with_rsa_or_ecc(certificates, port, suite):
    context = ven_context(certificates)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(suite)
    assert (await greeting(port, context))[:2] == (b"hello\n", suite)


async def test_a_peer_without_or_with_a_foreign_certificate_is_refused(certificates, port):
    contexts = [client_context(certificates["rsa"].chain.with_name("both.pem")), ven_context(certificates, "stranger")]
    for context in contexts:
        assert not await is_greeted(port, context)
    assert await is_greeted(port, ven_context(certificates))


async def test_a_server_nobody_vouches_for_is_refused(certificates, port):
    with pytest.raises(ssl.SSLCertVerificationError):
        await greeting(port, client_context(certificates["stranger"].chain, certificates["ven"]))


def test_versions_before_1_2_are_off(certificates):
    for context in (server_context([certificates["rsa"]]), client_context()):
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_files_that_cannot_be_used_are_named(tmp_path, certificates):
    with pytest.raises(SettingsError, match="needs a certificate"):
        server_context([])
    with pytest.raises(SettingsError, match=r"nothing\.pem"):
        server_context([Certificate(tmp_path / "nothing.pem", tmp_path / "nothing.key")])
    with pytest.raises(SettingsError, match=r"nothing\.pem"):
        client_context(tmp_path / "nothing.pem")
    with pytest.raises(SettingsError, match=r"rsa\.pem with key .*ecc\.key"):
        server_context([Certificate(certificates["rsa"].chain, certificates["ecc"].key)])
