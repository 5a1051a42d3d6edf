"""What the machine puts together by hand has the bytes of the formats' own encoders; what it caches changes nothing."""

from __future__ import annotations

from hashlib import sha256

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.core.envelope import parse_transaction, signing_bytes
from ledger.log import entry
from ledger.log.statetree import StateTree, touched_buckets
from ledger.ordering.transactions import parse
from ledger.store.cache.bounded import Remembered, Rows
from ledger.store.cache.tree import CheckedTree, leaves_of
from ledger.verify.merkle import leaf_hash
from tests.ledger.replicas import a_proposal, a_transfer, an_issue
from tests.ledger.test_machine import Run, agreed  # noqa: F401  # a fixture

WRITES = st.dictionaries(
    st.tuples(st.sampled_from(("account", "party")), st.integers(0, 40).map(str)), st.none() | st.binary(max_size=9)
)


def test_entries_and_receipts_have_the_bytes_of_their_formats(agreed):  # noqa: F811
    run = Run(agreed)
    executed = run.execute(*a_proposal(), a_transfer("no funds"))
    assert {row.code for row in executed.transactions} == {"ok", "funds_insufficient"}
    for row, data in zip(executed.transactions, executed.entries, strict=False):
        header = msgspec.to_builtins(row.parsed.header)
        assert data == entry.transaction_entry(header, row.parsed.signature, sha256(row.receipt).digest())
        written = bytes.fromhex(msgspec.json.decode(row.receipt)["writes"])
        facts = [fact.body for fact in row.facts]
        assert row.receipt == entry.receipt(row.code, facts, row.parsed.salt, written)


def test_a_transaction_knows_its_entry_before_it_is_executed():
    parsed = parse(an_issue())
    whole = entry.transaction_entry(msgspec.to_builtins(parsed.header), parsed.signature, bytes(32))
    assert parsed.entry(bytes(32)) == whole


@pytest.mark.parametrize("text", ['"header":', '\\"header\\":{', '","header":{"channel":"x"},"salt":"', "\\", "plain"])
def test_the_header_is_found_whatever_the_body_says(text):
    parsed = parse(a_transfer(text))
    assert parsed.signed == signing_bytes(parsed.header) == signing_bytes(parse_transaction(parsed.content).header)
    assert parsed.command.reference == text


@given(st.lists(st.binary(max_size=3), max_size=40))
def test_the_root_of_few_leaves_is_that_of_the_log(leaves):
    assert entry.tree_root(leaves) == entry.merkle.append(0, [leaf_hash(leaf) for leaf in leaves], {}).root


@given(st.lists(WRITES, max_size=4))
def test_a_plan_of_hashes_is_the_plan_of_the_records(blocks):
    """And it leaves the tree as it was until it is applied."""
    slow, fast, rows = StateTree(), CheckedTree(), dict[int, bytes]()
    for writes in blocks:
        stored = {bucket: rows.get(bucket, b"") for bucket in touched_buckets(writes)}
        expected, plan = slow.plan(writes, stored), fast.plan_leaves(leaves_of(writes).values(), stored)
        assert (plan.root, plan.buckets, fast.root) == (expected.root, expected.buckets, slow.root)
        slow.apply(expected)
        fast.apply(plan)
        rows |= plan.buckets
        assert all(fast.holds(bucket, leaves) for bucket, leaves in rows.items())


@given(st.lists(st.tuples(st.integers(0, 9), st.none() | st.integers(0, 99)), max_size=60), st.integers(1, 12))
def test_a_bounded_memory_forgets_but_never_lies(steps, weight_max):
    memory, true = Remembered[int, int](weight_max), dict[int, int]()
    for key, value in steps:
        if value is not None:
            memory.put(key, value)
            true[key] = value
        else:
            assert memory.get(key) in (None, true.get(key))
    assert len(memory._young) + len(memory._old) <= weight_max + 1


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), max_size=30), st.integers(0, 6))
def test_rows_of_a_kind_are_scanned_in_order_of_the_key(steps, limit):
    rows, true = Rows(), dict[str, bytes]()
    for key, put in steps:
        if put:
            rows.put(key, key.encode())
            true[key] = key.encode()
        else:
            rows.drop(key)
            true.pop(key, None)
    assert rows.scan("b", "e", limit) == sorted(at for at in true.items() if "b" <= at[0] < "e")[:limit]
