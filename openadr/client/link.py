"""One VEN's HTTP to its VTN: a typed message out, a typed message back."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import NamedTuple, TypeVar, cast
from urllib.parse import urlsplit

import aiohttp

from openadr.client.errors import VtnRefused, VtnUnreachable
from openadr.client.signing import MessageSigning
from openadr.errors import MessageError
from openadr.v2 import EiResponse, Leniency, Message, OadrResponse, parse, render, wire_name
from runtime.errors import InsecureAddress
from runtime.logs import get_logger
from runtime.service import refuse_plain_http

T = TypeVar("T")

ANSWER_BYTES_MAX = 4 * 1024 * 1024
_SERVICES = {
    "oadrPoll": "OadrPoll",
    "oadrRequestEvent": "EiEvent",
    "oadrCreatedEvent": "EiEvent",
    "oadrQueryRegistration": "EiRegisterParty",
    "oadrCreatePartyRegistration": "EiRegisterParty",
    "oadrCancelPartyRegistration": "EiRegisterParty",
    "oadrCanceledPartyRegistration": "EiRegisterParty",
    "oadrResponse": "EiRegisterParty",  # answers oadrRequestReregistration, the one message answered so
    "oadrCreateOpt": "EiOpt",
    "oadrCancelOpt": "EiOpt",
}
"""Everything else is EiReport."""

Counting = Callable[[str, str], None]
"""Hears of each message sent: its name, and ok, refused or unreachable."""

_log = get_logger("openadr.client.link")


class Dated(NamedTuple):
    """Who wants to know the VTN's time: `seen(theirs_ms, before_ms, after_ms)` hears the Date of each answer, to the
    second, between two moments of `wall_ms`."""

    wall_ms: Callable[[], int]
    seen: Callable[[int, int, int], None]


class Link:
    """`url` is the service's address without the service's name. The session may be shared by many VENs; `tls` gives
    the context of this one (None: the session's), `signing` signs what is sent and checks what comes, `count` hears of
    each message; not `lenient`: what the schema refuses is no answer.

    Raises InsecureAddress for plain HTTP off loopback."""

    def __init__(
        self,
        url: str,
        session: aiohttp.ClientSession,
        *,
        timeout_s: float,
        count: Counting = lambda name, result: None,
        tls: Callable[[], ssl.SSLContext | None] = lambda: None,
        signing: MessageSigning | None = None,
        dated: Dated | None = None,
        lenient: bool = True,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https":
            try:
                refuse_plain_http(parts.hostname or "", None)
            except InsecureAddress:
                raise InsecureAddress(
                    f"a VTN is not called over plain HTTP off loopback: use https, not {url}"
                ) from None
        self._url = url.rstrip("/")
        self._session = session
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._count = count
        self._tls = tls
        self._signing = signing
        self._dated = dated
        self._lenient = lenient

    @property
    def signs(self) -> bool:
        """Are messages signed?"""
        return self._signing is not None

    async def ask(self, message: Message) -> Message:
        """Sends a message and returns the answer. Raises VtnUnreachable if there is none that can be read."""
        name = wire_name(message)
        url = f"{self._url}/{_SERVICES.get(name, 'EiReport')}"
        body = render(message)
        asked_ms = 0 if self._dated is None else self._dated.wall_ms()
        try:
            async with self._session.post(
                url,
                data=body if self._signing is None else self._signing.seal(body),
                headers={"Content-Type": "application/xml"},
                timeout=self._timeout,
                ssl=self._tls() or True,
                allow_redirects=False,
            ) as response:
                received = await _read(response)
                status, date = response.status, response.headers.get("Date")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._count(name, "unreachable")
            raise VtnUnreachable(f"{name}: no answer from {url}: {error or type(error).__name__}") from error
        if self._dated is not None and (theirs_ms := _moment_ms(date)) is not None:
            self._dated.seen(theirs_ms, asked_ms, self._dated.wall_ms())
        if not received or status >= 500:
            self._count(name, "unreachable")
            raise VtnUnreachable(f"{name}: {url} answered HTTP {status}")
        leniencies: list[Leniency] = []
        try:
            if self._signing is not None:
                answer = self._signing.open(received, leniencies, lenient=self._lenient)
            else:
                answer = parse(received, lenient=self._lenient, leniencies=leniencies)
        except MessageError as error:
            self._count(name, "unreachable")
            raise VtnUnreachable(f"{name}: the answer (HTTP {status}) cannot be read: {error.detail}") from error
        if leniencies:
            _log.debug("answer repaired", message=name, repairs=[str(each) for each in leniencies])
        response_of = getattr(answer, "response", None)
        refused = isinstance(response_of, EiResponse) and not is_success(response_of)
        self._count(name, "refused" if refused else "ok")
        return answer

    async def ask_for(self, message: Message, kind: type[T]) -> T | OadrResponse:
        """Asks, and takes one kind of message for an answer, or the oadrResponse that stands in its place. Raises
        VtnUnreachable for any other."""
        answer = await self.ask(message)
        if not isinstance(answer, kind | OadrResponse):
            raise VtnUnreachable(f"the VTN answered {wire_name(message)} with {type(answer).__name__}")
        return cast("T | OadrResponse", answer)


def is_success(response: EiResponse) -> bool:
    """2xx is success."""
    return 200 <= response.response_code < 300


def demand_success(response: EiResponse) -> None:
    """Raises VtnRefused for an error code."""
    if not is_success(response):
        raise VtnRefused(response.response_code, response.response_description)


def _moment_ms(date: str | None) -> int | None:
    """The middle of the second that an HTTP Date names."""
    try:
        return None if date is None else int(parsedate_to_datetime(date).timestamp()) * 1000 + 500
    except (ValueError, OverflowError):
        return None


async def _read(response: aiohttp.ClientResponse) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_chunked(65_536):
        size += len(chunk)
        if size > ANSWER_BYTES_MAX:
            raise aiohttp.ClientPayloadError(f"an answer of more than {ANSWER_BYTES_MAX} bytes")
        chunks.append(chunk)
    return b"".join(chunks)
