"""HTTP to one ledger: which answers are final, which are worth another try, and how long to wait between tries.

2xx, 404, other 4xx                   final
429, 5xx, no answer, not-final-yet    again after Retry-After or a back-off with jitter, until the deadline
"""

from __future__ import annotations

import asyncio
import random
import ssl as ssl_module
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
import msgspec
from yarl import URL

from ledger.client.errors import LedgerUnavailable, Refused
from ledger.client.events import Event, EventParser
from ledger.client.signing import CHANNEL_RESTRICTED, signed_headers
from runtime.errors import InsecureAddress
from runtime.keys import PrivateKey
from runtime.service import refuse_plain_http

_REQUEST = aiohttp.ClientTimeout(total=20, sock_connect=5)
#: three heartbeats of the server missed: the connection is dead
_STREAM = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=45)
_RETRY_AFTER_S_MAX = 30.0
#: the usual name of the channel that is public; of a ledger whose first has another, reads are signed for nothing
_FIRST = "main"

Params = Sequence[tuple[str, str]]


class Transport:
    """Requests below `<url>/v1/channels/<channel>`; `key` signs reads of every channel but main, and of
    main once the ledger asks for it. Raises InsecureAddress for plain HTTP off loopback."""

    def __init__(
        self,
        url: str,
        channel: str,
        *,
        session: aiohttp.ClientSession | None,
        ssl: ssl_module.SSLContext | None,
        deadline_s: float,
        key: PrivateKey | None = None,
    ) -> None:
        self._key = key
        self._signs = key is not None and channel != _FIRST
        self._channel = channel
        self._base = f"{_checked(url)}/v1/channels/{quote(channel, safe='')}"
        self._url = url
        self._session = session
        self._owns_session = session is None
        self._ssl = ssl
        self._deadline_s = deadline_s

    async def close(self) -> None:
        """Closes the session, if it is our own."""
        if self._owns_session and self._session is not None:
            await self._session.close()
            self._session = None

    def attempts(self) -> Attempts:
        """Tries within the deadline, counted from now."""
        return Attempts(self._deadline_s)

    async def get(self, path: str, params: Params = (), *, missing: bool = False) -> bytes | None:
        """The body of GET; None for 404 with `missing`. Raises Refused, LedgerUnavailable."""
        attempts = self.attempts()
        while True:
            try:
                return await self.request("GET", path, params=params)
            except Refused as refused:
                if missing and refused.code == "not-found":
                    return None
                raise
            except LedgerUnavailable as error:
                await attempts.wait(error)

    async def request(self, method: str, path: str, *, params: Params = (), data: bytes | None = None) -> bytes:
        """One try. Raises Refused for a final no, LedgerUnavailable for what may be tried again."""
        signs = self._signs
        try:
            return await self._request(method, self._at(path, params), data)
        except Refused as refused:
            if signs or not self._learns(refused):
                raise
        return await self._request(method, self._at(path, params), data)

    async def _request(self, method: str, url: URL, data: bytes | None) -> bytes:
        headers = self._signed(method, url) if data is None else {"Content-Type": "application/json"}
        try:
            async with self._open().request(
                method,
                url,
                data=data,
                headers=headers,
                timeout=_REQUEST,
                ssl=self._ssl or True,
                allow_redirects=False,
            ) as response:
                body = await response.read()
                _raise_for_status(response.status, response.headers, body)
                return body
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._no_answer(error) from error

    async def events(self, path: str, params: Params, last_event_id: str) -> AsyncGenerator[Event, None]:
        """The events of one connection, until it ends. Raises Refused, LedgerUnavailable, AnswerInvalid."""
        url, parser = self._at(path, params), EventParser()
        again = True
        while again:
            again, signs = False, self._signs
            try:
                async with self._stream(url, last_event_id) as response:
                    if response.status != 200:
                        _raise_for_status(response.status, response.headers, await response.read())
                    async for chunk in response.content.iter_any():
                        for event in parser.feed(chunk):
                            yield event
            except Refused as refused:
                if signs or not self._learns(refused):
                    raise
                again = True
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise self._no_answer(error) from error

    def _stream(self, url: URL, last_event_id: str) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        headers = {"Accept": "text/event-stream", "Last-Event-ID": last_event_id, **self._signed("GET", url)}
        return self._open().get(url, headers=headers, timeout=_STREAM, ssl=self._ssl or True, allow_redirects=False)

    def _at(self, path: str, params: Params) -> URL:
        url = URL(f"{self._base}/{path}")
        return url.extend_query(params) if params else url

    def _signed(self, method: str, url: URL) -> dict[str, str]:
        return signed_headers(self._key, method, self._channel, url) if self._key is not None and self._signs else {}

    def _learns(self, refused: Refused) -> bool:
        """Is what was refused unsigned worth a second try, signed? From then on every read is."""
        self._signs = self._signs or (refused.code == CHANNEL_RESTRICTED and self._key is not None)
        return self._signs and refused.code == CHANNEL_RESTRICTED

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        return self._session

    def _no_answer(self, error: Exception) -> LedgerUnavailable:
        return LedgerUnavailable(f"the ledger at {self._url} does not answer ({str(error) or type(error).__name__})")


class Attempts:
    """Waits between tries: doubled each time, with jitter, at most 2 s, within a deadline on the wall clock."""

    def __init__(self, deadline_s: float = float("inf")) -> None:
        self._end = asyncio.get_running_loop().time() + deadline_s
        self._wait_s = 0.05

    async def wait(self, error: LedgerUnavailable) -> None:
        """Returns when it is time to try again; raises `error` when the deadline would pass before."""
        wait_s = getattr(error, "retry_after_s", None) or self._wait_s * random.uniform(0.5, 1.5)
        self._wait_s = min(2 * self._wait_s, 2.0)
        if asyncio.get_running_loop().time() + wait_s > self._end:
            raise error
        await asyncio.sleep(wait_s)

    def again(self) -> None:
        """Something worked: the next wait is short."""
        self._wait_s = 0.05


class Busy(LedgerUnavailable):
    """The ledger answered that it cannot take this now."""

    def __init__(self, message: str, retry_after_s: float | None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InsecureAddress(
            f"{url!r} is not the address of a ledger: give http://127.0.0.1:PORT or https://HOST:PORT"
        )
    if parts.scheme == "http":
        try:
            refuse_plain_http(parts.hostname, None)
        except InsecureAddress:
            raise InsecureAddress(
                f"a ledger is not called over plain HTTP off loopback: use https, not {url}"
            ) from None
    return url.rstrip("/")


def _raise_for_status(status: int, headers: Mapping[str, str], body: bytes) -> None:
    if 200 <= status < 300:
        return
    problem = _problem(body)
    detail = str(problem.get("detail") or problem.get("title") or f"HTTP {status}")
    if status == 429 or status >= 500:
        raise Busy(f"the ledger cannot take this now: {detail}", _retry_after_s(headers.get("Retry-After")))
    kind = str(problem.get("type", "about:blank"))
    if kind == "not-final-yet":
        raise Busy(f"not final yet: {detail}", _retry_after_s(headers.get("Retry-After")))
    if status == 404 and kind == "about:blank":
        detail = "nothing has this name there, or the address or the channel is not that of a ledger"
    raise Refused(f"http-{status}" if kind == "about:blank" else kind, detail)


def _problem(body: bytes) -> Mapping[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return MappingProxyType({})


def _retry_after_s(value: str | None) -> float | None:
    if value is None or not (value.isascii() and value.isdecimal()):
        return None
    return min(float(value), _RETRY_AFTER_S_MAX)
