"""Money is in one channel at a time: each lock is minted once, each burn released once, whatever is shown again."""

from __future__ import annotations

from typing import Any

import pytest

from contracts.channels.bridge import CrossedRecord, crossed_key
from contracts.core import commands as c
from contracts.core.codec import INTEGER_MAX, read
from contracts.core.facts import BridgeBurned, BridgeLocked, BridgeMinted, BridgeReleased, TransferPosted
from contracts.core.parties import Role
from contracts.core.proofs import FactProof
from tests.contracts.channels.net import CHILD_MEMBERS, Logged, Net, a_burn, a_lock, an_opening
from tests.contracts.world import HOUR_MS, World, an_enrol_party, an_enrolment, changed


def test_money_goes_to_the_child_and_comes_back() -> None:
    net = Net()
    net.main.run("utl", a_lock(net.main, 1000, recipient="vn"))
    lock_id = net.main.last_id
    proof = net.shown("main", "vn-1", BridgeLocked)
    assert (net.main.free("utl"), net.escrow("vn-1"), net.supply("vn-1")) == (99_000, 1000, 0)
    moved, minted = net["vn-1"].run("aud", c.BridgeMint(proof=proof))
    assert isinstance(moved, TransferPosted)
    assert minted == BridgeMinted(lock_id=lock_id, party="vn", amount_minor=1000)
    assert (net["vn-1"].free("vn"), net.supply("vn-1")) == (1000, 1000)
    proof = net.burn(400, sender="vn", recipient="d1")
    burn_id = proof_id(net["vn-1"], proof)
    assert (net["vn-1"].free("vn"), net.escrow("vn-1"), net.supply("vn-1")) == (600, 1000, 600)
    _, released = net.main.run("d0", c.BridgeRelease(channel="vn-1", proof=proof))
    assert released == BridgeReleased(channel="vn-1", burn_id=burn_id, party="d1", amount_minor=400)
    assert (net.main.free("d1"), net.escrow("vn-1"), net.supply("vn-1")) == (900, 600, 600)


def proof_id(world: Logged, proof: FactProof) -> str:
    return next(key for key, place in world.log._places.items() if place["index"] == proof.index)


def test_a_proof_works_once_also_under_a_later_checkpoint() -> None:
    net = Net()
    proof = net.lock(100)
    identity = proof_id(net.main, proof)
    net.mint(proof)
    assert net["vn-1"].refused("utl", c.BridgeMint(proof=proof)) == "bridge_spent"
    net.main.run("utl", a_lock(net.main, 1))
    size = net.anchor("main", "vn-1")
    again = net.main.log.proof(identity, "BridgeLocked", size)
    assert again != proof
    assert net["vn-1"].refused("utl", c.BridgeMint(proof=again)) == "bridge_spent"
    burnt = net.burn(60)
    net.release(burnt)
    assert net.main.refused("utl", c.BridgeRelease(channel="vn-1", proof=burnt)) == "bridge_spent"
    record = read(net.main.records["crossed", crossed_key("vn-1", proof_id(net["vn-1"], burnt))], CrossedRecord)
    assert (record.party, record.amount_minor) == ("utl", 60)
    assert (net.escrow("vn-1"), net.supply("vn-1")) == (41, 40)


def test_a_lock_for_one_child_is_no_money_in_another() -> None:
    net = Net("vn-1", "vn-2")
    net.lock(100, "vn-1")
    proof = net.main.log.proof(net.main.journal[-1][1].transaction_id, "BridgeLocked", net.anchor("main", "vn-2"))
    assert net["vn-2"].refused("utl", c.BridgeMint(proof=proof)) == "proof_invalid"


def test_a_burn_in_one_child_is_not_paid_out_of_anothers_escrow() -> None:
    net = Net("vn-1", "vn-2")
    net.mint(net.lock(100, "vn-1"), "vn-1")
    net.lock(100, "vn-2")
    proof = net.burn(100, "vn-1")
    assert net.main.refused("utl", c.BridgeRelease(channel="vn-2", proof=proof)) == "anchor_unknown"
    net.anchor("vn-2", "main")
    size = net.main.known("vn-2").size
    assert net.main.refused("utl", c.BridgeRelease(channel="vn-2", proof=changed(proof, size=size))) == "proof_invalid"
    net.release(proof, "vn-1")
    assert (net.escrow("vn-1"), net.escrow("vn-2")) == (0, 100)


def test_a_burn_toward_one_ledger_is_not_paid_by_another_that_opened_the_same_channel() -> None:
    net = Net()
    net.mint(net.lock(100))
    other = Logged("other", CHILD_MEMBERS)
    other.run("agg", an_opening(net["vn-1"]))
    other.run("aud", net["vn-1"].log.anchor(None, CHILD_MEMBERS))
    other.run("utl", a_lock(other, 100))
    proof = net.burn(100)
    other.run("aud", net["vn-1"].log.anchor(other.known("vn-1"), CHILD_MEMBERS))
    assert other.refused("utl", c.BridgeRelease(channel="vn-1", proof=proof)) == "proof_invalid"
    net.release(proof)


def forgeries(proof: FactProof) -> dict[str, FactProof]:
    """The proof with one part changed."""
    header = proof.header
    return {
        "amount": changed(proof, fact=proof.fact.replace('"amount_minor":100', '"amount_minor":900')),
        "recipient": changed(proof, fact=proof.fact.replace('"recipient":"utl"', '"recipient":"agg"')),
        "fact index": changed(proof, fact_index=proof.fact_index - 1),
        "fact salt": changed(proof, fact_salt="0" * 64),
        "fact path": changed(proof, fact_path=()),
        "facts root": changed(proof, receipt=changed(proof.receipt, facts_root="0" * 64)),
        "code": changed(proof, receipt=changed(proof.receipt, code="funds_insufficient")),
        "writes": changed(proof, receipt=changed(proof.receipt, writes="1" * 64)),
        "sender": changed(proof, header=changed(header, sender="agg")),
        "channel": changed(proof, header=changed(header, channel="other")),
        "command": changed(proof, header=changed(header, command="Transfer")),
        "signature": changed(proof, signature="0" * 128),
        "index": changed(proof, index=proof.index + 1),
        "path": changed(proof, path=proof.path[:-1]),
        "long path": changed(proof, path=(*proof.path, "0" * 64)),
        "other path": changed(proof, path=("0" * 64, *proof.path[1:])),
        "too small": changed(proof, size=proof.index),
    }


def test_no_part_of_a_proof_may_be_another() -> None:
    net = Net()
    locked = net.lock(100)
    child = net["vn-1"]
    before = dict(child.records)
    for part, forged in forgeries(locked).items():
        assert forged != locked, part
        assert child.refused("utl", c.BridgeMint(proof=forged)) in ("proof_invalid", "anchor_unknown"), part
    assert child.records == before
    net.mint(locked)
    burnt = net.burn(100)
    for part, forged in forgeries(burnt).items():
        code = net.main.refused("utl", c.BridgeRelease(channel="vn-1", proof=forged))
        assert code in ("proof_invalid", "anchor_unknown"), part
    net.release(burnt)


def test_a_fact_of_another_command_that_looks_like_a_lock_is_none() -> None:
    """A transfer's fact, a refused lock, or a lock shown in the wrong direction proves nothing."""
    net = Net()
    net.main.run("utl", c.Transfer(to="agg", amount_minor=100, reference=""))
    proof = net.shown("main", "vn-1", TransferPosted)
    assert net["vn-1"].refused("utl", c.BridgeMint(proof=proof)) == "proof_invalid"
    net.main.run("utl", a_lock(net.main, 100))
    proof = net.main.log.proof(net.main.last_id, "TransferPosted", net.anchor("main", "vn-1"))
    assert net["vn-1"].refused("utl", c.BridgeMint(proof=proof)) == "proof_invalid"
    locked = net.lock(50)
    assert net.main.refused("utl", c.BridgeRelease(channel="vn-1", proof=locked)) in ("anchor_unknown", "proof_invalid")


def test_the_bridge_leads_from_a_channel_to_its_child_and_back_alone() -> None:
    net = Net()
    child = net["vn-1"]
    for channel, code in (("main", "channel_unknown"), ("vn-1", "channel_unknown"), ("vn-9", "channel_unknown")):
        assert child.refused("utl", a_lock(child, 10, channel)) == code, "a child locks for nobody"
    assert net.main.refused("utl", a_lock(net.main, 10, "main")) == "channel_unknown", "nobody locks for himself"
    assert net.main.refused("utl", a_burn(net.main, 1)) == "channel_unknown"
    net.mint(net.lock(10))
    burnt = net.burn(10)
    assert child.refused("utl", c.BridgeRelease(channel="main", proof=burnt)) == "channel_unknown"
    assert child.refused("utl", c.BridgeRelease(channel="vn-1", proof=burnt)) == "channel_unknown"
    assert net.main.refused("utl", c.BridgeMint(proof=burnt)) == "channel_unknown"


def test_money_enters_a_child_over_the_bridge_alone() -> None:
    net = Net()
    assert net["vn-1"].refused("utl", c.Issue(to="utl", amount_minor=1, reference="")) == "issue_elsewhere"
    assert net.supply("vn-1") == 0


@pytest.mark.parametrize("amount", [0, 100_001, 10**15])
def test_nobody_locks_or_burns_what_he_has_not(amount: int) -> None:
    net = Net()
    expected = "amount_invalid" if amount == 0 else "funds_insufficient"
    assert net.main.refused("utl", a_lock(net.main, amount)) == expected
    assert net["vn-1"].refused("utl", a_burn(net["vn-1"], amount)) == expected


def test_amounts_no_record_can_hold_are_refused() -> None:
    net = Net()
    for amount in (-1, 10**15 + 1, INTEGER_MAX):
        assert net.main.refused("utl", a_lock(net.main, amount)) == "body_invalid"
        assert net["vn-1"].refused("utl", a_burn(net["vn-1"], amount)) == "body_invalid"


def test_members_of_a_child_that_lie_take_no_more_than_was_locked_for_it() -> None:
    """They found a child whose rules let money appear, burn it, and sign everything."""
    net = Net("vn-1", "vn-2")
    net.lock(100, "vn-1")
    net.lock(500, "vn-2")
    child = net["vn-1"]
    rich = World().records["account", "party/utl"]
    child.take({("account", "party/utl"): rich})
    proof = net.burn(101, "vn-1")
    assert net.main.refused("utl", c.BridgeRelease(channel="vn-1", proof=proof)) == "funds_insufficient"
    net.release(net.burn(100, "vn-1"), "vn-1")
    assert (net.escrow("vn-1"), net.escrow("vn-2")) == (0, 500)


def test_what_is_locked_for_nobody_comes_back_after_its_time() -> None:
    net = Net()
    child = net["vn-1"]
    net.main.run("utl", a_lock(net.main, 100, recipient="later"))
    proof = net.shown("main", "vn-1", BridgeLocked)
    assert child.refused("aud", c.BridgeMint(proof=proof)) == "party_unknown"
    child.time_ms += HOUR_MS
    assert child.refused("aud", c.BridgeMint(proof=proof)) == "party_unknown", "the last moment still counts"
    child.time_ms += 1
    (fact,) = child.run("aud", c.BridgeMint(proof=proof))
    assert isinstance(fact, BridgeBurned)
    assert (fact.party, fact.recipient, fact.amount_minor) == (None, "utl", 100)
    assert net.supply("vn-1") == 0
    assert child.refused("aud", c.BridgeMint(proof=proof)) == "bridge_spent"
    net.release(returned(net, child))
    assert (net.main.free("utl"), net.escrow("vn-1")) == (100_000, 0)


def returned(net: Net, child: Logged) -> FactProof:
    identity = next(
        context.transaction_id
        for _, context, outcome in child.journal
        if any(isinstance(fact, BridgeBurned) for fact in outcome.facts)
    )
    return child.log.proof(identity, "BridgeBurned", net.anchor("vn-1", "main"))


def test_a_party_that_joined_in_time_or_late_is_paid_before_anything_comes_back() -> None:
    net = Net()
    child = net["vn-1"]
    net.main.run("utl", a_lock(net.main, 100, recipient="late"))
    proof = net.shown("main", "vn-1", BridgeLocked)
    child.time_ms += 2 * HOUR_MS
    child.run("agg", an_enrol_party(an_enrolment("late", Role.DEVICE, "agg")))
    net.mint(proof)
    assert child.free("late") == 100


def test_a_revoked_recipient_gets_nothing_in_the_child_and_keeps_what_comes_back_on_main() -> None:
    net = Net()
    child = net["vn-1"]
    child.run("d0", c.RevokeParty(party="d0", reason="stolen"))
    net.main.run("agg", a_lock(net.main, 100, recipient="d0"))
    proof = net.shown("main", "vn-1", BridgeLocked)
    assert child.refused("aud", c.BridgeMint(proof=proof)) == "party_unknown"
    net.mint(net.lock(50))
    net.main.run("d1", c.RevokeParty(party="d1", reason="stolen"))
    net.release(net.burn(50, recipient="d1"))
    assert net.main.free("d1") == 550


def test_a_release_waits_for_a_recipient_that_is_not_there_yet() -> None:
    net = Net()
    net.mint(net.lock(50))
    proof = net.burn(50, recipient="new")
    assert net.main.refused("aud", c.BridgeRelease(channel="vn-1", proof=proof)) == "party_unknown"
    net.main.run("agg", an_enrol_party(an_enrolment("new", Role.DEVICE, "agg")))
    net.release(proof)
    assert net.main.free("new") == 50


def test_a_lock_or_a_burn_whose_time_is_over_is_not_made() -> None:
    net = Net()
    late = a_lock(net.main, 10, mint_by_ms=net.main.time_ms - 1)
    assert net.main.refused("utl", late) == "deadline_passed"
    net.mint(net.lock(50))
    burn = a_burn(net["vn-1"], 10, release_by_ms=net["vn-1"].time_ms - 1)
    assert net["vn-1"].refused("utl", burn) == "deadline_passed"


def test_what_is_burnt_for_nobody_comes_back_after_its_time() -> None:
    net = Net()
    child = net["vn-1"]
    net.mint(net.lock(100, recipient="d0"))
    held = child.free("d0")
    proof = net.burn(100, sender="d0", recipient="nobody")
    release = c.BridgeRelease(channel="vn-1", proof=proof)
    net.main.time_ms = child.time_ms + HOUR_MS
    assert net.main.refused("aud", release) == "party_unknown", "the last moment still counts"
    net.main.time_ms += 1
    (fact,) = net.main.run("aud", release)
    assert isinstance(fact, BridgeLocked)
    assert (fact.party, fact.recipient, fact.amount_minor) == (None, "d0", 100)
    assert fact.burn_id == proof_id(child, proof)
    assert (net.escrow("vn-1"), net.supply("vn-1")) == (100, 0)
    back = net.shown("main", "vn-1", BridgeLocked)
    assert net.main.refused("aud", release) == "bridge_spent"
    net.mint(back)
    assert child.refused("aud", c.BridgeMint(proof=back)) == "bridge_spent"
    assert (child.free("d0"), net.escrow("vn-1"), net.supply("vn-1")) == (held, 100, 100)


def test_what_comes_back_to_the_child_is_paid_to_who_burnt_it_even_if_revoked_since() -> None:
    net = Net()
    child = net["vn-1"]
    net.mint(net.lock(100, recipient="d0"))
    proof = net.burn(100, sender="d0", recipient="nobody")
    child.run("d0", c.RevokeParty(party="d0", reason="stolen"))
    net.main.time_ms += 3 * HOUR_MS
    net.release(proof)
    net.mint(net.shown("main", "vn-1", BridgeLocked))
    assert child.free("d0") == 100


def test_a_recipient_that_came_late_is_paid_before_a_burn_goes_back() -> None:
    net = Net()
    net.mint(net.lock(50))
    proof = net.burn(50, recipient="late")
    net.main.time_ms += 3 * HOUR_MS
    net.main.run("agg", an_enrol_party(an_enrolment("late", Role.DEVICE, "agg")))
    net.release(proof)
    assert net.main.free("late") == 50


def test_a_proof_under_a_checkpoint_that_was_never_anchored_is_none() -> None:
    net = Net()
    net.main.run("utl", a_lock(net.main, 10))
    proof: Any = net.main.log.proof(net.main.last_id, "BridgeLocked", net.main.log.size)
    assert net["vn-1"].refused("utl", c.BridgeMint(proof=proof)) == "anchor_unknown"
    forged = net.main.log.anchor(net["vn-1"].known("main"), CHILD_MEMBERS[2:])
    assert net["vn-1"].refused("utl", forged) == "quorum_not_met"
