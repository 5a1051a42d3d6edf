"""What an XML signature covers, proven by the key of the certificate that came with it.

    SignedInfo ── canonical ── signature with the certificate's key ── parsed anew ── two references ─┐
                                                                                                      ▼
    oadrSignedObject, below the root            ── canonical ── digest ─▶ the bytes of the message
    an element in ds:Signature/ds:Object        ── canonical ── digest ─▶ the bytes of ReplayProtect

Only the form that the profile has is accepted: two references to elements at these places, canonical XML without
comments, SHA-256, RSA of 2048 bits or more or P-256. What costs much to follow is refused before any of it is followed.
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable
from functools import lru_cache
from itertools import islice
from typing import Any, Literal

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from openadr.v2.document.schema import OADR

DS = "{http://www.w3.org/2000/09/xmldsig#}"
Algorithm = Literal["rsa", "p256"]

_INCLUSIVE = frozenset(
    {"http://www.w3.org/TR/2001/REC-xml-c14n-20010315", "http://www.w3.org/2006/12/xml-c14n11"}
)  # the same here: they differ in what is inherited of xml:id and xml:base, and nothing of them is
_EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
_SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
_METHODS: dict[str, Algorithm] = {
    "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256": "rsa",
    "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256": "p256",
}
_ID_ATTRIBUTES = frozenset({"Id", "ID", "id"})
_REFERENCES = 2
_SIGNED_INFO_ELEMENTS_MAX = 24
_SIGNATURE_ELEMENTS_MAX = 200
_CERTIFICATE_CHARACTERS_MAX = 8192
_SIGNERS_MAX = 1024
_P256_BYTES = 32
_RSA_BITS_MIN, _RSA_BITS_MAX = 2048, 4096
_PARSER = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)


class Signer(msgspec.Struct, frozen=True):
    """What is needed of a certificate, which costs more to read than a signature to check with it."""

    key: Any
    algorithm: Algorithm
    certificate_der: bytes
    fingerprint: str
    not_after_ms: int

    def check(self, value: bytes, signed: bytes) -> None:
        """Raises InvalidSignature."""
        if self.algorithm == "rsa":
            self.key.verify(value, signed, PKCS1v15(), SHA256())
            return
        if len(value) != 2 * _P256_BYTES:
            raise InvalidSignature
        r, s = int.from_bytes(value[:_P256_BYTES], "big"), int.from_bytes(value[_P256_BYTES:], "big")
        self.key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(SHA256()))


class Proof(msgspec.Struct, frozen=True):
    """The canonical bytes a signature covers, and who made it."""

    message: bytes
    properties: bytes
    signer: Signer


def prove(root: Any) -> Proof:
    """Check the signature of a document that was parsed safely.

    Raises ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, LxmlError.
    """
    signature = _only_signature(root)
    info = _checked_info(signature)
    signer = _signer(signature)
    references = _signed_references(signature, info, signer)
    return Proof(*_covered(root, signature, references), signer)


def parsed(data: bytes) -> Any:
    """The tree of bytes that were made from one that was parsed safely. Raises LxmlError."""
    return etree.fromstring(data, _PARSER)


def fingerprint(certificate_der: bytes) -> str:
    """OpenADR fingerprint of a certificate: last 10 bytes of the SHA-256 of its DER, `AA:BB:...`."""
    return hashlib.sha256(certificate_der).digest()[-10:].hex(":").upper()


def _only_signature(root: Any) -> Any:
    signatures = root.findall(DS + "Signature")
    if len(signatures) != 1:
        raise ValueError(f"there are {len(signatures)} signatures")
    if _more_than(_SIGNATURE_ELEMENTS_MAX, signatures[0]):
        raise ValueError(f"the signature has more than {_SIGNATURE_ELEMENTS_MAX} elements")
    return signatures[0]


def _checked_info(signature: Any) -> Any:
    """The one SignedInfo. What costs much to follow is refused before any of it is followed."""
    infos = signature.findall(DS + "SignedInfo")
    if len(infos) != 1:
        raise ValueError(f"there are {len(infos)} SignedInfo")
    if len(infos[0].findall(DS + "Reference")) != _REFERENCES or _more_than(_SIGNED_INFO_ELEMENTS_MAX, infos[0]):
        raise ValueError("SignedInfo has to have two references, and nothing besides what they need")
    return infos[0]


def _more_than(maximum: int, element: Any) -> bool:
    return next(islice(element.iter(), maximum, None), None) is not None


def _signer(signature: Any) -> Signer:
    # the signer's own certificate comes first; those that follow are the chain
    found = signature.find(f"{DS}KeyInfo/{DS}X509Data/{DS}X509Certificate")
    if found is None:
        raise ValueError("there is no signature with a certificate")
    text = "".join((found.text or "").split())
    if len(text) > _CERTIFICATE_CHARACTERS_MAX:
        raise ValueError("the certificate is too long")
    return _read_signer(text)


@lru_cache(maxsize=_SIGNERS_MAX)
def _read_signer(text: str) -> Signer:
    der = base64.b64decode(text, validate=True)
    certificate = x509.load_der_x509_certificate(der)
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey) and _RSA_BITS_MIN <= key.key_size <= _RSA_BITS_MAX:
        algorithm: Algorithm = "rsa"
    elif isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        algorithm = "p256"
    else:
        raise ValueError(f"messages are signed with P-256 keys or RSA keys of {_RSA_BITS_MIN} to {_RSA_BITS_MAX} bits")
    canonical = certificate.public_bytes(Encoding.DER)
    ends_ms = int(certificate.not_valid_after_utc.timestamp() * 1000)
    return Signer(key, algorithm, canonical, fingerprint(canonical), ends_ms)


def _signed_references(signature: Any, info: Any, signer: Signer) -> list[Any]:
    """The references, read from the bytes the signature is over."""
    value = signature.find(DS + "SignatureValue")
    if value is None:
        raise ValueError("there is no SignatureValue")
    signed = _canonical(info, _child(info, "CanonicalizationMethod"))
    signer.check(base64.b64decode("".join((value.text or "").split()), validate=True), signed)
    proven = parsed(signed)
    method = _child(proven, "SignatureMethod").get("Algorithm")
    if _METHODS.get(method) != signer.algorithm:
        raise ValueError(f"the signature method {str(method)[:80]} is not that of the certificate's key")
    return list(proven.findall(DS + "Reference"))


def _covered(root: Any, signature: Any, references: list[Any]) -> tuple[bytes, bytes]:
    """Canonical bytes of the signed object and of what is signed in ds:Signature/ds:Object, as their digests prove."""
    message = _by_id(root.findall(OADR + "oadrSignedObject"))
    if len(message) != 1:
        raise ValueError("there is not one oadrSignedObject with an id")
    properties = _by_id(each for outer in signature.findall(DS + "Object") for each in outer.iter())
    found: dict[bool, bytes] = {}
    for reference in references:
        name = (reference.get("URI") or "")[1:]
        if reference.get("URI") != f"#{name}" or not name or (name in message) == (name in properties):
            raise ValueError(f"the reference {str(reference.get('URI'))[:40]} names no place of the message")
        place = message if name in message else properties
        found[place is message] = _checked(place[name], reference)
    if len(found) != _REFERENCES:
        raise ValueError("one reference has to name the oadrSignedObject, the other one ReplayProtect")
    return found[True], found[False]


def _by_id(elements: Iterable[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for element in elements:
        name = _id(element)
        if name in found:
            raise ValueError(f"the id {name[:40]} is there twice")
        if name:
            found[name] = element
    return found


def _id(element: Any) -> str:
    """The id of an element, empty without one; it has one at most."""
    ids = [value for name, value in element.items() if name.rpartition("}")[2] in _ID_ATTRIBUTES]
    if len(ids) > 1:
        raise ValueError("an element has several ids")
    return ids[0] if ids else ""


def _checked(element: Any, reference: Any) -> bytes:
    """The canonical bytes of an element, whose digest the reference has."""
    if _child(reference, "DigestMethod").get("Algorithm") != _SHA256:
        raise ValueError("digests are SHA-256")
    transforms = list(reference.iter(DS + "Transform"))
    if len(transforms) > 1:
        raise ValueError(f"{len(transforms)} transforms are not applied one after the other")
    data = _canonical(element, transforms[0] if transforms else None)
    expected = base64.b64decode("".join((_child(reference, "DigestValue").text or "").split()), validate=True)
    if not hmac.compare_digest(hashlib.sha256(data).digest(), expected):
        raise ValueError(f"the digest of {str(reference.get('URI'))[:40]} is another")
    return data


def _canonical(element: Any, method: Any) -> bytes:
    """Canonical XML of an element with the namespaces around it, by ds:CanonicalizationMethod or ds:Transform; without
    one it is inclusive."""
    name = None if method is None else method.get("Algorithm")
    if name is None or name in _INCLUSIVE:
        inclusive: bytes = etree.tostring(element, method="c14n", with_comments=False)
        return inclusive
    if name != _EXCLUSIVE:
        raise ValueError(f"the transform {str(name)[:80]} is not applied")
    listed = method.find(f"{{{_EXCLUSIVE}}}InclusiveNamespaces")
    prefixes = None if listed is None else (listed.get("PrefixList") or "").split()
    exclusive: bytes = etree.tostring(
        element, method="c14n", exclusive=True, with_comments=False, inclusive_ns_prefixes=prefixes
    )
    return exclusive


def _child(element: Any, name: str) -> Any:
    found = element.findall(DS + name)
    if len(found) != 1:
        raise ValueError(f"there are {len(found)} {name}")
    return found[0]
