"""Which ids and nonces are certainly new: most of those a block brings, so that nobody asks the table about them.

    ids, (sender, nonce) ─▶ three bits each ─▶ one of them is unset: new
                                           └▶ all are set: perhaps taken, the table knows

A Bloom filter over what the table `transactions` holds. It may take a new id for a taken one (1 in 200 where it is
full), which costs a question, never a taken one for new. It is filled from the table, a page with each block, and knows
nothing before it has all of it. The hash is Python's own, keyed anew in each process: nobody can aim at its bits.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Final, TypeVar

K = TypeVar("K", bound=Hashable)

PAGE: Final = 4_096
"""Rows read at once: some 15 ms."""

_FIRST_BITS: Final = 1 << 20
_GROWTH: Final = 8
_BITS_MAX: Final = 1 << 29
"""64 MB, 16 million transactions; with more it is right as ever, and asks more often."""
_BITS_A_KEY: Final = 16


class Seen:
    """complete: it holds all that is committed. until: the first leaf whose transaction is not in it."""

    def __init__(self, bits: int = _FIRST_BITS) -> None:
        self.complete = False
        self.until = 0
        self._bits = bytearray(bits >> 3)
        self._mask = bits - 1
        self._left = bits // _BITS_A_KEY

    def add(self, keys: Iterable[Hashable]) -> None:
        """These are taken."""
        bits, mask, count = self._bits, self._mask, 0
        for key in keys:
            hashed = hash(key)
            at = hashed & mask
            bits[at >> 3] |= 1 << (at & 7)
            at = hashed >> 17 & mask
            bits[at >> 3] |= 1 << (at & 7)
            at = hashed >> 34 & mask
            bits[at >> 3] |= 1 << (at & 7)
            count += 1
        self._left -= count

    def perhaps(self, keys: Iterable[K]) -> list[K]:
        """Those that may be taken: all where it is not complete."""
        if not self.complete:
            return list(keys)
        bits, mask, found = self._bits, self._mask, []
        for key in keys:
            hashed = hash(key)
            at = hashed & mask
            if bits[at >> 3] >> (at & 7) & 1:
                at = hashed >> 17 & mask
                if bits[at >> 3] >> (at & 7) & 1:
                    at = hashed >> 34 & mask
                    if bits[at >> 3] >> (at & 7) & 1:
                        found.append(key)
        return found

    def grown(self) -> Seen:
        """Itself while there is room, else an empty one with more, to be filled anew."""
        bits = self._mask + 1
        return self if self._left > 0 or bits >= _BITS_MAX else Seen(bits * _GROWTH)
