"""The log for every C2SP client: c2sp.org/tlog-tiles, below the prefix of the channel."""

from __future__ import annotations

from aiohttp import web

from ledger.api.context import known_parameters, not_found, replica_of
from ledger.log.tiles import ENTRIES, TileId, parse_tile_path, tile_width

_IMMUTABLE = {"Cache-Control": "public, max-age=31536000, immutable"}


async def checkpoint(request: web.Request) -> web.Response:
    """GET checkpoint: the newest that a quorum cosigned."""
    known_parameters(request)
    body = await replica_of(request).checkpoint()
    headers = {"Cache-Control": "no-cache"}
    return web.Response(body=body, content_type="text/plain", charset="utf-8", headers=headers)


async def tile(request: web.Request) -> web.Response:
    """GET tile/<L>/<N>[.p/<W>] and tile/entries/<N>[.p/<W>]: never change."""
    known_parameters(request)
    path = f"tile/{request.match_info['path']}"
    try:
        (level, position), width = parse_tile_path(path)
    except ValueError:
        raise not_found("This is not the path of a tile.") from None
    replica = replica_of(request)
    if width > tile_width(TileId(level, position), int(replica.status()["size"])):
        raise not_found("The log has not grown to this tile yet.")
    if level == ENTRIES:
        body = await replica.entries(position, width)
    else:
        body = await replica.tile(level, position, width)
    if body is None:
        raise not_found("The log has not grown to this tile yet.")
    return web.Response(body=body, content_type="application/octet-stream", headers=_IMMUTABLE)
