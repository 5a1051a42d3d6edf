"""The tile-backed tree against published vectors and against the recursive definition of RFC 6962."""

from __future__ import annotations

import random
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.log import merkle
from ledger.log.tiles import TileId, edge_tiles, tile_width
from ledger.verify import VerificationError, verify_consistency, verify_inclusion
from ledger.verify.merkle import EMPTY_ROOT, leaf_hash, node_hash

# Known answers: github.com/transparency-dev/merkle, testonly/constants.go and reference_test.go (Apache-2.0), the
# vectors of the Certificate Transparency reference implementation.
LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSION = {
    (0, 1): [],
    (0, 2): ["96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"],
    (1, 2): ["6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
}
CONSISTENCY = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
}
HASHES = [leaf_hash(number.to_bytes(4, "big")) for number in range(70_000)]
TILES = merkle.append(0, HASHES, {}).tiles


def mth(hashes: list[bytes]) -> bytes:
    """RFC 6962, 2.1, word for word (over leaf hashes)."""
    if not hashes:
        return sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return node_hash(mth(hashes[:split]), mth(hashes[split:]))


def reference() -> merkle.Appended:
    return merkle.append(0, [leaf_hash(bytes.fromhex(leaf)) for leaf in LEAVES], {})


@pytest.mark.parametrize("size", range(9))
def test_roots_are_those_of_the_certificate_transparency_vectors(size: int) -> None:
    leaves = [leaf_hash(bytes.fromhex(leaf)) for leaf in LEAVES[:size]]
    assert merkle.append(0, leaves, {}).root.hex() == ROOTS[size]
    assert merkle.root(size, reference().tiles).hex() == ROOTS[size]


@pytest.mark.parametrize(("index", "size"), INCLUSION)
def test_inclusion_proofs_are_those_of_the_vectors(index: int, size: int) -> None:
    proof = merkle.inclusion_proof(index, size, reference().tiles)
    assert [item.hex() for item in proof] == INCLUSION[index, size]
    verify_inclusion(leaf_hash(bytes.fromhex(LEAVES[index])), index, size, proof, bytes.fromhex(ROOTS[size]))


@pytest.mark.parametrize(("old", "new"), CONSISTENCY)
def test_consistency_proofs_are_those_of_the_vectors(old: int, new: int) -> None:
    proof = merkle.consistency_proof(old, new, reference().tiles)
    assert [item.hex() for item in proof] == CONSISTENCY[old, new]
    verify_consistency(old, new, proof, bytes.fromhex(ROOTS[old]), bytes.fromhex(ROOTS[new]))


def test_every_index_of_every_size_up_to_100_and_about_a_full_tile_verifies() -> None:
    tiles = merkle.append(0, HASHES[:300], {}).tiles
    for size in (*range(1, 101), 127, 128, 129, 255, 256, 257, 300):
        root = merkle.root(size, tiles)
        assert root == mth(HASHES[:size])
        for index in range(size):
            verify_inclusion(HASHES[index], index, size, merkle.inclusion_proof(index, size, tiles), root)


def test_every_pair_of_sizes_up_to_130_is_consistent() -> None:
    tiles = merkle.append(0, HASHES[:130], {}).tiles
    roots = [merkle.root(size, tiles) for size in range(131)]
    for new in range(131):
        for old in range(new + 1):
            verify_consistency(old, new, merkle.consistency_proof(old, new, tiles), roots[old], roots[new])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 700), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_appending_in_pieces_gives_the_tiles_and_root_of_appending_at_once(
    pieces: list[int], choice: random.Random
) -> None:
    rows: dict[TileId, bytes] = {}
    size, edge = 0, dict[TileId, bytes]()
    for piece in pieces:
        # A replica that just started reads the edge from its rows, a running one has it in memory.
        reader = edge if choice.random() < 0.5 else {tile: rows[tile] for tile in edge_tiles(size)}
        appended = merkle.append(size, HASHES[size : size + piece], reader)
        rows |= appended.tiles
        size, edge = appended.size, appended.edge
    whole = merkle.append(0, HASHES[:size], {})
    assert rows == whole.tiles
    assert merkle.root(size, edge) == whole.root == mth(HASHES[:size])
    assert all(len(row) == 32 * tile_width(tile, size) for tile, row in rows.items())


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_proofs_need_only_the_tiles_they_name_and_hold_for_older_sizes(data: st.DataObject) -> None:
    tiles = TILES
    size = data.draw(st.integers(1, len(HASHES)))
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(0, size))
    root, old_root = (merkle.root(n, {tile: tiles[tile] for tile in edge_tiles(n)}) for n in (size, old))

    ranges = merkle.inclusion_ranges(index, size)
    needed = merkle.range_tiles(ranges)
    assert all(tile_width(tile, size) for tile in needed)
    verify_inclusion(HASHES[index], index, size, merkle.prove(ranges, {t: tiles[t] for t in needed}), root)

    ranges = merkle.consistency_ranges(old, size)
    needed = merkle.range_tiles(ranges)
    verify_consistency(old, size, merkle.prove(ranges, {t: tiles[t] for t in needed}), old_root, root)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_changed_inclusion_proof_fails(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 300))
    index = data.draw(st.integers(0, size - 1))
    tiles = merkle.append(0, HASHES[:300], {}).tiles
    proof, root = merkle.inclusion_proof(index, size, tiles), merkle.root(size, tiles)
    change = data.draw(st.sampled_from(["flip", "drop", "repeat", "longer", "index", "size", "leaf"]))
    at = data.draw(st.integers(0, len(proof) - 1))
    leaf = HASHES[index]
    if change == "flip":
        byte = data.draw(st.integers(0, 31))
        proof[at] = proof[at][:byte] + bytes([proof[at][byte] ^ data.draw(st.integers(1, 255))]) + proof[at][byte + 1 :]
    elif change == "drop":
        del proof[at]
    elif change == "repeat":
        proof.insert(at, proof[at])
    elif change == "longer":
        proof.append(data.draw(st.binary(min_size=32, max_size=32)))
    elif change == "index":
        index = data.draw(st.integers(-1, size).filter(lambda other: other != index))
    elif change == "size":
        # A proof binds the size only through its length and the side of each sibling, so take one that differs.
        size = index
    else:
        leaf = HASHES[index + 1]
    with pytest.raises(VerificationError, match="merkle_proof"):
        verify_inclusion(leaf, index, size, proof, root)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_changed_consistency_proof_fails(data: st.DataObject) -> None:
    new = data.draw(st.integers(2, 300))
    old = data.draw(st.integers(1, new - 1))
    tiles = merkle.append(0, HASHES[:300], {}).tiles
    proof = merkle.consistency_proof(old, new, tiles)
    old_root, new_root = merkle.root(old, tiles), merkle.root(new, tiles)
    change = data.draw(st.sampled_from(["flip", "drop", "longer", "old root", "new root", "swap"]))
    at = data.draw(st.integers(0, len(proof) - 1))
    if change == "flip":
        proof[at] = bytes([proof[at][0] ^ 1]) + proof[at][1:]
    elif change == "drop":
        del proof[at]
    elif change == "longer":
        proof.append(bytes(32))
    elif change == "old root":
        old_root = HASHES[301]
    elif change == "new root":
        new_root = HASHES[301]
    else:
        old_root, new_root = new_root, old_root
    with pytest.raises(VerificationError, match="merkle_proof"):
        verify_consistency(old, new, proof, old_root, new_root)


def test_a_proof_that_leads_to_the_root_in_a_tree_of_another_size_fails() -> None:
    one, two, three = HASHES[:3]
    pair = node_hash(one, two)
    root = node_hash(pair, three)
    verify_inclusion(one, 0, 2, [two], pair)
    verify_consistency(2, 3, [three], pair, root)
    with pytest.raises(VerificationError, match="does not lead"):
        verify_inclusion(one, 0, 3, [two], pair)
    with pytest.raises(VerificationError, match="too long"):
        verify_inclusion(two, 0, 1, [one], pair)
    with pytest.raises(VerificationError, match="does not lead"):
        verify_consistency(2, 5, [three], pair, root)
    with pytest.raises(VerificationError, match="too long"):
        verify_consistency(2, 3, [three, one], node_hash(one, pair), node_hash(one, root))
    with pytest.raises(VerificationError, match="too short"):
        verify_consistency(3, 4, [], root, root)


def test_an_empty_tree_is_consistent_with_every_tree_and_only_by_its_own_root() -> None:
    verify_consistency(0, 5, [], EMPTY_ROOT, HASHES[0])
    for bad in ((0, 5, [], HASHES[1]), (0, 5, [HASHES[0]], EMPTY_ROOT), (6, 5, [], EMPTY_ROOT)):
        with pytest.raises(VerificationError):
            verify_consistency(*bad, HASHES[0])


def test_a_tile_that_is_too_short_is_noticed() -> None:
    tiles = merkle.append(0, HASHES[:300], {}).tiles
    short = tiles | {TileId(0, 1): tiles[TileId(0, 1)][:-32]}
    with pytest.raises(ValueError, match="shorter"):
        merkle.append(300, HASHES[:1], short)
    with pytest.raises(ValueError, match="shorter"):
        merkle.inclusion_proof(298, 300, short)


@pytest.mark.parametrize(("index", "size"), [(0, 0), (-1, 3), (3, 3)])
def test_a_leaf_outside_the_tree_has_no_proof(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="not in a tree"):
        merkle.inclusion_ranges(index, size)
