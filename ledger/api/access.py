"""Who reads a restricted channel: its parties and members, by a signed request (ledger.client.signing).

    GET, HEAD below a restricted channel ─▶ headers? ─▶ time? ─▶ signature? ─▶ key known in its state? ─▶ handler
                                             401         401       401            403: not-enrolled
    a device, or whoever was revoked: only what names it (403: not-yours)          POST transactions: open to all

The first channel of a process and channels founded in clear are public, and cost nothing here. Whatever route is added
below a channel is closed until it is signed for, and closed to devices until it is in `_NAMED`. A request that is
replayed within its minute gives its sender's answer again, to who could read that on the way; streams end in time.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Final, NamedTuple

from aiohttp import web
from aiohttp.typedefs import Handler

from contracts.core.codec import read
from contracts.core.parties import Party, PartyKey, PartyStatus, Role
from ledger.api.backend import Backend
from ledger.api.context import INDEX_MAX, ORDINAL_MAX, PLAIN, REPLICAS, read_cursor, replica_of
from ledger.client.signing import (
    CHANNEL_RESTRICTED,
    KEY_HEADER,
    READ_HEADERS,
    SIGNATURE_HEADER,
    TIME_HEADER,
    WINDOW_MS,
    read_bytes,
)
from ledger.log.policy import parties_of
from ledger.verify.policy import parse_policy
from runtime.keys import verify
from runtime.service import ProblemError

_TIME = re.compile(r"[0-9]{1,16}", re.ASCII)
_SIGNATURE = re.compile(r"[0-9a-f]{128}", re.ASCII)
_KEY = re.compile(r"(ed25519:[0-9a-f]{64}|p256:[0-9a-f]{66})", re.ASCII)
_PAGE: Final = 500
_PAGES_MAX: Final = 40
_ENTRIES: Final = "entries/"


class Reader(NamedTuple):
    """Who reads; `only`: the party that what it reads must name, None for all of the channel."""

    only: str | None


_READER = web.RequestKey("reader", Reader)


def is_restricted(request: web.Request) -> bool:
    """Is the path below a channel that is here for its parties and members alone?"""
    hosted, channel = request.app[REPLICAS], request.match_info.get("channel")
    return channel in hosted and channel != next(iter(hosted)) and channel not in request.app[PLAIN]


def may_see(request: web.Request) -> bool:
    """Was the request let in, or is the channel public?"""
    return _READER in request or not is_restricted(request)


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Lets in who may read. Raises problems 401 and 403."""
    if is_restricted(request) and not _is_submission(request):
        reader = await _reader(request)
        if reader.only is not None:
            await _require_named(request, reader.only)
        request[_READER] = reader
    return await handler(request)


async def keep_private(request: web.Request, response: web.StreamResponse) -> None:
    """Nothing of a restricted channel is kept on the way, not even tiles, which never change."""
    if is_restricted(request):
        response.headers["Cache-Control"] = "no-store"
        if response.status == 401:
            response.headers["WWW-Authenticate"] = "Gridpact-Signature"


def _is_submission(request: web.Request) -> bool:
    """Transactions are signed themselves, and who is not enrolled yet enters by one."""
    return request.method == "POST" and _route(request) == "/transactions"


def _route(request: web.Request) -> str:
    """The route below the channel: "/records/{kind}"."""
    resource = request.match_info.route.resource
    return "" if resource is None else resource.canonical.partition("{channel}")[2]


async def _reader(request: web.Request) -> Reader:
    channel, replica = request.match_info["channel"], replica_of(request)
    key, time_text, signature = (request.headers.get(name, "") for name in READ_HEADERS)
    if not (key or time_text or signature):
        raise _unsigned(
            CHANNEL_RESTRICTED,
            f"Channel {channel} is read by its parties and members alone: sign the request with the key of one "
            f"({', '.join(READ_HEADERS)}). Commands take the key file with --key.",
        )
    if not (_KEY.fullmatch(key) and _TIME.fullmatch(time_text) and _SIGNATURE.fullmatch(signature)):
        raise _unsigned(
            "signature-invalid",
            f"{KEY_HEADER} is a public key (ed25519: or p256: and hex digits), {TIME_HEADER} wall time in ms, "
            f"{SIGNATURE_HEADER} 128 lower hex digits: send all three.",
        )
    late_ms = time.time_ns() // 1_000_000 - int(time_text)
    if abs(late_ms) > WINDOW_MS:
        raise _unsigned(
            "signature-stale",
            f"The request was signed {abs(late_ms) // 1000} s {'ago' if late_ms > 0 else 'ahead'} by this replica's "
            f"clock, at most {WINDOW_MS // 1000} s are taken: set the clock of this machine, then sign anew.",
        )
    message = read_bytes(request.method, channel, request.rel_url.raw_path_qs, int(time_text))
    if not verify(key, message, bytes.fromhex(signature)):
        raise _unsigned(
            "signature-invalid",
            "The signature is not this key's over method, channel, path with query and time: sign them as they are "
            "sent, and let no proxy rewrite them.",
        )
    if key in _member_keys(replica.policy()):
        return Reader(None)
    named, _ = await replica.record(PartyKey.KIND, key)
    party = None if named is None else read(named, PartyKey).party
    body = None if party is None else (await replica.record(Party.KIND, party))[0]
    if party is None or body is None:
        raise ProblemError(
            "not-enrolled",
            "This key is of nobody in the channel",
            403,
            f"No party or member of channel {channel} has the key: use the key that is enrolled there, or have it "
            "enrolled (EnrolParty), and try again.",
        )
    found = read(body, Party)
    sees_all = found.role is not Role.DEVICE and found.status is PartyStatus.ACTIVE
    return Reader(None if sees_all else party)


def _unsigned(type_: str, detail: str) -> ProblemError:
    return ProblemError(type_, "This channel is read by signed requests", 401, detail)


@lru_cache(maxsize=64)
def _member_keys(policy: bytes) -> frozenset[str]:
    """Cosigning keys of the members: an operator has its own at hand."""
    return frozenset(f"ed25519:{key.public.hex()}" for key in parties_of(parse_policy(policy)).members)


# ---- what names a party


async def _require_named(request: web.Request, party: str) -> None:
    check = _NAMED.get(_route(request))
    if check is None or not await check(request, party):
        raise ProblemError(
            "not-yours",
            "This party reads what names it",
            403,
            f"{party} is a device, or was revoked: it reads facts with ?party={party}, and transactions, records and "
            "proofs that concern nobody without it.",
        )


async def _everybody(_: web.Request, __: str) -> bool:
    return True


async def _facts(request: web.Request, party: str) -> bool:
    return request.query.getall("party", []) == [party]


async def _tile(request: web.Request, _: str) -> bool:
    """Hashes; entries are headers and facts of everybody."""
    return not request.match_info["path"].startswith(_ENTRIES)


async def _record(request: web.Request, party: str) -> bool:
    kind, key = request.match_info["kind"], request.match_info["key"]
    if party in key.split("/"):
        return True
    body, _ = await replica_of(request).record(kind, key)
    return body is not None and f'"{party}"'.encode() in body  # ids need no escapes in JSON


async def _transaction(request: web.Request, party: str) -> bool:
    """All it recorded concerns the party; of one without facts the answer is a code."""
    replica = replica_of(request)
    result = await replica.transaction(request.match_info["transaction_id"])
    if result is None or result.height is None or result.index is None:
        return True  # there is nothing to show
    if "fact" not in request.query:
        own = await _own_ordinals(replica, party, result.height, result.index)
        return len(own) == len(result.facts)
    return request.query["fact"] in map(str, await _own_ordinals(replica, party, result.height, result.index))


async def _own_ordinals(replica: Backend, party: str, height: int, index: int) -> set[int]:
    """Numbers of the facts at a leaf that concern the party."""
    before = (height, index - 1, ORDINAL_MAX)
    found = await replica.facts(before, party, None, _PAGE)
    places = [read_cursor(record.cursor) for record in found]
    return {ordinal for _, at, ordinal in places if at == index}


async def _leaf(request: web.Request, party: str) -> bool:
    """A fact at a leaf: its height is not known, so the party's own facts are gone through."""
    replica, wanted, cursor = replica_of(request), int(request.match_info["index"]), (0, 0, 0)
    for _ in range(_PAGES_MAX):
        found = await replica.facts(cursor, party, None, _PAGE)
        places = [read_cursor(record.cursor) for record in found]
        if any(at == wanted and request.query.get("fact") == str(ordinal) for _, at, ordinal in places):
            return True
        if len(places) < _PAGE or places[-1][1] > min(wanted, INDEX_MAX):
            return False
        cursor = places[-1]
    return False


#: routes that a device may read, and whether what is asked for names it
_NAMED: Final[dict[str, Callable[[web.Request, str], Awaitable[bool]]]] = {
    "/facts": _facts,
    "/transactions/{transaction_id}": _transaction,
    "/records/{kind}/{key}": _record,
    "/proofs/{transaction_id}": _transaction,
    "/proofs/at/{index}": _leaf,
    "/proofs/records/{kind}/{key}": _record,
    "/policy": _everybody,
    "/status": _everybody,
    "/checkpoint": _everybody,
    "/tile/{path}": _tile,
}
