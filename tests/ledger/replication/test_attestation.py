"""Whose cosignatures count, what waits for them, and what this member must not sign."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import make_url

from ledger.audit import audit
from ledger.errors import Diverged, GenesisInvalid
from ledger.log.checkpoint import checkpoint_text, cosigner_key, log_key, render_note
from ledger.log.policy import write_policy
from ledger.marker import FileMarker, may_sign
from ledger.ordering.signatures import CheckpointSigner
from ledger.replication.attestation import AHEAD_MAX, Attestations, Contradiction
from ledger.replication.trimming import trim_line
from ledger.verify import VerificationError, parse_policy, verify_checkpoint
from ledger.verify.note import parse_checkpoint
from tests.builders import a_key
from tests.ledger.replicas import Ledger, a_replica, an_issue, transfers

ORIGIN, TIME_S = "ledger.example/main", 1_767_225_600
ROOT, OTHER = b"\1" * 32, b"\2" * 32


def _raw(key):
    return bytes.fromhex(key.public.partition(":")[2])


@pytest.fixture
def url(new_database):
    return new_database("ledger")


class Members:
    """Signers of n members, and the attestations of the first."""

    def __init__(self, count: int) -> None:
        keys = [(f"member.example/{n}", a_key(300 + n), a_key(400 + n)) for n in range(1, count + 1)]
        self.signers = [CheckpointSigner(ORIGIN, log, name, cosigner) for name, log, cosigner in keys]
        self.policy = parse_policy(
            write_policy(
                [log_key(ORIGIN, _raw(log)) for _, log, _ in keys],
                [cosigner_key(name, _raw(cosigner)) for name, _, cosigner in keys],
            )
        )
        self.found: list[Contradiction] = []
        self.own = Attestations(ORIGIN, "member.example/1", self.policy, self.found.append)

    def note(self, number: int, size: int, root: bytes = ROOT, **options: bool) -> bytes:
        return self.signers[number - 1].note(size, root, TIME_S, **options)


@pytest.mark.parametrize(("members", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 4), (7, 5)])
def test_a_checkpoint_is_final_with_the_quorum_of_the_policy_and_not_before(members, needed):
    of = Members(members)
    of.own.executed(5, 1, ROOT)
    for number in range(1, members + 1):
        assert (of.own.final.size == 5) == (number > needed)
        of.own.take(of.note(number, 5))
        assert of.own.attested(4) == number
    assert len(verify_checkpoint(of.own.final.note, of.policy, strict=True).cosigned_at_s) == members
    assert of.own.attested(5) == 0, "the leaf behind it"


def test_who_knows_the_log_by_the_key_of_one_member_finds_its_line_in_the_final_checkpoint():
    """As a C2SP witness or monitor does: it is given one key for a log."""
    of = Members(3)
    of.own.executed(5, 1, ROOT)
    for number in (3, 1, 2):
        of.own.take(of.note(number, 5))
    for signer_key in of.policy.logs:
        alone = parse_policy(write_policy([signer_key], []))
        assert verify_checkpoint(of.own.final.note, alone).checkpoint.size == 5


def test_a_note_of_a_tree_we_have_not_reached_counts_when_we_reach_it():
    of = Members(3)
    of.own.executed(5, 1, ROOT)
    of.own.take(of.note(2, 9))
    assert (of.own.final.size, of.own.attested(0)) == (0, 0)
    of.own.executed(9, 2, ROOT)
    of.own.take(of.note(1, 9))
    assert (of.own.final.size, of.own.final.height) == (9, 2)


def test_cosignatures_without_a_signature_of_the_log_make_nothing_final():
    of = Members(3)
    of.own.executed(5, 1, ROOT)
    for number in (1, 2, 3):
        note = parse_checkpoint(of.note(number, 5))
        line = next(line for line in note.signatures if line.name != ORIGIN)
        of.own.take(render_note(note.text, [line]))
    assert (of.own.attested(0), of.own.final.size) == (3, 0)


def test_the_same_member_twice_is_one_member_and_a_block_not_vouched_for_does_not_count():
    of = Members(3)
    of.own.executed(5, 1, ROOT)
    for _ in range(3):
        of.own.take(of.note(2, 5))
    assert of.own.take(of.note(1, 5, cosigned=False)) is False
    assert (of.own.attested(0), of.own.final.size) == (1, 0)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda note: note.replace(b"ledger.example", b"ledgex.example"),
        lambda note: note.replace(b"\n5\n", b"\n6\n"),
        lambda note: note[:-5] + b"AAAA\n",
        lambda note: b"",
        lambda note: note.replace(b"\n\n", b"\nan extension\n\n"),
    ],
)
def test_a_forged_note_is_refused_and_changes_nothing(spoil):
    of = Members(3)
    of.own.executed(5, 1, ROOT)
    with pytest.raises(VerificationError):
        of.own.take(spoil(of.note(2, 5)))
    assert of.own.attested(0) == 0


def test_another_tree_is_told_once_and_a_quorum_of_them_says_that_we_differ():
    of = Members(4)
    of.own.executed(5, 1, ROOT)
    for _ in range(2):
        of.own.take(of.note(2, 5, OTHER))
    of.own.take(of.note(2, 5, b"\3" * 32))
    assert [(each.member, each.outvoted) for each in of.found] == [("member.example/2", False)]
    of.own.take(of.note(3, 5, OTHER))
    of.own.take(of.note(4, 5, OTHER))
    assert [each.outvoted for each in of.found] == [False, False, True]
    assert of.own.final.size == 0


def test_a_size_at_which_no_block_ends_is_another_tree():
    of = Members(3)
    of.own.executed(5, 1, ROOT)
    of.own.executed(9, 2, ROOT)
    of.own.take(of.note(2, 7))
    of.own.take(of.note(3, 11))
    of.own.executed(12, 3, ROOT)
    assert [(each.member, each.size, each.height) for each in of.found] == [
        ("member.example/2", 7, 2),
        ("member.example/3", 11, 3),
    ]


def test_a_member_that_signs_far_ahead_fills_no_memory():
    of = Members(3)
    of.own.executed(5, 1, ROOT)
    for size in range(6, 6 + 2 * AHEAD_MAX):
        of.own.take(of.note(2, size))
    assert len(of.own._ahead["member.example/2"]) == AHEAD_MAX
    assert of.own.ahead() == 5 + 2 * AHEAD_MAX


@pytest.mark.parametrize(
    ("heights", "final", "line"),
    [
        ({"a": 50, "b": 40, "c": 30}, 40, 20),  # all have passed 30
        ({"a": 50, "b": 40}, 40, 0),  # one has cosigned nothing yet
        ({"a": 500, "b": 490, "c": 30}, 490, 480),  # one is away for longer than the window
        ({"a": 50, "b": 50, "c": 50}, 30, 20),  # never what is not final
    ],
)
def test_the_order_keeps_what_somebody_may_still_need(heights, final, line):
    assert trim_line(heights, ["a", "b", "c"], final, margin=10, window=200) == line


def test_the_marker_only_grows_and_says_what_may_be_signed(tmp_path: Path):
    marker = FileMarker(tmp_path / "signed", "ab" * 32)
    assert (marker.exists, may_sign(marker, 0, ROOT)) == (False, True)
    for size, root in ((0, ROOT), (7, ROOT), (5, OTHER), (7, ROOT)):
        marker.record(size, root)
    again = FileMarker(tmp_path / "signed", "ab" * 32)
    assert (again.exists, again.size, again.root) == (True, 7, ROOT)
    asked = ((6, ROOT), (7, OTHER), (7, ROOT), (8, OTHER))
    assert [may_sign(again, size, root) for size, root in asked] == [False, False, True, True]


def test_a_marker_of_another_ledger_or_a_damaged_one_is_refused(tmp_path: Path):
    FileMarker(tmp_path / "signed", "ab" * 32).record(7, ROOT)
    with pytest.raises(GenesisInvalid, match="another ledger"):
        FileMarker(tmp_path / "signed", "cd" * 32)
    text = (tmp_path / "signed").read_text()
    (tmp_path / "signed").write_text(text.replace("00007 ", "00009 "))
    with pytest.raises(GenesisInvalid, match="damaged"):
        FileMarker(tmp_path / "signed", "ab" * 32)


async def test_a_restored_backup_signs_nothing_again_and_never_another_tree(url, databases, tmp_path):
    """Alone, what was lost is lost: the log is served up to the last signature and stops before it contradicts it."""
    async with a_replica(url, tmp_path) as ledger:
        await ledger.run(an_issue())
    backup = _copy(databases, url)
    async with a_replica(url, tmp_path) as ledger:
        await ledger.run(*transfers(9))
        signed = ledger.replica.head.size
    async with a_replica(backup, tmp_path) as ledger:
        final = ledger.replica.final_size
        for number in range(20, 23):
            await ledger.run(*transfers(1, first=number))
            size, root = ledger.replica.head.size, ledger.replica.head.root
            (row,) = await ledger.sql("SELECT note FROM checkpoints WHERE size = :size", size=size)
            assert (size < signed, row.note) == (True, checkpoint_text(ORIGIN, size, root).encode())
        assert (ledger.replica.final_size, await audited(ledger)) == (final, True)
        with pytest.raises(Diverged, match="signed another tree"):
            await ledger.run(*transfers(9, first=30))
    databases.drop(backup)


async def audited(ledger: Ledger) -> bool:
    """The audit reads the unsigned notes as what they are."""
    return (await audit(ledger.engine, ledger.founded)).height == ledger.replica.height


def _copy(databases, url: str) -> str:
    """A database with the same content, as a restore makes it."""
    copied = databases.new()
    name, source = make_url(copied).database, make_url(url).database
    databases.drop(copied)
    databases._admin.execute(f"CREATE DATABASE {name} TEMPLATE {source} STRATEGY file_copy")
    return copied
