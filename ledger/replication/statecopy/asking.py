"""The other members over HTTP, for one that copies their state: ledger.replication.statecopy.taking.StatePeers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

import aiohttp
import msgspec

from ledger.errors import PeerUnavailable
from ledger.replication.network.client import HttpPeers, NotThere
from ledger.replication.statecopy.manifest import SignedManifest
from ledger.replication.statecopy.rows import FRAME_BYTES_MAX

_MANIFEST_TIMEOUT: Final = aiohttp.ClientTimeout(total=300, sock_connect=2)
"""It reads all of the member's log."""
_STATE_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=2, sock_read=60)


class HttpStatePeers(HttpPeers):
    """As HttpPeers."""

    async def manifest(self, member: str, height: int) -> SignedManifest | None:
        try:
            answer = await self._ask(
                member, "GET", "manifest", params={"height": str(height)}, timeout=_MANIFEST_TIMEOUT
            )
        except NotThere:
            return None
        try:
            return msgspec.json.decode(answer, type=SignedManifest)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise PeerUnavailable(f"member {member} answered no manifest: {error}") from None

    async def state(self, member: str, after: int) -> AsyncGenerator[bytes, None]:
        try:
            async with self._opened(member, "state", {"after": str(after)}, _STATE_TIMEOUT) as response:
                while True:
                    head = await response.content.readexactly(4)
                    length = int.from_bytes(head, "big")
                    if not 0 < length <= FRAME_BYTES_MAX:
                        raise PeerUnavailable(f"member {member} gave a frame of {length} bytes")
                    yield await response.content.readexactly(length)
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise PeerUnavailable(f"member {member} stopped inside a frame") from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise PeerUnavailable(f"member {member} does not answer ({str(error) or type(error).__name__})") from error
