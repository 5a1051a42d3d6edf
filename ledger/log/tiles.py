"""tlog-tiles: paths and widths of tiles, entry bundles (c2sp.org/tlog-tiles).

Tile (level l, number n) holds up to 256 hashes of 32 bytes; hash i is the tree hash of the entries
[(n * 256 + i) * 256^l, (n * 256 + i + 1) * 256^l). Only complete subtrees have a hash, so tiles grow at the right
edge alone, a full one never changes, and a partial one is a prefix of every later version of itself: one stored row
serves all older widths.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ledger.verify.errors import VerificationError

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
HASH_BYTES = 32
MAX_ENTRY_BYTES = (1 << 16) - 1
MAX_LEVEL = 63
MAX_NUMBER = (1 << 55) - 1
"""A log has fewer than 2^63 entries, so no tile has a larger number, and its first entry fits 64 signed bits."""
ENTRIES = -1
"""The level under which an entry bundle is addressed; its path says `entries`."""

_PATH = re.compile(r"tile/([0-9]{1,2}|entries)/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([0-9]{1,3}))?", re.ASCII)


class TileId(NamedTuple):
    """Level (0 = leaf hashes, ENTRIES = the entries themselves) and number N within the level."""

    level: int
    number: int


def tile_path(tile: TileId, width: int = TILE_WIDTH) -> str:
    """`tile/<L>/<N>[.p/<W>]`, N in groups of three digits, all but the last with an x: 1234067 is x001/x234/067."""
    groups = [f"{tile.number % 1000:03d}"]
    rest = tile.number // 1000
    while rest:
        groups.insert(0, f"x{rest % 1000:03d}")
        rest //= 1000
    level = "entries" if tile.level == ENTRIES else str(tile.level)
    suffix = "" if width == TILE_WIDTH else f".p/{width}"
    return f"tile/{level}/{'/'.join(groups)}{suffix}"


def parse_tile_path(path: str) -> tuple[TileId, int]:
    """Tile and width of a path as above; raises ValueError for any other text."""
    match = _PATH.fullmatch(path)
    if match is None:
        raise ValueError("not a tile path")
    level = ENTRIES if match[1] == "entries" else int(match[1])
    tile = TileId(level, int(match[2].replace("x", "").replace("/", "")))
    width = int(match[3]) if match[3] else TILE_WIDTH
    if level > MAX_LEVEL or tile.number > MAX_NUMBER or not 0 < width <= TILE_WIDTH or tile_path(tile, width) != path:
        raise ValueError("not a tile path")
    return tile, width


def tile_width(tile: TileId, size: int) -> int:
    """Number of hashes (or entries) in the tile of a tree of `size` leaves: 0 (no such tile) to 256."""
    complete = size >> TILE_HEIGHT * max(tile.level, 0)
    return max(0, min(TILE_WIDTH, complete - tile.number * TILE_WIDTH))


def edge_tiles(size: int) -> list[TileId]:
    """The partial tiles of a tree of `size` leaves, level 0 first: all that the next append can change."""
    tiles, level, complete = [], 0, size
    while complete:
        if complete % TILE_WIDTH:
            tiles.append(TileId(level, complete // TILE_WIDTH))
        level, complete = level + 1, complete >> TILE_HEIGHT
    return tiles


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """Entry bundle: uint16be length and bytes of each entry. Raises ValueError for an entry over 65,535 bytes."""
    for entry in entries:
        if len(entry) > MAX_ENTRY_BYTES:
            raise ValueError(f"an entry of {len(entry)} bytes, at most {MAX_ENTRY_BYTES} fit")
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def decode_bundle(bundle: bytes) -> list[bytes]:
    """The entries of a bundle of at most 256. Raises VerificationError(bundle_malformed) if it is cut."""
    entries = list(_entries(bundle))
    if len(entries) > TILE_WIDTH:
        raise VerificationError("bundle_malformed", f"{len(entries)} entries, a bundle holds at most {TILE_WIDTH}")
    return entries


def _entries(bundle: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(bundle):
        start = at + 2
        at = start + int.from_bytes(bundle[at:start], "big")
        if at > len(bundle):
            raise VerificationError("bundle_malformed", "the bundle ends inside an entry")
        yield bundle[start:at]
