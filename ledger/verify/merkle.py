"""RFC 6962 Merkle tree hashing, and the checks of inclusion and consistency proofs (RFC 9162, 2.1.3.2 and 2.1.4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from .errors import VerificationError

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(entry: bytes) -> bytes:
    """SHA-256(0x00 || entry)."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return sha256(b"\x01" + left + right).digest()


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that the leaf hash `leaf` is leaf `index` of the tree of `size` leaves with `root`.

    `proof` runs from the leaf's sibling to the root's child. Raises VerificationError(merkle_proof).
    """
    if not 0 <= index < size:
        raise VerificationError("merkle_proof", f"index {index} is not in a tree of {size} leaves")
    node, last, computed = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise VerificationError("merkle_proof", "the inclusion proof is too long")
        if node & 1 or node == last:
            computed = node_hash(sibling, computed)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            computed = node_hash(computed, sibling)
        node, last = node >> 1, last >> 1
    if last or computed != root:
        raise VerificationError("merkle_proof", "the inclusion proof does not lead to the root")


def verify_consistency(old_size: int, new_size: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """Check that the tree of `old_size` leaves is a prefix of the tree of `new_size` leaves.

    From the empty tree, and between equal sizes, the proof is empty. Raises VerificationError(merkle_proof).
    """
    if not 0 <= old_size <= new_size:
        raise VerificationError("merkle_proof", f"a tree of {old_size} leaves is no prefix of one of {new_size}")
    if old_size == 0 or old_size == new_size:
        empty = old_root == EMPTY_ROOT and (new_size > 0 or new_root == EMPTY_ROOT)
        if proof or not (old_root == new_root if old_size else empty):
            raise VerificationError("merkle_proof", "the roots are not consistent")
        return
    path = list(proof)
    if old_size & (old_size - 1) == 0:
        path.insert(0, old_root)
    if not path:
        raise VerificationError("merkle_proof", "the consistency proof is too short")
    node, last = old_size - 1, new_size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise VerificationError("merkle_proof", "the consistency proof is too long")
        if node & 1 or node == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        node, last = node >> 1, last >> 1
    if last or old != old_root or new != new_root:
        raise VerificationError("merkle_proof", "the consistency proof does not lead to both roots")
