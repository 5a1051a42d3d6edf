"""The append-only RFC 6962 tree over tiles: append, root, inclusion and consistency proofs, as pure functions.

size 7              r            Every complete subtree of 256^l leaves has one hash in a tile of level l; every
               /         \\       other node is hashed again from the tile below it, at most 255 hashes away.
             c             e
          /     \\        /   \\   A proof is a list of leaf ranges [start, end); `range_tiles` names the tiles a
         a       b      d     6  range needs, `range_hash` hashes it. So a caller that reads tiles from a database
        0 1     2 3    4 5       asks `..._tiles` first, reads them in one query, and passes what it got.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from ledger.verify.merkle import EMPTY_ROOT, HASH_BYTES, node_hash

from .tiles import TILE_HEIGHT, TILE_WIDTH, TileId, edge_tiles

Range = tuple[int, int]


class TileReader(Protocol):
    """Where tiles come from; a dict of tiles is one.

    A tile may be longer than the tree size in question needs (rows only grow); it must never be shorter.
    """

    def __getitem__(self, tile: TileId, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Appended:
    """The tree after an append. `tiles`: every new or grown tile, whole, to be written in place of the old row.

    `edge`: the partial tiles of the new size, all the next append has to read; keep it in memory once the tiles are
    durable, drop it if they are not.
    """

    size: int
    root: bytes
    tiles: dict[TileId, bytes]
    edge: dict[TileId, bytes]


def append(size: int, leaf_hashes: Sequence[bytes], reader: TileReader) -> Appended:
    """Append leaf hashes to a tree of `size` leaves. `reader` needs the tiles of `edge_tiles(size)`."""
    old_edge = {tile: _prefix(reader, tile, size) for tile in edge_tiles(size)}
    tiles: dict[TileId, bytes] = {}
    level, complete, new = 0, size, b"".join(leaf_hashes)
    while new:
        index, width = divmod(complete, TILE_WIDTH)
        row = old_edge[TileId(level, index)] + new if width else new
        parents = []
        for at in range(0, len(row), TILE_WIDTH * HASH_BYTES):
            tile = row[at : at + TILE_WIDTH * HASH_BYTES]
            tiles[TileId(level, index)] = tile
            index += 1
            if len(tile) == TILE_WIDTH * HASH_BYTES:
                parents.append(_perfect_root(tile))
        new = b"".join(parents)
        level, complete = level + 1, complete >> TILE_HEIGHT
    new_size = size + len(leaf_hashes)
    known = old_edge | tiles
    edge = {tile: known[tile] for tile in edge_tiles(new_size)}
    return Appended(new_size, root(new_size, edge), tiles, edge)


def root(size: int, reader: TileReader) -> bytes:
    """Root of the first `size` leaves. `reader` needs the tiles of `edge_tiles(size)`."""
    if size == 0:
        return EMPTY_ROOT
    computed: bytes | None = None
    for tile in edge_tiles(size):
        row = _prefix(reader, tile, size)
        computed = _partial_root(row, computed)
    assert computed is not None
    return computed


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """The subtrees of the inclusion proof of leaf `index` in the first `size` leaves, sibling first."""
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size} leaves")
    ranges: list[Range] = []
    start, end = 0, size
    while end - start > 1:
        split = start + _split(end - start)
        if index < split:
            ranges.append((split, end))
            end = split
        else:
            ranges.append((start, split))
            start = split
    return ranges[::-1]


def consistency_ranges(old_size: int, new_size: int) -> list[Range]:
    """The subtrees of the consistency proof between two sizes (RFC 6962, 2.1.2); none from 0 or between equal sizes."""
    if not 0 <= old_size <= new_size:
        raise ValueError(f"a tree of {old_size} leaves is no prefix of one of {new_size}")
    if old_size in (0, new_size):
        return []
    ranges: list[Range] = []
    start, end, whole = 0, new_size, True
    while old_size != end:
        split = start + _split(end - start)
        if old_size <= split:
            ranges.append((split, end))
            end = split
        else:
            ranges.append((start, split))
            start, whole = split, False
    if not whole:
        ranges.append((start, end))
    return ranges[::-1]


def range_tiles(ranges: Iterable[Range]) -> list[TileId]:
    """The tiles that `range_hash` reads for these ranges, each once, in order."""
    return sorted({_tile_of(start, height)[0] for item in ranges for start, height in _perfect_subtrees(*item)})


def prove(ranges: Iterable[Range], reader: TileReader) -> list[bytes]:
    """The hashes of the ranges: with `inclusion_ranges` or `consistency_ranges` the proof itself."""
    return [range_hash(start, end, reader) for start, end in ranges]


def inclusion_proof(index: int, size: int, reader: TileReader) -> list[bytes]:
    """Hashes from the sibling of leaf `index` to the root's child in the tree of the first `size` leaves."""
    return prove(inclusion_ranges(index, size), reader)


def consistency_proof(old_size: int, new_size: int, reader: TileReader) -> list[bytes]:
    """Proof that the first `old_size` leaves are a prefix of the first `new_size` leaves."""
    return prove(consistency_ranges(old_size, new_size), reader)


def range_hash(start: int, end: int, reader: TileReader) -> bytes:
    """Tree hash of the leaves [start, end), a range that occurs in a proof: only its right end may be incomplete."""
    computed: bytes | None = None
    for at, height in reversed(list(_perfect_subtrees(start, end))):
        tile, offset, count = _tile_of(at, height)
        row = reader[tile][offset * HASH_BYTES : (offset + count) * HASH_BYTES]
        if len(row) != count * HASH_BYTES:
            raise ValueError(f"{tile} is shorter than the tree")
        hashed = _perfect_root(row)
        computed = hashed if computed is None else node_hash(hashed, computed)
    assert computed is not None
    return computed


def _perfect_subtrees(start: int, end: int) -> Iterable[tuple[int, int]]:
    """(start, height) of the complete subtrees a right-edge range falls into, largest first."""
    while start < end:
        height = (end - start).bit_length() - 1
        yield start, height
        start += 1 << height


def _tile_of(start: int, height: int) -> tuple[TileId, int, int]:
    """Tile, first hash and number of hashes under the complete subtree at leaf `start`."""
    level, inner = divmod(height, TILE_HEIGHT)
    first = start >> TILE_HEIGHT * level
    return TileId(level, first // TILE_WIDTH), first % TILE_WIDTH, 1 << inner


def _perfect_root(row: bytes) -> bytes:
    """Root over 2^k concatenated hashes."""
    while len(row) > HASH_BYTES:
        row = b"".join([sha256(b"\x01" + row[at : at + 64]).digest() for at in range(0, len(row), 64)])
    return row


def _partial_root(row: bytes, right: bytes | None) -> bytes:
    """Root over any number of hashes with, to their right, the smaller trees already hashed to `right`."""
    computed = right
    for at, height in reversed(list(_perfect_subtrees(0, len(row) // HASH_BYTES))):
        hashed = _perfect_root(row[at * HASH_BYTES : (at + (1 << height)) * HASH_BYTES])
        computed = hashed if computed is None else node_hash(hashed, computed)
    assert computed is not None
    return computed


def _prefix(reader: TileReader, tile: TileId, size: int) -> bytes:
    width = (size >> TILE_HEIGHT * tile.level) % TILE_WIDTH
    row = reader[tile][: width * HASH_BYTES]
    if len(row) != width * HASH_BYTES:
        raise ValueError(f"{tile} is shorter than a tree of {size} leaves needs")
    return row


def _split(count: int) -> int:
    """The largest power of two smaller than `count`."""
    return 1 << (count - 1).bit_length() - 1
