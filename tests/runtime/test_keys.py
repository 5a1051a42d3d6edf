"""Signatures have one accepted form, and verdicts are the same on every machine."""

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from runtime.errors import KeyFileError
from runtime.keys import PrivateKey, verify, verify_batch
from tests.builders import a_key

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493

# RFC 8032 section 7.1, tests 1 to 3: seed, public key, message, signature
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]


@pytest.mark.parametrize(("seed", "public", "message", "signature"), RFC_8032)
def test_ed25519_signs_and_verifies_the_vectors_of_rfc_8032(seed, public, message, signature):
    key = PrivateKey.from_seed(bytes.fromhex(seed))
    assert key.public == f"ed25519:{public}"
    assert key.sign(bytes.fromhex(message)).hex() == signature
    assert verify(key.public, bytes.fromhex(message), bytes.fromhex(signature))


def test_p256_signs_the_vector_of_rfc_6979_with_s_in_the_lower_half():
    """RFC 6979 A.2.5, SHA-256, message "sample"; the s given there is in the upper half."""
    key = PrivateKey.from_seed(
        bytes.fromhex("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721"), algorithm="p256"
    )
    r = 0xEFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716
    s = 0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8
    assert key.public == "p256:0360fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
    assert key.sign(b"sample") == r.to_bytes(32, "big") + (P256_ORDER - s).to_bytes(32, "big")
    assert verify(key.public, b"sample", key.sign(b"sample"))
    assert not verify(key.public, b"sample", r.to_bytes(32, "big") + s.to_bytes(32, "big"))


@pytest.mark.parametrize("algorithm", ["ed25519", "p256"])
def test_one_flipped_bit_of_key_message_or_signature_is_refused(algorithm):
    key = a_key(algorithm=algorithm)
    signature = key.sign(b"message")
    assert verify(key.public, b"message", signature)
    assert not verify(key.public, b"messagf", signature)
    for place in range(0, 64, 9):
        flipped = bytearray(signature)
        flipped[place] ^= 1
        assert not verify(key.public, b"message", bytes(flipped))
    assert not verify(a_key(2, algorithm).public, b"message", signature)


def test_a_small_order_key_is_refused_although_openssl_accepts_it():
    """With the neutral element as key, R = neutral and S = 0 satisfy the equation for every message."""
    neutral = b"\x01" + bytes(31)
    signature = neutral + bytes(32)
    Ed25519PublicKey.from_public_bytes(neutral).verify(signature, b"any message")  # raises if refused
    assert not verify(f"ed25519:{neutral.hex()}", b"any message", signature)


def test_an_ed25519_scalar_above_the_order_is_refused():
    key = a_key()
    signature = key.sign(b"message")
    scalar = int.from_bytes(signature[32:], "little") + ED25519_ORDER
    assert not verify(key.public, b"message", signature[:32] + scalar.to_bytes(32, "little"))


@pytest.mark.parametrize("r_s", [(0, 1), (1, 0), (P256_ORDER, 1), (1, P256_ORDER)])
def test_p256_numbers_outside_the_group_are_refused(r_s):
    signature = b"".join(number.to_bytes(32, "big") for number in r_s)
    assert not verify(a_key(algorithm="p256").public, b"message", signature)


@pytest.mark.parametrize(
    "public",
    [
        "",
        "ed25519:",
        "ed25519:zz" + "0" * 62,
        "rsa:" + "0" * 64,
        "p256:" + "02" + "f" * 64,  # x is not below the prime
        "p256:05" + "0" * 64,
        "ed25519:" + "é" * 64,
        "ed25519:" + " " * 64,
    ],
)
def test_a_malformed_key_is_refused_without_an_exception(public):
    assert verify(public, b"message", bytes(64)) is False


@pytest.mark.parametrize("algorithm", ["ed25519", "p256"])
def test_a_key_in_capitals_is_refused_because_a_party_has_one_name(algorithm):
    key = a_key(algorithm=algorithm)
    name, digits = key.public.split(":")
    assert not verify(f"{name}:{digits.upper()}", b"message", key.sign(b"message"))


@pytest.mark.parametrize("length", [0, 63, 65])
def test_a_signature_of_another_length_is_refused(length):
    assert not verify(a_key().public, b"message", bytes(length))


@pytest.mark.parametrize("count", [0, 5, 200])
def test_a_batch_gives_each_verdict_in_order(count):
    keys = [a_key(number + 1, "p256" if number % 3 else "ed25519") for number in range(count)]
    triples = [
        (key.public, b"%d" % number, key.sign(b"%d" % (number if number % 7 else number + 1)))
        for number, key in enumerate(keys)
    ]
    assert verify_batch(triples) == [bool(number % 7) for number in range(count)]


@pytest.mark.parametrize("algorithm", ["ed25519", "p256"])
def test_a_created_key_is_private_and_loads_again(tmp_path, algorithm):
    path = tmp_path / "keys" / "device.key"
    made = PrivateKey.create(path, algorithm)
    assert path.stat().st_mode & 0o777 == 0o600
    loaded = PrivateKey.load(path)
    assert loaded.public == made.public
    assert verify(made.public, b"message", loaded.sign(b"message"))


def test_a_key_is_never_overwritten(tmp_path):
    path = tmp_path / "device.key"
    made = PrivateKey.create(path)
    with pytest.raises(KeyFileError, match="never overwritten"):
        PrivateKey.create(path)
    assert PrivateKey.load(path).public == made.public


def test_a_key_that_others_can_read_is_not_used(tmp_path):
    path = tmp_path / "device.key"
    PrivateKey.create(path)
    path.chmod(0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        PrivateKey.load(path)


@pytest.mark.parametrize("text", ["", "ed25519:00", "rsa:" + "1" * 64, "p256:" + "0" * 64, "ed25519:" + "g" * 64])
def test_a_damaged_key_file_is_named_without_its_content(tmp_path, text):
    path = tmp_path / "device.key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match=r"device\.key does not hold a private key") as caught:
        PrivateKey.load(path)
    assert "1111" not in str(caught.value)


def test_a_missing_key_file_is_named(tmp_path):
    with pytest.raises(KeyFileError, match="no private key at"):
        PrivateKey.load(tmp_path / "device.key")


def test_the_secret_does_not_show_in_the_representation():
    assert repr(a_key()) == f"PrivateKey({a_key().public})"


def test_a_key_in_an_impossible_place_is_refused_and_not_called_existing(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyFileError, match="is not a folder"):
        PrivateKey.create(tmp_path / "file" / "a.key")
    with pytest.raises(KeyFileError, match="cannot be made"):
        PrivateKey.create(tmp_path / ("n" * 300))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk is played by /dev/full")
def test_a_key_that_does_not_fit_on_the_disk_leaves_no_half(tmp_path, monkeypatch):
    real = os.open
    full = lambda path, *rest: (real(path, *rest), real("/dev/full", os.O_WRONLY))[1]  # noqa: E731
    monkeypatch.setattr("runtime.keys.os.open", full)
    with pytest.raises(KeyFileError, match="No space left"):
        PrivateKey.create(tmp_path / "a.key")
    monkeypatch.undo()
    assert PrivateKey.create(tmp_path / "a.key").public == PrivateKey.load(tmp_path / "a.key").public
