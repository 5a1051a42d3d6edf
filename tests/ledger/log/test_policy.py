"""Policy files: the format of the C2SP text, and the canonical form our writer emits."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.log.policy import default_threshold, parties_of, write_policy
from ledger.verify import Policy, VerificationError, parse_policy
from ledger.verify.note import COSIGNATURE_V1, VerifierKey
from tests.ledger.log.sample import Member

MEMBERS = [Member(number) for number in range(1, 7)]
LOG = MEMBERS[0].log_key.encode()
VKEYS = [member.cosigner_key.encode() for member in MEMBERS]
TWO_LEVELS = f"""# the example of the tlog-policy text
log {LOG} https://ledger.example/dr/main

witness X1 {VKEYS[0]} https://x1.example/
\twitness  X2\t{VKEYS[1]}
witness X3 {VKEYS[2]}
group X-witnesses 2 X1 X2 X3
witness Y1 {VKEYS[3]}
witness Y2 {VKEYS[4]}
witness Y3 {VKEYS[5]}
group Y-witnesses any Y1 Y2 Y3
group X-and-Y all X-witnesses Y-witnesses
  # an indented comment
quorum X-and-Y
"""


def written(threshold: int | None = None, members: int = 3) -> bytes:
    chosen = MEMBERS[:members]
    return write_policy([m.log_key for m in chosen], [m.cosigner_key for m in chosen], threshold)


def test_the_two_level_quorum_holds_exactly_where_the_text_says() -> None:
    policy = parse_policy(TWO_LEVELS.encode())
    names = [name for name, _ in policy.witnesses]
    for count in range(7):
        for chosen in combinations(names, count):
            expected = sum(n[0] == "X" for n in chosen) >= 2 and any(n[0] == "Y" for n in chosen)
            assert policy.quorum_met(set(chosen)) is expected


def test_a_quorum_may_be_one_witness_or_none() -> None:
    one = parse_policy(f"log {LOG}\nwitness w {VKEYS[0]}\nquorum w\n".encode())
    assert one.quorum_met({"w"})
    assert not one.quorum_met(set())
    assert parse_policy(b"quorum none\n").quorum_met(set())


@pytest.mark.parametrize(("members", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 4), (6, 5), (7, 5), (9, 7)])
def test_the_default_quorum_is_a_majority_and_from_four_members_more_than_two_thirds(members: int, needed: int) -> None:
    assert default_threshold(members) == needed
    assert members < 4 or needed * 3 > members * 2


def test_the_written_policy_has_this_form() -> None:
    lines = written(members=2).decode().splitlines()
    assert [line.split()[0] for line in lines] == ["log", "log", "witness", "witness", "group", "quorum"]
    name = lines[-1].split()[1]
    assert lines[-2] == f"group {name} 2 member.example/m1 member.example/m2"
    assert name.startswith("members-")


def test_the_order_of_the_members_does_not_matter() -> None:
    keys = [m.log_key for m in MEMBERS], [m.cosigner_key for m in MEMBERS]
    assert write_policy(*keys) == write_policy(keys[0][::-1], keys[1][::-1])


def test_a_written_policy_is_canonical_and_reads_as_meant() -> None:
    policy = parse_policy(written(2), strict=True)
    assert policy.quorum_met({"member.example/m1", "member.example/m3"})
    assert not policy.quorum_met({"member.example/m1"})
    assert parse_policy(write_policy([MEMBERS[0].log_key], []), strict=True).quorum == "none"


@pytest.mark.parametrize("data", [written(), write_policy([MEMBERS[0].log_key], [])])
def test_every_changed_byte_of_a_canonical_policy_is_refused(data: bytes) -> None:
    for at in range(len(data)):
        for flip in (0x01, 0x02, 0x10, 0x20, 0x80, 0xFF):
            changed = data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :]
            with pytest.raises(VerificationError):
                parse_policy(changed, strict=True)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"quorum", b" quorum"),
        (b"quorum", b"\nquorum"),
        (b"quorum", b"# why\nquorum"),
        (b" 2 ", b" 1 "),
        (b" 2 ", b"  2 "),
        (b"witness", b"witness\t"),
        (b" 2 member.example/m1 member.example/m2", b" 2 member.example/m2 member.example/m1"),
    ],
)
def test_another_form_is_read_but_not_canonical(old: bytes, new: bytes) -> None:
    changed = written().replace(old, new, 1)
    assert changed != written()
    parse_policy(changed)
    with pytest.raises(VerificationError, match="policy_not_canonical"):
        parse_policy(changed, strict=True)


def test_a_readable_policy_by_others_is_not_canonical() -> None:
    for text in (TWO_LEVELS, f"log {LOG}\nwitness w {VKEYS[0]}\nquorum none\n", f"witness w {VKEYS[0]}\nquorum w\n"):
        with pytest.raises(VerificationError, match="policy_not_canonical"):
            parse_policy(text.encode(), strict=True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"log {LOG}\n",
        f"log {LOG}\nquorum none",
        f"log {LOG}\nlog {LOG}\nquorum none\n",
        f"log {VKEYS[0]}\nquorum none\n",
        f"log {LOG} https://a b\nquorum none\n",
        "log\nquorum none\n",
        f"witness w {LOG}\nquorum w\n",
        f"witness none {VKEYS[0]}\nquorum none\n",
        f"witness w {VKEYS[0]}\nwitness w {VKEYS[1]}\nquorum w\n",
        f"witness v {VKEYS[0]}\nwitness w {VKEYS[0]}\nquorum w\n",
        f"witness w {VKEYS[0]}\ngroup w any w\nquorum w\n",
        f"witness w {VKEYS[0]}\ngroup g 0 w\nquorum g\n",
        f"witness w {VKEYS[0]}\ngroup g 2 w\nquorum g\n",
        f"witness w {VKEYS[0]}\ngroup g 01 w\nquorum g\n",
        f"witness w {VKEYS[0]}\ngroup g most w\nquorum g\n",
        f"witness w {VKEYS[0]}\ngroup g any\nquorum g\n",
        f"witness w {VKEYS[0]}\ngroup g any w w\nquorum g\n",
        f"witness w {VKEYS[0]}\ngroup g any w\ngroup h any w\nquorum h\n",
        f"witness w {VKEYS[0]}\ngroup g any none\nquorum g\n",
        f"group g any w\nwitness w {VKEYS[0]}\nquorum g\n",
        f"quorum w\nwitness w {VKEYS[0]}\n",
        "quorum none\nquorum none\n",
        "quorum none extra\n",
        "quorum\n",
        "quorum none\r\n",
        "quorum none\x7f\n",
        "monitor m\nquorum none\n",
    ],
)
def test_a_malformed_policy_is_refused(text: str) -> None:
    with pytest.raises(VerificationError, match="policy_malformed"):
        parse_policy(text.encode())


def test_one_key_under_two_names_is_refused() -> None:
    twin = VerifierKey.create("twin.example", COSIGNATURE_V1, MEMBERS[0].cosigner_key.public).encode()
    with pytest.raises(VerificationError, match="listed twice"):
        parse_policy(f"witness v {VKEYS[0]}\nwitness w {twin}\ngroup g all v w\nquorum g\n".encode())


def test_names_are_octets_and_need_not_be_text() -> None:
    data = b"witness \xe2\x84 " + VKEYS[0].encode() + b"\nquorum \xe2\x84\n"
    policy = parse_policy(data)
    assert policy.render() == data
    assert policy.quorum_met({policy.witnesses[0][0]})


@given(st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(TWO_LEVELS.split(" ")), max_size=60)))
def test_any_bytes_are_a_policy_or_refused(data: bytes | list[str]) -> None:
    text = data if isinstance(data, bytes) else " ".join(data).encode()
    try:
        policy = parse_policy(text)
    except VerificationError:
        return
    assert isinstance(policy, Policy)
    assert parse_policy(policy.render()) == policy


class TestExternalWitnesses:
    WITNESSES = (Member(8).cosigner_key, Member(9).cosigner_key)
    NAMES = ("member.example/m8", "member.example/m9")

    def written(self, required: int) -> bytes:
        chosen = MEMBERS[:3]
        keys = [m.log_key for m in chosen], [m.cosigner_key for m in chosen]
        return write_policy(*keys, witnesses=self.WITNESSES[::-1], required=required)

    def test_named_ones_change_nothing_of_the_quorum(self) -> None:
        policy = parse_policy(self.written(0), strict=True)
        assert {name for name, _ in policy.witnesses} >= set(self.NAMES)
        assert policy.quorum_met({"member.example/m1", "member.example/m2"})
        assert not policy.quorum_met({"member.example/m1", *self.NAMES})

    @pytest.mark.parametrize("required", [1, 2])
    def test_required_ones_are_needed_beside_the_members_and_never_in_their_place(self, required: int) -> None:
        policy = parse_policy(self.written(required), strict=True)
        every = [name for name, _ in policy.witnesses]
        for count in range(6):
            for chosen in combinations(every, count):
                external = sum(name in self.NAMES for name in chosen)
                expected = len(chosen) - external >= 2 and external >= required
                assert policy.quorum_met(set(chosen)) is expected

    def test_more_than_there_are_or_one_that_is_a_member_make_no_policy(self) -> None:
        member = MEMBERS[0]
        with pytest.raises(VerificationError, match="policy_malformed"):
            self.written(3)
        with pytest.raises(VerificationError, match="policy_malformed"):
            write_policy([member.log_key], [member.cosigner_key], witnesses=[member.cosigner_key])

    @pytest.mark.parametrize("required", [0, 1, 2])
    def test_who_is_a_member_can_be_read_again(self, required: int) -> None:
        found = parties_of(parse_policy(self.written(required)))
        assert {key.name for key in found.members} == {m.cosigner_key.name for m in MEMBERS[:3]}
        assert (found.quorum, set(found.witnesses), found.required) == (2, set(self.WITNESSES), required)

    def test_in_policies_of_other_forms_every_cosigner_is_a_member(self) -> None:
        assert parties_of(parse_policy(written(3))).quorum == 3
        assert len(parties_of(parse_policy(TWO_LEVELS.encode())).members) == 6
        one = parties_of(parse_policy(f"log {LOG}\nwitness w {VKEYS[0]}\nquorum w\n".encode()))
        assert ([key.encode() for key in one.members], one.quorum, one.required) == ([VKEYS[0]], 1, 0)
