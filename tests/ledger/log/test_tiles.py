"""Tile paths, widths and entry bundles as the tlog-tiles text gives them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.log.tiles import (
    ENTRIES,
    MAX_NUMBER,
    TileId,
    decode_bundle,
    edge_tiles,
    encode_bundle,
    parse_tile_path,
    tile_path,
    tile_width,
)
from ledger.verify import VerificationError


@pytest.mark.parametrize(
    ("tile", "width", "path"),
    [
        (TileId(0, 1234067), 256, "tile/0/x001/x234/067"),  # the example of the tlog-tiles text
        (TileId(0, 0), 256, "tile/0/000"),
        (TileId(1, 999), 17, "tile/1/999.p/17"),
        (TileId(2, 1000), 1, "tile/2/x001/000.p/1"),
        (TileId(ENTRIES, 273), 112, "tile/entries/273.p/112"),
        (TileId(63, 5), 255, "tile/63/005.p/255"),
    ],
)
def test_paths_are_written_and_read(tile: TileId, width: int, path: str) -> None:
    assert tile_path(tile, width) == path
    assert parse_tile_path(path) == (tile, width)


@given(st.integers(-1, 63), st.integers(0, MAX_NUMBER), st.integers(1, 256))
def test_every_path_reads_back(level: int, number: int, width: int) -> None:
    assert parse_tile_path(tile_path(TileId(level, number), width)) == (TileId(level, number), width)


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/0",
        "tile/00/000",
        "tile/64/000",
        "tile/0/x000/001",
        "tile/0/001/002",
        "tile/0/x001",
        "tile/0/000.p/256",
        "tile/0/000.p/0",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/000/",
        "/tile/0/000",
        "tile/0/000\n",
        "tile/-1/000",
        "tile/0/٠٠٠",
        "",
    ],
)
def test_other_texts_are_no_paths(path: str) -> None:
    with pytest.raises(ValueError, match="not a tile path"):
        parse_tile_path(path)


@given(st.text(alphabet="tile/0123456789x.pentries", max_size=30))
def test_a_text_that_reads_as_a_path_is_written_the_same(path: str) -> None:
    try:
        tile, width = parse_tile_path(path)
    except ValueError:
        return
    assert tile_path(tile, width) == path


def test_widths_of_a_tree_of_70000_are_those_of_the_text() -> None:
    # 273 full and one partial (112) tile at level 0, one full and one partial (17) at level 1, one partial (1) at 2.
    assert [tile_width(TileId(0, n), 70_000) for n in (0, 272, 273, 274)] == [256, 256, 112, 0]
    assert [tile_width(TileId(1, n), 70_000) for n in (0, 1, 2)] == [256, 17, 0]
    assert [tile_width(TileId(2, n), 70_000) for n in (0, 1)] == [1, 0]
    assert tile_width(TileId(ENTRIES, 273), 70_000) == 112
    assert edge_tiles(70_000) == [TileId(0, 273), TileId(1, 1), TileId(2, 0)]


def test_a_tree_of_256_has_a_full_tile_and_a_partial_one_above() -> None:
    assert edge_tiles(256) == [TileId(1, 0)]
    assert tile_width(TileId(0, 0), 256) == 256
    assert tile_width(TileId(1, 0), 256) == 1
    assert edge_tiles(0) == []


@given(st.lists(st.binary(max_size=300), max_size=256))
def test_bundles_read_back(entries: list[bytes]) -> None:
    assert decode_bundle(encode_bundle(entries)) == entries


def test_a_bundle_is_length_and_bytes() -> None:
    assert encode_bundle([b"one", b"", b"x" * 258]) == b"\x00\x03one" + b"\x00\x00" + b"\x01\x02" + b"x" * 258


@given(st.binary(max_size=600))
def test_any_bytes_are_a_bundle_or_refused(data: bytes) -> None:
    try:
        entries = decode_bundle(data)
    except VerificationError:
        return
    assert encode_bundle(entries) == data


def test_an_entry_that_does_not_fit_or_a_bundle_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="65535"):
        encode_bundle([b"x" * 65_536])
    with pytest.raises(VerificationError):
        decode_bundle(encode_bundle([b""] * 257))
