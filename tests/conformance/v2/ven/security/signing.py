"""The signing judge: XML signatures of the high security level, made and checked by signxml as openleadr does it."""

from __future__ import annotations

import base64
import secrets
from datetime import datetime
from typing import Any

from lxml import etree
from openleadr.messaging import get_signature_algorithm_from_private_key
from signxml import XMLSigner, XMLVerifier, methods
from signxml.algorithms import SignatureMethod

from runtime.tls import Certificate
from tests.conformance.v2.ven.judging import Judge

OADR = "{http://openadr.org/oadr-2.0b/2012/07}"
DS = "{http://www.w3.org/2000/09/xmldsig#}"
DSP = "{http://openadr.org/oadr-2.0b/2012/07/xmldsig-properties}"
_C14N = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"


def signed(body: bytes, files: Certificate, at: datetime) -> bytes:
    """A message with a signature that has ReplayProtect with this time and a nonce of its own."""
    key, certificate = files.key.read_bytes(), files.chain.read_bytes()
    message = etree.fromstring(body)[0]
    message.set(OADR + "Id", "oadrSignedObject")
    message = etree.fromstring(etree.tostring(message))
    signer = XMLSigner(method=methods.detached, c14n_algorithm=_C14N)
    signer.namespaces["oadr"] = OADR.strip("{}")
    signer.sign_alg = SignatureMethod.from_fragment(get_signature_algorithm_from_private_key(key))
    signature = signer.sign(
        message, key=key, cert=certificate.decode(), reference_uri="#oadrSignedObject", signature_properties=_fresh(at)
    )
    whole = etree.Element(OADR + "oadrPayload", nsmap={"oadr": OADR.strip("{}")})
    whole.extend([signature, message])
    return bytes(etree.tostring(whole))


class Signing:
    """Makes a judge sign what it says, and hold every message of the VEN against the VEN's certificate."""

    def __init__(self, judge: Judge, own: Certificate, ven: Certificate) -> None:
        self._judge = judge
        self._own = own
        self._ven = ven.chain.read_bytes()
        self.nonces: list[str] = []
        judge.seal = self.seal
        judge.check = self.check

    def seal(self, body: bytes) -> bytes:
        """Signed now."""
        return signed(body, self._own, self._judge.now())

    def check(self, body: bytes) -> None:
        """Raises AssertionError unless the message is whole, the VEN's, of this moment and new."""
        root = etree.fromstring(body)
        results: Any = XMLVerifier().verify(root, x509_cert=self._ven, expect_references=2)
        covered = {etree.QName(each.signed_xml).localname for each in results if each.signed_xml is not None}
        assert "oadrSignedObject" in covered, covered
        nonce, moment = root.findtext(f".//{DSP}nonce"), root.findtext(f".//{DSP}timestamp")
        assert nonce not in (None, "", *self.nonces)
        self.nonces.append(nonce or "")
        age_s = (self._judge.now() - datetime.fromisoformat(moment or "")).total_seconds()
        assert abs(age_s) < 60, age_s
        assert base64.b64decode(root.findtext(f".//{DS}X509Certificate") or "")


def _fresh(at: datetime) -> Any:
    """ReplayProtect as openleadr writes it."""
    protect = etree.Element(DSP + "ReplayProtect", nsmap={"dsp": DSP.strip("{}")}, Id="myid", Target="#mytarget")
    etree.SubElement(protect, DSP + "timestamp").text = at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    etree.SubElement(protect, DSP + "nonce").text = secrets.token_hex(16)
    return protect
