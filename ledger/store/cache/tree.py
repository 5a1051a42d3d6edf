"""The state tree of a replica with what is asked of single rows, and plans by hashes that are known already."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Final

from contracts.core.state import Writes
from ledger.log.statetree import BUCKETS, BucketReader, Plan, StateTree
from ledger.store.source import Key
from ledger.verify.state import LEAF_BYTES, bucket_hash, key_hash

Leaf = tuple[bytes, bytes | None]
"""Key hash and value hash (None: deleted) of a write."""

hash_of = lru_cache(maxsize=1 << 16)(key_hash)
"""`key_hash` of (kind, key), remembered: one key is hashed for its reads, its receipt, the tree and its row."""

_HASH: Final = 32
_EMPTY_BUCKET: Final = bucket_hash(b"")


@dataclass(frozen=True, slots=True)
class LeafPlan(Plan):
    """A plan with its nodes level by level, the buckets first: (places, hashes) each."""

    levels: Sequence[tuple[Sequence[int], Sequence[bytes]]]


class CheckedTree(StateTree):
    """A state tree that judges single bucket rows, and plans by hashes that are known already."""

    def holds(self, bucket: int, leaves: bytes) -> bool:
        """Is this the row under the root?"""
        return bucket_hash(leaves) == self._nodes[BUCKETS + bucket]

    def is_empty(self, bucket: int) -> bool:
        """Has it no leaves under the root?"""
        return self._nodes[BUCKETS + bucket] == _EMPTY_BUCKET

    def plan_leaves(self, leaves: Iterable[Leaf], reader: BucketReader) -> LeafPlan:
        """As `plan`, of leaves."""
        buckets: dict[int, bytes] = {}
        for hashed, value in leaves:
            bucket = hashed[0] << 8 | hashed[1]
            before = buckets.get(bucket)
            buckets[bucket] = _replaced(reader[bucket] if before is None else before, hashed, value)
        touched = sorted(buckets)
        level = [BUCKETS + bucket for bucket in touched]
        hashes = [sha256(b"\x00" + buckets[bucket]).digest() for bucket in touched]
        levels, nodes, before_of = [(level, hashes)], self._nodes, []
        try:
            while level and level[0] != 1:
                before_of.append((level, [nodes[at] for at in level]))
                for at, hashed in zip(level, hashes, strict=True):
                    nodes[at] = hashed
                level = list(dict.fromkeys([at >> 1 for at in level]))
                hashes = [sha256(b"\x01" + nodes[at + at] + nodes[at + at + 1]).digest() for at in level]
                levels.append((level, hashes))
        finally:
            for level, hashes in before_of:
                for at, hashed in zip(level, hashes, strict=True):
                    nodes[at] = hashed
        root = levels[-1][1][0] if buckets else self.root
        return LeafPlan(root, buckets, self.root, {}, levels)

    def apply(self, plan: Plan) -> None:
        super().apply(plan)
        if isinstance(plan, LeafPlan):
            nodes = self._nodes
            for level, hashes in plan.levels:
                for at, hashed in zip(level, hashes, strict=True):
                    nodes[at] = hashed


def leaves_of(writes: Writes) -> dict[Key, Leaf]:
    """The hashes of writes that are taken at once."""
    return {at: (hash_of(*at), None if body is None else sha256(body).digest()) for at, body in writes.items()}


def find_leaf(leaves: bytes, hashed: bytes) -> bytes | None:
    """The value hash kept under a key hash, or None."""
    at = leaves.find(hashed)
    while at >= 0 and at % LEAF_BYTES:
        at = leaves.find(hashed, at + 1)
    return leaves[at + _HASH : at + LEAF_BYTES] if at >= 0 else None


def _replaced(row: bytes, hashed: bytes, value: bytes | None) -> bytes:
    """The leaves of a bucket with another value under a key hash (None: with none)."""
    low, high = 0, len(row) // LEAF_BYTES
    while low < high:
        middle = (low + high) // 2
        if row[middle * LEAF_BYTES : middle * LEAF_BYTES + _HASH] < hashed:
            low = middle + 1
        else:
            high = middle
    start = low * LEAF_BYTES
    end = start + LEAF_BYTES if row[start : start + _HASH] == hashed else start
    return row[:start] + (b"" if value is None else hashed + value) + row[end:]
