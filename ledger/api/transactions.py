"""Transactions: a batch in, one result each out; and what became of one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec
from aiohttp import web

from ledger.api.backend import TransactionResult
from ledger.api.context import LIMITS, METRICS, REPLICA, bad_request, known_parameters, not_found
from runtime.service import ProblemError

_UNKNOWN = "unknown"


class Batch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST transactions; each is kept as the bytes it came in, because only canonical ones are taken."""

    transactions: list[msgspec.Raw]


async def submit(request: web.Request) -> web.Response:
    """POST transactions: 200 when every outcome is known, 202 while one is not (ask again, or send it again)."""
    known_parameters(request)
    if request.content_type != "application/json":
        raise ProblemError("unsupported-media-type", "Unsupported media type", 415, "Send application/json.")
    batch = _read(await request.read())
    maximum = request.app[LIMITS].batch_max
    if not 0 < len(batch) <= maximum:
        raise ProblemError("batch-size", "Wrong size of a batch", 413, f"Send 1 to {maximum} transactions at once.")
    started = time.perf_counter()
    results = await request.app[REPLICA].submit(batch)
    request.app[METRICS].answered([result.status for result in results], time.perf_counter() - started)
    pending = any(result.status == _UNKNOWN for result in results)
    body = msgspec.json.encode({"results": [_answer(result) for result in results]})
    headers = {"Retry-After": "1"} if pending else {}
    return web.Response(body=body, status=202 if pending else 200, headers=headers, content_type="application/json")


async def show(request: web.Request) -> web.Response:
    """GET transactions/{id}."""
    known_parameters(request)
    transaction_id = request.match_info["transaction_id"]
    result = await request.app[REPLICA].transaction(transaction_id)
    if result is None:
        raise not_found(f"This ledger has not executed a transaction {transaction_id}.")
    return web.Response(body=msgspec.json.encode(_answer(result)), content_type="application/json")


def _read(body: bytes) -> Sequence[bytes]:
    try:
        return [bytes(raw) for raw in msgspec.json.decode(body, type=Batch).transactions]
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise bad_request(f'The body is not {{"transactions": [...]}}: {error}') from None


def _answer(result: TransactionResult) -> dict[str, Any]:
    return {
        "id": result.id,
        "status": result.status,
        "code": result.code,
        "height": result.height,
        "index": result.index,
        "facts": result.facts,
    }
