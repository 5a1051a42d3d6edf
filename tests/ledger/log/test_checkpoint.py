"""Signed notes, checkpoints and cosignatures: the byte-exact vector, published examples, and what must be refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from ledger.log import checkpoint as notes
from ledger.log import merkle
from ledger.log.policy import write_policy
from ledger.verify import VerificationError, parse_policy, verify_checkpoint
from ledger.verify.merkle import leaf_hash
from ledger.verify.note import (
    COSIGNATURE_V1,
    ED25519,
    VerifierKey,
    decode_base64,
    encode_base64,
    parse_checkpoint,
    parse_note,
)
from tests.ledger.log.sample import TIME_S, Member, sample_log

LOG = SigningKey(bytes(range(32)))
COSIGNER = SigningKey(bytes(range(32, 64)))
VECTOR = """ledger.example/dr-test
3
Wqx3HImawpLnS/Gv4ubjAvi1WIOy0b8Ze0amvqbavKk=

— ledger.example/dr-test ZoZH0McmCJha4kP5jneJVWIb1JOeFVRD8ObG5fpiEosTOUjbHpeQqXwLdTOOZsb/gBUl9GIplKL4kvsa2BU7QwL/ag0=
— member.example/agg-01 6f9HgQAAAABpVbkAUs4aaYNTLoOpBAb7kiAXPVqNvq/nYvggd3FUgxQ9M4nw7hAGya80nFuLWRkjtUJB0M7VcUeDJqqOfHMJ0/mnCA==
""".encode()  # noqa: E501

# The key of the Go checksum database and the example note of the signed-note text, both made by other software.
GO_SUM_VKEY = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
SPEC_NOTE = """Ognuno sta solo sul cuor della terra
trafitto da un raggio di sole:

ed è subito sera.

— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=
""".encode()  # noqa: E501


def log_key() -> VerifierKey:
    return notes.log_key("ledger.example/dr-test", bytes(LOG.verify_key))


def cosigner_key() -> VerifierKey:
    return notes.cosigner_key("member.example/agg-01", bytes(COSIGNER.verify_key))


def test_the_vector_comes_out_byte_for_byte() -> None:
    appended = merkle.append(0, [leaf_hash(entry) for entry in (b"one", b"two", b"three")], {})
    text = notes.checkpoint_text("ledger.example/dr-test", appended.size, appended.root)
    signed = notes.sign_checkpoint(text, log_key(), lambda message: LOG.sign(message).signature)
    cosigned = notes.cosign_checkpoint(text, cosigner_key(), lambda m: COSIGNER.sign(m).signature, 1767225600)
    assert notes.render_note(text, [signed, cosigned]) == VECTOR
    assert notes.add_signatures(notes.render_note(text, [signed]), [cosigned]) == VECTOR
    assert [encode_base64(item) for item in merkle.inclusion_proof(1, 3, appended.tiles)] == [
        "0Nc2CrefWKseHj/mStd+LqC8B+NrX0btIiPt2SmN+ek=",
        "Zx8UbF5HHooag6PCFM5LqQe486WIjRTMjNPOdbsS75Q=",
    ]


def test_the_vector_verifies_under_its_policy() -> None:
    policy = parse_policy(write_policy([log_key()], [cosigner_key()]), strict=True)
    attestation = verify_checkpoint(VECTOR, policy, strict=True)
    assert attestation.checkpoint.size == 3
    assert attestation.cosigned_at_s == {"member.example/agg-01": 1767225600}


def test_foreign_keys_and_notes_are_read() -> None:
    key = VerifierKey.parse(GO_SUM_VKEY)
    assert (key.name, key.type, key.encode()) == ("sum.golang.org", ED25519, GO_SUM_VKEY)
    text, [signature] = parse_note(SPEC_NOTE)
    assert text.endswith("\n\ned è subito sera.\n")
    assert signature.name == "quasimodo.example/salvatore"
    assert len(signature.signature) == 64


@given(st.text(), st.sampled_from([ED25519, COSIGNATURE_V1]), st.binary(min_size=32, max_size=32))
def test_every_key_that_can_be_made_reads_back(name: str, type_: int, public: bytes) -> None:
    try:
        key = VerifierKey.create(name, type_, public)
    except VerificationError:
        return
    assert VerifierKey.parse(key.encode()) == key


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u00a0b", "a\u2028b", "a\nb", "a\x00b", "\ud800"])
def test_a_name_that_a_note_cannot_carry_makes_no_key(name: str) -> None:
    with pytest.raises(VerificationError, match="note_malformed"):
        VerifierKey.create(name, ED25519, bytes(32))


@pytest.mark.parametrize(
    "vkey",
    [
        GO_SUM_VKEY.replace("033de0ae", "033de0af"),
        GO_SUM_VKEY.replace("033de0ae", "033DE0AE"),
        GO_SUM_VKEY.replace("sum.golang", "sun.golang"),
        GO_SUM_VKEY + "=",
        GO_SUM_VKEY[:-1] + "9",
        "sum.golang.org+033de0ae",
        "sum.golang.org+033de0ae+",
        "",
    ],
)
def test_a_verifier_key_with_a_changed_part_is_refused(vkey: str) -> None:
    with pytest.raises(VerificationError, match="note_malformed"):
        VerifierKey.parse(vkey)


@pytest.mark.parametrize("text", ["AB==", "AAB=", "AA=", "AA", "A A=", "AA==\n", "_-8=", "é", "AA==AA=="])
def test_base64_has_one_form(text: str) -> None:
    with pytest.raises(VerificationError):
        decode_base64(text)


def edited(old: str, new: str) -> bytes:
    assert old.encode() in VECTOR
    return VECTOR.replace(old.encode(), new.encode(), 1)


@pytest.mark.parametrize(
    "note",
    [
        edited("\n3\n", "\n03\n"),
        edited("\n3\n", "\n+3\n"),
        edited("\n3\n", "\n3 \n"),
        edited("\n3\n", "\n٣\n"),
        edited("\n3\n", "\n9223372036854775808\n"),
        edited("\n3\n", "\n" + "9" * 5000 + "\n"),
        edited("Wqx3", "Wqx"),
        edited("vKk=\n", "vKl=\n"),
        edited("vKk=\n\n", "vKk=\n\nextension\n\n"),
        edited("— ", "- "),
        edited("— ", "—  "),
        edited("\n", "\r\n"),
        edited("dr-test\n", "dr-test\x00\n"),
        VECTOR[:-1],
        VECTOR + b"\n",
        VECTOR + b"\xff\n",
        VECTOR.partition(b"\n\n")[0] + b"\n\n",
        VECTOR.partition(b"\n\n")[0] + b"\n",
        VECTOR.partition(b"\n\n")[0] + b"\n\n" + "— a AAAAAA==\n".encode(),
        VECTOR + "— a AAAAAAA=\n".encode() * 127,
        b"",
    ],
)
def test_a_malformed_checkpoint_is_refused(note: bytes) -> None:
    with pytest.raises(VerificationError, match="note_malformed"):
        parse_checkpoint(note)


@given(st.one_of(st.binary(max_size=400), st.text(max_size=400).map(lambda t: t.encode(errors="replace"))))
def test_any_bytes_are_a_checkpoint_or_refused(data: bytes) -> None:
    try:
        checkpoint = parse_checkpoint(data)
    except VerificationError:
        return
    assert notes.render_note(checkpoint.text, checkpoint.signatures) == data


@given(st.integers(0, len(VECTOR) - 1), st.binary(max_size=6), st.integers(0, 6))
def test_an_edited_note_is_a_checkpoint_or_refused(at: int, new: bytes, drop: int) -> None:
    data = VECTOR[:at] + new + VECTOR[at + drop :]
    try:
        checkpoint = parse_checkpoint(data)
    except VerificationError:
        return
    assert notes.render_note(checkpoint.text, checkpoint.signatures) == data


def test_extension_lines_are_kept_and_signed_over() -> None:
    note = edited("vKk=\n", "vKk=\nextension\n")
    assert parse_checkpoint(note).extensions == ("extension",)
    with pytest.raises(VerificationError, match="signature_invalid"):
        verify_checkpoint(note, parse_policy(write_policy([log_key()], [cosigner_key()])))


def test_a_signer_that_is_not_the_key_is_noticed_before_the_note_leaves() -> None:
    with pytest.raises(VerificationError, match="the signer at hand"):
        notes.sign_checkpoint("t\n", log_key(), lambda message: COSIGNER.sign(message).signature)


def test_a_newer_cosignature_takes_the_place_of_the_older() -> None:
    log = sample_log()
    newer = notes.add_signatures(log.checkpoint, [log.members[0].cosign(log.text, TIME_S + 60)])
    assert newer.count("—".encode()) == log.checkpoint.count("—".encode())
    attestation = verify_checkpoint(newer, parse_policy(log.policy), strict=True)
    assert attestation.cosigned_at_s["member.example/m1"] == TIME_S + 60


def test_signatures_by_unknown_keys_are_ignored_unless_strict() -> None:
    log = sample_log()
    policy = parse_policy(log.policy)
    stranger = Member(9)
    note = notes.add_signatures(log.checkpoint, [stranger.sign(log.text), stranger.cosign(log.text)])
    assert "member.example/m9" not in verify_checkpoint(note, policy).cosigned_at_s
    with pytest.raises(VerificationError, match="signature_unknown"):
        verify_checkpoint(note, policy, strict=True)


def test_a_line_repeated_is_refused_only_when_strict() -> None:
    log = sample_log()
    note = log.checkpoint + log.checkpoint.splitlines(keepends=True)[-1]
    verify_checkpoint(note, parse_policy(log.policy))
    with pytest.raises(VerificationError, match="signature_unknown"):
        verify_checkpoint(note, parse_policy(log.policy), strict=True)


def test_a_bad_signature_by_a_known_key_is_an_error_even_beyond_the_quorum() -> None:
    log = sample_log(members=3, cosigned=3)
    other = notes.checkpoint_text("ledger.example/dr/main", 11, bytes(32))
    lines = [log.members[0].sign(log.text), *(m.cosign(log.text) for m in log.members[:2])]
    note = notes.render_note(log.text, [*lines, log.members[2].cosign(other)])
    with pytest.raises(VerificationError, match="signature_invalid"):
        verify_checkpoint(note, parse_policy(log.policy))


def test_a_witness_cannot_stand_in_for_the_log_nor_the_log_for_a_witness() -> None:
    log = sample_log(members=1)
    member, policy = log.members[0], parse_policy(log.policy)
    with pytest.raises(VerificationError, match="log_signature_missing"):
        verify_checkpoint(notes.render_note(log.text, [member.cosign(log.text)]), policy)
    with pytest.raises(VerificationError, match="quorum_not_met"):
        verify_checkpoint(notes.render_note(log.text, [member.sign(log.text)]), policy)


def test_a_log_cannot_sign_for_another_origin() -> None:
    log = sample_log(members=1)
    member = log.members[0]
    text = notes.checkpoint_text("ledger.example/dr/other", 11, bytes(32))
    note = notes.render_note(text, [member.sign(text), member.cosign(text)])
    with pytest.raises(VerificationError, match="log_signature_missing"):
        verify_checkpoint(note, parse_policy(log.policy))
