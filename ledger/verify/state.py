"""The state tree: which records exist and what they hold, under one root in each block summary.

    key hash      SHA-256(kind || 0x00 || key), kind and key in UTF-8 without 0x00
    value hash    SHA-256(canonical bytes of the record)
    bucket        the first 16 bits of the key hash, big-endian: 0..65535
    bucket hash   SHA-256(0x00 || leaf 1 || leaf 2 ...), leaf = key hash || value hash, in ascending order of key hash
                  (an empty bucket: SHA-256(0x00))
    root          complete binary tree of depth 16 over the 65,536 bucket hashes, node = SHA-256(0x01 || left || right)

A proof shows a whole bucket and its 16 siblings, so it proves absence as well as presence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from .errors import VerificationError
from .merkle import leaf_hash, node_hash

DEPTH = 16
LEAF_BYTES = 64
MAX_BUCKET_LEAVES = 4096


@dataclass(frozen=True, slots=True)
class StateProof:
    """`leaves`: every leaf of the key's bucket, concatenated; `path`: the 16 siblings, bucket first."""

    leaves: bytes
    path: tuple[bytes, ...]


def key_hash(kind: str, key: str) -> bytes:
    """Raises VerificationError(state_mismatch) for a kind or key that could be read as another pair."""
    if "\x00" in kind or "\x00" in key:
        raise VerificationError("state_mismatch", "a kind or key holds a zero byte")
    try:
        return sha256(f"{kind}\x00{key}".encode()).digest()
    except UnicodeEncodeError as error:
        raise VerificationError("state_mismatch", "a kind or key is no Unicode text") from error


def bucket_of(hashed_key: bytes) -> int:
    return int.from_bytes(hashed_key[:2], "big")


def bucket_hash(leaves: bytes) -> bytes:
    """Hash of a bucket from its concatenated leaves in order."""
    return leaf_hash(leaves)


def root_from_path(bucket: int, hashed: bytes, path: Sequence[bytes]) -> bytes:
    """Root above the bucket with this number and hash."""
    for sibling in path:
        hashed = node_hash(sibling, hashed) if bucket & 1 else node_hash(hashed, sibling)
        bucket >>= 1
    return hashed


def verify_record(root: bytes, kind: str, key: str, body: bytes | None, proof: StateProof) -> None:
    """Check that the record holds exactly `body`, or does not exist (None), in the state with `root`.

    Raises VerificationError(state_mismatch).
    """
    wanted = key_hash(kind, key)
    bucket, leaves = bucket_of(wanted), proof.leaves
    if len(proof.path) != DEPTH or len(leaves) % LEAF_BYTES or len(leaves) > MAX_BUCKET_LEAVES * LEAF_BYTES:
        raise VerificationError("state_mismatch", "a state proof has 16 siblings and whole leaves")
    if root_from_path(bucket, bucket_hash(leaves), proof.path) != root:
        raise VerificationError("state_mismatch", "the state proof does not lead to the state root")
    found: bytes | None = None
    previous = b""
    for at in range(0, len(leaves), LEAF_BYTES):
        hashed = leaves[at : at + 32]
        if hashed <= previous or bucket_of(hashed) != bucket:
            raise VerificationError("state_mismatch", "the leaves are not in order or not of this bucket")
        if hashed == wanted:
            found = leaves[at + 32 : at + LEAF_BYTES]
        previous = hashed
    if found != (None if body is None else sha256(body).digest()):
        claim = "exists" if body is None else "does not hold this value"
        raise VerificationError("state_mismatch", f"the record {kind}/{key} {claim}")
