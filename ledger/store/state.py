"""The state while blocks are executed: bounded caches under the state tree, and the writes of the block on top.

    contracts ─▶ BlockState ─▶ this block's writes
                     │ not there
                     ├─▶ record cache  (last used stay)
                     ├─▶ bucket cache: its leaves say that a record does not exist, without a query
                     └─▶ Source ─▶ what comes back is checked against the tree in memory

So an edited row is found when it is read: `StateTampered`. A row removed from, or slipped into, a range that is
scanned is found at the next start and by the audit.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Final

from contracts.core.state import Writes
from ledger.log.statetree import BUCKETS, Plan, StateTree, touched_buckets
from ledger.store.source import Key, Source
from ledger.verify.state import LEAF_BYTES, bucket_hash, bucket_of, key_hash

RECORDS_MAX: Final = 65_536
BUCKET_BYTES_MAX: Final = 64 * 1024 * 1024

_HASH: Final = 32


class StateTampered(Exception):
    """A stored record is not the one the state root stands for."""

    def __init__(self, where: str) -> None:
        self.where = where
        super().__init__(f"{where} is not what the log stands for: the table was changed by somebody else")


class CheckedTree(StateTree):
    """A state tree that judges single bucket rows."""

    def holds(self, bucket: int, leaves: bytes) -> bool:
        """Is this the row under the root?"""
        return bucket_hash(leaves) == self._nodes[BUCKETS + bucket]


class StateCache:
    """Tree and caches of one channel; always as after the last committed block."""

    def __init__(self, tree: CheckedTree, records_max: int = RECORDS_MAX, bucket_bytes_max: int = BUCKET_BYTES_MAX):
        self.tree = tree
        self._records: OrderedDict[Key, bytes | None] = OrderedDict()
        self._buckets: OrderedDict[int, bytes] = OrderedDict()
        self._records_max = records_max
        self._bucket_bytes_max = bucket_bytes_max
        self._bucket_bytes = 0

    def peek(self, kind: str, key: str) -> tuple[bool, bytes | None]:
        """(is it known here, its bytes), without a query."""
        at = (kind, key)
        if at in self._records:
            self._records.move_to_end(at)
            return True, self._records[at]
        hashed = key_hash(kind, key)
        leaves = self._buckets.get(bucket_of(hashed))
        if leaves is not None and find_leaf(leaves, hashed) is None:
            return True, None
        return False, None

    def load(self, keys: Iterable[Key], source: Source) -> None:
        """Makes these keys known, with at most two queries. Raises StateTampered."""
        wanted = {at: key_hash(*at) for at in keys if at not in self._records}
        if not wanted:
            return
        buckets = self.buckets(sorted({bucket_of(hashed) for hashed in wanted.values()}), source)
        leaf_of = {at: find_leaf(buckets[bucket_of(hashed)], hashed) for at, hashed in wanted.items()}
        present = [at for at, leaf in leaf_of.items() if leaf is not None]
        found = source.records(present) if present else {}
        for at, leaf in leaf_of.items():
            body = found.get(at)
            if leaf is not None and (body is None or sha256(body).digest() != leaf):
                raise StateTampered(f"record {at[0]}/{at[1]}")
            self._remember(at, body)

    def buckets(self, numbers: Sequence[int], source: Source) -> Mapping[int, bytes]:
        """The leaves of these buckets. Raises StateTampered."""
        known = {number: leaves for number in numbers if (leaves := self._buckets.get(number)) is not None}
        missing = [number for number in numbers if number not in known]
        if missing:
            loaded = source.buckets(missing)
            for number in missing:
                if not self.tree.holds(number, loaded[number]):
                    raise StateTampered(f"bucket {number} of the records")
                self._keep_bucket(number, loaded[number])
                known[number] = loaded[number]
        return known

    def fill_buckets(self, buckets: Mapping[int, bytes]) -> None:
        """Take rows that were checked against the root already."""
        for number, leaves in buckets.items():
            self._keep_bucket(number, leaves)

    def plan(self, writes: Writes, source: Source) -> Plan:
        """What the writes make of the state; nothing is changed yet. Raises StateTampered."""
        return self.tree.plan(writes, self.buckets(touched_buckets(writes), source))

    def accept(self, writes: Writes, plan: Plan) -> None:
        """Follow a block that was committed."""
        self.tree.apply(plan)
        for number, leaves in plan.buckets.items():
            self._keep_bucket(number, leaves)
        for at, body in writes.items():
            self._remember(at, body)

    def _remember(self, at: Key, body: bytes | None) -> None:
        self._records[at] = body
        self._records.move_to_end(at)
        while len(self._records) > self._records_max:
            self._records.popitem(last=False)

    def _keep_bucket(self, number: int, leaves: bytes) -> None:
        self._bucket_bytes += len(leaves) - len(self._buckets.get(number, b""))
        self._buckets[number] = leaves
        self._buckets.move_to_end(number)
        while self._bucket_bytes > self._bucket_bytes_max:
            _, dropped = self._buckets.popitem(last=False)
            self._bucket_bytes -= len(dropped)


class BlockState:
    """The reader of the contracts during one block: committed state with the block's own writes on top."""

    def __init__(self, cache: StateCache, source: Source) -> None:
        self._cache = cache
        self._source = source
        self._by_kind: dict[str, dict[str, bytes | None]] = {}

    @property
    def writes(self) -> Writes:
        """All writes so far, the last one of each key."""
        return {(kind, key): body for kind, rows in self._by_kind.items() for key, body in rows.items()}

    def wrote(self, kind: str) -> bool:
        """Did the block write a record of this kind?"""
        return kind in self._by_kind

    def get(self, kind: str, key: str) -> bytes | None:
        rows = self._by_kind.get(kind)
        if rows is not None and key in rows:
            return rows[key]
        known, body = self._cache.peek(kind, key)
        if not known:
            self._cache.load([(kind, key)], self._source)
            _, body = self._cache.peek(kind, key)
        return body

    def scan(self, kind: str, first: str, last: str, limit: int) -> list[tuple[str, bytes]]:
        mine = {key: body for key, body in self._by_kind.get(kind, {}).items() if first <= key < last}
        # every row of ours may hide one below it: read that many more
        rows = dict(self._source.scan(kind, first, last, limit + len(mine)))
        rows.update({key: body for key, body in mine.items() if body is not None})
        return [(key, rows[key]) for key in sorted(rows) if mine.get(key, b"") is not None][:limit]

    def merge(self, writes: Writes) -> None:
        """Take the writes of an item that succeeded."""
        for (kind, key), body in writes.items():
            self._by_kind.setdefault(kind, {})[key] = body


def find_leaf(leaves: bytes, hashed: bytes) -> bytes | None:
    """The value hash kept under a key hash, or None."""
    at = leaves.find(hashed)
    while at >= 0 and at % LEAF_BYTES:
        at = leaves.find(hashed, at + 1)
    return leaves[at + _HASH : at + LEAF_BYTES] if at >= 0 else None


def writes_hash(writes: Writes) -> bytes:
    """SHA-256 over key hash || value hash (32 zero bytes for a deletion) of each write, in order of the key hash: by
    it two replicas find the transaction in which they differ."""
    leaves = sorted(
        key_hash(kind, key) + (bytes(_HASH) if body is None else sha256(body).digest())
        for (kind, key), body in writes.items()
    )
    return sha256(b"".join(leaves)).digest()
