"""Equivocation: what two notes of one key prove, how it is found, and what looks like it and is not."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import pytest
from typer.testing import CliRunner

from contracts.core.proofs import cosigned_bytes, prefix_roots
from ledger.cli import app
from ledger.cli.evidence import verify as cli_verify
from ledger.log import checkpoint as notes
from ledger.log import merkle
from ledger.log.policy import write_policy
from ledger.replication.evidence import SignedNotes, as_report, prefix_of, prefix_tiles, write_evidence
from ledger.verify import VerificationError, canonical, verify_equivocation
from ledger.verify.keys import verify_ed25519
from ledger.verify.merkle import EMPTY_ROOT, leaf_hash
from tests.ledger.log.sample import ORIGIN, TIME_S, Member

MEMBERS = [Member(number) for number in (1, 2, 3)]
POLICY = write_policy([m.log_key for m in MEMBERS], [m.cosigner_key for m in MEMBERS])
LIAR = MEMBERS[1]
LEAVES = [leaf_hash(bytes([number])) for number in range(40)]
OTHER = [leaf_hash(b"other" + bytes([number])) for number in range(40)]


@dataclass(frozen=True)
class Tree:
    """A log that is ours up to `fork` and another one from there on."""

    fork: int

    def at(self, size: int) -> merkle.Appended:
        return merkle.append(0, [*LEAVES[: self.fork], *OTHER[self.fork :]][:size], {})

    def note(self, size: int, member: Member = LIAR, *, time_s: int = TIME_S, origin: str = ORIGIN) -> bytes:
        text = notes.checkpoint_text(origin, size, self.at(size).root)
        return notes.render_note(text, [member.cosign(text, time_s)])


OURS = Tree(40)


def refused(code: str, evidence: bytes, policy: bytes | None = POLICY) -> None:
    with pytest.raises(VerificationError) as caught:
        verify_equivocation(evidence, policy)
    assert caught.value.code == code, caught.value


def test_two_roots_of_one_size_are_the_whole_evidence() -> None:
    evidence = write_evidence(LIAR.cosigner_key, OURS.note(20), Tree(5).note(20, time_s=TIME_S + 9))
    found = verify_equivocation(evidence, POLICY)
    assert (found.name, found.first.size, found.second.size) == ("member.example/m2", 20, 20)
    assert found.first.root != found.second.root
    assert set(found.signed_at_s or ()) == {TIME_S, TIME_S + 9}
    assert "prefix_root" not in canonical.decode_object(evidence)


def test_the_order_of_the_notes_and_further_lines_do_not_change_the_file() -> None:
    one, other = OURS.note(20), Tree(5).note(20)
    text = one.decode().partition("\n\n")[0] + "\n"
    more = notes.add_signatures(one, [MEMBERS[0].sign(text), MEMBERS[2].cosign(text)])
    assert write_evidence(LIAR.cosigner_key, other, more) == write_evidence(LIAR.cosigner_key, one, other)


@pytest.mark.parametrize("fork", [0, 3, 8, 15])
def test_a_smaller_tree_that_is_no_prefix_is_proved_for_all_sizes(fork: int) -> None:
    """Every pair of sizes up to 20, so that complete and incomplete subtrees meet in every way."""
    tried = 0
    for small, large in combinations(range(fork + 1, 21), 2):
        prefix = prefix_of(small, large, OURS.at(large).tiles)
        found = verify_equivocation(
            write_evidence(LIAR.cosigner_key, Tree(fork).note(small), OURS.note(large), prefix), POLICY
        )
        assert (found.first.size, found.second.size) == (small, large)
        tried += 1
    assert tried


@pytest.mark.parametrize(("small", "large"), [(0, 7), (1, 2), (8, 16), (5, 5), (13, 39)])
def test_no_path_makes_evidence_of_a_tree_that_grew_honestly(small: int, large: int) -> None:
    prefix = prefix_of(small, large, OURS.at(large).tiles)
    for given in (prefix, None):
        with pytest.raises(VerificationError) as caught:
            write_evidence(LIAR.cosigner_key, OURS.note(small), OURS.note(large), given)
        assert caught.value.code in ("evidence_mismatch", "evidence_malformed")


def test_a_prefix_root_that_the_larger_tree_does_not_have_is_refused() -> None:
    """The liar cannot accuse itself falsely, and nobody else: the path must lead to the root that was signed."""
    prefix = prefix_of(9, 20, Tree(2).at(20).tiles)
    with pytest.raises(VerificationError) as caught:
        write_evidence(LIAR.cosigner_key, OURS.note(9), OURS.note(20), prefix)
    assert caught.value.code == "merkle_proof"


def test_a_signed_empty_log_with_a_root_is_evidence() -> None:
    text = notes.checkpoint_text(ORIGIN, 0, bytes(32))
    note = notes.render_note(text, [LIAR.cosign(text)])
    evidence = write_evidence(LIAR.cosigner_key, note, OURS.note(4), prefix_of(0, 4, OURS.at(4).tiles))
    assert verify_equivocation(evidence, POLICY).first.size == 0
    assert prefix_of(0, 4, {}).root == EMPTY_ROOT


def test_a_log_key_is_accused_as_a_cosigning_key_is() -> None:
    texts = [notes.checkpoint_text(ORIGIN, 20, tree.at(20).root) for tree in (OURS, Tree(5))]
    one, other = (notes.render_note(text, [LIAR.sign(text)]) for text in texts)
    found = verify_equivocation(write_evidence(LIAR.log_key, one, other), POLICY)
    assert (found.name, found.signed_at_s) == (ORIGIN, None)


@pytest.mark.parametrize(
    ("code", "edit"),
    [
        ("evidence_malformed", {"format": "gridpact/equivocation/v2"}),
        ("evidence_malformed", {"more": 1}),
        ("evidence_malformed", {"first": 7}),
        ("evidence_malformed", {"prefix_root": "00" * 32, "path": []}),
        ("note_malformed", {"key": "nobody"}),
        ("note_malformed", {"first": "AAAA"}),
        ("note_malformed", {"first": "?"}),
        ("evidence_key_unknown", {"key": Member(9).cosigner_key.encode()}),
        ("evidence_malformed", {"key": MEMBERS[0].cosigner_key.encode()}),
    ],
)
def test_a_changed_file_is_refused_by_name(code: str, edit: dict[str, object]) -> None:
    value = canonical.decode_object(write_evidence(LIAR.cosigner_key, OURS.note(20), Tree(5).note(20)))
    refused(code, canonical.encode(value | edit))


def test_every_flipped_byte_of_the_evidence_is_refused() -> None:
    prefix = prefix_of(9, 20, OURS.at(20).tiles)
    evidence = write_evidence(LIAR.cosigner_key, Tree(2).note(9), OURS.note(20), prefix)
    for at in range(len(evidence)):
        with pytest.raises(VerificationError):
            verify_equivocation(evidence[:at] + bytes([evidence[at] ^ 1]) + evidence[at + 1 :], POLICY)


def test_notes_of_two_logs_and_of_two_members_accuse_nobody() -> None:
    elsewhere = Tree(5).note(20, origin="ledger.example/dr/vn-1")
    with pytest.raises(VerificationError, match="of different logs"):
        write_evidence(LIAR.cosigner_key, OURS.note(20), elsewhere)
    with pytest.raises(VerificationError, match="not signed by"):
        write_evidence(LIAR.cosigner_key, OURS.note(20), Tree(5).note(20, MEMBERS[0]))


@pytest.mark.parametrize(("small", "large"), [(9, 20), (8, 20), (1, 2), (16, 39), (20, 20)])
def test_the_contract_judges_the_same_evidence_by_its_own_reading(small: int, large: int) -> None:
    prefix = None if small == large else prefix_of(small, large, OURS.at(large).tiles)
    evidence = write_evidence(LIAR.cosigner_key, Tree(0).note(small), OURS.note(large), prefix)
    report = as_report(evidence, "member.example/m2")
    for statement in (report.first, report.second):
        assert statement.time_s is not None
        message = cosigned_bytes(ORIGIN, statement.size, statement.root, statement.time_s)
        assert verify_ed25519(LIAR.cosigner_key.public, message, bytes.fromhex(statement.signature))
    if small != large:
        old_root, new_root = prefix_roots(small, large, report.path)
        assert (old_root, new_root) == (OURS.at(small).root.hex(), report.second.root)
        assert old_root != report.first.root
    else:
        assert report.path == ()


def test_evidence_against_a_log_key_is_reported_without_times() -> None:
    texts = [notes.checkpoint_text(ORIGIN, 20, tree.at(20).root) for tree in (OURS, Tree(5))]
    one, other = (notes.render_note(text, [LIAR.sign(text)]) for text in texts)
    report = as_report(write_evidence(LIAR.log_key, one, other), "member.example/m2")
    assert (report.first.time_s, len(report.first.signature)) == (None, 128)


class TestSignedNotes:
    """What a replica notices from the notes that come by."""

    def watch(self) -> SignedNotes:
        return SignedNotes(ORIGIN, [key for m in MEMBERS for key in (m.log_key, m.cosigner_key)])

    def test_two_roots_of_one_size_are_noticed_whichever_comes_first(self) -> None:
        for ours_first in (True, False):
            watch = self.watch()
            order = [(OURS, True), (Tree(5), False)][:: 1 if ours_first else -1]
            found = [watch.observe(tree.note(20), ours=ours) for tree, ours in order]
            assert not found[0].evidence
            assert verify_equivocation(found[1].evidence[0], POLICY).name == "member.example/m2"

    def test_a_foreign_tree_is_evidence_once_the_key_signed_a_larger_tree_of_ours(self) -> None:
        for ours_first in (True, False):
            watch = self.watch()
            order = [(OURS.note(20), True), (Tree(5).note(9), False)][:: 1 if ours_first else -1]
            assert watch.observe(order[0][0], ours=order[0][1]).pairs == ()
            (pair,) = watch.observe(order[1][0], ours=order[1][1]).pairs
            stored = OURS.at(40).tiles
            evidence = pair.prove({tile: stored[tile] for tile in pair.tiles()})
            assert verify_equivocation(evidence, POLICY).second.size == 20

    def test_another_member_on_another_tree_has_not_contradicted_itself(self) -> None:
        watch = self.watch()
        watch.observe(OURS.note(20, MEMBERS[0]), ours=True)
        found = watch.observe(Tree(5).note(20, MEMBERS[2]), ours=False)
        assert (found.evidence, found.pairs) == ((), ())

    def test_a_member_that_joined_later_is_watched_as_the_founders_are(self) -> None:
        watch = SignedNotes(ORIGIN, [key for m in MEMBERS[:1] for key in (m.log_key, m.cosigner_key)])
        watch.learn([LIAR.log_key, LIAR.cosigner_key])
        watch.observe(OURS.note(20), ours=True)
        watch.learn([LIAR.log_key, LIAR.cosigner_key])  # told again, it forgets nothing
        assert watch.observe(Tree(5).note(20), ours=False).evidence

    def test_a_forged_line_and_a_stranger_accuse_nobody(self) -> None:
        watch = self.watch()
        watch.observe(OURS.note(20), ours=True)
        text = notes.checkpoint_text(ORIGIN, 20, bytes(32))
        line = LIAR.cosign(notes.checkpoint_text(ORIGIN, 21, bytes(32)))
        with pytest.raises(VerificationError, match="signature_invalid"):
            watch.observe(notes.render_note(text, [line]), ours=False)
        stranger = watch.observe(Tree(5).note(20, Member(9)), ours=False)
        elsewhere = watch.observe(Tree(5).note(20, origin="ledger.example/dr/vn-1"), ours=False)
        assert not stranger.evidence + elsewhere.evidence

    def test_a_note_seen_again_and_honest_growth_raise_nothing(self) -> None:
        watch = self.watch()
        for size in (3, 8, 8, 20, 13):
            found = watch.observe(OURS.note(size), ours=True)
            assert (found.evidence, found.pairs) == ((), ())

    def test_memory_is_bounded_however_much_is_sent(self) -> None:
        watch = self.watch()
        for size in range(1, 40):
            watch.observe(Tree(0).note(size), ours=False)
        pairs = watch.observe(OURS.note(40), ours=True).pairs
        assert 0 < len(pairs) <= 16

    def test_the_tiles_named_are_enough_in_a_log_of_many_tiles(self) -> None:
        leaves = [leaf_hash(number.to_bytes(4, "big")) for number in range(70_000)]
        big = merkle.append(0, leaves, {})
        for small in (1, 255, 256, 257, 65_536, 69_999):
            named = prefix_tiles(small, 70_000)
            assert len(named) <= 8
            prefix = prefix_of(small, 70_000, {tile: big.tiles[tile] for tile in named})
            assert prefix.root == merkle.append(0, leaves[:small], {}).root


def test_the_command_judges_offline(tmp_path: Path) -> None:
    evidence, policy = tmp_path / "liar.evidence.json", tmp_path / "policy.txt"
    evidence.write_bytes(write_evidence(LIAR.cosigner_key, OURS.note(20), Tree(5).note(20)))
    policy.write_bytes(POLICY)
    run = CliRunner().invoke(app, ["evidence", "verify", str(evidence), "--policy", str(policy), "--json"])
    assert run.exit_code == 0, run.output
    shown = json.loads(run.output)
    assert (shown["equivocated"], shown["name"], shown["first"]["size"]) == (True, "member.example/m2", 20)
    evidence.write_bytes(evidence.read_bytes()[:-1])
    with pytest.raises(VerificationError, match="not_canonical"):
        cli_verify(evidence, policy)
