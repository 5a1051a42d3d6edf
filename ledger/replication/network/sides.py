"""The two sides of a comparison outside a running replica: the own tables, and a peer's answers over HTTP."""

from __future__ import annotations

import ssl as ssl_module
from hashlib import sha256
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec

from ledger.errors import PeerUnavailable
from ledger.log.statetree import StateTree, buckets_from_records
from ledger.replication.divergence import Divergence, Kind, block_receipts
from ledger.replication.peers import BlockReceipts, PeerStatus
from ledger.store import tables
from ledger.store.history import History

_ANSWER_BYTES_MAX = 8 << 20
_TIMEOUT = aiohttp.ClientTimeout(total=20, sock_connect=5)

T = TypeVar("T")


class StoredSide:
    """What the tables of one channel hold, in one snapshot; nothing is taken from a summary column."""

    def __init__(self, history: History) -> None:
        self._history = history

    async def height(self) -> int:
        return await self._history.height()

    async def receipts(self, height: int) -> BlockReceipts | None:
        blocks = await self._history.rows(tables.blocks, tables.blocks.c.height == height)
        if not blocks:
            return None
        of, written = tables.entries.c, tables.transactions.c
        entries = await self._history.rows(
            tables.entries,
            of.log_index >= blocks[0]["first_index"],
            of.log_index < blocks[0]["size"],
            order=[of.log_index],
        )
        transactions = await self._history.rows(
            tables.transactions, written.height == height, order=[written.log_index]
        )
        return block_receipts(height, [row["data"] for row in entries], [row["receipt"] for row in transactions])

    async def edited_state(self) -> Divergence | None:
        """The records hashed again against the state root of the last summary; None where they fit. A record that
        does not fit its own hashes is named by the block that wrote it."""
        last = await self.receipts(await self.height())
        if last is None:
            return None
        records, edited = [], list[tuple[int, str]]()
        async for row in self._history.records():
            records.append((row["kind"], row["key"], row["body"]))
            if sha256(row["body"]).digest() != row["value_hash"]:
                edited.append((row["height"], f"{row['kind']}/{row['key']}"))
        root = StateTree(buckets_from_records(records).items()).root.hex()
        if root == last.state_root:
            return None
        block, what = min(edited, default=(last.height, "the records"))
        return Divergence(block, None, Kind.STATE, f"{what}, hashed to {root}", last.state_root)


class HttpSide:
    """A peer's listener. Raises PeerUnavailable for whatever is no good answer."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, channel: str, ssl: ssl_module.SSLContext | None
    ) -> None:
        self._session = session
        self._base = f"{url.rstrip('/')}/v1/peers/{quote(channel, safe='')}"
        self._ssl = ssl

    async def height(self) -> int:
        status = await self._ask("status", PeerStatus)
        return 0 if status is None else status.height

    async def receipts(self, height: int) -> BlockReceipts | None:
        found = await self._ask(f"blocks/{height}/receipts", BlockReceipts)
        if found is not None and found.height != height:
            raise PeerUnavailable(f"{self._base} answered with block {found.height} for block {height}")
        return found

    async def _ask(self, path: str, type_: type[T]) -> T | None:
        options: dict[str, Any] = {} if self._ssl is None else {"ssl": self._ssl}
        try:
            async with self._session.get(f"{self._base}/{path}", timeout=_TIMEOUT, **options) as response:
                body = await _read(response)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise PeerUnavailable(f"{self._base} does not answer: {error}") from None
        if response.status == 404 and path.startswith("blocks/"):
            return None
        if response.status != 200 or len(body) > _ANSWER_BYTES_MAX:
            raise PeerUnavailable(f"{self._base}/{path} answered {response.status} with {len(body)} bytes")
        try:
            return msgspec.json.decode(body, type=type_)
        except msgspec.DecodeError as error:
            raise PeerUnavailable(f"{self._base}/{path} answered with no {type_.__name__}: {error}") from None


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The body, or as much of it as shows that it is too long."""
    body = bytearray()
    async for chunk in response.content.iter_chunked(1 << 16):
        body += chunk
        if len(body) > _ANSWER_BYTES_MAX:
            break
    return bytes(body)
