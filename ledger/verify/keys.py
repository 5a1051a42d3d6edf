"""Signatures: Ed25519 by libsodium (PyNaCl) and ECDSA P-256 by OpenSSL (cryptography).

One pinned library per algorithm: libraries disagree about crafted keys and signatures. libsodium refuses
small-order and non-canonical points and S >= L; for P-256 we refuse high S, so that a signature has one form.
"""

from __future__ import annotations

import re

from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

_TEXT_KEY = re.compile(r"ed25519:[0-9a-f]{64}|p256:0[23][0-9a-f]{64}", re.ASCII)

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def verify_ed25519(public: bytes, message: bytes, signature: bytes) -> bool:
    """True if `signature` (64 bytes) is by the key `public` (32 bytes). Never raises."""
    if len(public) != 32 or len(signature) != 64:
        return False
    try:
        crypto_sign_open(signature + message, public)
    except (BadSignatureError, ValueError):
        return False
    return True


def verify_p256(public: bytes, message: bytes, signature: bytes) -> bool:
    """True if `signature` (r || s, 64 bytes, low s, SHA-256) is by `public` (33 bytes, compressed); never raises."""
    if len(public) != 33 or len(signature) != 64:
        return False
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    if not 0 < r < P256_ORDER or not 0 < s <= P256_ORDER // 2:
        return False
    # Loaded here: a device that meets Ed25519 senders only needs no OpenSSL binding.
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec, utils
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public)
        key.verify(utils.encode_dss_signature(r, s), message, ec.ECDSA(SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True


def verify_text_key(public: str, message: bytes, signature: bytes) -> bool:
    """As above for a key written `ed25519:<64 hex>` or `p256:<66 hex>` (lower case). Never raises."""
    if not is_text_key(public):
        return False
    algorithm, _, hex_key = public.partition(":")
    verify = verify_ed25519 if algorithm == "ed25519" else verify_p256
    return verify(bytes.fromhex(hex_key), message, signature)


def is_text_key(text: str) -> bool:
    """True if `text` names a key rather than a party."""
    return _TEXT_KEY.fullmatch(text) is not None
