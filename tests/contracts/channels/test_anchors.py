"""A checkpoint of another channel counts if its members signed it, if it continues the last, and not otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from contracts.channels.registry import AnchorRecord, ChannelRecord, Relation, anchor_key
from contracts.core import commands as c
from contracts.core.codec import encode, read
from contracts.core.facts import ChannelOpened, CheckpointAnchored
from contracts.core.state import RECORD_BYTES_MAX
from tests.contracts.channels.logs import a_cosignature, channel_members
from tests.contracts.channels.net import CHILD_MEMBERS, Logged, Net, a_lock, an_opening, signed_by
from tests.contracts.world import World, changed, key_of

ONE = c.Transfer(to="agg", amount_minor=0, reference="")


def grown(net: Net, count: int = 1, channel: str = "vn-1") -> Logged:
    """The child with some more blocks (refused transactions are entries too)."""
    child = net[channel]
    for _ in range(count):
        child.submit("utl", ONE)
    return child


def an_anchor_of(net: Net, *signers: str, **given: Any) -> c.AnchorCheckpoint:
    child = net["vn-1"]
    return child.log.anchor(net.main.known("vn-1"), signers or CHILD_MEMBERS, **given)


def test_a_child_is_opened_once_and_by_those_who_may() -> None:
    world, child = World(), Logged("vn-1", CHILD_MEMBERS)
    opening = an_opening(child)
    assert world.refused("vn", opening) == "role_not_allowed"
    (fact,) = world.run("agg", opening)
    assert isinstance(fact, ChannelOpened)
    assert (fact.channel, fact.quorum, fact.party) == ("vn-1", 2, "agg")
    assert world.refused("agg", opening) == "channel_exists"
    assert world.refused("agg", changed(opening, channel="main", origin="test/main")) == "channel_exists"


@pytest.mark.parametrize(
    "wrong",
    [
        {"origin": "test/other"},
        {"quorum": 1},
        {"quorum": 4},
        {"members": (), "quorum": 0},
        {"members": channel_members("m1", "m1", "vn")},
        {"members": (*channel_members("m1", "m2"), c.ChannelMember(name="m3", key=key_of("m1")))},
    ],
)
def test_a_channel_has_members_with_keys_of_their_own_and_a_majority_as_quorum(wrong: dict[str, Any]) -> None:
    world, child = World(), Logged("vn-1", CHILD_MEMBERS)
    assert world.refused("agg", an_opening(child, **wrong)) == "channel_invalid"


def test_a_quorum_of_the_childs_members_anchors_its_checkpoint() -> None:
    net = Net()
    child = grown(net, 3)
    command = an_anchor_of(net, "m2", "vn")
    (fact,) = net.main.run("d0", command)
    root = child.log.root(child.log.size)
    assert fact == CheckpointAnchored(
        channel="vn-1", origin="test/vn-1", size=child.log.size, root=root, height=child.log.height,
        time_ms=child.time_ms,
    )  # fmt: skip
    known = net.main.known("vn-1")
    assert (known.size, known.root, known.height) == (child.log.size, root, child.log.height)
    kept = read(net.main.records["anchor", anchor_key("vn-1", child.log.size)], AnchorRecord)
    assert (kept.root, kept.height) == (root, child.log.height)
    assert net.main.refused("d0", command) == "anchor_stale"


def test_nothing_is_locked_for_a_channel_whose_members_never_signed() -> None:
    net = Net()
    silent = Logged("vn-2", CHILD_MEMBERS)
    net.main.run("agg", an_opening(silent))
    assert net.main.refused("utl", a_lock(net.main, 10, "vn-2")) == "channel_unanchored"


def test_less_than_the_quorum_anchors_nothing() -> None:
    net = Net()
    grown(net)
    good = an_anchor_of(net)
    wrong: list[Any] = [
        signed_by(good, "vn"),
        (*signed_by(good, "vn"), *signed_by(good, "vn")),
        (*signed_by(good, "vn"), changed(signed_by(good, "m1")[0], member="stranger")),
        (*signed_by(good, "vn"), changed(signed_by(good, "vn")[0], member="m1")),
        (*signed_by(good, "vn"), changed(signed_by(good, "m1")[0], time_s=1)),
        (*signed_by(good, "vn"), a_cosignature("m1", "test/vn-2", good.size, good.root)),
        (*signed_by(good, "vn"), a_cosignature("m1", "test/vn-1", good.size - 1, good.root)),
        (*signed_by(good, "vn"), a_cosignature("m1", "test/vn-1", good.size, "0" * 64)),
        (*signed_by(good, "vn"), a_cosignature("m1", "test/vn-1", good.size, good.root, signed_by="thief")),
    ]
    before = dict(net.main.records)
    for lines in wrong:
        assert net.main.refused("d0", changed(good, cosignatures=lines)) == "quorum_not_met"
    assert net.main.records == before
    net.main.run("d0", changed(good, cosignatures=signed_by(good, "vn", "m1")))


def test_a_checkpoint_of_another_channel_or_tree_is_not_taken() -> None:
    net = Net("vn-1", "vn-2")
    grown(net)
    grown(net, 1, "vn-2")
    good = an_anchor_of(net)
    other = net["vn-2"].log.anchor(net.main.known("vn-2"), CHILD_MEMBERS)
    assert net.main.refused("d0", changed(other, channel="vn-1")) == "proof_invalid"
    assert net.main.refused("d0", changed(good, channel="vn-9")) == "channel_unknown"
    assert net.main.refused("d0", changed(good, summary=other.summary)) == "proof_invalid"
    assert net.main.refused("d0", changed(good, summary=changed(good.summary, time_ms=1))) == "proof_invalid"
    assert net.main.refused("d0", changed(good, root="0" * 64)) == "proof_invalid"
    # at the right edge a path fits several sizes; the signatures are of one
    assert net.main.refused("d0", changed(good, size=good.size + 1)) in ("proof_invalid", "quorum_not_met")
    assert net.main.refused("d0", changed(good, consistency=())) == "proof_invalid"
    assert net.main.refused("d0", changed(good, consistency=good.consistency[:-1])) == "proof_invalid"
    assert net.main.refused("d0", changed(good, summary_path=good.summary_path[:-1])) == "proof_invalid"


def test_a_quorum_that_rewrites_its_history_is_found_and_not_followed() -> None:
    net = Net()
    child = grown(net)
    child.log.leaves[0] = b"another first entry"
    child.log.seal(child.time_ms)
    assert net.main.refused("d0", an_anchor_of(net)) == "anchor_inconsistent"


def test_a_path_to_an_honest_continuation_vouches_for_no_other_tree() -> None:
    net = Net()
    child = grown(net)
    honest = an_anchor_of(net)
    child.log.leaves = [b"another entry" for _ in child.log.leaves]
    child.log.seal(child.time_ms)
    child.log.leaves = child.log.leaves[-honest.size :]
    child.log.sizes.append(honest.size)
    forked = an_anchor_of(net, consistency=honest.consistency)
    assert forked.size == honest.size
    assert net.main.refused("d0", forked) == "proof_invalid"


def test_heights_of_anchors_only_grow() -> None:
    net = Net()
    child = grown(net)
    child.log.height = 0
    child.log.seal(child.time_ms)
    assert net.main.refused("d0", an_anchor_of(net)) == "anchor_inconsistent"


def test_new_members_are_known_once_old_and_new_quorum_have_signed() -> None:
    net = Net()
    child = grown(net)
    child.log.members = ["m1", "vn", "m4"]
    grown(net)
    new = channel_members("m1", "vn", "m4")
    everybody = ("m1", "m2", "vn", "m4")
    assert net.main.refused("d0", an_anchor_of(net, *everybody)) == "channel_invalid"
    assert net.main.refused("d0", an_anchor_of(net, *everybody, members=new[:2])) == "channel_invalid"
    assert net.main.refused("d0", an_anchor_of(net, *everybody, members=new[::-1][:0])) == "channel_invalid"
    taken_over = an_anchor_of(net, "m4", "m1", members=new)
    assert net.main.refused("d0", taken_over) == "quorum_not_met", "the old members did not agree"
    left_behind = an_anchor_of(net, "m2", "vn", members=new)
    assert net.main.refused("d0", left_behind) == "quorum_not_met", "the new members are not there"
    net.main.run("d0", an_anchor_of(net, "m1", "vn", members=new))
    known = net.main.known("vn-1")
    assert (known.members, known.quorum, known.relation) == (new, 2, Relation.CHILD)
    grown(net)
    assert net.main.refused("d0", an_anchor_of(net, "m1", "m2")) == "quorum_not_met", "m2 is none any more"
    assert net.main.refused("d0", an_anchor_of(net, "m1", "m4", members=new)) == "channel_invalid"
    net.main.run("d0", an_anchor_of(net, "m1", "m4"))


def test_a_checkpoint_signed_by_an_old_member_set_is_refused_after_the_handover() -> None:
    net = Net()
    child = grown(net)
    child.log.members = ["vn", "m4", "m5"]
    grown(net)
    net.main.run("d0", an_anchor_of(net, *CHILD_MEMBERS, "m4", "m5", members=channel_members("vn", "m4", "m5")))
    child.log.members = list(CHILD_MEMBERS)  # two of them go on by themselves
    grown(net)
    fork = an_anchor_of(net, "m1", "m2", members=channel_members(*CHILD_MEMBERS))
    assert net.main.refused("d0", fork) == "quorum_not_met"


def test_a_higher_quorum_than_needed_is_kept_when_members_change() -> None:
    world, child = World(), Logged("vn-1", CHILD_MEMBERS)
    world.run("agg", an_opening(child, quorum=3))
    child.log.members = ["m1", "m2", "m4"]
    child.submit("utl", ONE)
    new = channel_members("m1", "m2", "m4")
    everybody = ("m1", "m2", "m4", "vn")
    world.run("agg", child.log.anchor(None, everybody, members=new))
    assert read(world.records["channel", "vn-1"], ChannelRecord).quorum == 3


def test_the_largest_channel_fits_its_record() -> None:
    world, child = World(), Logged("vn-1", CHILD_MEMBERS)
    names = ["m" * 93 + f"{n:03d}" for n in range(32)]
    world.run("agg", an_opening(child, members=channel_members(*names), quorum=32))
    assert len(world.records["channel", "vn-1"]) < RECORD_BYTES_MAX
    assert len(encode(an_opening(child, members=channel_members(*names)))) < RECORD_BYTES_MAX
