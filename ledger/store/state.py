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

from collections.abc import Iterable
from hashlib import sha256
from typing import Final, TypeVar

from contracts.core.codec import read
from contracts.core.state import Record, Records, Writes
from ledger.store.cache.bounded import Rows
from ledger.store.cache.records import StateCache, StateTampered
from ledger.store.cache.tree import CheckedTree, Leaf, hash_of
from ledger.store.source import Key, Source

__all__ = ["BlockState", "CheckedTree", "Leaf", "StateCache", "StateTampered"]

R = TypeVar("R", bound=Record)

_NO_VALUE: Final = bytes(32)


class BlockState:
    """The reader of the contracts during one block: committed state with the block's own writes on top.

    `writes`: all of them, the last of each key; `leaves`: their hashes; `records`: those that are there, decoded."""

    def __init__(self, cache: StateCache, source: Source) -> None:
        self.writes: Writes = {}
        self.leaves: dict[Key, Leaf] = {}
        self.records: Records = {}
        self._cache = cache
        self._source = source
        self._kinds: dict[str, None] = {}
        self._scanned: dict[str, Rows] = {}
        self._absent: dict[Key, None] = {}

    def load(self, keys: Iterable[Key]) -> None:
        """Ask for these at once, before the block writes anything. Raises StateTampered."""
        self._absent.update(self._cache.load(keys, self._source))

    def wrote(self, kind: str) -> bool:
        """Did the block write a record of this kind?"""
        return kind in self._kinds

    def get(self, kind: str, key: str) -> bytes | None:
        at = (kind, key)
        if at in self.writes:
            return self.writes[at]
        return None if at in self._absent else self._cache.fetch(kind, key, self._source).body

    def find(self, kind: type[R], key: str) -> R | None:
        """The record, decoded once for as long as it is in a cache."""
        at = (kind.KIND, key)
        if at in self.writes:
            body, record = self.writes[at], self.records.get(at)
            return record if type(record) is kind else None if body is None else read(body, kind)
        return None if at in self._absent else self._cache.fetch(*at, self._source).decoded(kind)

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
            kind = at[0]
            self._kinds[kind] = None
            if kind in self._scanned:
                self._scanned[kind].put(at[1], body)
        self.writes.update(writes)
        self.records.update(records)
        leaves.sort()
        return sha256(b"".join(leaves)).digest()
