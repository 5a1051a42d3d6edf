"""Hostile bytes in everything the light client and the log's readers read: each is refused by a name of its own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from ledger.log import checkpoint as notes
from ledger.log.tiles import ENTRIES, MAX_NUMBER, TileId, decode_bundle, encode_bundle, parse_tile_path, tile_path
from ledger.verify import (
    VerificationError,
    canonical,
    parse_policy,
    verify_balance,
    verify_checkpoint,
    verify_equivocation,
    verify_extension,
    verify_payment,
    verify_proof,
)
from ledger.verify.note import parse_checkpoint
from ledger.verify.proof import parse_proof
from tests.ledger.log.lived import lived
from tests.ledger.log.sample import Member

LIVED = lived().files
POLICY, PROOF, OPENING = LIVED["policy"], LIVED["proof.0"], LIVED["opening.payment"]
NOTE, EXTENSION, EVIDENCE = LIVED["note.whole"], LIVED["extension"], LIVED["evidence.prefix"]


def swap(data: bytes, old: str, new: str) -> bytes:
    assert old.encode() in data
    return data.replace(old.encode(), new.encode(), 1)


def forged(data: bytes, name: str) -> bytes:
    """The note or proof with the signature bytes of `name` exchanged for another line's."""
    lines = data.decode().splitlines(keepends=True)
    at = next(number for number, line in enumerate(lines) if line.startswith(f"— {name} "))
    lines[at] = lines[at][:-20] + "AAAA" + lines[at][-16:]
    return "".join(lines).encode()


def of_origin(origin: str) -> bytes:
    """A checkpoint of another log that this log's members signed, as if a key served two logs."""
    member = Member(1)
    text = notes.checkpoint_text(origin, 21, bytes(32))
    line = member.sign(text)
    return notes.render_note(text, [line, *(Member(number).cosign(text) for number in (1, 2, 3))])


def payment(opening: bytes) -> Any:
    return verify_payment(PROOF, POLICY, opening)


def edited(**changes: Any) -> bytes:
    """The payment's opening with parts changed: `entry__signature="00"`."""
    value = canonical.decode_object(OPENING)
    for path, new in changes.items():
        at = value
        *parents, last = path.split("__")
        for name in parents:
            at = at[name]
        at[last] = new
    return canonical.encode(value)


TRUSTED = parse_policy(POLICY)
NUMBER = "9" * 5000
CASES: list[tuple[str, str, Callable[[], Any]]] = [
    ("forged cosignature", "signature_invalid", lambda: verify_checkpoint(forged(NOTE, "member.example/m2"), TRUSTED)),
    (
        "forged log signature",
        "signature_invalid",
        lambda: verify_checkpoint(forged(NOTE, "ledger.example/dr/main"), TRUSTED),
    ),
    (
        "checkpoint of another origin",
        "log_signature_missing",
        lambda: verify_checkpoint(of_origin("ledger.example/dr/vn-1"), TRUSTED),
    ),
    (
        "origin in other letters",
        "log_signature_missing",
        lambda: verify_checkpoint(of_origin("ledger.example/dr/Main"), TRUSTED),
    ),
    (
        "checkpoint with too many lines",
        "note_malformed",
        lambda: parse_checkpoint(NOTE + "— a AAAAAAA=\n".encode() * 200),
    ),
    ("checkpoint of two megabytes", "note_malformed", lambda: parse_checkpoint(b"x" * (2 << 20))),
    ("checkpoint of a huge size", "note_malformed", lambda: parse_checkpoint(swap(NOTE, "\n21\n", f"\n{NUMBER}\n"))),
    ("checkpoint of a negative size", "note_malformed", lambda: parse_checkpoint(swap(NOTE, "\n21\n", "\n-21\n"))),
    ("checkpoint with an empty extension", "note_malformed", lambda: parse_checkpoint(swap(NOTE, "\n\n", "\n\n\n"))),
    ("checkpoint cut in a line", "note_malformed", lambda: parse_checkpoint(NOTE[:-9])),
    ("checkpoint without signatures", "note_malformed", lambda: parse_checkpoint(NOTE.partition(b"\n\n")[0] + b"\n\n")),
    ("checkpoint with a carriage return", "note_malformed", lambda: parse_checkpoint(NOTE.replace(b"\n", b"\r\n"))),
    ("proof of a huge index", "proof_malformed", lambda: parse_proof(swap(PROOF, "index 0", f"index {NUMBER}"))),
    (
        "proof of a million hashes",
        "proof_malformed",
        lambda: parse_proof(swap(PROOF, "index 0", "index 0\n" + "AAAA\n" * 1_000_000)),
    ),
    ("proof cut", "proof_malformed", lambda: parse_proof(PROOF[:40])),
    ("proof of another version", "proof_malformed", lambda: parse_proof(swap(PROOF, "@v1", "@v9"))),
    ("proof for another leaf", "merkle_proof", lambda: verify_payment(LIVED["proof.2"], POLICY, OPENING)),
    ("policy that nobody wrote", "policy_malformed", lambda: parse_policy(b"\x00\x01\x02")),
    ("policy in a circle", "policy_malformed", lambda: parse_policy(b"group a any a\nquorum a\n")),
    (
        "policy with a huge threshold",
        "policy_malformed",
        lambda: parse_policy(swap(POLICY, " 2 member", f" {NUMBER} member")),
    ),
    (
        "policy with a key of zeros",
        "policy_malformed",
        lambda: parse_policy(b"log a+00000000+" + b"A" * 44 + b"\nquorum none\n"),
    ),
    (
        "policy edited",
        "policy_not_canonical",
        lambda: verify_payment(PROOF, swap(POLICY, " 2 member", " 1 member"), OPENING),
    ),
    ("policy of two megabytes", "policy_malformed", lambda: parse_policy(b"#\n" * (1 << 20))),
    ("policy of strangers", "signature_unknown", lambda: verify_payment(PROOF, LIVED["policy.strangers"], OPENING)),
    ("opening nested deep", "not_canonical", lambda: payment(b'{"a":' * 100_000 + b"1" + b"}" * 100_000)),
    ("opening nested a little too deep", "not_canonical", lambda: payment(b'{"a":' * 40 + b"1" + b"}" * 40)),
    ("opening with a huge integer", "not_canonical", lambda: payment(swap(OPENING, '"facts":4', f'"facts":{NUMBER}'))),
    ("opening with 2^53", "not_canonical", lambda: payment(swap(OPENING, '"facts":4', '"facts":9007199254740992'))),
    ("opening with a float", "not_canonical", lambda: payment(swap(OPENING, '"facts":4', '"facts":4.0'))),
    ("opening with NaN", "not_canonical", lambda: payment(swap(OPENING, '"facts":4', '"facts":NaN'))),
    ("opening with white space", "not_canonical", lambda: payment(OPENING + b"\n")),
    ("opening with a key twice", "not_canonical", lambda: payment(swap(OPENING, "{", '{"entry":1,'))),
    (
        "opening with keys in another order",
        "not_canonical",
        lambda: payment(json.dumps(canonical.decode(OPENING), sort_keys=False).encode()),
    ),
    ("opening not in NFC", "not_canonical", lambda: payment(swap(OPENING, "Wärme", "Wa\u0308rme"))),
    ("opening with a zero character", "not_canonical", lambda: payment(swap(OPENING, "Wärme", "W\\u0000rme"))),
    ("opening of two megabytes", "not_canonical", lambda: payment(b'"' + b"x" * (2 << 20) + b'"')),
    ("opening cut", "not_canonical", lambda: payment(OPENING[: len(OPENING) // 2])),
    ("opening that is no object", "not_canonical", lambda: payment(b"[]")),
    ("opening of nothing", "opening_malformed", lambda: payment(b"{}")),
    ("opening of an unknown kind", "opening_malformed", lambda: payment(edited(entry__kind="genesis"))),
    ("signature of the wrong length", "merkle_proof", lambda: payment(edited(entry__signature="00"))),
    ("path that is no list", "opening_malformed", lambda: payment(edited(fact__path="00"))),
    ("path of numbers", "opening_malformed", lambda: payment(edited(fact__path=[1]))),
    ("fact with a huge index", "fact_mismatch", lambda: payment(edited(fact__index=2**52))),
    ("fact below zero", "fact_mismatch", lambda: payment(edited(fact__index=-1))),
    (
        "payment that is none",
        "payment_mismatch",
        lambda: verify_payment(LIVED["proof.3"], POLICY, LIVED["opening.tick"]),
    ),
    (
        "balance that is none",
        "balance_mismatch",
        lambda: verify_balance(LIVED["proof.20"], POLICY, LIVED["opening.transfer"]),
    ),
    (
        "balance of another account",
        "state_mismatch",
        lambda: verify_balance(LIVED["proof.20"], POLICY, swap(LIVED["opening.balance"], "party/7", "party/8")),
    ),
    (
        "extension from a huge size",
        "extension_malformed",
        lambda: verify_extension(NOTE, swap(EXTENSION, "old 13", f"old {NUMBER}"), POLICY),
    ),
    ("extension from another size", "extension_mismatch", lambda: verify_extension(NOTE, EXTENSION, POLICY)),
    ("extension of another tree", "merkle_proof", lambda: verify_extension(LIVED["note.other"], EXTENSION, POLICY)),
    ("extension cut", "extension_malformed", lambda: verify_extension(NOTE, EXTENSION[:60], POLICY)),
    ("evidence of a megabyte", "not_canonical", lambda: verify_equivocation(b'"' + b"x" * (1 << 20) + b'"')),
    ("evidence nested deep", "not_canonical", lambda: verify_equivocation(b"[" * 60_000)),
    (
        "evidence against nobody",
        "evidence_key_unknown",
        lambda: verify_equivocation(EVIDENCE, LIVED["policy.strangers"]),
    ),
    ("evidence of honest growth", "evidence_mismatch", lambda: verify_equivocation(LIVED["evidence.consistent"])),
    ("evidence of one tree", "evidence_mismatch", lambda: verify_equivocation(LIVED["evidence.alike"])),
    ("bundle cut in a length", "bundle_malformed", lambda: decode_bundle(b"\x00")),
    ("bundle cut in an entry", "bundle_malformed", lambda: decode_bundle(encode_bundle([b"abc"])[:-1])),
    ("bundle of too many entries", "bundle_malformed", lambda: decode_bundle(b"\x00\x00" * 257)),
]


@pytest.mark.parametrize(("code", "read"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_hostile_bytes_are_refused_by_name_and_at_once(code: str, read: Callable[[], Any]) -> None:
    started = time.perf_counter()
    with pytest.raises(VerificationError) as caught:
        read()
    assert caught.value.code == code, caught.value
    assert len(str(caught.value)) < 300, "an error does not repeat what was sent"
    assert time.perf_counter() - started < 2


def test_the_sound_files_of_the_table_are_accepted() -> None:
    assert payment(OPENING).amount_minor == 1200
    assert payment(edited()).amount_minor == 1200
    assert verify_extension(LIVED["note.small"], EXTENSION, POLICY, strict=True).newer.checkpoint.size == 21
    assert verify_proof(LIVED["proof.3"], POLICY, LIVED["opening.tick"], strict=True).fact["fact"] == "DRExpired"


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/x999/x999/x999/x999/x999/x999/999",
        f"tile/0/{tile_path(TileId(0, MAX_NUMBER + 1)).removeprefix('tile/0/')}",
        f"tile/entries/{tile_path(TileId(0, MAX_NUMBER + 1)).removeprefix('tile/0/')}",
        "tile/0/x001/x234/67",
        "tile/0/x001/234/067",
        "tile/0/X001/x234/067",
        "tile/0/x001/x234/067.p/",
        "tile/0/x001/x234/067.P/1",
        "tile/0/000.p/999",
        "tile/0/000.p/0256",
        "tile/0/000.p/-1",
        "tile/0/000.p/1.p/1",
        "tile/0/../checkpoint",
        "tile/0/%2e%2e/000",
        "tile/0/00\u0660",
        "tile/064/000",
        "tile/255/000",
        "tile//000",
        "tile/entries/",
        "tile/Entries/000",
        "tile/entries/000\x00",
        "tile/" + "0" * 10_000,
    ],
)
def test_a_malformed_tile_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="not a tile path"):
        parse_tile_path(path)


def test_the_largest_tile_that_a_log_can_have_has_a_path() -> None:
    for level in (0, ENTRIES):
        assert parse_tile_path(tile_path(TileId(level, MAX_NUMBER)))[0] == TileId(level, MAX_NUMBER)
