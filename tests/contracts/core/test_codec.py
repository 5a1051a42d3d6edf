"""The canonical codec and the envelope: one value, one sequence of bytes; a signature binds all of them."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from contextlib import suppress
from typing import Any

import msgspec
import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from contracts.core.codec import BYTES_MAX, DEPTH_MAX, INTEGER_MAX, decode, digest, encode
from contracts.core.commands import Issue, Terms, Transfer, embedded, offer_bytes
from contracts.core.envelope import (
    Header,
    Transaction,
    commitment,
    parse_transaction,
    seal,
    signing_bytes,
    transaction_id,
)
from contracts.core.errors import CodecError
from contracts.core.parties import Role
from runtime.keys import Algorithm, PrivateKey, verify
from tests.contracts.world import a_group_setup, an_enrol_party, an_enrolment, an_offer, group_terms, key_of, sign

TEXTS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x17F, exclude_characters="\x7f"), max_size=20).map(
    lambda text: unicodedata.normalize("NFC", text)
)
KEYS = st.from_regex(r"[a-z0-9_]{1,8}", fullmatch=True)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-INTEGER_MAX, INTEGER_MAX) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)

GOLDEN = [
    (None, b"null"),
    ([True, False, 0, -1, INTEGER_MAX, -INTEGER_MAX], b"[true,false,0,-1,9007199254740991,-9007199254740991]"),
    ({"b": 1, "a": {"z": [], "y": {}}, "a1": 2, "a_": 3}, b'{"a":{"y":{},"z":[]},"a1":2,"a_":3,"b":1}'),
    ('"\\/\x7f', b'"\\"\\\\/\x7f"'),
    ("Zürich 東京 €", '"Zürich 東京 €"'.encode()),
    ("\u2028</script>", '"\u2028</script>"'.encode()),
    ("[[[[[[[[[[[[[[[[[[[[", b'"[[[[[[[[[[[[[[[[[[[["'),
]


@pytest.mark.parametrize(("value", "expected"), GOLDEN)
def test_golden_values_have_the_bytes_of_rfc_8785(value: Any, expected: bytes) -> None:
    assert encode(value) == expected == rfc8785.dumps(value)
    assert decode(expected, Any) == value
    assert digest(value) == digest(expected) == hashlib.sha256(expected).hexdigest()


@given(VALUES)
def test_every_value_has_the_bytes_of_rfc_8785_and_comes_back(value: Any) -> None:
    data = encode(value)
    assert data == rfc8785.dumps(value)
    assert decode(data, Any) == value


def test_a_struct_and_the_same_dict_have_the_same_bytes() -> None:
    terms = group_terms()
    assert encode(terms) == encode(json.loads(encode(terms)))
    assert decode(encode(terms), Terms) == terms


NOT_CANONICAL = {
    "float": b"1.5",
    "float that is whole": b"1.0",
    "exponent": b"1e3",
    "minus zero": b"-0",
    "leading zero": b"01",
    "too large": b"9007199254740992",
    "too small": b"-9007199254740992",
    "beyond 64 bits": b"18446744073709551616",
    "a thousand digits": b"1" * 1000,
    "ten thousand digits": b"1" * 10_000,
    "NaN": b"NaN",
    "infinity": b"Infinity",
    "duplicate key": b'{"a":1,"a":1}',
    "unsorted keys": b'{"b":1,"a":1}',
    "upper-case key": b'{"A":1}',
    "empty key": b'{"":1}',
    "key of 65": b'{"' + b"a" * 65 + b'":1}',
    "key with a line end": b'{"a\\n":1}',
    "space": b'{"a": 1}',
    "leading space": b" 1",
    "trailing newline": b"1\n",
    "two values": b"1 2",
    "not NFC": '"e\u0301"'.encode(),
    "control character": b'"\\u0000"',
    "line end in a string": b'"a\\nb"',
    "raw control character": b'"\x01"',
    "last control character": b'"\\u001f"',
    "last control character, raw": b'"\x1f"',
    "needless escape": b'"\\u0041"',
    "escaped slash": b'"\\/"',
    "lone surrogate escaped": b'"\\ud800"',
    "lone surrogate raw": b'"\xed\xa0\x80"',
    "escaped pair": b'"\\ud83d\\ude00"',
    "younger than Unicode 3.2": '"\U0001f600"'.encode(),
    "order of marks younger Pythons would change": '"a\u0301\U00010efd"'.encode(),
    "bad UTF-8": b'"\xff"',
    "BOM": b"\xef\xbb\xbf1",
    "empty": b"",
    "cut off": b'{"a":',
    "deep": b"[" * 17 + b"]" * 17,
    "deep enough for the stack": b"[" * 30_000,
    "deep behind a string of closing brackets": b'["' + b"]" * 40 + b'",' + b"[" * 20 + b"]" * 21,
}


@pytest.mark.parametrize("data", NOT_CANONICAL.values(), ids=NOT_CANONICAL.keys())
def test_other_spellings_are_refused(data: bytes) -> None:
    with pytest.raises(CodecError):
        decode(data, Any)


def test_size_and_depth_are_allowed_up_to_the_limit_and_no_further() -> None:
    deepest = b"[" * DEPTH_MAX + b"]" * DEPTH_MAX
    assert encode(decode(deepest, Any)) == deepest
    longest = b'"' + b"a" * (BYTES_MAX - 2) + b'"'
    assert len(decode(longest, str)) == BYTES_MAX - 2
    with pytest.raises(CodecError, match="65536 bytes"):
        decode(longest[:-1] + b'a"', str)
    with pytest.raises(CodecError):
        decode(b"[1]", Any, bytes_max=2)


@given(st.binary(max_size=60) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")))
@example(b'{"amount_minor":1,"reference":"","to":"a"}')
def test_decode_raises_codec_error_and_nothing_else(data: bytes) -> None:
    for kind in (Any, int, str, Issue):
        try:
            value = decode(data, kind)
        except CodecError:
            continue
        assert encode(value) == data


@given(st.data())
def test_one_changed_byte_is_refused_or_another_value(data: st.DataObject) -> None:
    whole = encode(data.draw(VALUES))
    at = data.draw(st.integers(0, len(whole) - 1))
    other = whole[:at] + bytes([data.draw(st.integers(0, 255))]) + whole[at + 1 :]
    with suppress(CodecError):
        assert other == whole or decode(other, Any) != decode(whole, Any)


@pytest.mark.parametrize(
    "value",
    [1.0, float("nan"), 2**53, -(2**53), 10**5000, {"A": 1}, {1: 2}, "e\u0301", "\n", "\x1f", "\ud800", object()],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_canonical_form_is_not_encoded(value: object) -> None:
    with pytest.raises(CodecError):
        encode(value)


def test_a_field_too_many_or_too_few_or_of_another_type_is_refused() -> None:
    for body in (
        b'{"amount_minor":1,"extra":1,"reference":"","to":"a"}',
        b'{"amount_minor":1,"to":"a"}',
        b'{"amount_minor":"1","reference":"","to":"a"}',
        b'{"amount_minor":true,"reference":"","to":"a"}',
        b'{"amount_minor":-1,"reference":"","to":"a"}',
        b'{"amount_minor":1,"reference":"","to":"a/b"}',
        b'{"amount_minor":1,"reference":"","to":"a\\n"}',
    ):
        with pytest.raises(CodecError):
            decode(body, Issue)


# ---- envelope: fixed seed 00..1f, fixed salt 20..3f

SALT = bytes(range(32, 64))
SEED = bytes(range(32))
BODY = b'{"amount_minor":150,"reference":"May","to":"dev-1"}'
COMMITMENT = "8497fc046e68d7f272f58a4d7f7a4542738980ccc96e5b655538b0f26b9b5107"
HEADER = (
    b'{"channel":"main","command":"Transfer","commitment":"' + COMMITMENT.encode() + b'","contract":"tokens",'
    b'"nonce":"000102030405060708090a0b0c0d0e0f","not_after_ms":1767225600000,"sender":"agg-1"}'
)
ID = "87ce8797ee2b2b0cf53ca78bd9a381fb116e8537b9969e177b0eab9ad579902d"
KEYS_GOLDEN: list[tuple[Algorithm, str, str]] = [
    (
        "ed25519",
        "ed25519:03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8",
        "0feec5b97e65f406bacbd43cb801ceb223fba457af98fce04bb1e041d8c184966a5d808196357b7992f3a6cb5b539d29b6dc11875a9dfd71ca8205bed73e900b",
    ),
    (
        "p256",
        "p256:027a593180860c4037c83c12749845c8ee1424dd297fadcb895e358255d2c7d2b2",
        "174787508f4320c384c1ce3510a4596f13f675ba45e2f7d342a13d5754c4abe00601db4818050d7bc91975a0a4b7049dca409bce0e75c101927203b240e4f3a6",
    ),
]


def a_transaction(key: PrivateKey) -> Transaction:
    return seal(
        Transfer(to="dev-1", amount_minor=150, reference="May"),
        channel="main",
        contract="tokens",
        sender="agg-1",
        nonce="000102030405060708090a0b0c0d0e0f",
        not_after_ms=1_767_225_600_000,
        salt=SALT,
        sign=key.sign,
    )


@pytest.mark.parametrize(("algorithm", "public", "signature"), KEYS_GOLDEN)
def test_envelope_has_the_golden_bytes(algorithm: Algorithm, public: str, signature: str) -> None:
    """commitment = SHA-256("gridpact/commit/v1\\0" + salt + body); id = SHA-256("gridpact/tx/v1\\0" + header)."""
    key = PrivateKey.from_seed(SEED, algorithm)
    transaction = a_transaction(key)
    assert transaction.body.encode() == BODY
    assert commitment(SALT, BODY) == hashlib.sha256(b"gridpact/commit/v1\0" + SALT + BODY).hexdigest() == COMMITMENT
    assert signing_bytes(transaction.header) == b"gridpact/tx/v1\0" + HEADER
    assert transaction_id(transaction.header) == hashlib.sha256(b"gridpact/tx/v1\0" + HEADER).hexdigest() == ID
    assert (key.public, transaction.signature) == (public, signature)
    assert verify(public, signing_bytes(transaction.header), bytes.fromhex(signature))


@pytest.mark.parametrize("field", Header.__struct_fields__)
def test_the_signature_binds_every_field_of_the_header(field: str) -> None:
    key = PrivateKey.from_seed(SEED)
    transaction = a_transaction(key)
    value = getattr(transaction.header, field)
    other = value + 1 if isinstance(value, int) else ("0" if value[0] != "0" else "1") + value[1:]
    header = msgspec.structs.replace(transaction.header, **{field: other})
    assert not verify(key.public, signing_bytes(header), bytes.fromhex(transaction.signature))
    assert transaction_id(header) != ID


def test_a_transaction_is_read_back_strictly() -> None:
    transaction = a_transaction(PrivateKey.from_seed(SEED))
    data = encode(transaction)
    assert parse_transaction(data) == transaction
    for wrong in (data + b" ", data.replace(transaction.salt.encode(), transaction.salt.upper().encode()), data[:-1]):
        with pytest.raises(CodecError):
            parse_transaction(wrong)


def test_signatures_inside_a_body_are_named_for_the_batch() -> None:
    enrolment = an_enrolment("d9", Role.DEVICE, "agg")
    command = an_enrol_party(enrolment)
    ((key, message, signature),) = embedded(command)
    assert (key, message[:18], signature) == (enrolment.key, b"gridpact/enrol/v1\0", sign(enrolment.key, message))
    offer = an_offer(group_terms())
    ((key, message, signature),) = embedded(a_group_setup(), key_of("vn"))
    assert (key, message, signature) == (key_of("vn"), offer_bytes(offer), sign(key_of("vn"), offer_bytes(offer)))
    assert message.startswith(b"gridpact/offer/v1\0")
    assert embedded(a_group_setup()) == ()
    assert embedded(Issue(to="a", amount_minor=1, reference="")) == ()
