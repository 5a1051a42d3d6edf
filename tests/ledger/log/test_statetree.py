"""The state tree: incremental equals recomputed, presence and absence are proved, nothing else is."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.log.statetree import StateTree, buckets_from_records, touched_buckets
from ledger.verify import StateProof, VerificationError, verify_record
from ledger.verify.state import bucket_of, key_hash

Rows = dict[int, bytes]

KEYS = st.tuples(st.sampled_from(["account", "contract"]), st.integers(0, 30).map(str))
BLOCKS = st.lists(st.dictionaries(KEYS, st.one_of(st.none(), st.binary(max_size=8)), max_size=12), max_size=8)


def full_root(rows: Rows) -> bytes:
    """The root by the definition, without the tree of the product."""
    level = [sha256(b"\x00" + rows.get(bucket, b"")).digest() for bucket in range(65_536)]
    while len(level) > 1:
        level = [sha256(b"\x01" + level[at] + level[at + 1]).digest() for at in range(0, len(level), 2)]
    return level[0]


def write(tree: StateTree, rows: Rows, changes: dict[tuple[str, str], bytes | None]) -> None:
    plan = tree.plan(changes, {bucket: rows.get(bucket, b"") for bucket in touched_buckets(changes)})
    rows |= plan.buckets
    tree.apply(plan)
    assert tree.root == plan.root


def proof_of(tree: StateTree, rows: Rows, kind: str, key: str) -> StateProof:
    return tree.prove(kind, key, {bucket: rows.get(bucket, b"") for bucket in touched_buckets([(kind, key)])})


def crowded() -> tuple[StateTree, Rows, list[str]]:
    """A tree in which two of the records share a bucket, and the keys of these two and of an absent third one."""
    by_bucket: dict[int, list[str]] = {}
    number = 0
    while True:
        keys = by_bucket.setdefault(bucket_of(key_hash("account", str(number))), [])
        keys.append(str(number))
        if len(keys) == 3:
            break
        number += 1
    tree, rows = StateTree(), Rows()
    write(tree, rows, {("account", keys[0]): b"0", ("account", keys[1]): b"1", ("account", "other"): b"x"})
    return tree, rows, keys


@settings(max_examples=25, deadline=None)
@given(BLOCKS)
def test_updating_block_by_block_gives_the_root_of_the_records(
    blocks: list[dict[tuple[str, str], bytes | None]],
) -> None:
    tree, rows = StateTree(), Rows()
    records: dict[tuple[str, str], bytes] = {}
    for changes in blocks:
        write(tree, rows, changes)
        for at, body in changes.items():
            records.pop(at, None)
            if body is not None:
                records[at] = body
    recomputed = buckets_from_records((kind, key, body) for (kind, key), body in records.items())
    assert {bucket: leaves for bucket, leaves in rows.items() if leaves} == recomputed
    assert tree.root == StateTree(recomputed.items()).root


def test_the_root_is_that_of_the_definition() -> None:
    tree, rows, _ = crowded()
    assert StateTree().root == full_root({})
    assert tree.root == full_root(rows) != full_root({})


def test_the_bucket_is_the_first_16_bits_of_the_key_hash() -> None:
    hashed = sha256(b"account\x00party/a").digest()
    assert key_hash("account", "party/a") == hashed
    assert bucket_of(hashed) == hashed[0] * 256 + hashed[1]


def test_presence_and_absence_are_proved_in_a_shared_bucket() -> None:
    tree, rows, keys = crowded()
    proofs = [proof_of(tree, rows, "account", key) for key in keys]
    assert len(proofs[0].leaves) == 128
    verify_record(tree.root, "account", keys[0], b"0", proofs[0])
    verify_record(tree.root, "account", keys[1], b"1", proofs[1])
    verify_record(tree.root, "account", keys[2], None, proofs[2])


def test_absence_is_proved_by_an_empty_bucket() -> None:
    tree, rows, _ = crowded()
    verify_record(tree.root, "account", "nobody", None, proof_of(tree, rows, "account", "nobody"))


def test_a_false_claim_about_a_record_fails() -> None:
    tree, rows, keys = crowded()
    proof = proof_of(tree, rows, "account", keys[0])
    for kind, key, body in [
        ("account", keys[0], b"1"),
        ("account", keys[0], None),
        ("account", keys[2], b"1"),
        ("contract", keys[0], b"0"),
        ("account", "nobody", None),
    ]:
        with pytest.raises(VerificationError, match="state_mismatch"):
            verify_record(tree.root, kind, key, body, proof)


def test_a_changed_proof_fails() -> None:
    tree, rows, keys = crowded()
    proof = proof_of(tree, rows, "account", keys[0])
    leaves, path = proof.leaves, proof.path
    swapped = leaves[64:] + leaves[:64]
    changed = [
        replace(proof, leaves=swapped),
        replace(proof, leaves=leaves[:64]),
        replace(proof, leaves=leaves[:-1]),
        replace(proof, leaves=leaves + leaves[-64:]),
        replace(proof, path=path[:-1]),
        replace(proof, path=path[::-1]),
        replace(proof, path=(*path, bytes(32))),
    ]
    changed += [replace(proof, path=(*path[:n], bytes(32), *path[n + 1 :])) for n in range(16)]
    changed += [replace(proof, leaves=leaves[:n] + bytes([leaves[n] ^ 1]) + leaves[n + 1 :]) for n in range(128)]
    for other in changed:
        with pytest.raises(VerificationError, match="state_mismatch"):
            verify_record(tree.root, "account", keys[0], b"0", other)


def test_a_bucket_out_of_order_or_with_a_foreign_leaf_is_refused_even_under_its_own_root() -> None:
    _, rows, keys = crowded()
    bucket = bucket_of(key_hash("account", keys[0]))
    leaves = rows[bucket]
    foreign = key_hash("account", "other") + bytes(32)
    for bad in (leaves[64:] + leaves[:64], leaves[:64] * 2, b"".join(sorted([leaves[:64], foreign]))):
        tree = StateTree([(bucket, bad)])
        with pytest.raises(VerificationError, match="not in order or not of this bucket"):
            verify_record(tree.root, "account", keys[0], b"0", tree.prove("account", keys[0], {bucket: bad}))


def test_two_pairs_of_kind_and_key_are_never_confused() -> None:
    with pytest.raises(VerificationError, match="zero byte"):
        key_hash("account", "a\x00b")
    with pytest.raises(VerificationError):
        key_hash("account", "\ud800")


def test_a_plan_changes_nothing_until_it_is_applied_and_fits_one_state_only() -> None:
    tree, rows, keys = crowded()
    before = tree.root
    bucket = touched_buckets([("account", keys[2])])[0]
    plan = tree.plan({("account", keys[2]): b"2"}, rows)
    assert tree.root == before != plan.root
    assert list(plan.buckets) == [bucket]
    write(tree, rows, {("account", "new"): b"n"})
    with pytest.raises(ValueError, match="another state"):
        tree.apply(plan)


def test_a_stored_row_that_was_edited_is_noticed_when_it_is_shown() -> None:
    tree, rows, keys = crowded()
    bucket = bucket_of(key_hash("account", keys[0]))
    with pytest.raises(ValueError, match=f"bucket {bucket}"):
        tree.prove("account", keys[0], {bucket: rows[bucket][:64]})
