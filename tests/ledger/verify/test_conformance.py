"""Conformance with the C2SP texts, sentence by sentence, on notes that other software made and on our own."""

from __future__ import annotations

import pytest

from ledger.log import checkpoint as notes
from ledger.log.extension import write_extension
from ledger.log.policy import write_policy
from ledger.verify import VerificationError, parse_policy, verify_checkpoint, verify_extension, verify_payment
from ledger.verify.evidence import parse_extension
from ledger.verify.note import ED25519, VerifierKey, parse_checkpoint, parse_note
from tests.ledger.log.lived import lived
from tests.ledger.log.sample import ORIGIN, TIME_S, Member

# golang.org/x/mod/sumdb/note, package documentation
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
ENOCH = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
GO_NOTE = """If you think cryptography is the answer to your problem,
then you don't know what your problem is.

— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=
— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=
""".encode()

# a checkpoint of the Go checksum database, with its published key
SUM_KEY = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
SUM_NOTE = """go.sum database tree
65209736
5+uGFjx6xBZG8ip1+wi77v+grwbhhukIrxEUS8PXvRo=

— sum.golang.org Az3grnbssgK7ubgFX36gVETtNv0U23qxyAhAMai2QUfeGa3nB/akvkMdlUErfcZz7l/R3cVtYspg3dxXABkGZZKdsQ8=
""".encode()

MEMBERS = [Member(number) for number in range(1, 8)]
FILES = lived().files


def policy_text(quorum: str, *lines: str, logs: int = 1, witnesses: int = 7) -> bytes:
    text = [f"log {member.log_key.encode()}" for member in MEMBERS[:logs]]
    text += [
        f"witness w{number} {member.cosigner_key.encode()}" for number, member in enumerate(MEMBERS[:witnesses], 1)
    ]
    return "\n".join([*text, *lines, f"quorum {quorum}", ""]).encode()


def note_by(*cosigners: int, log: int = 1, origin: str = ORIGIN, more: str = "") -> bytes:
    """A checkpoint by log key `log` and these members' cosignatures; `more`: extension lines."""
    text = notes.checkpoint_text(origin, 7, bytes(32)) + more
    lines = [MEMBERS[log - 1].sign(text), *(MEMBERS[number - 1].cosign(text) for number in cosigners)]
    return notes.render_note(text, lines)


class TestSignedNote:
    def test_notes_signed_by_other_software_verify(self) -> None:
        text, lines = parse_note(GO_NOTE)
        for vkey, line in zip((PETER, ENOCH), lines, strict=True):
            key = VerifierKey.parse(vkey)
            assert (key.name, key.key_id) == (line.name, line.key_id)
            assert key.verify(text, line.signature) is None
            with pytest.raises(VerificationError, match="signature_invalid"):
                key.verify(text.replace("problem", "Problem"), line.signature)

    def test_the_checkpoint_of_the_go_checksum_database_verifies(self) -> None:
        """Its key name is not its origin, which a policy demands: the note is read, the policy refuses it."""
        checkpoint = parse_checkpoint(SUM_NOTE)
        assert (checkpoint.origin, checkpoint.size) == ("go.sum database tree", 65_209_736)
        VerifierKey.parse(SUM_KEY).verify(checkpoint.text, checkpoint.signatures[0].signature)
        with pytest.raises(VerificationError, match="log_signature_missing"):
            verify_checkpoint(SUM_NOTE, parse_policy(f"log {SUM_KEY}\nquorum none\n".encode()))

    def test_the_text_ends_at_the_last_empty_line(self) -> None:
        text, lines = parse_note("one\n\ntwo\n\n— name AAAAAAA=\n".encode())
        assert (text, len(lines)) == ("one\n\ntwo\n", 1)

    def test_at_least_sixteen_signatures_are_accepted_and_a_post_quantum_one_among_them(self) -> None:
        unknown = "".join(f"— other{number}.example AAAAAAA=\n" for number in range(60))
        large = f"— pq.example {'A' * 6_600}\n"
        note = note_by(1) + (unknown + large).encode()
        assert verify_checkpoint(note, parse_policy(policy_text("w1"))).cosigned_at_s == {"w1": TIME_S}

    def test_a_signature_by_an_unknown_key_that_shares_a_name_or_an_id_is_ignored(self) -> None:
        key = MEMBERS[0].cosigner_key
        other_id, other_name = bytes([key.key_id[0] ^ 1]) + key.key_id[1:], "somebody.example"
        lines = [notes.NoteSignature(key.name, other_id, b"x"), notes.NoteSignature(other_name, key.key_id, b"x")]
        note = notes.add_signatures(note_by(1), lines)
        assert verify_checkpoint(note, parse_policy(policy_text("w1"))).cosigned_at_s == {"w1": TIME_S}
        bad = notes.add_signatures(note_by(), [notes.NoteSignature(key.name, key.key_id, b"x")])
        with pytest.raises(VerificationError, match="signature_invalid"):
            verify_checkpoint(bad, parse_policy(policy_text("none", witnesses=1)))


class TestCheckpoint:
    def test_extension_lines_are_opaque_signed_and_kept(self) -> None:
        note = note_by(1, 2, more="one\n\u2028two words\n")
        assert verify_checkpoint(note, parse_policy(policy_text("w2"))).checkpoint.extensions == (
            "one",
            "\u2028two words",
        )

    def test_the_origin_need_not_look_like_an_address(self) -> None:
        """Clients MUST NOT assume a form: only that a policy names a log of that name, which has no spaces."""
        assert parse_checkpoint(note_by(1, origin="a log + its name")).origin == "a log + its name"

    @pytest.mark.parametrize("size", ["0", "9223372036854775807"])
    def test_sizes_up_to_63_bits_are_read(self, size: str) -> None:
        note = note_by(1).replace(b"\n7\n", f"\n{size}\n".encode())
        assert parse_checkpoint(note).size == int(size)


class TestCosignature:
    @pytest.mark.parametrize("time_s", [0, 1, 2**63 - 1])
    def test_every_time_up_to_63_bits_is_signed_over(self, time_s: int) -> None:
        text = notes.checkpoint_text(ORIGIN, 7, bytes(32))
        note = notes.render_note(text, [MEMBERS[0].sign(text), MEMBERS[0].cosign(text, time_s)])
        assert verify_checkpoint(note, parse_policy(policy_text("w1"))).cosigned_at_s == {"w1": time_s}

    def test_a_time_beyond_is_refused_although_the_key_signed_it(self) -> None:
        text = notes.checkpoint_text(ORIGIN, 7, bytes(32))
        with pytest.raises(VerificationError, match="signature_invalid"):
            MEMBERS[0].cosign(text, 2**63)

    def test_a_cosignature_is_no_log_signature_of_the_same_key_bytes(self) -> None:
        key = VerifierKey.create(ORIGIN, ED25519, MEMBERS[0].cosigner_key.public)
        text = notes.checkpoint_text(ORIGIN, 7, bytes(32))
        line = MEMBERS[0].cosign(text)
        with pytest.raises(VerificationError, match="signature_invalid"):
            key.verify(text, line.signature[8:])


class TestPolicy:
    def test_a_checkpoint_of_any_listed_log_is_accepted_and_of_no_other(self) -> None:
        policy = parse_policy(policy_text("w1", logs=3))
        for log in (1, 2, 3):
            assert verify_checkpoint(note_by(1, log=log), policy)
        with pytest.raises(VerificationError, match="log_signature_missing"):
            verify_checkpoint(note_by(1, log=4), policy)

    @pytest.mark.parametrize(
        ("cosigners", "met"),
        [
            ((1, 2, 4, 5, 7), True),
            ((1, 3, 6, 4, 7), True),
            ((1, 2, 4, 5), True),
            ((1, 2, 4, 7), True),
            ((1, 2, 3), False),
            ((4, 5, 6, 7), False),
            ((1, 4, 5, 6, 7), False),
            ((7,), False),
            ((), False),
        ],
    )
    def test_nested_groups_three_deep_count_as_written(self, cosigners: tuple[int, ...], met: bool) -> None:
        lines = (
            "group a 2 w1 w2 w3",
            "group b any w5 w6",
            "group c all w4",
            "group d 1 b w7",
            "group e 2 c d",
            "group f all a e",
        )
        policy = parse_policy(policy_text("f", *lines))
        assert policy.quorum_met({f"w{number}" for number in cosigners}) is met
        if met:
            assert verify_checkpoint(note_by(*cosigners), policy)
        else:
            with pytest.raises(VerificationError, match="quorum_not_met"):
                verify_checkpoint(note_by(*cosigners), policy)

    def test_thirty_two_logs_witnesses_and_groups_are_supported(self) -> None:
        members = [Member(number) for number in range(1, 33)]
        lines = [f"log {member.log_key.encode()} https://log.example/" for member in members]
        lines += [f"witness w{number} {member.cosigner_key.encode()}" for number, member in enumerate(members)]
        lines += [f"group g{number} any w{number}" for number in range(32)]
        lines += ["group all-of-them 17 " + " ".join(f"g{number}" for number in range(32)), "quorum all-of-them", ""]
        policy = parse_policy("\n".join(lines).encode())
        assert policy.quorum_met({f"w{number}" for number in range(17)})
        assert not policy.quorum_met({f"w{number}" for number in range(16)})

    def test_a_witness_that_no_group_holds_does_not_count(self) -> None:
        policy = parse_policy(policy_text("a", "group a 2 w1 w2"))
        with pytest.raises(VerificationError, match="quorum_not_met"):
            verify_checkpoint(note_by(1, 3, 4, 5, 6, 7), policy)

    @pytest.mark.parametrize("key_type", [0x00, 0x02, 0x05, 0x06, 0xFA, 0xFF])
    def test_a_key_of_a_type_that_we_do_not_know_is_refused_rather_than_ignored(self, key_type: int) -> None:
        """The text leaves types open; a policy that names one we cannot check must not silently lose it."""
        key = VerifierKey(ORIGIN, key_type, bytes(range(32)))
        with pytest.raises(VerificationError, match="policy_malformed"):
            parse_policy(f"log {key.encode()}\nquorum none\n".encode())

    def test_the_written_policy_of_many_members_is_read_strictly(self) -> None:
        data = write_policy([m.log_key for m in MEMBERS], [m.cosigner_key for m in MEMBERS])
        policy = parse_policy(data, strict=True)
        assert policy.groups[0].threshold == 5
        assert verify_checkpoint(note_by(1, 2, 3, 4, 7), policy, strict=True)


class TestWitness:
    def test_the_extension_is_the_body_of_add_checkpoint(self) -> None:
        """c2sp.org/tlog-witness: old size, hashes, an empty line, the checkpoint."""
        head, _, note = FILES["extension"].partition(b"\n\n")
        lines = head.decode().split("\n")
        assert lines[0] == "old 13"
        assert len(lines) - 1 == len(parse_extension(FILES["extension"])[1])
        assert note == FILES["note.whole"]
        found = verify_extension(FILES["note.small"], FILES["extension"], FILES["policy"], strict=True)
        assert (found.older.checkpoint.size, found.newer.checkpoint.size) == (13, 21)

    def test_growth_from_nothing_and_by_nothing_has_an_empty_proof(self) -> None:
        note = FILES["note.small"]
        found = verify_extension(note, write_extension(13, [], note), FILES["policy"])
        assert found.older.checkpoint == found.newer.checkpoint
        with pytest.raises(VerificationError, match="merkle_proof"):
            verify_extension(FILES["note.other"], write_extension(13, [], note), FILES["policy"])

    def test_more_than_63_hashes_are_refused(self) -> None:
        with pytest.raises(VerificationError, match="extension_malformed"):
            parse_extension(write_extension(1, [bytes(32)] * 64, b"note"))


def test_a_device_learns_amount_contract_and_members_in_one_call() -> None:
    payment = verify_payment(FILES["proof.0"], FILES["policy"], FILES["opening.payment"])
    assert (payment.contract_id, payment.amount_minor, payment.payee) == ("sc2-7", 1200, "home-17")
    assert payment.members == ("member.example/m1", "member.example/m2", "member.example/m3")
    assert payment.proved.attestation.checkpoint.origin == ORIGIN
