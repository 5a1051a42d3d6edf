"""The state tree of a replica: 65,536 buckets of records under one root, updated by the keys a block touched.

                     root                 nodes[1]              in memory: 131,071 hashes, 4 MB
                  /        \\              nodes[2], nodes[3]     in storage: one row for each bucket that is not empty,
                 .    16    .             ...                    its leaves in order (key hash || value hash)*
               bucket 0 ... bucket 65535  nodes[65536 + bucket]

ledger.verify.state defines the hashes. A block goes: `touched_buckets` names the rows to read, `plan` computes the new
rows and root without changing anything, the caller writes the rows in the block's transaction, `apply` follows the
commit. A plan that was not committed is dropped.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from itertools import chain
from typing import Protocol

from ledger.verify.merkle import node_hash
from ledger.verify.state import DEPTH, LEAF_BYTES, StateProof, bucket_hash, bucket_of, key_hash

BUCKETS = 1 << DEPTH

Changes = Mapping[tuple[str, str], bytes | None]
"""(kind, key) -> canonical bytes of the record after the block, None = deleted."""


class BucketReader(Protocol):
    """The stored leaves of a bucket, b"" if it has none; a dict with all touched buckets will do."""

    def __getitem__(self, bucket: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """The state after a block: `root`, new bucket rows (b"" = delete the row) and the changed nodes of the tree."""

    root: bytes
    buckets: dict[int, bytes]
    base: bytes
    nodes: dict[int, bytes]


class StateTree:
    """The inner nodes over all buckets. Not for concurrent use; one tree a channel."""

    def __init__(self, buckets: Iterable[tuple[int, bytes]] = ()) -> None:
        """Build from the stored rows (bucket, leaves); absent buckets are empty."""
        nodes = self._nodes = list(_empty_tree())
        changed = set()
        for bucket, leaves in buckets:
            nodes[BUCKETS + bucket] = bucket_hash(leaves)
            changed.add(BUCKETS + bucket)
        while changed and 1 not in changed:
            changed = {at >> 1 for at in changed}
            for at in changed:
                nodes[at] = node_hash(nodes[2 * at], nodes[2 * at + 1])

    @property
    def root(self) -> bytes:
        return self._nodes[1]

    def plan(self, changes: Changes, reader: BucketReader) -> Plan:
        """What `changes` make of the state; nothing is changed yet. `reader` holds the touched buckets as stored."""
        leaves_of: dict[int, dict[bytes, bytes | None]] = {}
        for (kind, key), body in changes.items():
            hashed = key_hash(kind, key)
            value = None if body is None else sha256(body).digest()
            leaves_of.setdefault(bucket_of(hashed), {})[hashed] = value
        buckets = {bucket: _merge(reader[bucket], leaves) for bucket, leaves in leaves_of.items()}
        changed = {BUCKETS + bucket: bucket_hash(leaves) for bucket, leaves in buckets.items()}
        nodes = dict(changed)
        while changed and 1 not in changed:
            parents = {at >> 1 for at in changed}
            changed = {at: node_hash(self._node(nodes, 2 * at), self._node(nodes, 2 * at + 1)) for at in parents}
            nodes |= changed
        return Plan(nodes.get(1, self.root), buckets, self.root, nodes)

    def apply(self, plan: Plan) -> None:
        """Take over a plan whose rows are durable. Raises ValueError if it was made for another state."""
        if plan.base != self.root:
            raise ValueError("the plan was made for another state")
        for at, hashed in plan.nodes.items():
            self._nodes[at] = hashed

    def prove(self, kind: str, key: str, reader: BucketReader) -> StateProof:
        """Proof of presence or absence of a record under the current root. Raises ValueError if the row is not ours."""
        bucket = bucket_of(key_hash(kind, key))
        leaves = reader[bucket]
        if bucket_hash(leaves) != self._nodes[BUCKETS + bucket]:
            raise ValueError(f"the stored row of bucket {bucket} is not the one under the root")
        return StateProof(leaves, tuple(self._path(BUCKETS + bucket)))

    def _path(self, at: int) -> Iterator[bytes]:
        while at > 1:
            yield self._nodes[at ^ 1]
            at >>= 1

    def _node(self, changed: Mapping[int, bytes], at: int) -> bytes:
        return changed.get(at) or self._nodes[at]


def touched_buckets(keys: Iterable[tuple[str, str]]) -> list[int]:
    """The buckets of these (kind, key) pairs, each once, in order: the rows a plan or proof reads."""
    return sorted({bucket_of(key_hash(kind, key)) for kind, key in keys})


def buckets_from_records(records: Iterable[tuple[str, str, bytes]]) -> dict[int, bytes]:
    """All bucket rows recomputed from (kind, key, canonical bytes): what the stored rows must be equal to."""
    leaves_of: dict[int, list[bytes]] = {}
    for kind, key, body in records:
        hashed = key_hash(kind, key)
        leaves_of.setdefault(bucket_of(hashed), []).append(hashed + sha256(body).digest())
    return {bucket: b"".join(sorted(leaves)) for bucket, leaves in sorted(leaves_of.items())}


def _merge(old: bytes, changes: Mapping[bytes, bytes | None]) -> bytes:
    """The leaves of a bucket after `changes` (key hash -> value hash or None = removed)."""
    leaves = [old[at : at + LEAF_BYTES] for at in range(0, len(old), LEAF_BYTES)]
    for hashed, value in changes.items():
        at = bisect_left(leaves, hashed)
        found = at < len(leaves) and leaves[at].startswith(hashed)
        leaves[at : at + found] = [] if value is None else [hashed + value]
    return b"".join(leaves)


@cache
def _empty_tree() -> tuple[bytes, ...]:
    """The heap of an empty tree; slot 0 is not used."""
    hashes = [bucket_hash(b"")]
    for _ in range(DEPTH):
        hashes.append(node_hash(hashes[-1], hashes[-1]))
    levels = ([hashes[DEPTH - depth]] * (1 << depth) for depth in range(DEPTH + 1))
    return (b"", *chain.from_iterable(levels))
