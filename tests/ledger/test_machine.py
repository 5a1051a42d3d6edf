"""One block on one state: checked, executed, the same everywhere."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts import rules
from contracts.core import commands as c
from contracts.core.codec import digest, encode
from contracts.core.envelope import parse_transaction
from contracts.core.parties import Role
from ledger.config import LedgerSettings
from ledger.founding import Founded
from ledger.genesis import members
from ledger.log import merkle
from ledger.machine import BlockRefused, Executed, Head, Machine
from ledger.ordering.block import BLOCK_CONTEXT, Block, make_block
from ledger.ordering.signatures import Verdicts
from ledger.store.memory import MemorySource
from ledger.store.state import CheckedTree, StateCache, StateTampered
from ledger.verify.merkle import EMPTY_ROOT, leaf_hash
from tests.builders import START_MS, a_key
from tests.ledger.replicas import (
    ACCEPT_BY_MS,
    AGGREGATOR_ID,
    DEVICE,
    VIRTUAL_NODE_ID,
    a_proposal,
    a_transfer,
    an_enrolment,
    an_issue,
    readings,
    sealed,
    transfers,
)
from tests.ledger.running import founded


@pytest.fixture(scope="module")
def agreed(tmp_path_factory) -> Founded:
    return founded(LedgerSettings(data_dir=tmp_path_factory.mktemp("ledger")))


class Run:
    """A machine over memory that proposes its own blocks."""

    def __init__(self, agreed: Founded, records_max: int = 1000, bucket_bytes_max: int = 10**6) -> None:
        self.agreed = agreed
        self.source = MemorySource()
        cache = StateCache(CheckedTree(), records_max, bucket_bytes_max)
        writes = rules.genesis(agreed.genesis)
        plan = cache.plan(writes, self.source)
        self.source.write(writes, plan.buckets)
        cache.accept(writes, plan)
        self.machine = Machine(
            channel="main",
            members=members(agreed.policy),
            contracts_root=agreed.genesis.contracts_root,
            head=Head(0, START_MS, bytes.fromhex(digest(agreed.genesis)), 0, EMPTY_ROOT, {}, None),
            cache=cache,
            verdicts=Verdicts(),
        )
        self.entries: list[bytes] = []

    def block(self, *contents: bytes, **given: Any) -> Block:
        head = self.machine.head
        defaults: dict[str, Any] = {
            "channel": "main", "height": head.height + 1, "previous": head.previous, "time_ms": head.time_ms + 1,
            "proposer": self.agreed.member, "contents": contents, "sign": self.agreed.cosigner_key.sign,
        }  # fmt: skip
        return make_block(**{**defaults, **given})

    def execute(self, *contents: bytes, **given: Any) -> Executed:
        """Executes and takes a block."""
        block = self.block(*contents, **given)
        self.machine.check(block)
        executed = self.machine.execute(block, block.header.height, self.machine.read(block), self.source)
        self.source.accept(executed)
        self.machine.accept(executed)
        self.entries += executed.entries
        return executed

    def codes(self, *contents: bytes, **given: Any) -> list[str]:
        return [row.code for row in self.execute(*contents, **given).transactions]


def acceptance(setup: bytes) -> bytes:
    """The virtual node accepts the terms of a SetupDR."""
    command = msgspec.json.decode(parse_transaction(setup).body, type=c.SetupDR)
    accept = c.AcceptReduction(contract_id=command.contract_id, terms_digest=digest(command.terms))
    return sealed(VIRTUAL_NODE_ID, accept)


def forged(content: bytes, **fields: Any) -> bytes:
    """The same transaction with other parts outside the header."""
    return encode(msgspec.structs.replace(parse_transaction(content), **fields))


def test_a_block_must_follow_the_last_one_and_be_signed_by_a_member(agreed):
    run = Run(agreed)
    run.execute(an_issue())
    stranger = a_key(99)
    for wrong in (
        {"height": 1}, {"height": 3}, {"previous": bytes(32)}, {"channel": "other"}, {"time_ms": START_MS + 1},
        {"proposer": "member.example/2"}, {"sign": stranger.sign}, {"sign": agreed.log_key.sign},
    ):  # fmt: skip
        with pytest.raises(BlockRefused):
            run.machine.check(run.block(**wrong))
    run.machine.check(run.block())


def test_a_block_must_hold_the_transactions_its_header_stands_for(agreed):
    run = Run(agreed)
    block = run.block(an_issue(), a_transfer())
    for contents in ((), block.contents[::-1], (an_issue(), a_transfer("other"))):
        with pytest.raises(BlockRefused):
            run.machine.check(msgspec.structs.replace(block, contents=contents))
    flipped = bytes([block.header_bytes[0], block.header_bytes[1] ^ 1]) + block.header_bytes[2:]
    assert agreed.cosigner_key.sign(BLOCK_CONTEXT + block.header_bytes) == block.signature
    with pytest.raises(BlockRefused):
        run.machine.check(msgspec.structs.replace(block, header_bytes=flipped))


def test_a_transaction_without_form_refuses_the_block(agreed):
    run = Run(agreed)
    block = run.block(b"{}")
    run.machine.check(block)
    with pytest.raises(BlockRefused, match="without form"):
        run.machine.read(block)


def test_a_block_has_an_entry_for_each_transaction_and_a_summary(agreed):
    run = Run(agreed)
    executed = run.execute(an_issue(), a_transfer(), a_transfer("again"))
    kinds = [msgspec.json.decode(entry)["kind"] for entry in executed.entries]
    assert kinds == ["transaction"] * 3 + ["block"]
    summary = msgspec.json.decode(executed.entries[-1])
    assert (summary["height"], summary["tx_count"], summary["first_index"]) == (1, 3, 0)
    assert summary["state_root"] == run.machine.cache.tree.root.hex()
    assert summary["previous"] == digest(agreed.genesis)
    assert run.machine.head.previous == sha256(executed.entries[-1]).digest()


def test_the_head_is_the_root_over_all_entries(agreed):
    run = Run(agreed)
    run.execute(an_issue())
    for number in range(4):
        run.execute(*transfers(100, first=100 * number))
    whole = merkle.append(0, [leaf_hash(entry) for entry in run.entries], {})
    assert (run.machine.head.size, run.machine.head.root) == (406, whole.root)


def test_the_first_result_of_an_id_stands(agreed):
    run = Run(agreed)
    assert run.codes(an_issue(), a_transfer(), a_transfer()) == ["ok", "ok", "duplicate"]
    assert run.codes(a_transfer(), an_issue()) == ["duplicate", "duplicate"]


def test_a_nonce_is_used_for_one_content(agreed):
    run = Run(agreed)
    first, other = (a_transfer(reference, nonce="n-1") for reference in ("one", "two"))
    assert run.codes(an_issue(), first, other) == ["ok", "ok", "nonce_reused"]
    assert run.codes(a_transfer("three", nonce="n-1"), other) == ["nonce_reused", "duplicate"]


def test_a_forger_cannot_use_up_an_id(agreed):
    """Whoever saw a header sends it with another signature, salt or body before its owner does."""
    run = Run(agreed)
    genuine = a_transfer()
    bad_signature = forged(genuine, signature="00" * 64)
    bad_salt = forged(genuine, salt="00" * 32)
    assert run.codes(an_issue(), bad_signature, bad_salt) == ["ok", "bad_signature", "commitment_mismatch"]
    assert run.codes(genuine) == ["ok"]


def test_a_refused_transaction_leaves_a_leaf_and_no_trace_in_the_state(agreed):
    run = Run(agreed)
    before = run.machine.cache.tree.root
    executed = run.execute(a_transfer("no funds yet"))
    assert [row.code for row in executed.transactions] == ["funds_insufficient"]
    assert (run.machine.cache.tree.root, executed.writes, len(executed.entries)) == (before, {}, 2)


def test_a_key_enrolled_in_a_block_signs_in_the_same_block(agreed):
    run = Run(agreed)
    assert run.codes(an_enrolment(Role.DEVICE, DEVICE), readings(1, 2, 3)) == ["ok", "ok"]


def test_what_fell_due_happens_before_the_transactions_as_a_leaf_of_its_own(agreed):
    run = Run(agreed)
    proposal = a_proposal()
    run.execute(*proposal)
    assert run.machine.head.next_due_ms == ACCEPT_BY_MS
    executed = run.execute(acceptance(proposal[-1]), time_ms=ACCEPT_BY_MS)
    assert executed.ticked
    assert [msgspec.json.decode(entry)["kind"] for entry in executed.entries] == ["tick", "transaction", "block"]
    assert [row.code for row in executed.transactions] == ["illegal_transition"]
    assert type(executed.facts[0].fact).__name__ == "DRExpired"
    assert executed.facts[0].transaction_id is None
    assert run.machine.head.next_due_ms is None


def test_a_deadline_that_was_met_does_not_tick(agreed):
    run = Run(agreed)
    proposal = a_proposal()
    funds = an_issue(to=VIRTUAL_NODE_ID)
    assert run.codes(*proposal, funds, acceptance(proposal[-1])) == ["ok"] * 7
    assert run.machine.head.next_due_ms == ACCEPT_BY_MS + 600_000
    assert not run.execute(time_ms=ACCEPT_BY_MS + 1).ticked


_ITEMS = st.lists(
    st.one_of(
        st.integers(0, 5).map(lambda n: an_issue(10 + n, f"issue {n}")),
        st.tuples(st.integers(0, 9), st.integers(1, 30)).map(lambda t: a_transfer(f"t{t[0]}", t[1])),
        st.sampled_from(a_proposal()),
        st.lists(st.integers(-500, 500), min_size=1, max_size=4).map(lambda values: readings(*values)),
        st.integers(0, 3).map(lambda n: forged(a_transfer(f"t{n}"), signature="11" * 64)),
        st.integers(0, 3).map(lambda n: a_transfer(f"n{n}", nonce="n-1")),
    ),
    max_size=6,
)


@given(blocks=st.lists(st.tuples(st.integers(1, 400_000), _ITEMS), max_size=8))
@settings(max_examples=40, deadline=None)
def test_the_same_blocks_give_the_same_bytes_whatever_is_cached(agreed, blocks):
    """One machine keeps everything in its caches, the other nothing and reads every record from the source."""
    warm, cold = Run(agreed), Run(agreed, records_max=1, bucket_bytes_max=0)
    for later_ms, contents in blocks:
        time_ms = warm.machine.head.time_ms + later_ms
        one, two = warm.execute(*contents, time_ms=time_ms), cold.execute(*contents, time_ms=time_ms)
        assert one.entries == two.entries
        assert [row.body for row in one.facts] == [row.body for row in two.facts]
        assert (one.head.root, one.plan.root) == (two.head.root, two.plan.root)
    assert warm.source.rows == cold.source.rows
    accounts = [msgspec.json.decode(body) for (kind, _), body in warm.source.rows.items() if kind == "account"]
    assert sum(a["credits_posted"] - a["debits_posted"] for a in accounts) == 0


def test_an_edited_record_is_noticed_when_it_is_read(agreed):
    run = Run(agreed, records_max=1, bucket_bytes_max=0)
    run.execute(an_issue())
    at = ("account", f"party/{AGGREGATOR_ID}")
    run.source.rows[at] = run.source.rows[at].replace(b"100000", b"900000")
    with pytest.raises(StateTampered, match=f"account/party/{AGGREGATOR_ID}"):
        run.execute(a_transfer())


def test_an_edited_bucket_is_noticed_when_it_is_read(agreed):
    run = Run(agreed, records_max=1, bucket_bytes_max=0)
    run.execute(an_issue())
    run.source._buckets = {number: leaves[:-1] + b"\0" for number, leaves in run.source._buckets.items()}
    with pytest.raises(StateTampered, match="bucket"):
        run.execute(a_transfer())
