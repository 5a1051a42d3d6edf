"""Transactions: a batch in, one result each out; and what became of one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec
from aiohttp import web

from ledger.api.backend import Backend, TransactionResult
from ledger.api.context import LIMITS, METRICS, bad_request, known_parameters, not_found, read_level, replica_of
from runtime.service import ProblemError

_UNKNOWN = "unknown"
COMMITTED = "committed"
FINAL = "final"


class Batch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST transactions; each is kept as the bytes it came in, because only canonical ones are taken."""

    transactions: list[msgspec.Raw]


async def submit(request: web.Request) -> web.Response:
    """POST transactions?wait=committed|final: 200 when every outcome is known, 202 while one is not (ask again, or send
    it again). With wait=final the answer comes once a quorum cosigned, or after the same time without."""
    known_parameters(request, "wait")
    wait = request.query.get("wait", COMMITTED)
    if wait not in (COMMITTED, FINAL):
        raise bad_request("wait is committed or final")
    if request.content_type != "application/json":
        raise ProblemError("unsupported-media-type", "Unsupported media type", 415, "Send application/json.")
    batch = _read(await request.read())
    maximum = request.app[LIMITS].batch_max
    if not 0 < len(batch) <= maximum:
        raise ProblemError("batch-size", "Wrong size of a batch", 413, f"Send 1 to {maximum} transactions at once.")
    started = time.perf_counter()
    replica = replica_of(request)
    results = await replica.submit(batch)
    if wait == FINAL:
        await replica.finality(max((1 + result.index for result in results if result.index is not None), default=0))
    request.app[METRICS].answered([result.status for result in results], time.perf_counter() - started)
    pending = any(result.status == _UNKNOWN for result in results)
    body = msgspec.json.encode({"results": [_answer(result, replica) for result in results]})
    headers = {"Retry-After": "1"} if pending else {}
    return web.Response(body=body, status=202 if pending else 200, headers=headers, content_type="application/json")


async def show(request: web.Request) -> web.Response:
    """GET transactions/{id}?read=."""
    known_parameters(request, "read")
    await read_level(request)
    transaction_id = request.match_info["transaction_id"]
    result = await replica_of(request).transaction(transaction_id)
    if result is None:
        raise not_found(f"This ledger has not executed a transaction {transaction_id}.")
    return web.Response(body=msgspec.json.encode(_answer(result, replica_of(request))), content_type="application/json")


def _read(body: bytes) -> Sequence[bytes]:
    try:
        return [bytes(raw) for raw in msgspec.json.decode(body, type=Batch).transactions]
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise bad_request(f'The body is not {{"transactions": [...]}}: {error}') from None


def _answer(result: TransactionResult, replica: Backend) -> dict[str, Any]:
    index = result.index
    return {
        "id": result.id,
        "status": result.status,
        "code": result.code,
        "height": result.height,
        "index": result.index,
        "facts": result.facts,
        "attested": 0 if index is None else replica.attested(index),
        "final": index is not None and index < replica.final_size,
        **({"detail": result.detail} if result.detail else {}),
    }
