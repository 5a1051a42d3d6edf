"""Signatures that cost a microsecond: a keyed hash under the public key instead of Ed25519.

Anybody could forge them, but only for the key and message they are made for: whoever does not check a signature, checks
the wrong one or mixes up keys is found as with real ones. Everything above the two functions of libsodium is the
program's own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from hashlib import blake2b
from unittest.mock import patch

from nacl.bindings import crypto_sign_BYTES
from nacl.exceptions import BadSignatureError

_PUBLIC = 32


def sign(message: bytes, secret: bytes) -> bytes:
    """nacl.bindings.crypto_sign: the public key is the second half of the secret one."""
    return blake2b(message, key=secret[_PUBLIC:]).digest() + message


def sign_open(signed: bytes, public: bytes) -> bytes:
    """nacl.bindings.crypto_sign_open. Raises BadSignatureError."""
    signature, message = signed[:crypto_sign_BYTES], signed[crypto_sign_BYTES:]
    if blake2b(message, key=public).digest() != signature:
        raise BadSignatureError("Signature was forged or corrupt")
    return message


@contextlib.contextmanager
def cheap_signatures() -> Iterator[None]:
    """Inside, all Ed25519 signatures are of this kind. Keys made before stay usable."""
    with (
        patch("runtime.keys.crypto_sign", sign),
        patch("runtime.keys.crypto_sign_open", sign_open),
        patch("ledger.verify.keys.crypto_sign_open", sign_open),
    ):
        yield
