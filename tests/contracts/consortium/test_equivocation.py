"""A member that signs two histories is found out by two signatures, and is a member no more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.consortium import FormerMemberRecord, members
from contracts.core import commands as c
from contracts.core.codec import read
from contracts.core.facts import EquivocationProved
from contracts.core.proofs import cosigned_bytes, log_signed_bytes
from ledger.log import merkle
from ledger.verify.merkle import leaf_hash
from tests.contracts.channels.logs import a_member
from tests.contracts.consortium.test_membership import a_change, names
from tests.contracts.world import World, changed, key_of, sign

TIME_S = 1_767_225_600
LEAVES = [leaf_hash(b"entry %d" % n) for n in range(40)]


def a_world(*names: str) -> World:
    return World(devices=1, members=[a_member(name) for name in names or ("m1", "m2", "m3")])


def root_of(leaves: Sequence[bytes]) -> str:
    return merkle.append(0, list(leaves), {}).root.hex()


def prefix_path(leaves: Sequence[bytes], old: int) -> tuple[str, ...]:
    tiles = merkle.append(0, list(leaves), {}).tiles
    path = [item.hex() for item in merkle.consistency_proof(old, len(leaves), tiles)]
    return tuple([root_of(leaves[:old]), *path] if old & (old - 1) == 0 else path)


def a_statement(size: int, root: str, name: str = "m1", *, log: bool = False, origin: str = "test/main") -> c.Statement:
    if log:
        signature = sign(key_of(f"log {name}"), log_signed_bytes(origin, size, root))
        return c.Statement(size=size, root=root, time_s=None, signature=signature.hex())
    signature = sign(key_of(name), cosigned_bytes(origin, size, root, TIME_S))
    return c.Statement(size=size, root=root, time_s=TIME_S, signature=signature.hex())


def a_report(first: c.Statement, second: c.Statement, path: Sequence[str] = (), member: str = "m1") -> Any:
    return c.ReportEquivocation(member=member, first=first, second=second, path=tuple(path))


def two_roots(**given: Any) -> c.ReportEquivocation:
    return a_report(a_statement(5, "a" * 64, **given), a_statement(5, "b" * 64, **given))


@pytest.mark.parametrize("log", [False, True])
def test_two_roots_of_one_size_end_the_membership_from_the_next_height(log: bool) -> None:
    world = a_world()
    world.height = 7
    (fact,) = world.run("d0", two_roots(log=log))
    key = key_of("log m1") if log else key_of("m1")
    assert fact == EquivocationProved(
        member="m1", key=key, sizes=(5, 5), roots=("a" * 64, "b" * 64), until_height=8, party="d0"
    )
    assert (names(world, 7), names(world, 8)) == (["m1", "m2", "m3"], ["m2", "m3"])
    world.height = 8
    assert world.refused("agg", two_roots(log=log)) == "member_unknown"
    world.run("agg", a_change(world, "add", "m4", ["m2", "m3"]))
    assert read(world.records["former_member", "m1"], FormerMemberRecord).until_height == 8


@given(st.integers(1, 39), st.integers(2, 40), st.integers(0, 39), st.booleans())
def test_two_sizes_contradict_each_other_exactly_if_the_leaves_below_differ(
    old: int, new: int, edited: int, turned: bool
) -> None:
    """The smaller checkpoint is of a history in which one entry is another."""
    if old >= new:
        old, new = new - 1, old + 1
    other = [*LEAVES[:edited], leaf_hash(b"another entry"), *LEAVES[edited + 1 :]]
    smaller, larger = a_statement(old, root_of(other[:old])), a_statement(new, root_of(LEAVES[:new]))
    report = a_report(*((larger, smaller) if turned else (smaller, larger)), path=prefix_path(LEAVES[:new], old))
    code = a_world().submit("aud", report).code
    assert code == ("ok" if edited < old else "not_equivocation")


def test_no_honest_member_is_framed_by_hashes_that_lead_elsewhere() -> None:
    world = a_world()
    smaller, larger = a_statement(3, root_of(LEAVES[:3])), a_statement(8, root_of(LEAVES[:8]))
    path = prefix_path(LEAVES[:8], 3)
    assert world.refused("d0", a_report(smaller, larger, path)) == "not_equivocation"
    lies = [tuple("f" * 64 if at == n else item for at, item in enumerate(path)) for n in range(len(path))]
    lies += [path[::-1], tuple(prefix_path(LEAVES[:7], 3)), tuple(prefix_path(LEAVES[:8], 2))]
    for lie in [*lies, (), path[:-1], (*path, "f" * 64)]:
        assert world.refused("d0", a_report(smaller, larger, lie)) in ("not_equivocation", "proof_invalid"), lie
    empty = a_statement(0, "a" * 64)
    assert world.refused("d0", a_report(empty, larger)) == "not_equivocation"
    assert names(world, 2) == ["m1", "m2", "m3"]


def test_a_report_holds_two_signatures_by_one_key_of_this_log() -> None:
    world = a_world()
    good = two_roots()
    forged = a_statement(5, "b" * 64, "m2")
    assert world.refused("d0", changed(good, second=forged)) == "bad_signature"
    assert world.refused("d0", two_roots(origin="elsewhere")) == "bad_signature"
    assert world.refused("d0", changed(good, member="m2")) == "bad_signature"
    assert world.refused("d0", changed(good, member="m9")) == "member_unknown"
    assert world.refused("d0", changed(good, second=good.first)) == "not_equivocation"
    assert world.refused("d0", changed(good, second=a_statement(5, "b" * 64, log=True))) == "not_equivocation"
    assert world.refused("d0", changed(good, path=("a" * 64,))) == "not_equivocation"
    moved = changed(good.second, time_s=TIME_S + 1)
    assert world.refused("d0", changed(good, second=moved)) == "bad_signature"
    world.run("d0", good)


def test_signing_the_same_twice_is_no_crime() -> None:
    first, second = a_statement(5, "a" * 64), a_statement(5, "a" * 64)
    assert a_world().refused("d0", a_report(first, second)) == "not_equivocation"


def test_the_last_member_stays_so_that_the_ledger_does() -> None:
    world = a_world("m1", "m2")
    world.run("d0", two_roots())
    world.height = 2
    assert world.refused("d0", by("m2")) == "members_too_few"
    assert names(world, 3) == ["m2"]


def by(name: str) -> c.ReportEquivocation:
    return a_report(a_statement(5, "a" * 64, name), a_statement(5, "b" * 64, name), member=name)


def test_a_member_that_is_to_come_or_to_go_is_revoked_too() -> None:
    world = a_world()
    world.run("agg", a_change(world, "add", "m4", ["m1", "m2"]))
    world.run("d0", by("m4"))
    assert names(world, 2) == names(world, 11) == ["m1", "m2", "m3"]
    world = a_world()
    world.run("agg", a_change(world, "remove", "m3", ["m1", "m2"]))
    world.run("d0", by("m3"))
    assert [each.name for each in members(world, 2)] == ["m1", "m2"]
