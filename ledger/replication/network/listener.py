"""The peer API of one process, on a listener of its own: below `/v1/peers/{channel}`.

    POST transactions   to the proposer's queue: 202 {"taken": n}; 429 full; 503 not-proposer {"proposer": name}
    POST cosignatures   checkpoints that a member signed: 204
    GET  blocks?from=h&limit=n&size=s     committed blocks, each with its consistency proof to the tree of s leaves
    GET  changes?from=h                   the transactions that changed the members since
    GET  blocks/{h}/receipts              what this member made of a block
    GET  status                           height, size, newest note and newest final checkpoint

Over TLS both sides show a certificate, and its common name must be that of a member of the channel. What is said is
judged all the same: transactions and notes carry their own signatures.
"""

from __future__ import annotations

import asyncio
import re
import ssl as ssl_module
from collections.abc import Collection, Mapping
from typing import Any, Final, Protocol

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from ledger.errors import Diverged, NotProposer, OrderingUnavailable, QueueFull, StoreUnavailable
from ledger.replication.network.framing import (
    FrameInvalid,
    frame_blocks,
    frame_changes,
    read_notes,
    read_transactions,
)
from ledger.replication.network.reception import BLOCKS_MAX
from ledger.replication.peers import Reception
from runtime.service import ProblemError, problem_middleware

BODY_BYTES_MAX: Final = 4 * 1024 * 1024
ABREAST_EACH: Final = 32
"""Requests of one member handled at once; who sends more is told to come back. Of its own: a member that lets bodies
arrive byte by byte would keep the cosignatures of all others out, and nothing would become final here."""

NUMBER_MAX: Final = 2**63 - 1
_NUMBER = re.compile(r"[0-9]{1,19}", re.ASCII)


class Receptions(Protocol):
    """The channels of this process."""

    def __call__(self) -> Mapping[str, tuple[Reception, Collection[str]]]:
        """By name: its replica, and the names of its members."""


RECEPTIONS = web.AppKey("receptions", Receptions)
ABREAST = web.AppKey("abreast", dict[str, asyncio.Semaphore])
"""By the member's name; "" for everybody who is none, and over plain HTTP, which names nobody."""


def peer_app(receptions: Receptions) -> web.Application:
    """The application of the peer listener."""
    app = web.Application(middlewares=[problem_middleware, _explain], client_max_size=BODY_BYTES_MAX)
    app[RECEPTIONS] = receptions
    app[ABREAST] = {}
    base = "/v1/peers/{channel}"
    app.router.add_post(f"{base}/transactions", _transactions)
    app.router.add_post(f"{base}/cosignatures", _cosignatures)
    app.router.add_get(f"{base}/blocks", _blocks)
    app.router.add_get(f"{base}/changes", _changes)
    app.router.add_get(f"{base}/blocks/{{height:[0-9]{{1,16}}}}/receipts", _receipts)
    app.router.add_get(f"{base}/status", _status)
    return app


async def _transactions(request: web.Request) -> web.Response:
    reception = reception_of(request)
    taken = await reception.take_transactions(read_transactions(await request.read()))
    return _json({"taken": taken}, 202)


async def _cosignatures(request: web.Request) -> web.Response:
    reception = reception_of(request)
    await reception.take_cosignatures(read_notes(await request.read()))
    return web.Response(status=204)


async def _blocks(request: web.Request) -> web.Response:
    given = await reception_of(request).give_blocks(
        _number(request, "from"), min(_number(request, "limit"), BLOCKS_MAX), _number(request, "size")
    )
    return web.Response(body=frame_blocks(given), content_type="application/octet-stream")


async def _changes(request: web.Request) -> web.Response:
    given = await reception_of(request).give_changes(_number(request, "from"))
    return web.Response(body=frame_changes(given), content_type="application/octet-stream")


async def _receipts(request: web.Request) -> web.Response:
    found = await reception_of(request).give_receipts(int(request.match_info["height"]))
    if found is None:
        raise ProblemError("not-found", "Not found", 404, "This block is not committed here.")
    return _json(found)


async def _status(request: web.Request) -> web.Response:
    return _json(reception_of(request).peer_status())


def reception_of(request: web.Request) -> Reception:
    """The replica of the channel, if the peer is one of its members."""
    found = request.app[RECEPTIONS]().get(request.match_info["channel"])
    name = _common_name(request)
    if found is None or (name is not None and name not in found[1]):
        raise ProblemError("not-found", "Not found", 404, "There is no such channel for this member.")
    return found[0]


def _common_name(request: web.Request) -> str | None:
    """Of the peer's certificate; None over plain HTTP, "" for a certificate without one."""
    transport = request.transport
    ssl_object: ssl_module.SSLObject | None = transport.get_extra_info("ssl_object") if transport is not None else None
    if ssl_object is None:
        return None
    subject: Any = (ssl_object.getpeercert() or {}).get("subject", ())
    return next((value for part in subject for key, value in part if key == "commonName"), "")


def _number(request: web.Request, name: str) -> int:
    text = request.query.get(name, "")
    if not _NUMBER.fullmatch(text) or int(text) > NUMBER_MAX:
        raise ProblemError("invalid-request", "The request cannot be understood", 400, f"{name} is a number from 0 on.")
    return int(text)


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")


@web.middleware
async def _explain(request: web.Request, handler: Handler) -> web.StreamResponse:
    name = _common_name(request) or ""
    known = any(name in members for _, members in request.app[RECEPTIONS]().values())
    abreast = request.app[ABREAST].setdefault(name if known else "", asyncio.Semaphore(ABREAST_EACH))
    if abreast.locked():
        raise ProblemError("busy", "Too many requests of this member at once", 429, "Try again.", retry_after=1)
    async with abreast:
        try:
            return await handler(request)
        except FrameInvalid as error:
            raise ProblemError("invalid-request", "The request cannot be understood", 400, str(error)) from error
        except NotProposer as error:
            return _json({"type": "not-proposer", "proposer": error.proposer}, 503)
        except QueueFull as error:
            raise ProblemError("queue-full", "The queue is full", 429, str(error), error.retry_after_s) from error
        except (OrderingUnavailable, StoreUnavailable) as error:
            raise ProblemError("unavailable", "Not now", 503, str(error), retry_after=2) from error
        except Diverged as error:
            raise ProblemError("diverged", "This replica has stopped", 503, str(error), retry_after=30) from error
