"""Records of the state, proofs of what was recorded, and how the replica is."""

from __future__ import annotations

import msgspec
from aiohttp import web

from ledger.api.context import (
    KEY,
    LIMITS,
    bad_request,
    known_parameters,
    not_found,
    number,
    pattern,
    read_level,
    replica_of,
)

_HEIGHT = "Ledger-Height"
_FACT_MAX = 10**6


async def record(request: web.Request) -> web.Response:
    """GET records/{kind}/{key}?read=."""
    known_parameters(request, "read")
    await read_level(request)
    kind, key = request.match_info["kind"], request.match_info["key"]
    body, height = await replica_of(request).record(kind, key) if KEY.fullmatch(key) else (None, 0)
    if body is None:
        raise not_found(f"There is no record {kind}/{key[:300]}.")
    return _json(_member(kind, key, body), {_HEIGHT: str(height)})


async def records(request: web.Request) -> web.Response:
    """GET records/{kind}?prefix=&after=&limit=&read=: `next_after` is null on the last page."""
    known_parameters(request, "prefix", "after", "limit", "read")
    await read_level(request)
    kind, page_max = request.match_info["kind"], request.app[LIMITS].page_max
    prefix, after = pattern(request, "prefix", KEY) or "", pattern(request, "after", KEY) or ""
    limit = max(1, number(request, "limit", min(100, page_max), page_max))
    rows = await replica_of(request).records(kind, prefix, after, limit)
    following = rows[-1][0] if len(rows) == limit else None
    return _json({"records": [_member(kind, key, body) for key, body in rows], "next_after": following})


async def proof(request: web.Request) -> web.Response:
    """GET proofs/{transaction_id}?fact=n: both files as text."""
    fact = _fact(request)
    transaction_id = request.match_info["transaction_id"]
    files = await replica_of(request).proof(transaction_id, fact)
    return _files(files, f"transaction {transaction_id}", fact)


async def proof_at(request: web.Request) -> web.Response:
    """GET proofs/at/{index}?fact=n: both files as text, of the entry at a leaf."""
    fact = _fact(request)
    index = int(request.match_info["index"])
    files = await replica_of(request).proof_at(index, fact)
    return _files(files, f"entry at leaf {index}", fact)


async def record_proof(request: web.Request) -> web.Response:
    """GET proofs/records/{kind}/{key}?read=: both files as text, of the record as it is now or of its absence. (A path
    below records/ would be that of another record: keys have slashes.)"""
    known_parameters(request, "read")
    await read_level(request)
    kind, key = request.match_info["kind"], request.match_info["key"]
    if not KEY.fullmatch(key):
        raise bad_request("a key has up to 300 printable characters of ASCII and no space")
    return _files(await replica_of(request).record_proof(kind, key), f"record {kind}/{key}", None)


async def policy(request: web.Request) -> web.Response:
    """GET policy."""
    known_parameters(request)
    body = replica_of(request).policy()
    return web.Response(body=body, content_type="text/plain", charset="utf-8")


async def status(request: web.Request) -> web.Response:
    """GET status."""
    known_parameters(request)
    return _json(replica_of(request).status())


async def refusals(request: web.Request) -> web.Response:
    """GET refusals?limit=: for the operator, newest first."""
    known_parameters(request, "limit")
    page_max = request.app[LIMITS].page_max
    found = await replica_of(request).refusals(number(request, "limit", min(100, page_max), page_max))
    return _json({"refusals": found})


def _fact(request: web.Request) -> int | None:
    known_parameters(request, "fact")
    return number(request, "fact", 0, _FACT_MAX) if "fact" in request.query else None


def _files(files: tuple[bytes, bytes] | None, what: str, fact: int | None) -> web.Response:
    if files is None:
        raise not_found(f"There is no {what}." if fact is None else f"There is no fact {fact} of the {what}.")
    text, opening = files
    return _json({"proof": text.decode(), "opening": opening.decode()})


def _member(kind: str, key: str, body: bytes) -> dict[str, object]:
    return {"kind": kind, "key": key, "value": msgspec.Raw(body)}


def _json(value: object, headers: dict[str, str] | None = None) -> web.Response:
    body = msgspec.json.encode(value)
    return web.Response(
        body=body, content_type="application/json", headers={"Cache-Control": "no-store", **(headers or {})}
    )
