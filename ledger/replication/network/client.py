"""The other members over HTTP: ledger.replication.peers.Peers by the peer API, with certificates of both sides."""

from __future__ import annotations

import asyncio
import contextlib
import ssl as ssl_module
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlsplit

import aiohttp
import msgspec

from ledger.errors import NotProposer, PeerUnavailable, QueueFull
from ledger.replication.network.framing import (
    NOTES_MAX,
    FrameInvalid,
    frame_notes,
    frame_transactions,
    read_blocks,
    read_changes,
)
from ledger.replication.peers import BlockReceipts, GivenBlock, GivenChange, PeerStatus
from runtime.errors import InsecureAddress
from runtime.service import refuse_plain_http

T = TypeVar("T")

ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024
_TIMEOUT: Final = aiohttp.ClientTimeout(total=5, sock_connect=1)
_BLOCKS_TIMEOUT: Final = aiohttp.ClientTimeout(total=30, sock_connect=2, sock_read=10)


class HttpPeers:
    """One channel's other members. addresses: URL by name. Raises InsecureAddress for plain HTTP off loopback."""

    def __init__(self, channel: str, addresses: Mapping[str, str], tls: ssl_module.SSLContext | None) -> None:
        self._channel = quote(channel, safe="")
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None
        self._addresses: dict[str, str] = {}
        self.use(addresses)

    @property
    def names(self) -> Sequence[str]:
        return sorted(self._addresses)

    def use(self, addresses: Mapping[str, str]) -> None:
        """Ask these members from now on."""
        for url in addresses.values():
            parts = urlsplit(url)
            if parts.scheme != "https":
                refuse_plain_http(parts.hostname or "", None)
            elif self._tls is None:
                raise InsecureAddress(f"the member at {url} is reached over TLS: give peer_certificate and peer_ca")
        self._addresses = {name: url.rstrip("/") for name, url in addresses.items()}

    async def forward(self, member: str, contents: Sequence[bytes]) -> int:
        data = frame_transactions(contents)
        try:
            answer = await self._ask(member, "POST", "transactions", data=data, media="application/octet-stream")
        except _Busy as error:
            raise QueueFull(str(error), error.retry_after_s) from None
        return int(_read(member, answer, dict[str, int]).get("taken", 0))

    async def cosign(self, member: str, notes: Sequence[bytes]) -> None:
        await self._ask(member, "POST", "cosignatures", data=frame_notes(notes[-NOTES_MAX:]), media="application/json")

    async def blocks(self, member: str, from_height: int, limit: int, size: int) -> list[GivenBlock]:
        params = {"from": str(from_height), "limit": str(limit), "size": str(size)}
        answer = await self._ask(member, "GET", "blocks", params=params, timeout=_BLOCKS_TIMEOUT)
        try:
            return read_blocks(answer)[:limit]
        except FrameInvalid as error:
            raise PeerUnavailable(f"member {member} answered blocks without form: {error}") from None

    async def changes(self, member: str, from_height: int) -> list[GivenChange]:
        answer = await self._ask(member, "GET", "changes", params={"from": str(from_height)}, timeout=_BLOCKS_TIMEOUT)
        try:
            return read_changes(answer)
        except FrameInvalid as error:
            raise PeerUnavailable(f"member {member} answered changes without form: {error}") from None

    async def receipts(self, member: str, height: int) -> BlockReceipts | None:
        try:
            answer = await self._ask(member, "GET", f"blocks/{height}/receipts")
        except NotThere:
            return None
        return _read(member, answer, BlockReceipts)

    async def status(self, member: str) -> PeerStatus:
        return _read(member, await self._ask(member, "GET", "status"), PeerStatus)

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _ask(
        self,
        member: str,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        data: bytes | None = None,
        media: str = "",
        timeout: aiohttp.ClientTimeout = _TIMEOUT,  # aiohttp's own, with several parts
    ) -> bytes:
        """The body of a good answer. Raises PeerUnavailable, whatever the member answers instead."""
        base = self._addresses.get(member)
        if base is None:
            raise PeerUnavailable(f"there is no address of member {member}")
        url = f"{base}/v1/peers/{self._channel}/{path}"
        headers = {"Content-Type": media} if media else {}
        try:
            async with self._open().request(
                method, url, params=params, data=data, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                body = await _bounded(response)
                _raise_for(member, response.status, response.headers, body)
                return body
        except (aiohttp.ClientError, TimeoutError, OSError, asyncio.IncompleteReadError) as error:
            raise PeerUnavailable(f"member {member} does not answer ({_why(error)})") from error

    @contextlib.asynccontextmanager
    async def _opened(
        self, member: str, path: str, params: Mapping[str, str], timeout: aiohttp.ClientTimeout
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A good answer that is read as it comes. Raises PeerUnavailable, and while it is read what aiohttp raises."""
        base = self._addresses.get(member)
        if base is None:
            raise PeerUnavailable(f"there is no address of member {member}")
        url = f"{base}/v1/peers/{self._channel}/{path}"
        async with self._open().get(url, params=params, timeout=timeout, allow_redirects=False) as response:
            if response.status != 200:
                _raise_for(member, response.status, response.headers, await _bounded(response))
            yield response

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            connector = aiohttp.TCPConnector(ssl=self._tls if self._tls is not None else True, limit_per_host=8)
            self._session = aiohttp.ClientSession(connector=connector)
        return self._session


def _why(error: BaseException) -> str:
    """In few words; of a certificate that is refused, what is wrong with it."""
    refused = getattr(error, "certificate_error", None)
    if isinstance(refused, ssl_module.SSLCertVerificationError):
        return f"its certificate is refused: {refused.verify_message}"
    return str(error) or type(error).__name__


class NotThere(PeerUnavailable):
    """HTTP 404."""


class _Busy(PeerUnavailable):
    """HTTP 429: of a queue only where transactions were sent, else one more way not to answer."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    held = bytearray()
    async for chunk in response.content.iter_chunked(1 << 16):
        held += chunk
        if len(held) > ANSWER_BYTES_MAX:
            raise aiohttp.ClientPayloadError(f"an answer of more than {ANSWER_BYTES_MAX} bytes")
    return bytes(held)


def _raise_for(member: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
    if 200 <= status < 300:
        return
    try:
        problem = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        problem = {}
    detail = str(problem.get("detail") or problem.get("title") or "")[:300]
    if status == 404:
        raise NotThere(f"member {member} has it not: {detail or 'another channel, or we are no member of it there'}")
    if status == 503 and problem.get("type") == "not-proposer":
        proposer = problem.get("proposer")
        raise NotProposer(proposer if isinstance(proposer, str) else None)
    if status == 429:
        after = headers.get("Retry-After", "")
        raise _Busy(f"member {member}: {detail}", int(after) if after.isdecimal() and len(after) < 4 else 1)
    raise PeerUnavailable(f"member {member} answers HTTP {status}: {detail}")


def _read(member: str, data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise PeerUnavailable(f"member {member} answered something else: {error}") from None
