"""The light client: what three files prove, and that no byte of them can change unnoticed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey

import ledger.verify
from contracts.core import envelope
from ledger.log import checkpoint as notes
from ledger.log import entry, merkle, proof
from ledger.verify import VerificationError, verify_proof
from ledger.verify import canonical as json_form
from ledger.verify.keys import P256_ORDER
from ledger.verify.merkle import leaf_hash
from ledger.verify.opening import TRANSACTION_PREFIX
from ledger.verify.proof import parse_proof
from tests.ledger.log.sample import ACCOUNT, BODY, FACTS, ORIGIN, SALT, TIME_S, SampleLog, header, sample_log

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc_9", min_size=1), inner, max_size=4),
    max_leaves=12,
)


def encodable(value: Any) -> bool:
    try:
        json_form.encode(value)
    except VerificationError:
        return False
    return True


@cache
def log() -> SampleLog:
    return sample_log()


def refused(code: str, *files: bytes, **options: Any) -> None:
    with pytest.raises(VerificationError) as caught:
        verify_proof(*files, **options)
    assert caught.value.code == code, caught.value


def edited_opening(edit: Callable[[dict[str, Any]], object], data: bytes | None = None) -> bytes:
    value = json_form.decode_object(data or log().opening())
    edit(value)
    return json_form.encode(value)


def test_a_payment_is_proved_from_proof_policy_and_opening_alone() -> None:
    verified = verify_proof(log().proof(), log().policy, log().opening(), strict=True)
    assert verified.channel == "main"
    assert verified.index == 1
    assert verified.fact == json.loads(FACTS[1])
    assert verified.body == json.loads(BODY)
    assert verified.receipt is not None
    assert (verified.receipt["code"], verified.receipt["facts"]) == ("ok", 3)
    assert verified.sender_verified
    assert verified.attestation.checkpoint.size == 11
    assert verified.attestation.cosigned_at_s == {f"member.example/m{n}": TIME_S for n in (1, 2, 3)}


@pytest.mark.parametrize("index", range(3))
def test_each_fact_opens_without_the_command_and_the_other_facts(index: int) -> None:
    opening = log().opening(receipt=log().receipt, fact=entry.fact_part(FACTS, SALT, index))
    verified = verify_proof(log().proof(), log().policy, opening, strict=True)
    assert verified.fact == json.loads(FACTS[index])
    assert verified.body is None
    others = [fact for number, fact in enumerate(FACTS) if number != index]
    assert not any(json.loads(other)["party"].encode() in opening for other in others)


def test_the_entry_alone_shows_no_content() -> None:
    verified = verify_proof(log().proof(), log().policy, proof.write_opening(log().entries[1]), strict=True)
    assert (verified.receipt, verified.fact, verified.body, verified.record) == (None, None, None, None)


@pytest.mark.parametrize(("key", "body"), [("a7", ACCOUNT), ("a99", None)])
def test_a_balance_and_the_absence_of_one_are_proved_by_the_block_entry(key: str, body: bytes | None) -> None:
    opening = log().record_opening("account", key, body)
    verified = verify_proof(log().proof(10), log().policy, opening, strict=True)
    assert verified.record is not None
    assert verified.record.body == (None if body is None else json.loads(body))
    assert (verified.entry["kind"], verified.entry["height"]) == ("block", 1)


def test_a_proof_of_absence_is_of_one_key_even_where_it_would_fit_others() -> None:
    opening = log().record_opening("account", "a99", None)
    fitting = 0
    for number in range(100, 3000):
        other = log().record_opening("account", f"a{number}", None)
        shown, wanted = (json_form.decode_object(data)["record"] for data in (other, opening))
        fitting += shown["path"] == wanted["path"] and shown["leaves"] == wanted["leaves"]
        changed = edited_opening(lambda o, n=number: o["record"].update(key=f"a{n}"), opening)
        refused("state_mismatch", log().proof(10), log().policy, changed)
    assert fitting, "no key shares the proof: the test shows nothing"


def test_the_extra_line_may_carry_the_opening_and_in_strict_mode_nothing_else() -> None:
    carried = parse_proof(log().proof())
    carrying = proof.write_proof(1, carried.hashes, carried.checkpoint, log().opening())
    assert parse_proof(carrying).extra == log().opening()
    verify_proof(carrying, log().policy, log().opening(), strict=True)
    other = proof.write_proof(1, carried.hashes, carried.checkpoint, b"note")
    verify_proof(other, log().policy, log().opening())
    refused("proof_extra", other, log().policy, log().opening(), strict=True)


def flips(data: bytes) -> list[bytes]:
    return [
        data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :]
        for at in range(len(data))
        for flip in (0x01, 0x02, 0x20, 0x80)
    ]


def test_every_flipped_byte_of_the_proof_fails() -> None:
    for changed in flips(log().proof()):
        with pytest.raises(VerificationError):
            verify_proof(changed, log().policy, log().opening(), strict=True)


def test_every_flipped_byte_of_the_policy_fails() -> None:
    for changed in flips(log().policy):
        with pytest.raises(VerificationError):
            verify_proof(log().proof(), changed, log().opening(), strict=True)


@pytest.mark.parametrize("part", ["transaction", "record", "absence"])
def test_every_flipped_byte_of_the_opening_fails(part: str) -> None:
    index, opening = {
        "transaction": (1, log().opening()),
        "record": (10, log().record_opening("account", "a7", ACCOUNT)),
        "absence": (10, log().record_opening("account", "a99", None)),
    }[part]
    verify_proof(log().proof(index), log().policy, opening, strict=True)
    for changed in flips(opening):
        with pytest.raises(VerificationError):
            verify_proof(log().proof(index), log().policy, changed, strict=True)


def test_every_flipped_byte_outside_signature_lines_fails_without_strict_too() -> None:
    data = log().proof()
    end = data.rindex(b"\n\n") + 2
    for changed in flips(data[:end]):
        with pytest.raises(VerificationError):
            verify_proof(changed + data[end:], log().policy, log().opening())


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([0, 1, 2]), st.data())
def test_cut_repeated_or_inserted_bytes_fail(which: int, data: st.DataObject) -> None:
    files = [log().proof(), log().policy, log().opening()]
    old = files[which]
    at, end = sorted(data.draw(st.tuples(st.integers(0, len(old)), st.integers(0, len(old)))))
    files[which] = data.draw(
        st.sampled_from([old[:at] + old[end:], old[:end] + old[at:end] + old[end:], old[:at] + b"\n" + old[at:]])
    )
    if files[which] != old:
        with pytest.raises(VerificationError):
            verify_proof(*files, strict=True)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from([0, 1, 2]), st.one_of(st.binary(max_size=300), JSON.map(lambda v: json.dumps(v).encode())))
def test_any_bytes_in_place_of_a_file_are_refused_as_such(which: int, data: bytes) -> None:
    files = [log().proof(), log().policy, log().opening()]
    files[which] = data
    with pytest.raises(VerificationError):
        verify_proof(*files)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_an_opening_with_any_member_replaced_is_refused_as_such(data: st.DataObject) -> None:
    opening = json_form.decode_object(
        data.draw(st.sampled_from([log().opening(), log().record_opening("account", "a7", ACCOUNT)]))
    )
    before = json_form.encode(opening)
    at: Any = opening
    while True:
        key = data.draw(st.sampled_from(sorted(at)))
        if not isinstance(at[key], dict) or data.draw(st.booleans()):
            break
        at = at[key]
    at[key] = data.draw(JSON.filter(encodable))
    if json_form.encode(opening) != before:
        index = 10 if "record" in opening else 1
        with pytest.raises(VerificationError):
            verify_proof(log().proof(index), log().policy, json_form.encode(opening), strict=True)


@given(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(lambda t: t.encode(errors="replace"))))
def test_any_bytes_are_a_proof_file_or_refused(data: bytes) -> None:
    for text in (data, b"c2sp.org/tlog-proof@v1\nindex " + data, log().proof()[:60] + data):
        try:
            parsed = parse_proof(text)
        except VerificationError:
            continue
        assert proof.write_proof(parsed.index, parsed.hashes, parsed.checkpoint, parsed.extra) == text


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"@v1\n", b"@v2\n"),
        (b"@v1\n", b"@v1\r\n"),
        (b"@v1\n", b"@v1\nextra \n"),
        (b"@v1\n", b"@v1\nextra AB==\n"),
        (b"@v1\n", b"@v1\nextra AA==\nextra AA==\n"),
        (b"index 1\n", b"index 01\n"),
        (b"index 1\n", b"index -1\n"),
        (b"index 1\n", b"index 1 \n"),
        (b"index 1\n", b"index 9223372036854775808\n"),
        (b"index 1\n", b""),
        (b"index 1\n", b"index 1\nAA==\n"),
        (b"index 1\n", b"index 1\nextra AA==\n"),
        (b"index 1\n", b"index 1\n" + b"A" * 43 + b"=\n" * 1 + (b"A" * 43 + b"=\n") * 63),
    ],
)
def test_a_malformed_proof_file_is_refused(old: bytes, new: bytes) -> None:
    assert old in log().proof()
    with pytest.raises(VerificationError, match="proof_malformed"):
        parse_proof(log().proof().replace(old, new, 1))


def test_another_entry_index_or_log_is_refused() -> None:
    refused("merkle_proof", log().proof(2), log().policy, log().opening())
    refused("merkle_proof", log().proof(10), log().policy, log().opening())
    refused("log_signature_missing", _under_another_origin(), log().policy, log().opening())


def test_each_part_must_be_the_one_committed_to() -> None:
    files = log().proof(), log().policy
    other_salt = bytes(32)
    for code, edit in [
        ("receipt_mismatch", lambda o: o["receipt"].update(code="late")),
        ("fact_mismatch", lambda o: o["fact"].update(index=0)),
        ("fact_mismatch", lambda o: o["fact"].update(index=3)),
        ("fact_mismatch", lambda o: o["fact"].update(body=FACTS[0].decode())),
        ("fact_mismatch", lambda o: o["fact"].update(salt=other_salt.hex())),
        ("commitment_mismatch", lambda o: o["transaction"].update(salt=other_salt.hex())),
        ("commitment_mismatch", lambda o: o["transaction"].update(body="{}")),
        ("opening_malformed", lambda o: o.update(record={})),
        ("opening_malformed", lambda o: o.update(receipt=None)),
        ("opening_malformed", lambda o: o.pop("receipt")),
        ("opening_malformed", lambda o: o.update(format="gridpact/opening/v2")),
        ("opening_malformed", lambda o: o["fact"].update(index=True)),
        ("opening_malformed", lambda o: o["fact"].update(salt=o["fact"]["salt"].upper())),
        ("merkle_proof", lambda o: o["entry"].update(receipt="00")),
    ]:
        refused(code, *files, edited_opening(edit))


def test_a_fact_whose_salt_is_not_derived_from_the_transaction_is_refused() -> None:
    # Whoever wrote such a receipt would have facts that nobody could find from the transaction.
    receipt = entry.receipt("ok", FACTS, bytes(32), bytes(32))
    one = _one_entry_log(entry.transaction_entry(header("party-1"), bytes(64), entry.digest(receipt)))
    part = entry.fact_part(FACTS, bytes(32), 0)
    alone = proof.write_opening(one.entries[0], receipt=receipt, fact=part)
    assert verify_proof(one.proof(0), one.policy, alone).fact == json.loads(FACTS[0])
    both = proof.write_opening(
        one.entries[0], receipt=receipt, fact=part, transaction=proof.transaction_part(SALT, BODY)
    )
    refused("fact_mismatch", one.proof(0), one.policy, both)


def test_an_entry_of_another_channel_is_refused() -> None:
    other = sample_log(channel="vn-2")
    refused("channel_mismatch", other.proof(), other.policy, other.opening())
    mixed = json.loads(log().entries[1])
    mixed["header"]["channel"] = "vn-2"
    one = _one_entry_log(json_form.encode(mixed))
    refused("channel_mismatch", one.proof(0), one.policy, proof.write_opening(one.entries[0]))


def test_the_signature_of_the_sender_is_checked() -> None:
    forged = json.loads(log().entries[1])
    forged["signature"] = "00" * 64
    one = _one_entry_log(json_form.encode(forged))
    refused("sender_signature", one.proof(0), one.policy, proof.write_opening(one.entries[0]))


def test_the_signature_of_a_named_party_is_checked_by_the_key_the_caller_knows() -> None:
    named = sample_log(sender="home-17")
    key = "ed25519:" + bytes(SigningKey(b"\x07" * 32).verify_key).hex()
    files = named.proof(), named.policy, named.opening()
    assert not verify_proof(*files).sender_verified
    assert verify_proof(*files, sender_key=key).sender_verified
    refused("sender_signature", *files, sender_key="ed25519:" + "11" * 32)
    refused("sender_signature", log().proof(), log().policy, log().opening(), sender_key="ed25519:" + "11" * 32)


def test_too_few_cosignatures_are_refused() -> None:
    two = sample_log(members=3, cosigned=2)
    assert verify_proof(two.proof(), two.policy, two.opening(), strict=True)
    one = sample_log(members=3, cosigned=1)
    refused("quorum_not_met", one.proof(), one.policy, one.opening())
    three_of_four = sample_log(members=4, cosigned=3)
    assert verify_proof(three_of_four.proof(), three_of_four.policy, three_of_four.opening(), strict=True)
    two_of_four = sample_log(members=4, cosigned=2)
    refused("quorum_not_met", two_of_four.proof(), two_of_four.policy, two_of_four.opening())


def test_what_a_party_signs_is_what_the_light_client_checks() -> None:
    head = header("home-17")
    assert envelope.signing_bytes(envelope.Header(**head)) == TRANSACTION_PREFIX + json_form.encode(head)
    assert envelope.commitment(SALT, BODY) == head["commitment"]


def test_a_p256_sender_is_verified() -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    public = private.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
    head = header("p256:" + public.hex())
    r, s = utils.decode_dss_signature(
        private.sign(TRANSACTION_PREFIX + json_form.encode(head), ec.ECDSA(hashes.SHA256()))
    )
    signature = r.to_bytes(32, "big") + min(s, P256_ORDER - s).to_bytes(32, "big")
    one = _one_entry_log(entry.transaction_entry(head, signature, bytes(32)))
    assert verify_proof(one.proof(0), one.policy, proof.write_opening(one.entries[0]), strict=True).sender_verified


def test_the_light_client_runs_without_any_other_package_of_ours(tmp_path: Path) -> None:
    source = Path(ledger.verify.__file__).parent
    shutil.copytree(source, tmp_path / "gridpact_verify", ignore=shutil.ignore_patterns("__pycache__"))
    for name, data in (("proof", log().proof()), ("policy", log().policy), ("opening", log().opening())):
        (tmp_path / name).write_bytes(data)
    script = (
        "import sys, socket\n"
        "import gridpact_verify as v\n"
        "files = [open(name, 'rb').read() for name in ('proof', 'policy', 'opening')]\n"
        "print(v.verify_proof(*files, strict=True).fact['amount_minor'])\n"
        "ours = {'ledger', 'contracts', 'runtime', 'openadr', 'msgspec', 'sqlalchemy', 'aiohttp', 'cryptography'}\n"
        "assert not ours & set(sys.modules), ours & set(sys.modules)\n"
    )
    path = [str(tmp_path), *(p for p in sys.path if "site-packages" in p)]
    command = [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {path!r}\n{script}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("101\n", "")


def _under_another_origin() -> bytes:
    first = log().members[0]
    text = log().text.replace(ORIGIN, ORIGIN.replace("main", "elsewhere"))
    note = notes.render_note(text, [first.sign(text), *(member.cosign(text) for member in log().members)])
    return log().with_checkpoint(note).proof()


def _one_entry_log(data: bytes) -> SampleLog:
    appended = merkle.append(0, [leaf_hash(data)], {})
    text = notes.checkpoint_text(ORIGIN, 1, appended.root)
    lines = [log().members[0].sign(text), *(member.cosign(text) for member in log().members)]
    return replace(log(), entries=[data], tiles=appended.tiles, checkpoint=notes.render_note(text, lines), text=text)
