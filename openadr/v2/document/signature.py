"""XML signatures of OpenADR's high security level: detached over oadrSignedObject, with ReplayProtect.

    oadrPayload
    ├── ds:Signature ── SignedInfo ── #oadrSignedObject, #prop (ReplayProtect: timestamp, nonce)
    └── oadrSignedObject Id="oadrSignedObject"

`verify` hands out only what the signature covers, parsed anew from the bytes that were hashed. Reading the message from
the document instead would let an attacker keep the signed object somewhere in it and put another one in its place.
Whether the nonce was seen before, and how old the timestamp may be, is for the caller to say: that needs a store.
"""

import base64
import hashlib
import re
from functools import lru_cache
from typing import Any
from xml.sax.saxutils import escape

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from lxml import etree

from openadr.errors import OpenAdrError, RenderError, SignatureRefused
from openadr.v2.document.proof import DS, Algorithm, fingerprint, parsed, prove
from openadr.v2.document.safe import complete, parse_safely
from openadr.v2.document.schema import OADR
from openadr.v2.fields import parse_time, render_time

__all__ = [
    "DS", "Algorithm", "PrivateKey", "Verified", "fingerprint", "is_signed", "load_key", "sign", "sign_object",
    "signable", "verify", "verify_tree",
]  # fmt: skip

DSP = "{http://openadr.org/oadr-2.0b/2012/07/xmldsig-properties}"
_C14N = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
_NONCE = re.compile(r"[\x21-\x7e]{8,128}")

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
_PAYLOAD = b'<oadr:oadrPayload xmlns:oadr="%b">%%b</oadr:oadrPayload>' % OADR[1:-1].encode()

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


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
    return sign_object(
        signable(payload_xml), load_key(key) if isinstance(key, bytes) else key, cert, nonce, timestamp_ms
    )


def signable(payload_xml: bytes) -> bytes:
    """The oadrSignedObject of a rendered message as it is signed and sent: what `sign_object` takes.

    Raises RenderError for what is no unsigned oadrPayload.
    """
    root = parse_safely(payload_xml)
    signed = root.find(OADR + "oadrSignedObject")
    if signed is None or is_signed(root):
        raise RenderError("only an unsigned oadrPayload can be signed")
    signed.set(OADR + "Id", "oadrSignedObject")
    message: bytes = etree.tostring(signed, method="c14n")
    return message


def sign_object(message: bytes, key: PrivateKey, cert: bytes, nonce: str, timestamp_ms: int) -> bytes:
    """As `sign`, from what `signable` made: the same message for many is brought into canonical form once."""
    if not _NONCE.fullmatch(nonce):
        raise RenderError("a nonce has 8 to 128 printable ASCII characters")
    properties = _PROPERTIES % (_SCOPE, _replay_protect(nonce, timestamp_ms))
    method = "rsa-sha256" if isinstance(key, rsa.RSAPrivateKey) else "ecdsa-sha256"
    references = (
        _REFERENCE % ("oadrSignedObject", _digest(message)),
        _REFERENCE % ("prop", _digest(properties.encode())),
    )
    info = _SIGNED_INFO % (_SCOPE, method, *references)
    value = base64.b64encode(_signature(key, info.encode())).decode()
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
        proof = prove(root)
        # what these bytes say is what was signed: nothing of the document around them is read any more
        payload = parsed(_PAYLOAD % proof.message)
        protect = next(parsed(proof.properties).iter(DSP + "ReplayProtect"), None)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, etree.LxmlError) as error:
        reason = str(error)[:200] or "it was not made with the key of the certificate"
        raise complete(SignatureRefused(f"the signature does not hold: {reason}"), root) from None
    if protect is None:
        raise complete(SignatureRefused("the signature has to cover the oadrSignedObject and ReplayProtect"), root)
    nonce, timestamp_ms = _read_replay_protect(protect, root)
    signer = proof.signer
    return Verified(
        payload, signer.fingerprint, signer.certificate_der, nonce, timestamp_ms, signer.algorithm, signer.not_after_ms
    )


def is_signed(root: Any) -> bool:
    """Whether a parsed document has a signature at the place where one belongs."""
    return next(root.iterchildren(DS + "Signature"), None) is not None


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
