"""The state while blocks are executed: bounded caches under the state tree, and the writes of the block on top.

    contracts ─▶ BlockState ─▶ this block's writes
                     │ not there
                     ├─▶ record cache  (last used stay; decoded once)
                     ├─▶ bucket cache: its leaves say that a record does not exist, without a query
                     └─▶ Source ─▶ what comes back is checked against the tree in memory

So an edited row is found when it is read: `StateTampered`. A row removed from, or slipped into, a range that is
scanned is found at the next start and by the audit. The kinds that contracts scan (`HELD`) are few and short-lived:
they are held whole, so that a scan asks nobody.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Final, TypeVar

from contracts.core.codec import read
from contracts.core.state import Record, Records, Writes
from ledger.log.statetree import BUCKETS, BucketReader, Plan, StateTree
from ledger.store.source import Key, Source
from ledger.verify.state import LEAF_BYTES, bucket_hash, bucket_of, key_hash

RECORDS_MAX: Final = 65_536
BUCKET_BYTES_MAX: Final = 64 * 1024 * 1024
HELD: Final = ("engagement", "expiry", "member")
HELD_MAX: Final = 262_144
"""With more rows of a kind than this, its scans are queries."""

_HASH: Final = 32
_NO_VALUE: Final = bytes(_HASH)
_EMPTY_BUCKET: Final = bucket_hash(b"")
_LAST: Final = "\U0010ffff"

R = TypeVar("R", bound=Record)
Leaf = tuple[bytes, bytes | None]
"""Key hash and value hash (None: deleted) of a write."""

hash_of = lru_cache(maxsize=1 << 16)(key_hash)
"""`key_hash` of (kind, key), remembered: one key is hashed for its reads, its receipt, the tree and its row."""


class StateTampered(Exception):
    """A stored record is not the one the state root stands for."""

    def __init__(self, where: str) -> None:
        self.where = where
        super().__init__(f"{where} is not what the log stands for: the table was changed by somebody else")


class CheckedTree(StateTree):
    """A state tree that judges single bucket rows, and plans by hashes that are known already."""

    def holds(self, bucket: int, leaves: bytes) -> bool:
        """Is this the row under the root?"""
        return bucket_hash(leaves) == self._nodes[BUCKETS + bucket]

    def is_empty(self, bucket: int) -> bool:
        """Has it no leaves under the root?"""
        return self._nodes[BUCKETS + bucket] == _EMPTY_BUCKET

    def plan_leaves(self, leaves: Iterable[Leaf], reader: BucketReader) -> Plan:
        """As `plan`, of leaves. Buckets that come out as they were are not part of the plan."""
        nodes = self._nodes
        buckets: dict[int, bytes] = {}
        for hashed, value in leaves:
            bucket = bucket_of(hashed)
            before = buckets.get(bucket)
            buckets[bucket] = _replaced(reader[bucket] if before is None else before, hashed, value)
        level = {}
        for bucket, row in buckets.items():
            hashed = sha256(b"\x00" + row).digest()
            if hashed != nodes[BUCKETS + bucket]:
                level[BUCKETS + bucket] = hashed
        buckets = {bucket: row for bucket, row in buckets.items() if BUCKETS + bucket in level}
        changed = dict(level)
        while level and 1 not in level:
            parents: dict[int, bytes] = {}
            for at, hashed in level.items():
                parent = at >> 1
                if parent not in parents:
                    other = level.get(at ^ 1) or nodes[at ^ 1]
                    pair = b"\x01" + other + hashed if at & 1 else b"\x01" + hashed + other
                    parents[parent] = sha256(pair).digest()
            changed.update(parents)
            level = parents
        return Plan(changed.get(1, self.root), buckets, self.root, changed)


class Rows:
    """The records of one kind in order of the key."""

    def __init__(self, rows: Iterable[tuple[str, bytes | None]] = ()) -> None:
        self.bodies = dict(rows)
        self.keys = sorted(self.bodies)

    def put(self, key: str, body: bytes | None) -> None:
        """Add or replace."""
        if key not in self.bodies:
            insort(self.keys, key)  # code points sort as UTF-8 bytes do
        self.bodies[key] = body

    def drop(self, key: str) -> None:
        """Remove, if it is there."""
        if self.bodies.pop(key, None) is not None:
            del self.keys[bisect_left(self.keys, key)]

    def between(self, first: str, last: str) -> Sequence[str]:
        """The keys with first <= key < last."""
        return self.keys[bisect_left(self.keys, first) : bisect_left(self.keys, last)]

    def scan(self, first: str, last: str, limit: int) -> list[tuple[str, bytes]]:
        """As a source's scan; for rows of which none is None."""
        start = bisect_left(self.keys, first)
        keys = self.keys[start : min(bisect_left(self.keys, last), start + limit)]
        return [(key, body) for key in keys if (body := self.bodies[key]) is not None]


class StateCache:
    """Tree and caches of one channel; always as after the last committed block."""

    def __init__(self, tree: CheckedTree, records_max: int = RECORDS_MAX, bucket_bytes_max: int = BUCKET_BYTES_MAX):
        self.tree = tree
        self._records: OrderedDict[Key, bytes | None] = OrderedDict()
        self._decoded: Records = {}
        self._held: dict[str, Rows | None] = {}
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
        hashed = hash_of(kind, key)
        leaves = self._leaves(bucket_of(hashed))
        if leaves is not None and find_leaf(leaves, hashed) is None:
            return True, None
        return False, None

    def decoded(self, at: Key, body: bytes, kind: type[R]) -> R:
        """The record that `body`, the bytes known here, stands for."""
        known = self._decoded.get(at)
        if type(known) is kind:
            return known
        record = read(body, kind)
        if at in self._records:
            self._decoded[at] = record
        return record

    def load(self, keys: Iterable[Key], source: Source) -> None:
        """Makes these keys known, with at most two queries. Raises StateTampered."""
        wanted = {at: hash_of(*at) for at in keys if at not in self._records}
        if not wanted:
            return
        buckets = self.buckets({bucket_of(hashed) for hashed in wanted.values()}, source)
        leaf_of = {at: find_leaf(buckets[bucket_of(hashed)], hashed) for at, hashed in wanted.items()}
        present = [at for at, leaf in leaf_of.items() if leaf is not None]
        found = source.records(present) if present else {}
        for at, leaf in leaf_of.items():
            body = found.get(at)
            if leaf is not None and (body is None or sha256(body).digest() != leaf):
                raise StateTampered(f"record {at[0]}/{at[1]}")
            self._remember(at, body)

    def rows(self, kind: str, source: Source) -> Rows | None:
        """All records of a kind that is held, None of another or of too many."""
        if kind not in HELD:
            return None
        if kind not in self._held:
            found = source.scan(kind, "", _LAST, HELD_MAX + 1)
            self._held[kind] = Rows(found) if len(found) <= HELD_MAX else None
        return self._held[kind]

    def buckets(self, numbers: Iterable[int], source: Source) -> Mapping[int, bytes]:
        """The leaves of these buckets. Raises StateTampered."""
        known = {number: leaves for number in numbers if (leaves := self._leaves(number)) is not None}
        missing = sorted(number for number in numbers if number not in known)
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
        return self.plan_leaves(leaves_of(writes), source)

    def plan_leaves(self, leaves: Mapping[Key, Leaf], source: Source) -> Plan:
        """As `plan`, of writes that were hashed already."""
        touched = {bucket_of(hashed) for hashed, _ in leaves.values()}
        return self.tree.plan_leaves(leaves.values(), self.buckets(touched, source))

    def accept(self, writes: Writes, plan: Plan, records: Records | None = None) -> None:
        """Follow a block that was committed; `records` are some of the writes, decoded."""
        self.tree.apply(plan)
        for number, leaves in plan.buckets.items():
            self._keep_bucket(number, leaves)
        for at, body in writes.items():
            self._remember(at, body)
            rows = self._held.get(at[0])
            if rows is None:
                continue
            if body is None:
                rows.drop(at[1])
            else:
                rows.put(at[1], body)
                if len(rows.keys) > HELD_MAX:
                    self._held[at[0]] = None
        if records:
            self._decoded.update((at, record) for at, record in records.items() if at in self._records)

    def _leaves(self, number: int) -> bytes | None:
        """A row that is known without a query: kept, or empty by the tree, as most of a small ledger are."""
        leaves = self._buckets.get(number)
        return b"" if leaves is None and self.tree.is_empty(number) else leaves

    def _remember(self, at: Key, body: bytes | None) -> None:
        self._records[at] = body
        self._records.move_to_end(at)
        self._decoded.pop(at, None)
        while len(self._records) > self._records_max:
            self._decoded.pop(self._records.popitem(last=False)[0], None)

    def _keep_bucket(self, number: int, leaves: bytes) -> None:
        self._bucket_bytes += len(leaves) - len(self._buckets.get(number, b""))
        self._buckets[number] = leaves
        self._buckets.move_to_end(number)
        while self._bucket_bytes > self._bucket_bytes_max:
            _, dropped = self._buckets.popitem(last=False)
            self._bucket_bytes -= len(dropped)


class BlockState:
    """The reader of the contracts during one block: committed state with the block's own writes on top.

    `writes`: all of them, the last of each key; `leaves`: their hashes; `records`: those that are there, decoded."""

    def __init__(self, cache: StateCache, source: Source) -> None:
        self.writes: Writes = {}
        self.leaves: dict[Key, Leaf] = {}
        self.records: Records = {}
        self._cache = cache
        self._source = source
        self._scanned: dict[str, Rows] = {}

    def wrote(self, kind: str) -> bool:
        """Did the block write a record of this kind?"""
        return any(at[0] == kind for at in self.writes)

    def get(self, kind: str, key: str) -> bytes | None:
        at = (kind, key)
        if at in self.writes:
            return self.writes[at]
        known, body = self._cache.peek(kind, key)
        if not known:
            self._cache.load([at], self._source)
            _, body = self._cache.peek(kind, key)
        return body

    def find(self, kind: type[R], key: str) -> R | None:
        """The record, decoded once for as long as it is in a cache."""
        at = (kind.KIND, key)
        known = self.records.get(at)
        if type(known) is kind:
            return known
        body = self.get(kind.KIND, key)
        if body is None:
            return None
        return read(body, kind) if at in self.writes else self._cache.decoded(at, body, kind)

    def scan(self, kind: str, first: str, last: str, limit: int) -> list[tuple[str, bytes]]:
        if kind not in self._scanned:
            self._scanned[kind] = Rows((key, body) for (name, key), body in self.writes.items() if name == kind)
        mine = self._scanned[kind]
        touched = mine.between(first, last)
        held = self._cache.rows(kind, self._source)
        # every row of ours may hide one below it: read that many more
        more = limit + len(touched)
        below = self._source.scan(kind, first, last, more) if held is None else held.scan(first, last, more)
        if not touched:
            return below
        rows: dict[str, bytes | None] = dict(below)
        rows.update((key, mine.bodies[key]) for key in touched)
        return [(key, body) for key in sorted(rows) if (body := rows[key]) is not None][:limit]

    def merge(self, writes: Writes, records: Records) -> bytes:
        """Take the writes of an item that succeeded. Returns SHA-256 over key hash || value hash (32 zero bytes for a
        deletion) of each write, in order of the key hash: by it two replicas find the transaction they differ in."""
        leaves = []
        for at, body in writes.items():
            hashed = hash_of(*at)
            value = None if body is None else sha256(body).digest()
            leaves.append(hashed + (value or _NO_VALUE))
            self.leaves[at] = (hashed, value)
            if body is None:
                self.records.pop(at, None)
            if at[0] in self._scanned:
                self._scanned[at[0]].put(at[1], body)
        self.writes.update(writes)
        self.records.update(records)
        leaves.sort()
        return sha256(b"".join(leaves)).digest()


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
