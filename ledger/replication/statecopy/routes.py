"""The routes by which a member gives its state, below `/v1/peers/{channel}` like the rest of the peer API.

GET manifest?height=h     what this member's tables say of that height, signed: JSON; 404 before it is there
GET state?after=h         frames of one snapshot (ledger.replication.statecopy.rows), as long as it takes
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
from aiohttp import web

from ledger.replication.statecopy.giving import Giving
from runtime.service import ProblemError

Allow = Callable[[web.Request], object]


def add_state_routes(app: web.Application, givings: Mapping[str, Giving], allow: Allow) -> None:
    """givings: by channel. `allow` raises for a request of somebody who is no member of the channel."""

    async def manifest(request: web.Request) -> web.Response:
        allow(request)
        signed = await _giving(request, givings).manifest(_height(request, "height"))
        if signed is None:
            raise ProblemError("not-found", "Not found", 404, "This block is not committed here.")
        return web.Response(body=msgspec.json.encode(signed), content_type="application/json")

    async def state(request: web.Request) -> web.StreamResponse:
        allow(request)
        frames = _giving(request, givings).state(_height(request, "after"))
        try:
            first = await anext(frames)  # what goes wrong before it is still an answer of its own
            response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
            await response.prepare(request)
            await response.write(first)
            async for frame in frames:
                await response.write(frame)
            await response.write_eof()
            return response
        finally:
            await frames.aclose()

    app.router.add_get("/v1/peers/{channel}/manifest", manifest)
    app.router.add_get("/v1/peers/{channel}/state", state)


def _giving(request: web.Request, givings: Mapping[str, Giving]) -> Giving:
    found = givings.get(request.match_info["channel"])
    if found is None:
        raise ProblemError("not-found", "Not found", 404, "There is no such channel for this member.")
    return found


def _height(request: web.Request, name: str) -> int:
    text = request.query.get(name, "")
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise ProblemError("invalid-request", "The request cannot be understood", 400, f"{name} is a number from 0 on.")
    return int(text)
