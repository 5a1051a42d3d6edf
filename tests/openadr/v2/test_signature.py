"""XML signatures: only what was signed is read, with either kind of key, and openleadr agrees."""

import base64
import time
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from lxml import etree
from openleadr import messaging, utils

from openadr.errors import MessageError, RenderError, SignatureRefused
from openadr.v2 import OadrPoll, fingerprint, parse, read, render, sign, verify
from openadr.v2.document import signature
from openadr.v2.document.schema import OADR
from openadr.v2.document.signature import DS, PrivateKey
from tests.builders import START_MS
from tests.openadr.samples import MESSAGES

POLL = render(OadrPoll("00123"))


def pem(key: PrivateKey) -> tuple[bytes, bytes]:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ven")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2025, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2045, 1, 1, tzinfo=UTC))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private, certificate.public_bytes(serialization.Encoding.PEM)


RSA, P256 = pem(rsa.generate_private_key(65537, 2048)), pem(ec.generate_private_key(ec.SECP256R1()))
both_keys = pytest.mark.parametrize(("key", "certificate"), [RSA, P256], ids=["RSA", "P-256"])


@both_keys
def test_a_signed_message_is_read_from_what_the_signature_covers(key: bytes, certificate: bytes) -> None:
    for message in MESSAGES:
        signed = verify(sign(render(message), key, certificate, "nonce-0001", START_MS))
        assert read(signed.root) == message
        assert (signed.nonce, signed.timestamp_ms) == ("nonce-0001", START_MS)
        assert signed.fingerprint == utils.certificate_fingerprint(certificate.decode())


@both_keys
def test_openleadr_accepts_our_signature_and_we_accept_its(key: bytes, certificate: bytes) -> None:
    ours = sign(POLL, key, certificate, f"nonce-{time.time_ns()}", time.time_ns() // 1_000_000)
    messaging.validate_xml_signature(messaging.validate_xml_schema(ours))
    stock = messaging.create_message("oadrPoll", cert=certificate, key=key, ven_id="00123")
    assert read(verify(stock.encode()).root) == OadrPoll("00123")


@both_keys
def test_one_changed_character_is_refused(key: bytes, certificate: bytes) -> None:
    body = sign(POLL, key, certificate, "nonce-0001", START_MS)
    for before, after in ((b"00123", b"00124"), (b"nonce-0001", b"nonce-0002"), (b"2026-01-01", b"2026-01-02")):
        with pytest.raises(SignatureRefused):
            verify(body.replace(before, after))


def wrapped() -> list[bytes]:
    """The signed object moved aside, and another message where the reader looks."""
    bodies = []
    for place in ("before", "inside signature", "renamed"):
        root = etree.fromstring(sign(POLL, *P256, "nonce-0001", START_MS))
        outer, signed = root
        forged = etree.fromstring(etree.tostring(signed).replace(b"00123", b"00666"))
        if place == "renamed":
            forged.set(OADR + "Id", "other")
        root.replace(signed, forged)
        if place == "before":
            root.insert(0, signed)
        else:
            etree.SubElement(outer, DS + "Object").append(signed)
        bodies.append(etree.tostring(root))
    return bodies


@pytest.mark.parametrize("body", wrapped(), ids=["two signed objects", "same id inside", "other id inside"])
def test_a_wrapped_message_never_gives_the_forged_one(body: bytes) -> None:
    """The stock server verifies one element and reads another."""
    try:
        message = read(verify(body).root)
    except MessageError:
        return
    assert message == OadrPoll("00123")


def test_without_signature_without_replay_protect_or_with_rubbish_it_is_refused() -> None:
    body = sign(POLL, *P256, "nonce-0001", START_MS)
    root = etree.fromstring(body)
    certificate = root.findtext(f".//{DS}X509Certificate")
    assert certificate is not None
    for broken in (
        POLL,
        body.replace(certificate.encode(), b"AAAA"),
        body.replace(certificate.encode(), b"!"),
        body.replace(certificate.encode(), base64.b64encode(b"x" * 90)),
        body.replace(b"#prop", b"#gone"),
        body.replace(b"ecdsa-sha256", b"hmac-sha256"),
        body.replace(b"ecdsa-sha256", b"rsa-sha1"),
        body.replace(b"<ds:SignatureValue>", b"<ds:SignatureValue>AAAA"),
    ):
        with pytest.raises(SignatureRefused):
            verify(broken)


def test_a_signature_over_another_property_than_replay_protect_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signature, "_replay_protect", lambda *_: "<other></other>")
    body = sign(POLL, *P256, "nonce-0001", START_MS)
    with pytest.raises(SignatureRefused, match="ReplayProtect"):
        verify(body)


def test_only_an_unsigned_payload_and_a_usable_nonce_are_signed() -> None:
    signed = sign(POLL, *P256, "nonce-0001", START_MS)
    for body, nonce in ((signed, "nonce-0001"), (POLL, "short"), (POLL, "with blank"), (b"<a/>", "nonce-0001")):
        with pytest.raises(RenderError):
            sign(body, *P256, nonce, START_MS)
    with pytest.raises(RenderError):
        sign(POLL, pem(ec.generate_private_key(ec.SECP384R1()))[0], P256[1], "nonce-0001", START_MS)


def test_a_signed_message_is_also_valid_without_looking_at_the_signature() -> None:
    assert parse(sign(POLL, *RSA, "nonce-0001", START_MS)) == OadrPoll("00123")


def test_the_fingerprint_is_the_end_of_the_sha_256() -> None:
    """SHA-256 of nothing ends in ...64 9b 93 4c a4 95 99 1b 78 52 b8 55 (FIPS 180-4 example)."""
    assert fingerprint(b"") == "93:4C:A4:95:99:1B:78:52:B8:55"
