"""Where a block's execution reads committed data: the least a store must offer the machine.

Answers are those after the last committed block and do not change while a block is executed. All methods are plain
functions: the PostgreSQL source runs inside SQLAlchemy's greenlet, the one of the audit on dicts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

Key = tuple[str, str]
"""kind, key of a record"""


class Taken(NamedTuple):
    """Ids that have a first result, and (sender, nonce) pairs that are used."""

    ids: frozenset[str]
    nonces: frozenset[tuple[str, str]]


class Source(Protocol):
    """Committed data, for reading."""

    def records(self, keys: Sequence[Key]) -> Mapping[Key, bytes]:
        """Canonical bytes of those that exist."""

    def scan(self, kind: str, first: str, last: str, limit: int) -> list[tuple[str, bytes]]:
        """Records of a kind with first <= key < last, in bytewise key order, at most `limit`."""

    def buckets(self, numbers: Sequence[int]) -> Mapping[int, bytes]:
        """The leaves (ledger.verify.state) of each of these buckets, b"" for one without records."""

    def taken(self, ids: Sequence[str], nonces: Sequence[tuple[str, str]]) -> Taken:
        """Which of these are taken."""
