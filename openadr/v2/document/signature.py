"""XML signatures of OpenADR's high security level: detached over oadrSignedObject, with ReplayProtect.

    oadrPayload
    ├── ds:Signature ── SignedInfo ── #oadrSignedObject, #prop (ReplayProtect: timestamp, nonce)
    └── oadrSignedObject Id="oadrSignedObject"

`verify` hands out only what the signature covers, parsed anew from the bytes that were hashed. Reading the message from
the document instead would let an attacker keep the signed object somewhere in it and put another one in its place.
Whether the nonce was seen before, and how old the timestamp may be, is for the caller to say: that needs a store.
"""

import base64
import binascii
import hashlib
import re
from functools import lru_cache
from typing import Any

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from lxml import etree
from signxml.algorithms import DigestAlgorithm, SignatureConstructionMethod, SignatureMethod
from signxml.exceptions import SignXMLException
from signxml.signer import XMLSigner
from signxml.verifier import SignatureConfiguration, XMLVerifier

from openadr.errors import OpenAdrError, RenderError, SignatureRefused
from openadr.v2.document.safe import complete, parse_safely
from openadr.v2.document.schema import OADR
from openadr.v2.fields import parse_time, render_time

DS = "{http://www.w3.org/2000/09/xmldsig#}"
DSP = "{http://openadr.org/oadr-2.0b/2012/07/xmldsig-properties}"
_C14N = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
_METHODS = frozenset({SignatureMethod.RSA_SHA256, SignatureMethod.ECDSA_SHA256})
_EXPECTED = SignatureConfiguration(
    require_x509=True,
    location="./",
    expect_references=2,
    signature_methods=_METHODS,
    digest_algorithms=frozenset({DigestAlgorithm.SHA256}),
)
_NONCE = re.compile(r"[\x21-\x7e]{8,128}")

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class Verified(msgspec.Struct, frozen=True):
    """What a signature proves. `root` is an oadrPayload with the signed object alone, and the rest names the signer."""

    root: Any
    fingerprint: str
    certificate_der: bytes
    nonce: str
    timestamp_ms: int


def sign(payload_xml: bytes, key: bytes | PrivateKey, cert: bytes, nonce: str, timestamp_ms: int) -> bytes:
    """The rendered message with its signature. `key` and `cert` are PEM (RSA or P-256); parsed keys are kept.

    `nonce` has 8 to 128 printable characters and is never used twice by one sender.
    """
    if not _NONCE.fullmatch(nonce):
        raise RenderError("a nonce has 8 to 128 printable ASCII characters")
    private_key = load_key(key) if isinstance(key, bytes) else key
    root = parse_safely(payload_xml)
    signed = root.find(OADR + "oadrSignedObject")
    if signed is None or root.find(DS + "Signature") is not None:
        raise RenderError("only an unsigned oadrPayload can be signed")
    signer = XMLSigner(
        method=SignatureConstructionMethod.detached,
        signature_algorithm=SignatureMethod.RSA_SHA256
        if isinstance(private_key, rsa.RSAPrivateKey)
        else SignatureMethod.ECDSA_SHA256,
        digest_algorithm=DigestAlgorithm.SHA256,
        c14n_algorithm=_C14N,
    )
    signer.namespaces["oadr"] = OADR[1:-1]
    signature = signer.sign(
        signed,
        key=private_key,
        cert=[_certificate(cert)],
        reference_uri="#oadrSignedObject",
        signature_properties=_replay_protect(nonce, timestamp_ms),
    )
    root.insert(0, signature)
    document: bytes = etree.tostring(root, xml_declaration=True, encoding="UTF-8")
    return document


def verify(body: bytes) -> Verified:
    """Check the signature of a body with the certificate it carries, and return what it covers.

    The caller compares `fingerprint` with the enrolled one before believing anything else. Raises SignatureRefused.
    """
    root = parse_safely(body)
    try:
        certificate = _message_certificate(root)
        results = XMLVerifier().verify(root, x509_cert=certificate, expect_config=_EXPECTED, validate_schema=False)
    except (SignXMLException, ValueError, TypeError, KeyError, UnsupportedAlgorithm, etree.LxmlError) as error:
        raise complete(SignatureRefused(f"the signature does not hold: {str(error)[:200]}"), root) from None
    assert isinstance(results, list)
    covered = [result.signed_xml for result in results if result.signed_xml is not None]
    signed = next((element for element in covered if element.tag == OADR + "oadrSignedObject"), None)
    protect = next((found for element in covered for found in element.iter(DSP + "ReplayProtect")), None)
    if signed is None or protect is None:
        raise complete(SignatureRefused("the signature has to cover the oadrSignedObject and ReplayProtect"), root)
    nonce, timestamp_ms = _read_replay_protect(protect, root)
    payload = etree.Element(OADR + "oadrPayload", nsmap={"oadr": OADR[1:-1]})
    payload.append(signed)
    der = certificate.public_bytes(Encoding.DER)
    return Verified(payload, fingerprint(der), der, nonce, timestamp_ms)


def is_signed(root: Any) -> bool:
    """Whether a parsed document has a signature at the place where one belongs."""
    return root.find(DS + "Signature") is not None


def fingerprint(certificate_der: bytes) -> str:
    """OpenADR fingerprint of a certificate: last 10 bytes of the SHA-256 of its DER, `AA:BB:...`."""
    return hashlib.sha256(certificate_der).digest()[-10:].hex(":").upper()


@lru_cache(maxsize=16)
def load_key(pem: bytes) -> PrivateKey:
    """A private key from unencrypted PEM. Checking an RSA key takes 35 ms, so each one is parsed once."""
    key = load_pem_private_key(pem, None)
    if isinstance(key, rsa.RSAPrivateKey) or (
        isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1)
    ):
        return key
    raise RenderError("messages are signed with RSA or P-256 keys")


@lru_cache(maxsize=16)
def _certificate(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem)


@lru_cache(maxsize=1024)
def _peer_certificate(der: bytes) -> x509.Certificate:
    return x509.load_der_x509_certificate(der)


def _message_certificate(root: Any) -> x509.Certificate:
    # The signer's own certificate comes first; those that follow are the chain.
    found = root.find(f"{DS}Signature/{DS}KeyInfo/{DS}X509Data/{DS}X509Certificate")
    if found is None:
        raise ValueError("there is no signature with a certificate")
    try:
        return _peer_certificate(base64.b64decode("".join((found.text or "").split()), validate=True))
    except binascii.Error:
        raise ValueError("the certificate is not base64") from None


def _replay_protect(nonce: str, timestamp_ms: int) -> Any:
    element = etree.Element(DSP + "ReplayProtect", nsmap={"dsp": DSP[1:-1]}, Id="replay", Target="#oadrSignedObject")
    etree.SubElement(element, DSP + "timestamp").text = render_time(timestamp_ms)
    etree.SubElement(element, DSP + "nonce").text = nonce
    return element


def _read_replay_protect(element: Any, root: Any) -> tuple[str, int]:
    nonce = (element.findtext(DSP + "nonce") or "").strip()
    if not _NONCE.fullmatch(nonce):
        raise complete(SignatureRefused("ReplayProtect has no usable nonce"), root)
    try:
        return nonce, parse_time((element.findtext(DSP + "timestamp") or "").strip())
    except OpenAdrError as error:
        raise complete(SignatureRefused(f"ReplayProtect has no usable timestamp: {error.detail}"), root) from None
