"""Members change themselves, by more than half of them, one at a time and well ahead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import rules
from contracts.consortium import (
    LEAD_HEIGHTS,
    FormerMemberRecord,
    FoundingRecord,
    MemberRecord,
    majority,
    members,
    quorum,
    roster,
    validator_set,
)
from contracts.consortium.membership import LEAD_HEIGHTS_MAX
from contracts.core import commands as c
from contracts.core.codec import INTEGER_MAX, digest, read
from contracts.core.errors import Refusal
from contracts.core.facts import MembershipChanged
from ledger.log.policy import default_threshold
from ledger.machine import validator_set as validator_set_of_summary
from tests.contracts.channels.logs import a_member, vkey
from tests.contracts.world import World, changed, key_of, sign

THREE = ("m1", "m2", "m3")


def a_world(*names: str) -> World:
    return World(devices=1, members=[a_member(name) for name in names or THREE])


def a_change(
    world: World, change: str, name: str, by: Sequence[str], effective_height: int | None = None, **given: Any
) -> c.ChangeMembership:
    """Signed by the members `by`, and by the newcomer."""
    keys: dict[str, Any] = {}
    if change == "add":
        new = a_member(name)
        keys = {"log_vkey": new.log_vkey, "cosigner_vkey": new.cosigner_vkey, "peer_url": new.peer_url}
    command = c.ChangeMembership(
        change=change,  # type: ignore[arg-type]
        name=name,
        effective_height=effective_height or world.height + LEAD_HEIGHTS,
        approvals=(),
        **{**keys, **given},
    )
    return signed(world, command, [*by, name] if change == "add" else by)


def signed(world: World, command: c.ChangeMembership, by: Sequence[str]) -> c.ChangeMembership:
    message = c.membership_bytes(digest(world.founding), world.channel, command)
    approvals = tuple(c.Approval(member=name, signature=sign(key_of(name), message).hex()) for name in by)
    return changed(command, approvals=approvals)


def names(world: World, height: int) -> list[str]:
    return [each.name for each in members(world, height)]


def test_the_genesis_names_the_members_and_the_ledger() -> None:
    world = a_world()
    assert names(world, 0) == names(world, 10**9) == list(THREE)
    ledger = read(world.records["founding", "ledger"], FoundingRecord)
    assert (ledger.channel, ledger.genesis, ledger.parent) == ("main", digest(world.founding), None)
    assert [each.key for each in members(world, 1)] == [key_of(name) for name in THREE]


def test_a_member_is_added_at_its_height_and_not_before() -> None:
    world = a_world()
    (fact,) = world.run("agg", a_change(world, "add", "m4", ["m1", "m3"]))
    assert fact == MembershipChanged(change="add", name="m4", key=key_of("m4"), effective_height=11)
    assert names(world, 10) == list(THREE)
    assert names(world, 11) == [*THREE, "m4"]
    assert roster(world, 10).until_height == 11
    assert roster(world, 11).until_height is None


def test_a_member_is_removed_at_its_height_and_remembered() -> None:
    world = a_world()
    world.run("d0", a_change(world, "remove", "m2", ["m1", "m2"]))
    assert (names(world, 10), names(world, 11)) == (list(THREE), ["m1", "m3"])
    world.height = 11
    world.run("d0", a_change(world, "add", "m4", ["m1", "m3"]))
    assert read(world.records["former_member", "m2"], FormerMemberRecord).until_height == 11
    assert ("member", "m2") not in world.records
    assert names(world, 21) == ["m1", "m3", "m4"]


def test_the_hash_in_block_summaries_follows_the_members() -> None:
    world = a_world()
    named = [(each.name, each.key) for each in members(world, 1)]
    assert validator_set(named) == validator_set(named[::-1]) == validator_set_of_summary(dict(named))
    world.run("agg", a_change(world, "remove", "m3", ["m1", "m2"]))
    later = [(each.name, each.key) for each in members(world, 11)]
    assert validator_set(later) == validator_set_of_summary({"m1": key_of("m1"), "m2": key_of("m2")})


@pytest.mark.parametrize("by", [[], ["m1"], ["m1", "m1"], ["m1", "m4"], ["m1", "stranger"]])
def test_less_than_half_of_the_members_change_nothing(by: list[str]) -> None:
    world = a_world()
    before = dict(world.records)
    assert world.refused("agg", a_change(world, "add", "m4", by)) == "approvals_missing"
    assert world.records == before


def test_an_approval_is_of_one_change_of_one_ledger_and_height() -> None:
    world = a_world()
    command = a_change(world, "add", "m4", ["m1", "m2"])
    moved = {
        "effective_height": command.effective_height + 1,
        "name": "m5",
        "peer_url": "https://elsewhere.example",
        "cosigner_vkey": vkey("m4", 4, key_of("thief")),
        "log_vkey": vkey("test/main", 1, key_of("thief")),
    }
    for name, value in moved.items():
        code = world.refused("agg", changed(command, **{name: value}))
        assert code in ("approvals_missing", "verifier_key_invalid"), name
    elsewhere = World(devices=1, channel="vn-1", members=[a_member(name, "test/vn-1") for name in THREE])
    assert elsewhere.refused("agg", command) == "approvals_missing"
    again = World(devices=1, members=[a_member(name) for name in (*THREE, "m9")])
    assert again.refused("agg", command) == "approvals_missing", "another genesis is another ledger"
    world.run("agg", command)


def test_a_change_cannot_be_made_twice() -> None:
    world = a_world()
    add, remove = a_change(world, "add", "m4", ["m1", "m2"]), a_change(world, "remove", "m4", ["m1", "m2", "m4"], 22)
    world.run("agg", add)
    assert world.refused("agg", add) == "change_pending"
    world.height = 11
    assert world.refused("agg", add) == "too_early"
    world.run("agg", remove)
    world.height = 22
    assert world.refused("agg", add) == "too_early"
    back = a_change(world, "add", "m4", ["m1", "m2"])
    assert world.refused("agg", back) == "member_exists", "a name is never used twice"


def test_one_change_at_a_time_ten_blocks_ahead_and_not_for_ever() -> None:
    world = a_world()
    assert world.refused("agg", a_change(world, "add", "m4", ["m1", "m2"], 10)) == "too_early"
    far = a_change(world, "add", "m4", ["m1", "m2"], 2 + LEAD_HEIGHTS_MAX)
    assert world.refused("agg", far) == "limit_exceeded"
    world.run("agg", a_change(world, "add", "m4", ["m1", "m2"], 11))
    world.height = 10
    assert world.refused("agg", a_change(world, "remove", "m1", ["m2", "m3"])) == "change_pending"
    world.height = 11
    assert world.refused("agg", a_change(world, "remove", "m1", ["m2", "m3"])) == "approvals_missing", "now they are 4"
    world.run("agg", a_change(world, "remove", "m1", ["m2", "m3", "m4"]))


def test_those_who_stay_can_still_make_final_what_clients_trust() -> None:
    for count, stays in ((1, False), (2, False), (3, True), (4, True), (5, True)):
        world = a_world(*(f"m{n}" for n in range(count)))
        command = a_change(world, "remove", "m0", [f"m{n}" for n in range(count)])
        code = world.submit("agg", command).code
        assert code == ("ok" if stays else "members_too_few"), count


def test_a_new_member_holds_the_key_it_names_and_no_other_members() -> None:
    world = a_world()
    absent = signed(world, a_change(world, "add", "m4", []), ["m1", "m2"])
    assert world.refused("agg", absent) == "proof_of_possession"
    taken = a_change(world, "add", "m4", [], cosigner_vkey=vkey("m4", 4, key_of("m1")))
    assert world.refused("agg", signed(world, taken, ["m1", "m2", "m4"])) == "key_in_use"
    both = a_change(world, "add", "m4", [], log_vkey=vkey("test/main", 1, key_of("m4")))
    assert world.refused("agg", signed(world, both, ["m1", "m2", "m4"])) == "key_in_use"
    for wrong in (
        {"cosigner_vkey": vkey("m5", 4, key_of("m4"))},
        {"cosigner_vkey": vkey("m4", 1, key_of("m4"))},
        {"log_vkey": vkey("other", 1, key_of("log m4"))},
        {"log_vkey": None},
        {"peer_url": None},
        {"cosigner_vkey": vkey("m4", 4, key_of("m4")).replace("m4+", "m4+00000000", 1)[:-8]},
    ):
        command = signed(world, a_change(world, "add", "m4", [], **wrong), ["m1", "m2", "m4"])
        assert world.refused("agg", command) in ("verifier_key_invalid", "body_invalid"), wrong


def test_a_removal_names_a_present_member_and_nothing_else() -> None:
    world = a_world()
    assert world.refused("agg", a_change(world, "remove", "m9", ["m1", "m2"])) == "member_unknown"
    more = a_change(world, "remove", "m3", [], peer_url="https://m3.example")
    assert world.refused("agg", signed(world, more, ["m1", "m2"])) == "body_invalid"


def test_a_genesis_with_damaged_members_founds_nothing() -> None:
    with pytest.raises(Refusal, match="member_exists"):
        a_world("m1", "m1")
    with pytest.raises(Refusal, match="key_in_use"):
        World(members=[a_member("m1"), a_member("m2", cosigner_vkey=vkey("m2", 4, key_of("m1")))])
    with pytest.raises(Refusal, match="verifier_key_invalid"):
        World(members=[a_member("m1", origin="elsewhere")])
    with pytest.raises(Refusal, match="limit_exceeded"):
        a_world(*(f"m{n}" for n in range(33)))


def test_a_ledger_without_named_members_changes_none() -> None:
    world = World(devices=1)
    assert world.refused("agg", a_change(world, "add", "m1", [])) == "approvals_missing"
    assert rules.genesis(world.founding)["founding", "ledger"] is not None


@given(st.integers(1, 200))
def test_the_quorum_is_that_of_the_policy_file(count: int) -> None:
    assert quorum(count) == default_threshold(count)
    assert 2 * majority(count) > count >= majority(count)
    assert 2 * quorum(count) > count, "two quorums always share a member"


ASKED = st.tuples(
    st.sampled_from(("add", "remove")), st.integers(0, 6), st.lists(st.integers(0, 6)), st.integers(0, 30)
)


@given(st.lists(ASKED, max_size=12))
def test_whatever_is_asked_the_members_can_always_agree_again(
    asked: list[tuple[str, int, list[int], int]],
) -> None:
    """At every height there are members, each step changes at most one, and only what more than half signed."""
    world = a_world()
    for change, number, by, step in asked:
        world.height += step
        present = names(world, world.height)
        signers = list(dict.fromkeys(f"m{n}" for n in by))
        command = a_change(world, change, f"m{number}", [])
        command = signed(world, command, [*signers, f"m{number}"] if f"m{number}" not in signers else signers)
        if world.submit("agg", command).code == "ok":
            counted = {approval.member for approval in command.approvals} & set(present)
            assert len(counted) >= majority(len(present))
    # Of all that have been members, the heights are known for ever.
    every: list[MemberRecord] = [
        read(world.records[at], FormerMemberRecord) for at in world.records if at[0] == "former_member"
    ]
    every += members_ever(world)
    before = list(THREE)
    for height in range(1, world.height + LEAD_HEIGHTS + 1):
        now = sorted(each.name for each in every if each.holds(height))
        assert now, height
        assert len(set(now) ^ set(before)) <= 1, height
        before = now
    assert before == names(world, INTEGER_MAX)


def members_ever(world: World) -> list[MemberRecord]:
    kinds: dict[str, type[MemberRecord]] = {"member": MemberRecord, "former_member": FormerMemberRecord}
    return [read(data, kinds[kind]) for (kind, _), data in world.records.items() if kind in kinds]
