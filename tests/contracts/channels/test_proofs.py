"""The contracts' own readers of proofs agree with those of the verifier, byte for byte, on any input."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.core import proofs
from contracts.core.errors import Refusal
from ledger.log import merkle
from ledger.log.checkpoint import checkpoint_text, cosigner_key, log_key
from ledger.verify import VerificationError, verify_consistency, verify_inclusion
from ledger.verify.merkle import leaf_hash
from ledger.verify.note import VerifierKey, cosigned_message
from runtime.keys import verify
from tests.builders import a_key

LEAVES = [b"entry %d" % n for n in range(70)]
SIZES = st.integers(1, len(LEAVES))
HASH = st.binary(min_size=32, max_size=32)


def tree(size: int) -> tuple[bytes, dict[object, bytes]]:
    appended = merkle.append(0, [leaf_hash(leaf) for leaf in LEAVES[:size]], {})
    return appended.root, dict(appended.tiles)


@given(st.data(), SIZES)
def test_an_inclusion_proof_is_judged_as_the_verifier_judges_it(data: st.DataObject, size: int) -> None:
    root, tiles = tree(size)
    index = data.draw(st.integers(0, size - 1))
    path = merkle.inclusion_proof(index, size, tiles)  # type: ignore[arg-type]
    change = data.draw(st.sampled_from(("none", "none", "drop", "add", "index", "size")))
    asked = (index, size)
    if change == "drop":
        path = path[:-1]
    elif change == "add":
        path = [*path, data.draw(HASH)]
    elif change == "index":
        asked = (data.draw(st.integers(-1, size)), size)
    elif change == "size":
        asked = (index, data.draw(SIZES))
    leaf = leaf_hash(LEAVES[index])
    try:
        verify_inclusion(leaf, *asked, path, root)
        expected = True
    except VerificationError:
        expected = False
    assert proofs.leaf_hash(LEAVES[index]) == leaf
    try:
        found = proofs.inclusion_root(leaf, *asked, tuple(item.hex() for item in path)) == root.hex()
    except Refusal:
        found = False
    assert found == expected


@given(st.data(), st.integers(2, len(LEAVES)))
def test_the_roots_that_a_path_leads_to_are_those_of_both_trees(data: st.DataObject, new: int) -> None:
    old = data.draw(st.integers(1, new - 1))
    old_root, _ = tree(old)
    new_root, tiles = tree(new)
    proof = merkle.consistency_proof(old, new, tiles)  # type: ignore[arg-type]
    verify_consistency(old, new, proof, old_root, new_root)
    path = tuple(item.hex() for item in ([old_root, *proof] if old & (old - 1) == 0 else proof))
    assert proofs.prefix_roots(old, new, path) == (old_root.hex(), new_root.hex())
    with pytest.raises(Refusal, match="proof_invalid"):
        proofs.prefix_roots(old, new, path[:-1])
    with pytest.raises(Refusal, match="proof_invalid"):
        proofs.prefix_roots(old, new, (*path, "0" * 64))


@pytest.mark.parametrize(("old", "new"), [(0, 5), (5, 5), (6, 5), (-1, 5)])
def test_there_is_no_path_between_sizes_that_do_not_grow(old: int, new: int) -> None:
    with pytest.raises(Refusal, match="proof_invalid"):
        proofs.prefix_roots(old, new, ("0" * 64,))


@given(HASH, st.integers(0, 2**53 - 1), st.integers(0, 2**40))
def test_what_members_sign_is_what_the_verifier_reads(root: bytes, size: int, time_s: int) -> None:
    text = checkpoint_text("ledger.example/main", size, root)
    assert proofs.checkpoint_text("ledger.example/main", size, root.hex()) == text
    assert proofs.cosigned_bytes("ledger.example/main", size, root.hex(), time_s) == cosigned_message(text, time_s)
    assert proofs.log_signed_bytes("ledger.example/main", size, root.hex()) == text.encode()


def test_a_cosignature_by_a_real_key_is_valid() -> None:
    key = a_key(7)
    message = proofs.cosigned_bytes("ledger.example/main", 3, "ab" * 32, 1_767_225_600)
    vkey = cosigner_key("member.example/1", bytes.fromhex(key.public[8:])).encode()
    assert verify(proofs.cosigner_key(vkey, "member.example/1"), message, key.sign(message))


@given(HASH)
def test_a_verifier_key_is_read_as_the_verifier_reads_it(public: bytes) -> None:
    vkey = log_key("ledger.example/main", public).encode()
    assert VerifierKey.parse(vkey).public == public
    assert proofs.log_key(vkey, "ledger.example/main") == f"ed25519:{public.hex()}"
    for wrong in (vkey[:-1], vkey + "A", vkey.replace("+", "+0", 1), vkey[:-4] + "====", vkey.upper()):
        with pytest.raises(Refusal, match="verifier_key_invalid"):
            proofs.log_key(wrong, "ledger.example/main")
    with pytest.raises(Refusal, match="verifier_key_invalid"):
        proofs.cosigner_key(vkey, "ledger.example/main")
