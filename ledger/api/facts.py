"""Facts: a page of them, or a stream that first catches up and then goes on for ever.

    stream:  page of facts ─▶ write (waits for the reader) ─▶ page full? ─yes─▶ next page
                 ▲                                               │no
                 └────────── woken by a new height ◀── wait ─────┘──▶ every heartbeat: a comment, and the cursor

Nothing is buffered for a reader beyond one page: a reader that takes nothing for `slow_reader_s` is cut off and comes
back with its cursor. A heartbeat carries the cursor up to which nothing more concerns the reader, so that coming
back is cheap.
"""

from __future__ import annotations

import asyncio
import math
import socket
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from aiohttp import web
from aiohttp.client_exceptions import ClientConnectionResetError

from ledger.api.access import is_restricted
from ledger.api.backend import FactRecord
from ledger.api.context import (
    ID,
    INDEX_MAX,
    LIMITS,
    ORDINAL_MAX,
    STREAMS,
    bad_request,
    checked,
    known_parameters,
    number,
    pattern,
    read_cursor,
    read_level,
    replica_of,
)
from runtime.service import STOPPING, ProblemError

_PARTIES_MAX = 64
_STREAM_PAGE = 200
_SCANNED_MAX = 10_000
_SEND_BUFFER_BYTES = 128 * 1024
#: a stream of a restricted channel ends, and is signed for anew: who was revoked, or has a copy of the request, is out
_SIGNED_STREAM_S = 600.0

Cursor = tuple[int, int, int]


class Question(NamedTuple):
    """Which facts are asked for: of any of these parties (of all if there are none), about this contract or need."""

    parties: tuple[str, ...]
    contract: str | None


class Page(NamedTuple):
    """Facts that fit; `end`: the cursor up to which was looked; full: there may be more at once."""

    records: Sequence[FactRecord]
    end: Cursor
    full: bool


async def facts(request: web.Request) -> web.StreamResponse:
    """GET facts."""
    known_parameters(request, "after", "party", "contract", "limit", "read", repeated=("party",))
    await read_level(request)
    parties = tuple(dict.fromkeys(checked("party", text, ID) or "" for text in request.query.getall("party", [])))
    if len(parties) > _PARTIES_MAX or "" in parties:
        raise bad_request(f"at most {_PARTIES_MAX} parties, none of them empty")
    question = Question(parties, pattern(request, "contract", ID))
    cursor = read_cursor(request.query.get("after") or "0.0.0")
    if "text/event-stream" in request.headers.get("Accept", ""):
        resumed = request.headers.get("Last-Event-ID")
        return await _stream(request, max(cursor, read_cursor(resumed)) if resumed else cursor, question)
    page_max = request.app[LIMITS].page_max
    limit = number(request, "limit", min(100, page_max), page_max)
    page = await _page(request, cursor, question, limit)
    body = msgspec.json.encode({"facts": page.records})
    return web.Response(body=body, content_type="application/json", headers={"Cache-Control": "no-store"})


async def _page(request: web.Request, cursor: Cursor, question: Question, limit: int) -> Page:
    """The next facts. Several parties are filtered here, over at most `_SCANNED_MAX` facts, so that one request
    cannot read the whole ledger."""
    replica = replica_of(request)
    if len(question.parties) <= 1:
        party = question.parties[0] if question.parties else None
        records = await replica.facts(cursor, party, question.contract, limit)
        return Page(records, read_cursor(records[-1].cursor) if records else cursor, len(records) >= limit)
    wanted, found, scanned = frozenset(question.parties), list[Any](), 0
    while scanned < _SCANNED_MAX and len(found) < limit:
        size = min(limit, _STREAM_PAGE)
        records = await replica.facts(cursor, None, question.contract, size)
        for record in records:
            if len(found) >= limit:
                return Page(found, cursor, True)
            cursor = read_cursor(record.cursor)
            if not wanted.isdisjoint(record.parties):
                found.append(record)
        if len(records) < size:
            return Page(found, cursor, False)
        scanned += size
    return Page(found, cursor, True)


async def _stream(request: web.Request, cursor: Cursor, question: Question) -> web.StreamResponse:
    limits, streams = request.app[LIMITS], request.app[STREAMS]
    if streams.open >= limits.streams_max:
        raise ProblemError("too-many-streams", "Too many streams of facts", 503, "Try again later.", retry_after=5)
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )
    streams.open += 1
    try:
        await response.prepare(request)
        _bound_send_buffer(request)
        await _follow(request, response, cursor, question)
    except (TimeoutError, ClientConnectionResetError):
        if request.transport is not None:
            request.transport.abort()  # the reader is too slow, or gone; it continues from its cursor
    finally:
        streams.open -= 1
    return response


async def _follow(request: web.Request, response: web.StreamResponse, cursor: Cursor, question: Question) -> None:
    replica, limits, stopping = replica_of(request), request.app[LIMITS], request.app[STOPPING]
    beat_at = time.monotonic() + limits.heartbeat_s
    end_at = time.monotonic() + (_SIGNED_STREAM_S if is_restricted(request) else math.inf)
    async with replica.subscribe() as woken:
        while not stopping.is_set() and time.monotonic() < end_at:
            woken.clear()
            height = int(replica.status()["height"])
            page = await _page(request, cursor, question, _STREAM_PAGE)
            if page.records:
                data = b"".join(_event(record) for record in page.records)
                await _write(response, data, limits.slow_reader_s)
                beat_at = time.monotonic() + limits.heartbeat_s
            cursor = page.end
            if page.full:
                continue
            cursor = max(cursor, (height, INDEX_MAX, ORDINAL_MAX))  # all up to this height was asked for and given
            if time.monotonic() >= beat_at:
                await _write(response, "id: {}.{}.{}\n: alive\n\n".format(*cursor).encode(), limits.slow_reader_s)
                beat_at = time.monotonic() + limits.heartbeat_s
            await _first(woken, stopping, timeout_s=beat_at - time.monotonic())


def _bound_send_buffer(request: web.Request) -> None:
    # The kernel would take megabytes for a reader that has stopped; then a slow reader were not seen for long.
    sock = request.transport.get_extra_info("socket") if request.transport is not None else None
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)


def _event(record: FactRecord) -> bytes:
    return b"id: %b\ndata: %b\n\n" % (record.cursor.encode(), msgspec.json.encode(record))


async def _write(response: web.StreamResponse, data: bytes, timeout_s: float) -> None:
    async with asyncio.timeout(timeout_s):
        await response.write(data)


async def _first(*events: asyncio.Event, timeout_s: float) -> None:
    """Returns when one of the events is set, or after the time."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=max(timeout_s, 0), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
