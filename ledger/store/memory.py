"""A source on dicts: the state of a replay, which the audit compares with what is stored."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence

from contracts.core.state import Writes
from ledger.machine import NONCE_REUSED, Executed
from ledger.store.source import Key, Taken

_SORTED_MIN = 64
"""With more new keys of a kind at once, sorting costs less than finding each its place."""


class MemorySource:
    """ledger.store.source.Source; grows by `accept`."""

    def __init__(self) -> None:
        self.rows: dict[Key, bytes] = {}
        self._keys: dict[str, list[str]] = {}
        self._buckets: dict[int, bytes] = {}
        self._ids: set[str] = set()
        self._nonces: set[tuple[str, str]] = set()

    def records(self, keys: Sequence[Key]) -> Mapping[Key, bytes]:
        return {at: self.rows[at] for at in keys if at in self.rows}

    def scan(self, kind: str, first: str, last: str, limit: int) -> list[tuple[str, bytes]]:
        keys = self._keys.get(kind, [])
        start = bisect_left(keys, first)
        end = min(bisect_left(keys, last), start + limit)
        return [(key, self.rows[kind, key]) for key in keys[start:end]]

    def buckets(self, numbers: Sequence[int]) -> Mapping[int, bytes]:
        return {number: self._buckets.get(number, b"") for number in numbers}

    def taken(self, ids: Sequence[str], nonces: Sequence[tuple[str, str]]) -> Taken:
        return Taken(frozenset(self._ids.intersection(ids)), frozenset(self._nonces.intersection(nonces)))

    def write(self, writes: Writes, buckets: Mapping[int, bytes]) -> None:
        """Take these records, with the bucket rows they make."""
        new: dict[str, list[str]] = {}
        for at, body in writes.items():
            if body is None:
                if self.rows.pop(at, None) is not None:
                    keys = self._keys[at[0]]
                    del keys[bisect_left(keys, at[1])]
                continue
            if at not in self.rows:
                new.setdefault(at[0], []).append(at[1])
            self.rows[at] = body
        for kind, added in new.items():
            keys = self._keys.setdefault(kind, [])
            if len(added) > _SORTED_MIN:
                keys += added
                keys.sort()  # code points sort as UTF-8 bytes do
            else:
                for key in added:
                    insort(keys, key)
        self._buckets.update(buckets)

    def accept(self, executed: Executed) -> None:
        """Follow a block."""
        self.write(executed.writes, executed.plan.buckets)
        for row in executed.transactions:
            if row.registered:
                self._ids.add(row.parsed.id)
                if row.code != NONCE_REUSED:
                    self._nonces.add((row.parsed.header.sender, row.parsed.header.nonce))
