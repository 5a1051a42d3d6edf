"""Signing keys: Ed25519 by libsodium, or ECDSA P-256 for secure elements by OpenSSL.

Every replica must reach the same verdict on a signature, and libraries differ on crafted keys: each algorithm has
exactly one implementation here, and only one encoding of a key or signature is accepted.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from pathlib import Path
from typing import Literal, Protocol, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from nacl.bindings import (
    crypto_sign,
    crypto_sign_BYTES,
    crypto_sign_ed25519_sk_to_curve25519,
    crypto_sign_open,
    crypto_sign_seed_keypair,
)
from nacl.exceptions import CryptoError

from runtime.errors import KeyFileError

Algorithm = Literal["ed25519", "p256"]

_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_ALGORITHMS: dict[str, Algorithm] = {"ed25519": "ed25519", "p256": "p256"}
_PUBLIC_BYTES: dict[str, int] = {"ed25519": 32, "p256": 33}
_SEED_BYTES = 32
_PARALLEL_BATCH = 32  # below this the hand-over to threads costs more than it gains


class PrivateKey:
    """A private key that signs and names its public half; the secret is never part of its repr.

    `public` is `ed25519:` + 64 lower hex digits or `p256:` + 66 (the compressed point). A signature is 64 bytes: the
    one of RFC 8032, or r || s with s in the lower half over SHA-256 (nonce by RFC 6979).
    """

    def __init__(self, algorithm: Algorithm, seed: bytes) -> None:
        self.algorithm: Algorithm = algorithm
        self._seed = seed
        self._signer: _Signer = _Ed25519Signer(seed) if algorithm == "ed25519" else _P256Signer(seed)
        self.public: str = f"{algorithm}:{self._signer.public.hex()}"

    @classmethod
    def generate(cls, algorithm: Algorithm = "ed25519") -> Self:
        """A new random key."""
        if algorithm == "ed25519":
            return cls(algorithm, secrets.token_bytes(_SEED_BYTES))
        return cls(algorithm, (secrets.randbelow(_P256_ORDER - 1) + 1).to_bytes(_SEED_BYTES, "big"))

    @classmethod
    def from_seed(cls, seed: bytes, algorithm: Algorithm = "ed25519") -> Self:
        """The key of a 32 byte seed (Ed25519) or secret scalar (P-256). Raises ValueError for any other input."""
        if len(seed) != _SEED_BYTES:
            raise ValueError(f"a seed has {_SEED_BYTES} bytes, not {len(seed)}")
        if algorithm == "p256" and not 0 < int.from_bytes(seed, "big") < _P256_ORDER:
            raise ValueError("the seed is not a scalar of P-256")
        return cls(algorithm, seed)

    @classmethod
    def create(cls, path: Path, algorithm: Algorithm = "ed25519") -> Self:
        """Make a key and keep it in `path`, readable by its owner alone. Raises KeyFileError if the file exists."""
        key = cls.generate(algorithm)
        create_key_file(path, f"{algorithm}:{key._seed.hex()}\n".encode("ascii"))
        return key

    @classmethod
    def load(cls, path: Path) -> Self:
        """The key kept in `path`. Raises KeyFileError if it is missing, damaged or readable by others."""
        try:
            mode = path.stat().st_mode
            text = path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            raise KeyFileError(f"there is no private key at {path}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise KeyFileError(f"the private key {path} cannot be read: {error}") from error
        if os.name == "posix" and mode & 0o077:
            raise KeyFileError(
                f"{path} can be read by other users: run `chmod 600 {path}`, replace the key if it leaked"
            )
        name, _, digits = text.partition(":")
        algorithm = _ALGORITHMS.get(name)
        if algorithm is not None:
            with contextlib.suppress(ValueError):  # the text itself is a secret: the error must not repeat it
                return cls.from_seed(bytes.fromhex(digits), algorithm)
        raise KeyFileError(f"{path} does not hold a private key (`ed25519:` or `p256:` and 64 hex digits)")

    def sign(self, message: bytes) -> bytes:
        """The 64 byte signature of `message`."""
        return self._signer.sign(message)

    def agreement_secret(self) -> bytes:
        """The X25519 secret that belongs to this Ed25519 key, for whoever encrypts to its public half (HPKE). Raises
        ValueError for P-256."""
        if self.algorithm != "ed25519":
            raise ValueError("only an Ed25519 key has an X25519 form")
        return crypto_sign_ed25519_sk_to_curve25519(self._seed + self._signer.public)

    def __repr__(self) -> str:
        return f"PrivateKey({self.public})"


def create_key_file(path: Path, content: bytes) -> None:
    """Keep a private key of any kind in a new file, durable, whole or not at all, for its owner alone (0600).

    Raises KeyFileError where there is a file, or where none can be made."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        if path.exists():
            raise KeyFileError(f"{path} exists: a key is never overwritten; load it or choose another file") from None
        raise KeyFileError(f"{path.parent} is not a folder: choose another place for the key") from None
    except OSError as error:
        raise KeyFileError(f"the private key {path} cannot be made: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)  # half a key would stand in the way of a whole one
        raise KeyFileError(f"the private key {path} cannot be written: {error.strerror}") from None


def verify(public: str, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is the one accepted form of a signature of `message` by `public`; never raises on bad input.

    Refused besides wrong signatures: keys that are not lower hex, not canonical, of small order or off the curve; a
    non-canonical Ed25519 scalar; a P-256 signature whose s is in the upper half.
    """
    algorithm, _, digits = public.partition(":")
    size = _PUBLIC_BYTES.get(algorithm)
    if size is None or len(digits) != 2 * size or len(signature) != crypto_sign_BYTES:
        return False
    try:
        key = bytes.fromhex(digits)
    except ValueError:
        return False
    if key.hex() != digits:
        return False
    return _verify_ed25519(key, message, signature) if algorithm == "ed25519" else _verify_p256(key, message, signature)


def verify_batch(triples: Sequence[tuple[str, bytes, bytes]]) -> list[bool]:
    """`verify` for each (public, message, signature), in order.

    A large batch is spread over the cores: both libraries release the interpreter lock while they verify.
    """
    if len(triples) < _PARALLEL_BATCH:
        return [verify(*triple) for triple in triples]
    size = -(-len(triples) // _cores())
    slices = [triples[start : start + size] for start in range(0, len(triples), size)]
    parts = _pool().map(lambda part: [verify(*triple) for triple in part], slices)
    return [verdict for part in parts for verdict in part]


def fingerprint(public: str) -> str:
    """A short name of a public key for people: the first 16 hex digits of the SHA-256 of its text."""
    return hashlib.sha256(public.encode()).hexdigest()[:16]


class _Signer(Protocol):
    public: bytes

    def sign(self, message: bytes) -> bytes: ...


class _Ed25519Signer:
    def __init__(self, seed: bytes) -> None:
        self.public, self._secret = crypto_sign_seed_keypair(seed)

    def sign(self, message: bytes) -> bytes:
        return crypto_sign(message, self._secret)[:crypto_sign_BYTES]


class _P256Signer:
    def __init__(self, seed: bytes) -> None:
        self._key = ec.derive_private_key(int.from_bytes(seed, "big"), ec.SECP256R1())
        self.public = self._key.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint
        )

    def sign(self, message: bytes) -> bytes:
        der = self._key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        r, s = decode_dss_signature(der)
        return r.to_bytes(32, "big") + min(s, _P256_ORDER - s).to_bytes(32, "big")


def _verify_ed25519(key: bytes, message: bytes, signature: bytes) -> bool:
    try:
        crypto_sign_open(signature + message, key)
    except (CryptoError, ValueError):
        return False
    return True


def _verify_p256(key: bytes, message: bytes, signature: bytes) -> bool:
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    if not (0 < r < _P256_ORDER and 0 < s <= _P256_ORDER // 2):
        return False
    try:
        _p256_public(key).verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True


def _cores() -> int:
    return os.cpu_count() or 1


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=_cores(), thread_name_prefix="verify")


@lru_cache(maxsize=4096)
def _p256_public(key: bytes) -> ec.EllipticCurvePublicKey:
    """The parsed point, cached: parsing costs more than half of a verification. Raises ValueError off the curve."""
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key)
