"""Canonical JSON and signatures as the light client reads them: one form each, whoever wrote it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import rfc8785
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from ledger.verify import VerificationError
from ledger.verify import canonical as json_form
from ledger.verify.keys import P256_ORDER, verify_ed25519, verify_p256, verify_text_key
from tests.ledger.test_verify import JSON


@given(JSON)
def test_canonical_json_is_that_of_rfc_8785_and_of_msgspec(value: Any) -> None:
    try:
        data = json_form.encode(value)
    except VerificationError:
        return
    assert data == rfc8785.dumps(value)
    assert data == msgspec.json.encode(value, order="sorted")
    assert json_form.decode(data) == value


@pytest.mark.parametrize(
    "text", ['"\u007f\u2028\U0001f600é"', '"\\"\\\\/"', "[]", "{}", "-1", "9007199254740991", '{"a":{"_":[null,true]}}']
)
def test_these_are_canonical(text: str) -> None:
    value = json_form.decode(text.encode())
    assert rfc8785.dumps(value) == text.encode() == json_form.encode(value)


@pytest.mark.parametrize(
    "text",
    [
        "", " 1", "1 ", "1.0", "1e3", "-0", "01", "NaN", "Infinity", "9007199254740992", "9" * 5000, '{"a":1,"a":1}',
        '{"b":1,"a":1}', '{"A":1}', '{"":1}', '{"é":1}', '{"a": 1}', '"\\u0041"', '"\\u0000"', '"\\n"', '"\n"', '"\\/"',
        '"e\u0301"', '"\\ud800"', "[" * 100_000, "[" * 40 + "]" * 40, "tru", "[1,]", '"a', "\ufeff1",
    ],
)  # fmt: skip
def test_these_are_not_canonical(text: str) -> None:
    with pytest.raises(VerificationError, match="not_canonical"):
        json_form.decode(text.encode())


@pytest.mark.parametrize("value", [1.5, b"x", {1: 2}, {"a": object()}, {1, 2}, "\ud800", 2**53])
def test_these_values_have_no_canonical_form(value: Any) -> None:
    with pytest.raises(VerificationError, match="not_canonical"):
        json_form.encode(value)


@given(st.binary(max_size=80))
def test_any_bytes_are_canonical_or_refused(data: bytes) -> None:
    try:
        value = json_form.decode(data)
    except VerificationError:
        return
    assert json_form.encode(value) == data


def test_signatures_of_both_kinds_of_key_are_checked_and_have_one_form() -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    public = private.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
    r, s = utils.decode_dss_signature(private.sign(b"m", ec.ECDSA(hashes.SHA256())))
    low, high = sorted((s, P256_ORDER - s))
    good, malleable = ((r.to_bytes(32, "big") + x.to_bytes(32, "big")) for x in (low, high))
    text = "p256:" + public.hex()
    assert verify_text_key(text, b"m", good)
    assert not verify_text_key(text, b"m", malleable)
    assert not verify_text_key(text, b"n", good)
    assert not verify_text_key(text.upper(), b"m", good)
    assert not verify_text_key("rsa:" + public.hex(), b"m", good)
    assert not verify_p256(b"\x02" + b"\xff" * 32, b"m", good)
    device = SigningKey(bytes(32))
    key, signature = bytes(device.verify_key), device.sign(b"m").signature
    order = 2**252 + 27742317777372353535851937790883648493
    beyond = signature[:32] + (int.from_bytes(signature[32:], "little") + order).to_bytes(32, "little")
    assert verify_ed25519(key, b"m", signature)
    assert not verify_ed25519(key, b"m", beyond)
    assert not verify_ed25519(bytes(32), b"m", bytes(64))
    assert not verify_ed25519(b"\x01" + bytes(31), b"m", b"\x01" + bytes(63))
