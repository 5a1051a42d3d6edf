"""Our reader of signatures beside the general one of signxml: what ours believes, that one believes too."""

from __future__ import annotations

import copy
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from lxml import etree
from signxml import methods
from signxml.algorithms import CanonicalizationMethod, SignatureMethod
from signxml.exceptions import SignXMLException
from signxml.signer import XMLSigner
from signxml.verifier import XMLVerifier

from openadr.errors import MessageError, SignatureRefused
from openadr.v2 import OadrPoll, read, render, sign, verify
from openadr.v2.document.proof import DS
from openadr.v2.document.schema import OADR
from openadr.v2.document.signature import DSP, sign_object, signable
from tests.builders import START_MS
from tests.openadr.v2.test_signature import P256, POLL, RSA

both_keys = pytest.mark.parametrize(("key", "certificate"), [RSA, P256], ids=["RSA", "P-256"])
_DS11 = "http://www.w3.org/2009/xmldsig11#"


def judged(body: bytes, certificate: bytes) -> list[bytes] | str:
    """What signxml says is covered, or why it refuses."""
    root = etree.fromstring(body, etree.XMLParser(remove_comments=True, remove_pis=True))
    for info in root.findall(f"{DS}Signature/{DS}KeyInfo"):
        info.getparent().remove(info)
    try:
        results: Any = XMLVerifier().verify(
            root, x509_cert=certificate.decode(), expect_references=2, validate_schema=False
        )
    except (SignXMLException, ValueError, etree.LxmlError) as error:
        return str(error)
    return [each.signed_data for each in results]


def signed_by_signxml(key: bytes, certificate: bytes, method: CanonicalizationMethod) -> bytes:
    message = etree.fromstring(POLL)[0]
    message.set(OADR + "Id", "oadrSignedObject")
    message = etree.fromstring(etree.tostring(message))
    algorithm = SignatureMethod.RSA_SHA256 if key == RSA[0] else SignatureMethod.ECDSA_SHA256
    signer = XMLSigner(method=methods.detached, c14n_algorithm=method, signature_algorithm=algorithm)
    signer.namespaces["oadr"] = OADR[1:-1]
    protect = etree.Element(DSP + "ReplayProtect", nsmap={"dsp": DSP[1:-1]})
    etree.SubElement(protect, DSP + "timestamp").text = "2026-01-01T00:00:00Z"
    etree.SubElement(protect, DSP + "nonce").text = "nonce-0001"
    signature = signer.sign(
        message, key=key, cert=certificate.decode(), reference_uri="#oadrSignedObject", signature_properties=protect
    )
    whole = etree.Element(OADR + "oadrPayload", nsmap={"oadr": OADR[1:-1], "other": "urn:around"})
    whole.extend([signature, message])
    return bytes(etree.tostring(whole))


@both_keys
@pytest.mark.parametrize(
    "method",
    [
        CanonicalizationMethod.CANONICAL_XML_1_0,
        CanonicalizationMethod.CANONICAL_XML_1_1,
        CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0,
    ],
)
def test_each_canonical_form_without_comments_is_read(
    key: bytes, certificate: bytes, method: CanonicalizationMethod
) -> None:
    body = signed_by_signxml(key, certificate, method)
    if method != CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0:
        body = body.replace(b' xmlns:other="urn:around"', b"", 1)  # inclusive: the signer did not see it
    assert read(verify(body).root) == OadrPoll("00123")


@both_keys
def test_whatever_ours_believes_the_judge_believes_with_the_same_bytes(key: bytes, certificate: bytes) -> None:
    """Each element of the signature dropped, doubled, moved, emptied or with another attribute; some are still good."""
    chance, believed = random.Random(5), 0
    original = etree.fromstring(sign(POLL, key, certificate, "nonce-0001", START_MS))
    for _ in range(400):
        root = copy.deepcopy(original)
        elements = [each for each in root.iter() if each is not root]
        one, other = chance.choice(elements), chance.choice(elements)
        match chance.randrange(6):
            case 0:
                one.getparent().remove(one)
            case 1:
                one.addnext(copy.deepcopy(one))
            case 2 if one not in other.iterancestors() and one is not other:
                other.append(one)
            case 3:
                one.text = chance.choice([None, " ", "AAAA", "\n" + (one.text or "") + "\n"])
            case 4:
                one.set(chance.choice(["Id", "ID", "URI", "Algorithm", "x"]), chance.choice(["prop", "#prop", "y"]))
            case _:
                other.addnext(etree.Comment("in between"))
        body = etree.tostring(root)
        try:
            verified = verify(body)
        except MessageError:
            continue
        covered = judged(body, certificate)
        if "Ambiguous" in covered:
            continue  # the same id somewhere else: it looks for ids everywhere, ours at the place where one belongs
        message = etree.tostring(verified.root[0], method="c14n")
        assert not isinstance(covered, str), (covered, body)
        assert message in covered
        believed += 1
    assert believed > 20


def test_a_chain_of_transforms_or_one_with_comments_is_not_followed() -> None:
    body = sign(POLL, *P256, "nonce-0001", START_MS)
    start, stop = body.index(b"<ds:Transform "), body.index(b"</ds:Transforms>")
    transform = body[start:stop]
    for broken in (
        body.replace(transform, transform * 2, 1),
        body.replace(transform, transform.replace(b"c14n-20010315", b"c14n-20010315#WithComments"), 1),
        body.replace(b"xmlenc#sha256", b"xmldsig#sha1", 1),
    ):
        with pytest.raises(SignatureRefused):
            verify(broken)


def test_a_certificate_of_endless_length_is_not_read_and_not_kept() -> None:
    body = sign(POLL, *P256, "nonce-0001", START_MS)
    with pytest.raises(SignatureRefused, match="too long"):
        verify(body.replace(b"</ds:X509Certificate>", b"A" * 10_000 + b"</ds:X509Certificate>"))


def test_a_key_on_another_curve_signs_nothing() -> None:
    from cryptography.hazmat.primitives.asymmetric import ec

    from tests.openadr.v2.test_signature import pem

    foreign = pem(ec.generate_private_key(ec.SECP384R1()))[1]
    ours, theirs = (b"".join(each.splitlines()[1:-1]) for each in (P256[1], foreign))
    body = sign(render(OadrPoll("x")), *P256, "nonce-0001", START_MS).replace(ours, theirs)
    with pytest.raises(SignatureRefused, match="P-256"):
        verify(body)


def test_a_signature_of_a_short_key_proves_nothing() -> None:
    """OpenSSL signs with it, and whoever factors it signs too."""
    key = rsa.generate_private_key(65_537, 1024)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "short")])
    begin = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(begin).not_valid_after(begin + timedelta(days=1)).sign(key, SHA256())
    )  # fmt: skip
    body = sign_object(signable(POLL), key, certificate.public_bytes(Encoding.PEM), "nonce-0001", START_MS)
    with pytest.raises(SignatureRefused, match="2048"):
        verify(body)
