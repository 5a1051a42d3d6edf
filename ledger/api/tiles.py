"""The log for every C2SP client: c2sp.org/tlog-tiles, below the prefix of the channel.

Checkpoint, tiles, bundles and policy of the first channel are for everybody, browsers on other sites among them: they
are the same for all, no credentials lead to more, and nothing in them is secret. Bundles are compressed for who takes
gzip; hashes do not compress.
"""

from __future__ import annotations

import re
from typing import Final

from aiohttp import web

from ledger.api.context import REPLICAS, known_parameters, not_found, replica_of
from ledger.log.tiles import ENTRIES, TileId, parse_tile_path, tile_width

PUBLIC: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Ledger-Height, Ledger-Final-Height, Retry-After",
}
_IMMUTABLE: Final = {"Cache-Control": "public, max-age=31536000, immutable"}
_COMPRESSED_FROM_BYTES: Final = 1024
_NO_WEIGHT = re.compile(r"q=0(\.0{0,3})?", re.ASCII)


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
    response = web.Response(body=body, content_type="application/octet-stream", headers=_IMMUTABLE)
    if level == ENTRIES:
        response.headers["Vary"] = "Accept-Encoding"
        if len(body) >= _COMPRESSED_FROM_BYTES and _takes_gzip(request):
            response.enable_compression(web.ContentCoding.gzip)
    return response


async def publish(request: web.Request, response: web.StreamResponse) -> None:
    """Lets scripts of other sites read what is public: checkpoint, tiles, bundles and policy of the first channel, and
    why one is not there. Further channels may be restricted."""
    resource = request.match_info.route.resource
    hosted = request.app[REPLICAS]
    is_first = request.match_info.get("channel") == next(iter(hosted), None)
    if is_first and resource is not None and resource.canonical.endswith(("/checkpoint", "/tile/{path}", "/policy")):
        response.headers.update(PUBLIC)


def _takes_gzip(request: web.Request) -> bool:
    """Does Accept-Encoding name gzip, or everything, with a weight above 0?"""
    weights = {}
    for part in ",".join(request.headers.getall("Accept-Encoding", [])).lower().split(","):
        name, _, rest = part.partition(";")
        weights[name.strip()] = _NO_WEIGHT.fullmatch(rest.replace(" ", "")) is None
    return weights.get("gzip", weights.get("*", False))
