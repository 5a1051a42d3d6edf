"""What caches are made of: a bounded memory, and the rows of one kind in order."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """A bounded memory in two halves, so that a hit costs one look-up: what was not used while a whole half filled is
    forgotten. The weight of all values stays below `weight_max`."""

    def __init__(self, weight_max: int, weigh: Callable[[V], int] | None = None) -> None:
        self._half = weight_max // 2
        self._weigh = weigh
        self._weight = 0
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        """The value, or None."""
        found = self._young.get(key)
        if found is None:
            found = self._old.get(key)
            if found is not None:
                self.put(key, found)
        return found

    def put(self, key: K, value: V) -> None:
        """Remember or replace."""
        if self._weigh is not None:
            before = self._young.get(key)
            self._weight += self._weigh(value) - (0 if before is None else self._weigh(before))
        self._young[key] = value
        if (len(self._young) if self._weigh is None else self._weight) > self._half:
            self._old, self._young, self._weight = self._young, {}, 0


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
