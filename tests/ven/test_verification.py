"""`dr-ven verify`: files alone, in a process of its own; every flipped byte is found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from contracts.core import facts
from contracts.core.codec import encode
from ledger.log import checkpoint as notes
from ledger.log import entry, merkle, proof
from ledger.log.policy import write_policy
from ledger.verify.merkle import leaf_hash
from openadr.model import canonical
from tests.builders import a_dr_event, device_terms
from tests.ledger.log.sample import SALT, Member, header
from ven.errors import ProofRefused
from ven.verification import check_event, check_payment

ROOT = Path(__file__).parents[2]
IDS = {"contract_id": "sc2-1", "parent": "sc1-1", "payee": "dev-1", "payer": "vn-1"}
SET_UP = facts.DRSetUp(**IDS, terms=device_terms())
PAID = facts.DRCompleted(
    **IDS,
    outcome="success",
    obligation_wh=400,
    delivered_wh=420,
    paid_wh=420,
    energy_minor=42,
    children_minor=0,
    penalty_minor=2,
    amount_minor=40,
)
EVENT = canonical(a_dr_event())


class Files:
    """Proof, policy and opening of a log whose one transaction recorded `recorded`; fact 1 is opened."""

    def __init__(self, *recorded) -> None:
        bodies = [encode(fact) for fact in recorded]
        receipt = entry.receipt("ok", bodies, SALT, sha256(b"writes").digest())
        transaction = entry.transaction_entry(header("vn-1"), bytes(64), entry.digest(receipt))
        entries = [transaction, entry.transaction_entry(header("vn-1"), bytes(64), bytes(32))]
        appended = merkle.append(0, [leaf_hash(item) for item in entries], {})
        members = [Member(1), Member(2)]
        text = notes.checkpoint_text("ledger.example/dr/main", appended.size, appended.root)
        lines = [members[0].sign(text), *(member.cosign(text) for member in members)]
        note = notes.render_note(text, lines)
        self.policy = write_policy([each.log_key for each in members], [each.cosigner_key for each in members])
        self.proof = proof.write_proof(0, merkle.inclusion_proof(0, 2, appended.tiles), note)
        shown = entry.fact_part(bodies, SALT, 1)
        self.opening = proof.write_opening(transaction, receipt=receipt, fact=shown)


SET_UP_FILES = Files(PAID, SET_UP)
PAID_FILES = Files(SET_UP, PAID)


def test_an_event_is_shown_with_its_contract():
    shown = check_event(SET_UP_FILES.proof, SET_UP_FILES.policy, SET_UP_FILES.opening, EVENT)
    assert (shown.contract_id, shown.payee, shown.obligation_wh, shown.event_checked) == ("sc2-1", "dev-1", 400, True)
    assert shown.event_digest == sha256(EVENT).hexdigest()
    assert shown.terms_digest == sha256(encode(device_terms())).hexdigest()
    assert len(shown.place.witnesses) == 2


def test_a_payment_is_shown_with_its_figures():
    shown = check_payment(PAID_FILES.proof, PAID_FILES.policy, PAID_FILES.opening)
    assert (shown.amount_minor, shown.energy_minor, shown.penalty_minor, shown.paid_wh) == (40, 42, 2, 420)


def test_a_proof_of_something_else_is_refused():
    with pytest.raises(ProofRefused, match="no DRCompleted"):
        check_payment(SET_UP_FILES.proof, SET_UP_FILES.policy, SET_UP_FILES.opening)
    with pytest.raises(ProofRefused, match="DRCompleted"):
        check_event(PAID_FILES.proof, PAID_FILES.policy, PAID_FILES.opening)


def test_figures_that_do_not_add_up_are_refused_even_from_a_ledger_that_signed_them():
    wrong = Files(SET_UP, msgspec.structs.replace(PAID, amount_minor=41))
    with pytest.raises(ProofRefused, match="payment_mismatch: the amount"):
        check_payment(wrong.proof, wrong.policy, wrong.opening)


def test_another_event_is_refused():
    with pytest.raises(ProofRefused, match="event_mismatch"):
        check_event(SET_UP_FILES.proof, SET_UP_FILES.policy, SET_UP_FILES.opening, canonical(a_dr_event(priority=1)))


def flips(data: bytes):
    """The file with one bit of one byte changed, for every byte."""
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1 << (position % 8)
        yield position, bytes(changed)


@pytest.mark.parametrize("name", ["proof", "policy", "opening", "event"])
def test_one_flipped_byte_anywhere_in_an_events_files_is_found(name):
    good = {
        "proof": SET_UP_FILES.proof,
        "policy": SET_UP_FILES.policy,
        "opening": SET_UP_FILES.opening,
        "event": EVENT,
    }
    check_event(**good)
    unnoticed = []
    for position, data in flips(good[name]):
        try:
            check_event(**{**good, name: data})
        except ProofRefused:
            continue
        unnoticed.append(position)
    assert unnoticed == []


@pytest.mark.parametrize("name", ["proof", "policy", "opening"])
def test_one_flipped_byte_anywhere_in_a_payments_files_is_found(name):
    good = {"proof": PAID_FILES.proof, "policy": PAID_FILES.policy, "opening": PAID_FILES.opening}
    check_payment(**good)
    unnoticed = []
    for position, data in flips(good[name]):
        try:
            check_payment(**{**good, name: data})
        except ProofRefused:
            continue
        unnoticed.append(position)
    assert unnoticed == []


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = "from ven.cli import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "dumb"}
    return subprocess.run(
        [sys.executable, "-c", code, "verify", *arguments], env=environment, capture_output=True, text=True, check=False
    )


def write(folder: Path, files: Files) -> list[str]:
    (folder / "proof").write_bytes(files.proof)
    (folder / "policy").write_bytes(files.policy)
    (folder / "opening").write_bytes(files.opening)
    names = ("proof", "policy", "opening")
    return [part for name in names for part in (f"--{name}", str(folder / name))]


def test_the_command_says_what_it_verified(tmp_path):
    done = run("payment", *write(tmp_path, PAID_FILES))
    assert (done.returncode, done.stderr) == (0, "")
    assert "amount_minor: 40" in done.stdout
    assert "leaf 0 of 2 in ledger.example/dr/main" in done.stdout


def test_the_command_prints_json_for_programs(tmp_path):
    (tmp_path / "event").write_bytes(EVENT)
    done = run("event", *write(tmp_path, SET_UP_FILES), "--event", str(tmp_path / "event"), "--json")
    shown = json.loads(done.stdout)
    assert (shown["verified"], shown["event_checked"], shown["dr_event_id"]) == (True, True, "event-1")


@pytest.mark.parametrize("name", ["proof", "policy", "opening"])
def test_the_command_fails_with_a_reason_when_a_file_was_changed(tmp_path, name):
    arguments = write(tmp_path, PAID_FILES)
    data = bytearray((tmp_path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / name).write_bytes(bytes(data))
    done = run("payment", *arguments)
    assert done.returncode == 7
    assert done.stdout == ""
    assert done.stderr.startswith("dr-ven: ")


def test_a_missing_file_is_a_usage_error(tmp_path):
    arguments = write(tmp_path, PAID_FILES)
    (tmp_path / "opening").unlink()
    done = run("payment", *arguments)
    assert done.returncode == 2
    assert "opening" in done.stderr
