"""An auditor checks what happened in a channel it cannot read with main's policy file and one file, nothing else."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.core import commands as c
from contracts.core.codec import encode
from contracts.core.envelope import Header, Transaction, commitment
from contracts.core.facts import CheckpointAnchored, DRCompleted, Fact
from ledger.log.checkpoint import (
    checkpoint_text,
    cosign_checkpoint,
    cosigner_key,
    log_key,
    render_note,
    sign_checkpoint,
)
from ledger.log.entry import fact_part
from ledger.log.policy import write_policy
from ledger.log.proof import transaction_part, write_opening, write_proof
from ledger.verify import VerificationError, canonical
from ledger.verify.disclosure import Disclosed, verify_disclosure, write_disclosure
from runtime.keys import PrivateKey
from tests.builders import START_MS, a_key
from tests.contracts.channels.logs import Log

ORIGIN = "test/main"
LOG_KEYS = [a_key(number) for number in (301, 302, 303)]
COSIGNERS = [a_key(number) for number in (311, 312, 313)]
COMPLETED = DRCompleted(
    contract_id="sc2-1", parent="sc1-1", payer="vn-a", payee="dev-b", outcome="success", obligation_wh=1000,
    delivered_wh=950, paid_wh=950, energy_minor=190, children_minor=0, penalty_minor=0, amount_minor=190,
)  # fmt: skip


def raw(key: PrivateKey) -> bytes:
    return bytes.fromhex(key.public.partition(":")[2])


POLICY = write_policy(
    [log_key(ORIGIN, raw(key)) for key in LOG_KEYS],
    [cosigner_key(f"m{n}", raw(key)) for n, key in enumerate(COSIGNERS, 1)],
)


def note(log: Log, signers: int = 2) -> bytes:
    """The newest checkpoint of main, cosigned by so many."""
    text = checkpoint_text(log.origin, log.size, bytes.fromhex(log.root(log.size)))
    lines = [sign_checkpoint(text, log_key(ORIGIN, raw(LOG_KEYS[0])), LOG_KEYS[0].sign)]
    for number, key in enumerate(COSIGNERS[:signers], 1):
        lines.append(cosign_checkpoint(text, cosigner_key(f"m{number}", raw(key)), key.sign, 1_767_225_600))
    return render_note(text, lines)


def entered(log: Log, command: c.Command, *facts: Fact, code: str = "ok") -> str:
    """A transaction with these facts in a block of its own; its id."""
    body, salt = encode(command), bytes(31) + bytes((len(log.leaves),))
    header = Header(
        channel=log.channel, contract=c.CONTRACT_OF[type(command)], command=type(command).__name__,
        sender="agg", nonce=f"n{len(log.leaves)}", not_after_ms=START_MS, commitment=commitment(salt, body),
    )  # fmt: skip
    transaction = Transaction(header=header, signature="0" * 128, salt=salt.hex(), body=body.decode())
    identity = f"t{len(log.leaves)}"
    log.record(transaction, identity, code, facts)
    log._places[identity]["body"] = body
    log.seal(START_MS + log.height)
    return identity


def opening(log: Log, identity: str, fact: int | None = None) -> bytes:
    place = log._places[identity]
    entry, receipt = log.leaves[place["index"]], encode(place["receipt"])
    if fact is None:
        return write_opening(entry, receipt=receipt, transaction=transaction_part(place["salt"], place["body"]))
    return write_opening(entry, receipt=receipt, fact=fact_part(place["facts"], place["salt"], fact))


def proof(log: Log, identity: str, **given: Any) -> bytes:
    index = log._places[identity]["index"]
    hashes = [bytes.fromhex(item) for item in log.path(index, log.size)]
    return write_proof(index, hashes, note(log, **given))


@cache
def disclosed(**changes: Any) -> bytes:
    """vn-1 completed an SC2; its checkpoint was anchored on main; the completion and its command are shown."""
    child, main = Log("vn-1", "test/vn-1", ["m1"]), Log("main", ORIGIN, ["m1"])
    entered(child, c.SettleDR(contract_id="sc1-1"))
    done = entered(child, c.DRCompletion(contract_id="sc1-1"), COMPLETED)
    entered(main, c.CloseRequest(need_id="need-1"))
    fact = CheckpointAnchored(
        channel="vn-1", origin="test/vn-1", size=child.size, root=child.root(child.size), height=child.height,
        time_ms=START_MS,
    )  # fmt: skip
    shown = changes.get("fact", fact)
    anchored = entered(main, c.CloseRequest(need_id="need-2"), shown, code=changes.get("code", "ok"))
    entered(main, c.CloseRequest(need_id="need-3"))
    index = child._places[done]["index"]
    path = [bytes.fromhex(item) for item in child.path(index, child.size)]
    summary = [bytes.fromhex(item) for item in child.path(child.size - 1, child.size)]
    return write_disclosure(
        anchor_proof=proof(main, anchored, signers=changes.get("signers", 2)),
        anchor_opening=opening(main, anchored, 0),
        origin=changes.get("origin", "test/vn-1"),
        items=[
            (index, path, opening(child, done, 0)),
            (index, path, opening(child, done)),
            (child.size - 1, summary, write_opening(child.leaves[-1])),
        ],
    )


def refusal(data: bytes, policy: bytes = POLICY, **given: Any) -> str:
    with pytest.raises(VerificationError) as raised:
        verify_disclosure(data, policy, **given)
    return raised.value.code


def test_a_payment_in_another_channel_is_proved_by_mains_policy_alone() -> None:
    proved = verify_disclosure(disclosed(), POLICY)
    assert isinstance(proved, Disclosed)
    assert (proved.channel, proved.origin, proved.size, proved.height) == ("vn-1", "test/vn-1", 4, 2)
    assert proved.members == ("m1", "m2")
    fact, command, summary = proved.items
    assert fact.fact == json.loads(encode(COMPLETED))
    assert command.body == {"contract_id": "sc1-1"}
    assert summary.entry["height"] == 2


@settings(max_examples=300)
@given(st.data())
def test_no_byte_of_the_file_can_change(drawn: st.DataObject) -> None:
    data = disclosed()
    at, bit = drawn.draw(st.integers(0, len(data) - 1)), drawn.draw(st.integers(0, 7))
    edited = data[:at] + bytes((data[at] ^ 1 << bit,)) + data[at + 1 :]
    with pytest.raises(VerificationError):
        verify_disclosure(edited, POLICY)


def test_every_single_character_of_it_counts() -> None:
    """Whole parts exchanged: each is named by the check that finds it."""
    value = json.loads(disclosed())

    def edited(change: Callable[[dict[str, Any]], object]) -> bytes:
        copy = json.loads(disclosed())
        change(copy)
        return canonical.encode(copy)

    other = json.loads(disclosed(origin="test/vn-1"))
    assert canonical.encode(other) == disclosed()
    cases: dict[str, tuple[str, Callable[[dict[str, Any]], object]]] = {
        "format": ("disclosure_malformed", lambda v: v.update(format="gridpact/disclosure/v2")),
        "more": ("disclosure_malformed", lambda v: v.update(more=1)),
        "no items": ("disclosure_malformed", lambda v: v.update(items=[])),
        "order": ("disclosure_malformed", lambda v: v["items"].reverse()),
        "item": ("disclosure_malformed", lambda v: v["items"][0].update(more=1)),
        "negative": ("merkle_proof", lambda v: v["items"][0].update(index=-1)),
        "path form": ("disclosure_malformed", lambda v: v["items"][0].update(path=["AB" * 32])),
        "path length": ("disclosure_malformed", lambda v: v["items"][0].update(path=["ab" * 32] * 64)),
        "path": ("merkle_proof", lambda v: v["items"][0]["path"].pop()),
        "index": ("merkle_proof", lambda v: v["items"][0].update(index=1)),
        "origin": ("anchor_mismatch", lambda v: v.update(origin="other/vn-1")),
        "base64": ("disclosure_malformed", lambda v: v["anchor"].update(proof=v["anchor"]["proof"] + "=")),
        "opening of the anchor": ("merkle_proof", lambda v: v["anchor"].update(opening=v["items"][0]["opening"])),
        "opening": ("merkle_proof", lambda v: v["items"][0].update(opening=v["anchor"]["opening"])),
        "amount": (
            "fact_mismatch",
            lambda v: v["items"][0]["opening"]["fact"].update(
                body=v["items"][0]["opening"]["fact"]["body"].replace("190", "191")
            ),
        ),
    }
    for name, (code, change) in cases.items():
        assert refusal(edited(change)) == code, name
    assert value == json.loads(disclosed())


def test_a_checkpoint_that_main_did_not_take_vouches_for_nothing() -> None:
    assert refusal(disclosed(code="quorum_not_met")) == "anchor_mismatch"
    assert refusal(disclosed(fact=COMPLETED)) == "anchor_mismatch"
    assert refusal(disclosed(signers=1)) == "quorum_not_met"
    assert refusal(disclosed(origin="test/vn-2")) == "anchor_mismatch"
    wrong = CheckpointAnchored(channel="vn-1", origin="test/vn-1", size=4, root="0" * 64, height=1, time_ms=0)
    assert refusal(disclosed(fact=wrong)) == "merkle_proof"


def test_main_does_not_vouch_for_itself() -> None:
    own = CheckpointAnchored(channel="main", origin=ORIGIN, size=4, root="0" * 64, height=1, time_ms=0)
    assert refusal(disclosed(fact=own, origin=ORIGIN)) == "anchor_mismatch"


def test_the_policy_of_another_ledger_proves_nothing() -> None:
    stranger = write_policy([log_key(ORIGIN, raw(a_key(1)))], [cosigner_key("m1", raw(a_key(2)))])
    assert refusal(disclosed(), stranger) in ("log_signature_missing", "signature_unknown")


def test_senders_are_checked_where_their_keys_are_given() -> None:
    assert refusal(disclosed(), sender_keys={"agg": a_key(9).public}) == "sender_signature"


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b'{"format":"gridpact/disclosure/v1"}', b"9" * 100])
def test_what_is_no_disclosure_is_named(data: bytes) -> None:
    assert refusal(data) == "disclosure_malformed"


def test_the_proof_of_the_anchor_is_a_plain_tlog_proof() -> None:
    text = base64.b64decode(json.loads(disclosed())["anchor"]["proof"])
    assert text.startswith(b"c2sp.org/tlog-proof@v1\nindex ")
