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
from itertools import islice
from typing import Any, Literal
from xml.sax.saxutils import escape

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from lxml import etree
from signxml.algorithms import DigestAlgorithm, SignatureMethod
from signxml.exceptions import SignXMLException
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

_REFERENCES = 2
_SIGNED_INFO_ELEMENTS_MAX = 24
_SIGNATURE_ELEMENTS_MAX = 200
_TRANSFORMS = frozenset(
    {_C14N, "http://www.w3.org/2006/12/xml-c14n11", "http://www.w3.org/2001/10/xml-exc-c14n#"}
)  # without comments; not "enveloped", which takes elements out

# canonical XML: the first of its elements repeats the namespaces around it, in order of their prefixes
_SCOPE = f' xmlns:ds="{DS[1:-1]}" xmlns:oadr="{OADR[1:-1]}"'
_REFERENCE = (
    f'<ds:Reference URI="#%s"><ds:Transforms><ds:Transform Algorithm="{_C14N}"></ds:Transform></ds:Transforms>'
    '<ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"></ds:DigestMethod>'
    "<ds:DigestValue>%s</ds:DigestValue></ds:Reference>"
)
_SIGNED_INFO = (
    f'<ds:SignedInfo%s><ds:CanonicalizationMethod Algorithm="{_C14N}"></ds:CanonicalizationMethod>'
    '<ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#%s"></ds:SignatureMethod>'
    "%s%s</ds:SignedInfo>"
)
_PROPERTIES = (
    '<ds:Object%s Id="prop"><ds:SignatureProperties><ds:SignatureProperty Id="replay" Target="#oadrSignedObject">'
    "%s</ds:SignatureProperty></ds:SignatureProperties></ds:Object>"
)
_SIGNED_PAYLOAD = (
    "<?xml version='1.0' encoding='UTF-8'?>\n"
    f'<oadr:oadrPayload xmlns:oadr="{OADR[1:-1]}"><ds:Signature xmlns:ds="{DS[1:-1]}">'
    "%s<ds:SignatureValue>%s</ds:SignatureValue><ds:KeyInfo><ds:X509Data><ds:X509Certificate>%s</ds:X509Certificate>"
    "</ds:X509Data></ds:KeyInfo>%s</ds:Signature>"
)
_END = b"</oadr:oadrPayload>"

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
Algorithm = Literal["rsa", "p256"]


class Verified(msgspec.Struct, frozen=True):
    """What a signature proves. `root` is an oadrPayload with the signed object alone, and the rest names the signer,
    whose certificate ends at `not_after_ms`."""

    root: Any
    fingerprint: str
    certificate_der: bytes
    nonce: str
    timestamp_ms: int
    algorithm: Algorithm
    not_after_ms: int


def sign(payload_xml: bytes, key: bytes | PrivateKey, cert: bytes, nonce: str, timestamp_ms: int) -> bytes:
    """The rendered message with its signature. `key` and `cert` are PEM (RSA or P-256); parsed keys are kept.

    `nonce` has 8 to 128 printable characters and is never used twice by one sender. The signature is written out in
    canonical form, so nothing but the message itself has to be brought into it.
    """
    if not _NONCE.fullmatch(nonce):
        raise RenderError("a nonce has 8 to 128 printable ASCII characters")
    private_key = load_key(key) if isinstance(key, bytes) else key
    root = parse_safely(payload_xml)
    signed = root.find(OADR + "oadrSignedObject")
    if signed is None or is_signed(root):
        raise RenderError("only an unsigned oadrPayload can be signed")
    signed.set(OADR + "Id", "oadrSignedObject")
    message: bytes = etree.tostring(signed, method="c14n")
    properties = _PROPERTIES % (_SCOPE, _replay_protect(nonce, timestamp_ms))
    method = "rsa-sha256" if isinstance(private_key, rsa.RSAPrivateKey) else "ecdsa-sha256"
    references = (
        _REFERENCE % ("oadrSignedObject", _digest(message)),
        _REFERENCE % ("prop", _digest(properties.encode())),
    )
    info = _SIGNED_INFO % (_SCOPE, method, *references)
    value = base64.b64encode(_signature(private_key, info.encode())).decode()
    # in the document the namespaces come from the elements around
    info, properties = info.replace(_SCOPE, "", 1), properties.replace(_SCOPE, "", 1)
    return (_SIGNED_PAYLOAD % (info, value, _certificate_text(cert), properties)).encode() + message + _END


def verify(body: bytes) -> Verified:
    """Check the signature of a body with the certificate it carries, and return what it covers.

    The caller compares `fingerprint` with the enrolled one before believing anything else. Raises SignatureRefused.
    """
    return verify_tree(parse_safely(body))


def verify_tree(root: Any) -> Verified:
    """As `verify`, from a root element that was parsed safely."""
    try:
        _check_form(root)
        certificate = _message_certificate(root)
        _drop_key_info(root)
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
    algorithm: Algorithm = "rsa" if isinstance(certificate.public_key(), rsa.RSAPublicKey) else "p256"
    ends_ms = int(certificate.not_valid_after_utc.timestamp() * 1000)
    return Verified(payload, fingerprint(der), der, nonce, timestamp_ms, algorithm, ends_ms)


def _check_form(root: Any) -> None:
    """Refuse what costs much to check: a verifier follows every reference and every transform before it counts them."""
    signatures = root.findall(DS + "Signature")
    if len(signatures) != 1:
        raise ValueError(f"there are {len(signatures)} signatures")
    if _more_than(_SIGNATURE_ELEMENTS_MAX, signatures[0]):
        raise ValueError(f"the signature has more than {_SIGNATURE_ELEMENTS_MAX} elements")
    info = signatures[0].find(DS + "SignedInfo")
    references = [] if info is None else info.findall(DS + "Reference")
    if len(references) != _REFERENCES or _more_than(_SIGNED_INFO_ELEMENTS_MAX, info):
        raise ValueError("SignedInfo has to have two references, and nothing besides what they need")
    for transform in info.iter(DS + "Transform"):
        if transform.get("Algorithm") not in _TRANSFORMS:
            raise ValueError(f"the transform {str(transform.get('Algorithm'))[:80]} is not applied")


def _drop_key_info(root: Any) -> None:
    """Take out what no reference covers and the verifier, which has the certificate, would copy again and again."""
    signature = root.find(DS + "Signature")
    for info in signature.findall(DS + "KeyInfo"):
        signature.remove(info)


def _more_than(maximum: int, element: Any) -> bool:
    return next(islice(element.iter(), maximum, None), None) is not None


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
def _certificate_text(pem: bytes) -> str:
    return base64.b64encode(x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)).decode()


def _signature(key: PrivateKey, data: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, PKCS1v15(), SHA256())
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def _digest(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


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


def _replay_protect(nonce: str, timestamp_ms: int) -> str:
    return (
        f'<dsp:ReplayProtect xmlns:dsp="{DSP[1:-1]}"><dsp:timestamp>{render_time(timestamp_ms)}</dsp:timestamp>'
        f"<dsp:nonce>{escape(nonce)}</dsp:nonce></dsp:ReplayProtect>"
    )


def _read_replay_protect(element: Any, root: Any) -> tuple[str, int]:
    nonce = (element.findtext(DSP + "nonce") or "").strip()
    if not _NONCE.fullmatch(nonce):
        raise complete(SignatureRefused("ReplayProtect has no usable nonce"), root)
    try:
        return nonce, parse_time((element.findtext(DSP + "timestamp") or "").strip())
    except OpenAdrError as error:
        raise complete(SignatureRefused(f"ReplayProtect has no usable timestamp: {error.detail}"), root) from None
