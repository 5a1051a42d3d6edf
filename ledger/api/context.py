"""What handlers find in the application, and how they read a request: everything unexpected is a 400, never ignored."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from ledger.api.backend import Backend
from ledger.metrics import Metrics
from runtime.service import ProblemError

ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,95}", re.ASCII)
#: keys of records: ids, joined by slashes; printable ASCII without space
KEY: Final = re.compile(r"[\x21-\x7e]{1,300}", re.ASCII)
INDEX_MAX: Final = 2**53 - 1
ORDINAL_MAX: Final = 2**31 - 1
_CURSOR = re.compile(r"([0-9]{1,16})\.([0-9]{1,16})\.([0-9]{1,16})", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the interface; see ledger.config for their meaning."""

    batch_max: int
    page_max: int
    streams_max: int
    heartbeat_s: float
    slow_reader_s: float


class Streams:
    """How many streams of facts are open."""

    def __init__(self) -> None:
        self.open = 0


REPLICAS: web.AppKey[dict[str, Backend]] = web.AppKey("replicas", dict)
"""By channel; filled when the process has started."""

LIMITS = web.AppKey("limits", Limits)
PLAIN: web.AppKey[set[str]] = web.AppKey("plain", set)
"""Channels besides the first that were founded in clear; every other one is restricted (ledger.api.access)."""
METRICS = web.AppKey("metrics", Metrics)
STREAMS = web.AppKey("streams", Streams)


def replica_of(request: web.Request) -> Backend:
    """The replica of the channel in the path. Raises a 404."""
    found = request.app[REPLICAS].get(request.match_info["channel"])
    if found is None:
        raise web.HTTPNotFound
    return found


async def read_level(request: web.Request) -> None:
    """`?read=local` (the default): as far as this replica is. `?read=leader`: returns once everything is executed here
    that was ordered anywhere before the request, or raises OrderingUnavailable."""
    level = request.query.get("read", "local")
    if level not in ("local", "leader"):
        raise bad_request("read is local or leader")
    if level == "leader":
        await replica_of(request).current()


def bad_request(detail: str) -> ProblemError:
    """The problem of a request that has no meaning here."""
    return ProblemError("invalid-request", "The request cannot be understood", 400, detail)


def not_found(detail: str) -> ProblemError:
    """The problem of something that is not there."""
    return ProblemError("not-found", "Not found", 404, detail)


def known_parameters(request: web.Request, *names: str, repeated: Collection[str] = ()) -> None:
    """Raises a 400 for a parameter that this path has not, or that is given twice."""
    for name in request.query:
        if name not in names:
            raise bad_request(f"there is no parameter {name[:40]!r} here, only {', '.join(names) or 'none at all'}")
        if name not in repeated and len(request.query.getall(name)) > 1:
            raise bad_request(f"the parameter {name} is given more than once")


def number(request: web.Request, name: str, default: int, maximum: int) -> int:
    """A whole number of the query, at most `maximum` (a larger one is cut)."""
    text = request.query.get(name)
    if text is None:
        return default
    if not _NUMBER.fullmatch(text):
        raise bad_request(f"{name} is not a whole number")
    return min(int(text), maximum)


def pattern(request: web.Request, name: str, form: re.Pattern[str]) -> str | None:
    """A text of the query that fits `form`; None where it is absent or empty."""
    return checked(name, request.query.get(name), form)


def checked(name: str, text: str | None, form: re.Pattern[str]) -> str | None:
    """`text`, if it fits; None for none. Raises a 400."""
    if not text:
        return None
    if not form.fullmatch(text):
        raise bad_request(f"{name} has characters or a length that no {name} has")
    return text


def read_cursor(text: str) -> tuple[int, int, int]:
    """A cursor's three numbers, the last cut to what a fact can have. Raises a 400."""
    match = _CURSOR.fullmatch(text)
    if match is None:
        raise bad_request("a cursor has the form height.index.ordinal")
    return int(match[1]), int(match[2]), min(int(match[3]), ORDINAL_MAX)
