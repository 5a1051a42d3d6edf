"""The caches of one channel under the state tree: records, the rows of buckets, and the kinds that are held whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from types import MappingProxyType
from typing import Final, TypeVar

import msgspec

from contracts.core.codec import read
from contracts.core.state import Record, Writes
from ledger.log.statetree import Plan
from ledger.store.cache.bounded import Remembered, Rows
from ledger.store.cache.tree import CheckedTree, Leaf, find_leaf, hash_of, leaves_of
from ledger.store.source import Key, Source
from ledger.verify.state import StateProof

RECORDS_MAX: Final = 262_144
ALL: Final = 1 << 62
"""Bytes of buckets: all of them are held, 64 a record. What reads a bucket otherwise reads every record: there is no
index, which would be one more row for each new record in each replica."""
HELD: Final = ("engagement", "expiry", "member")
HELD_MAX: Final = 262_144
"""With more rows of a kind than this, its scans are queries."""

_LAST: Final = "\U0010ffff"

R = TypeVar("R", bound=Record)


class StateTampered(Exception):
    """A stored record is not the one the state root stands for."""

    def __init__(self, where: str) -> None:
        self.where = where
        super().__init__(f"{where} is not what the log stands for: the table was changed by somebody else")


class Known(msgspec.Struct, gc=False, eq=False):
    """A committed record: its canonical bytes (None: there is none), and decoded once somebody asked for that."""

    body: bytes | None
    record: Record | None = None

    def decoded(self, kind: type[R]) -> R | None:
        """The record, None if there is none."""
        if type(self.record) is kind:
            return self.record
        if self.body is None:
            return None
        record = read(self.body, kind)
        self.record = record
        return record


NOTHING: Final = Known(None)
"""There is no such record."""


class StateCache:
    """Tree and caches of one channel; always as after the last committed block."""

    def __init__(self, tree: CheckedTree, records_max: int = RECORDS_MAX, bucket_bytes_max: int = ALL):
        self.tree = tree
        self._records = Remembered[Key, Known](records_max)
        self._buckets = Remembered[int, bytes](bucket_bytes_max, len)
        self._held: dict[str, Rows | None] = {}

    def peek(self, kind: str, key: str) -> tuple[bool, bytes | None]:
        """(is it known here, its bytes), without a query."""
        known = self.known(kind, key)
        return (False, None) if known is None else (True, known.body)

    def known(self, kind: str, key: str) -> Known | None:
        """The record, or that there is none, if that is known here without a query; else None."""
        known = self._records.get((kind, key))
        if known is None:
            hashed = hash_of(kind, key)
            leaves = self._leaves(hashed[0] << 8 | hashed[1])
            if leaves is not None and find_leaf(leaves, hashed) is None:
                return NOTHING
        return known

    def prove(
        self, kind: str, key: str, read: tuple[bytes | None] | None = None
    ) -> tuple[bytes | None, StateProof] | None:
        """A record (None: there is none) and its proof under the present root: by what is known here without a query,
        or by `read`, its bytes. None where that is not known, or not what the root stands for."""
        hashed = hash_of(kind, key)
        number = hashed[0] << 8 | hashed[1]
        known, leaves = self.known(kind, key), self._leaves(number)
        if known is not None:
            read = (known.body,)
        if read is None or leaves is None:
            return None
        (body,) = read
        value = None if body is None else sha256(body).digest()
        if not self.tree.holds(number, leaves) or find_leaf(leaves, hashed) != value:
            return None
        return body, self.tree.prove(kind, key, {number: leaves})

    def load(self, keys: Iterable[Key], source: Source) -> dict[Key, None]:
        """Makes those of the keys known that exist, with at most two queries, and returns the others. Raises
        StateTampered."""
        wanted = {at: hash_of(*at) for at in keys if self._records.get(at) is None}
        if not wanted:
            return {}
        buckets = self.buckets([hashed[0] << 8 | hashed[1] for hashed in wanted.values()], source)
        present: dict[Key, bytes] = {}
        absent: dict[Key, None] = {}
        for at, hashed in wanted.items():
            leaf = find_leaf(buckets[hashed[0] << 8 | hashed[1]], hashed)
            if leaf is None:
                absent[at] = None
            else:
                present[at] = leaf
        found = source.records(list(present)) if present else {}
        for at, leaf in present.items():
            body = found.get(at)
            if body is None or sha256(body).digest() != leaf:
                raise StateTampered(f"record {at[0]}/{at[1]}")
            self._records.put(at, Known(body))
        return absent

    def fetch(self, kind: str, key: str, source: Source) -> Known:
        """The record, by queries if it must be. Raises StateTampered."""
        known = self.known(kind, key)
        if known is None:
            hashed = hash_of(kind, key)
            bucket = hashed[0] << 8 | hashed[1]
            leaf = find_leaf(self.buckets([bucket], source)[bucket], hashed)
            if leaf is None:
                return NOTHING
            body = source.records([(kind, key)]).get((kind, key))
            if body is None or sha256(body).digest() != leaf:
                raise StateTampered(f"record {kind}/{key}")
            known = Known(body)
            self._records.put((kind, key), known)
        return known

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
        known: dict[int, bytes] = {}
        missing: dict[int, None] = {}
        for number in numbers:
            leaves = self._leaves(number)
            if leaves is None:
                missing[number] = None
            else:
                known[number] = leaves
        if missing:
            loaded = source.buckets(sorted(missing))
            for number in missing:
                if not self.tree.holds(number, loaded[number]):
                    raise StateTampered(f"bucket {number} of the records")
                self._buckets.put(number, loaded[number])
                known[number] = loaded[number]
        return known

    def fill_buckets(self, buckets: Mapping[int, bytes]) -> None:
        """Take rows that were checked against the root already."""
        for number, leaves in buckets.items():
            self._buckets.put(number, leaves)

    def plan(self, writes: Writes, source: Source) -> Plan:
        """What the writes make of the state; nothing is changed yet. Raises StateTampered."""
        return self.plan_leaves(leaves_of(writes), source)

    def plan_leaves(self, leaves: Mapping[Key, Leaf], source: Source) -> Plan:
        """As `plan`, of writes that were hashed already."""
        touched = [hashed[0] << 8 | hashed[1] for hashed, _ in leaves.values()]
        return self.tree.plan_leaves(leaves.values(), self.buckets(touched, source))

    def accept(self, writes: Writes, plan: Plan, records: Mapping[Key, Record] = MappingProxyType({})) -> None:
        """Follow a block that was committed; `records` are some of the writes, decoded."""
        self.tree.apply(plan)
        self.fill_buckets(plan.buckets)
        for at, body in writes.items():
            self._records.put(at, Known(body, records.get(at)))
            rows = self._held.get(at[0])
            if rows is None:
                continue
            if body is None:
                rows.drop(at[1])
            else:
                rows.put(at[1], body)
                if len(rows.keys) > HELD_MAX:
                    self._held[at[0]] = None

    def _leaves(self, number: int) -> bytes | None:
        """A row that is known without a query: kept, or empty by the tree, as most of a small ledger are."""
        leaves = self._buckets.get(number)
        return b"" if leaves is None and self.tree.is_empty(number) else leaves
