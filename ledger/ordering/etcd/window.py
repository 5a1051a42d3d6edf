"""The keys of one channel, and the window of blocks they hold.

    <prefix>/<channel>/block/<16 digits>    a block, created once and never changed
    <prefix>/<channel>/trimmed              lowest height kept, as 16 digits; absent: 1
    <prefix>/<channel>/proposer             name of the member that may propose, bound to its lease

            line           tip
    ─ ─ ─ ─ ┼──┼──┼──┼──┼──┤        blocks are created without gaps (each demands the one before), and the newest is
    dropped   kept                  never dropped: so counting keys gives the tip, without reading a value

Where no block is kept the next to come is the line itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from ledger.errors import OrderTampered
from ledger.ordering.etcd.client import EtcdClient, Found, created_at, delete, exists, get, has_value, modified_at, put
from ledger.ordering.etcd.errors import Unanswered
from ledger.ordering.etcd.settings import EtcdSettings

_DIGITS: Final = 16


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of a channel. `end`s are exclusive, as etcd has them."""

    prefix: str

    @classmethod
    def of(cls, settings: EtcdSettings) -> Keys:
        return cls(f"{settings.prefix}/{settings.channel}/")

    @property
    def channel(self) -> tuple[bytes, bytes]:
        """The range of all keys of the channel."""
        return self.prefix.encode(), f"{self.prefix[:-1]}0".encode()  # "0" follows "/"

    @property
    def blocks_end(self) -> bytes:
        return f"{self.prefix}block0".encode()

    @property
    def line(self) -> bytes:
        return f"{self.prefix}trimmed".encode()

    @property
    def proposer(self) -> bytes:
        return f"{self.prefix}proposer".encode()

    def block(self, height: int) -> bytes:
        return f"{self.prefix}block/{height:0{_DIGITS}d}".encode()

    def height(self, key: bytes) -> int | None:
        """The height of a block's key; None for other keys. Raises OrderTampered for one no member makes."""
        start = f"{self.prefix}block/".encode()
        if not key.startswith(start):
            return None
        return number(key[len(start) :], key)


def number(digits: bytes, key: bytes) -> int:
    """What 16 digits say. Raises OrderTampered."""
    if len(digits) != _DIGITS or not digits.isdigit():
        raise OrderTampered(f"the order holds the key {key.decode(errors='replace')!r} with {digits[:40]!r}")
    return int(digits)


def line_value(height: int) -> bytes:
    """How the line is written."""
    return f"{height:0{_DIGITS}d}".encode()


class Window:
    """First, tip and trimming of one channel's blocks."""

    def __init__(self, client: EtcdClient, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._known_tip = 0

    async def first(self) -> int:
        """Raises OrderingUnavailable, OrderTampered."""
        return (await self._bounds())[0]

    async def tip(self) -> int:
        """Raises OrderingUnavailable; OrderTampered if the order has become shorter."""
        known = self._known_tip
        if known:
            start, end = self._keys.block(known), self._keys.blocks_end
            line, newer = (await self._client.read(get(self._keys.line), get(start, end, count_only=True))).found
            if newer.count:
                self._known_tip = max(self._known_tip, max(known, line_of(line)) + newer.count - 1)
                return self._known_tip
        tip = (await self._bounds())[1]
        if tip < known:
            raise OrderTampered(f"block {known} was in the order and is gone: it ends at block {tip}")
        self._known_tip = max(self._known_tip, tip)
        return tip

    async def trim(self, below: int) -> None:
        """Drop and compact what is below `below`, never the newest block. Raises OrderingUnavailable."""
        line = min(below, await self.tip())
        keys, connection = self._keys, self._client.connection

        async def attempt(deadline_s: float) -> None:
            found = (await self._client.read(get(keys.line))).found[0]
            if line_of(found) >= line:
                return
            done = await self._client.txn(
                [modified_at(keys.line, found.kvs[0].mod_revision if found.kvs else 0), exists(keys.block(line))],
                [put(keys.line, line_value(line)), delete(keys.block(0), keys.block(line))],
                deadline_s=deadline_s,
            )
            if not done.succeeded:
                raise Unanswered(connection.endpoint, "somebody else trims", sent=False, alive=True)
            await self._client.compact(done.revision)

        await connection.persist(attempt)

    async def found(self, height: int) -> None:
        """Make the order of a channel that has no keys yet begin after `height`, for a ledger that is older than its
        etcd. Doing so again is no error. Raises OrderTampered if it begins elsewhere or has begun."""
        keys = self._keys

        async def attempt(deadline_s: float) -> None:
            nothing = [created_at(keys.line, 0), created_at(keys.block(1), 0)]
            await self._client.txn(nothing, [put(keys.line, line_value(height + 1))], deadline_s=deadline_s)

        if height:
            await self._client.connection.persist(attempt)
        first, tip = await self._bounds()
        if (first, tip) != (height + 1, height):
            raise OrderTampered(f"the order has blocks {first} to {tip} already and cannot begin after {height}")

    def follows(self, height: int, origin: int | None) -> Any:
        """The condition that `height` is the next: the block before it exists, or nothing is kept and it is the line
        (`origin`, where that is known to be so)."""
        if height != origin:
            return exists(self._keys.block(height - 1))
        if height == 1:
            return created_at(self._keys.line, 0)
        return has_value(self._keys.line, line_value(height))

    async def _bounds(self) -> tuple[int, int]:
        keys = self._keys
        answer = await self._client.read(
            get(keys.line),
            get(keys.block(0), keys.blocks_end, limit=1, keys_only=True),
            get(keys.block(0), keys.blocks_end, count_only=True),
        )
        line, lowest, counted = answer.found
        first = line_of(line)
        if not lowest.kvs:
            return first, first - 1
        height = self._keys.height(lowest.kvs[0].key)
        if height != first:
            raise OrderTampered(f"the order should begin with block {first} and begins with block {height}")
        return first, first + counted.count - 1


def line_of(found: Found) -> int:
    """The lowest height kept, as the line's key says."""
    return number(found.kvs[0].value, found.kvs[0].key) if found.kvs else 1
