"""A change of the members, written down, approved by each on its own machine, and put together again."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from contracts.core.commands import Approval, Member, membership_bytes
from ledger.cluster.layout import ClusterError
from ledger.cluster.proposal import Proposal, read_approvals, read_proposal, write
from ledger.log.checkpoint import cosigner_key, log_key
from runtime.keys import verify
from tests.builders import a_key

NEW = a_key(4)


def raw(seed: int) -> bytes:
    return bytes.fromhex(a_key(seed).public.partition(":")[2])


def a_member(name: str = "member.example/4") -> Member:
    return Member(
        name=name,
        log_vkey=log_key("ledger.example/main", raw(14)).encode(),
        cosigner_vkey=cosigner_key(name, raw(4)).encode(),
        peer_url="https://four.example:8441",
    )


def a_proposal(**changes: object) -> Proposal:
    given = {
        "ledger": "ab" * 32,
        "channel": "main",
        "change": "add",
        "name": "member.example/4",
        "member": a_member(),
        "effective_height": 120,
    }
    return Proposal(**(given | changes))  # type: ignore[arg-type]


def test_an_approval_signs_this_change_of_this_ledger_alone():
    approval = a_proposal().approve("member.example/4", NEW)
    signature = bytes.fromhex(approval.signature)
    command = a_proposal().command()
    assert verify(NEW.public, membership_bytes("ab" * 32, "main", command), signature)
    for other in (
        membership_bytes("cd" * 32, "main", command),
        membership_bytes("ab" * 32, "other", command),
        membership_bytes("ab" * 32, "main", a_proposal(effective_height=121).command()),
    ):
        assert not verify(NEW.public, other, signature)


def test_approvals_do_not_change_what_is_approved():
    first = a_proposal().approve("member.example/1", a_key(1))
    approved = a_proposal().command([first])
    assert membership_bytes("ab" * 32, "main", approved) == membership_bytes("ab" * 32, "main", a_proposal().command())
    assert approved.approvals == (first,)


def test_proposal_and_approvals_travel_as_files(tmp_path: Path):
    write(tmp_path / "change.json", a_proposal())
    assert read_proposal(tmp_path / "change.json") == a_proposal()
    paths = []
    for seed in (2, 1):
        paths.append(tmp_path / f"{seed}.approval.json")
        write(paths[-1], a_proposal().approve(f"member.example/{seed}", a_key(seed)))
    command = a_proposal().command(read_approvals(paths))
    assert [each.member for each in command.approvals] == ["member.example/1", "member.example/2"]


def test_nothing_is_written_over_another_proposal(tmp_path: Path):
    write(tmp_path / "change.json", a_proposal())
    with pytest.raises(ClusterError, match="--output"):
        write(tmp_path / "change.json", a_proposal())


@pytest.mark.parametrize(
    "changes",
    [{"member": None}, {"change": "remove"}, {"name": "member.example/5"}],
    ids=["added without keys", "removed with keys", "another name"],
)
def test_a_proposal_that_contradicts_itself_is_not_read(tmp_path: Path, changes: dict[str, object]):
    write(tmp_path / "change.json", a_proposal(**changes))
    with pytest.raises(ClusterError, match="contradicts itself"):
        read_proposal(tmp_path / "change.json")


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"format":"gridpact/membership/v2"}', b'{"member":1}', b"[" * 10_000, b"\xff"]
)
def test_a_file_of_something_else_is_named(tmp_path: Path, content: bytes):
    (tmp_path / "change.json").write_bytes(content)
    with pytest.raises(ClusterError, match=r"change\.json"):
        read_proposal(tmp_path / "change.json")


def test_a_member_that_approves_twice_is_named(tmp_path: Path):
    approval = Approval(member="member.example/1", signature="00" * 64)
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(msgspec.json.encode(approval))
    with pytest.raises(ClusterError, match=r"member\.example/1"):
        read_approvals([tmp_path / "a", tmp_path / "b"])
