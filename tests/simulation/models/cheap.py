"""What makes a thousand seeds affordable without changing what is simulated.

Signatures cost a microsecond: a keyed hash under the public key instead of Ed25519. Anybody could forge them, but only
for the key and message they are made for: whoever does not check a signature, checks the wrong one or mixes up keys is
found as with real ones. Everything above the two functions of libsodium is the program's own.

Pure functions of bytes that every replica computes again (reading a note, a policy, the contracts' sources) are
remembered for all replicas at once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cache, lru_cache
from hashlib import blake2b
from unittest.mock import patch

from nacl.bindings import crypto_sign_BYTES
from nacl.exceptions import BadSignatureError

from ledger import founding
from ledger.verify import note, policy

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


parse_note = lru_cache(4096)(note.parse_note)
_parse_policy = cache(policy.parse_policy)
_contracts_root = cache(founding.contracts_root)


@contextlib.contextmanager
def remembered() -> Iterator[None]:
    """Inside, what is read once is read for all."""
    with (
        patch("ledger.verify.note.parse_note", parse_note),
        patch("ledger.genesis.parse_policy", _parse_policy),
        patch("ledger.replica.parse_policy", _parse_policy),
        patch("ledger.genesis.contracts_root", _contracts_root),
    ):
        yield
