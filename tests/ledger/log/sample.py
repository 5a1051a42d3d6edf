"""A small signed log with one transaction, its facts and the block that ends it, as a replica would write them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from nacl.signing import SigningKey

from ledger.log import checkpoint as notes
from ledger.log import entry, merkle, proof
from ledger.log.policy import write_policy
from ledger.log.statetree import StateTree, touched_buckets
from ledger.log.tiles import TileId
from ledger.verify import canonical
from ledger.verify.merkle import leaf_hash
from ledger.verify.note import VerifierKey
from ledger.verify.opening import TRANSACTION_PREFIX, commitment

ORIGIN = "ledger.example/dr/main"
TIME_S = 1767225600
SALT = bytes(range(100, 132))
BODY = canonical.encode({"dr_event": "e-1", "energy_wh": 5000, "note": "Wärme"})
FACTS = [canonical.encode({"amount_minor": 100 + n, "fact": "payment", "party": f"p{n}"}) for n in range(3)]
ACCOUNT = canonical.encode({"credits_posted": 700, "debits_posted": 0})


class Member:
    """A member with a log key and a cosigning key made from one number."""

    def __init__(self, number: int) -> None:
        self._log = SigningKey(bytes([number]) * 32)
        self._own = SigningKey(bytes([number + 100]) * 32)
        self.log_key = notes.log_key(ORIGIN, bytes(self._log.verify_key))
        self.cosigner_key = notes.cosigner_key(f"member.example/m{number}", bytes(self._own.verify_key))

    def sign(self, text: str) -> Any:
        return notes.sign_checkpoint(text, self.log_key, lambda message: self._log.sign(message).signature)

    def cosign(self, text: str, time_s: int = TIME_S) -> Any:
        key = self.cosigner_key
        return notes.cosign_checkpoint(text, key, lambda message: self._own.sign(message).signature, time_s)


@dataclass(frozen=True)
class SampleLog:
    """Files of one log: entry 1 is the transaction, the last entry the block summary."""

    entries: list[bytes]
    tiles: dict[TileId, bytes]
    checkpoint: bytes
    policy: bytes
    receipt: bytes
    tree: StateTree
    buckets: dict[int, bytes]
    text: str
    members: list[Member] = field(default_factory=list)

    def proof(self, index: int = 1) -> bytes:
        return proof.write_proof(index, merkle.inclusion_proof(index, len(self.entries), self.tiles), self.checkpoint)

    def opening(self, **parts: Any) -> bytes:
        parts = parts or {
            "receipt": self.receipt,
            "fact": entry.fact_part(FACTS, SALT, 1),
            "transaction": proof.transaction_part(SALT, BODY),
        }
        return proof.write_opening(self.entries[1], **parts)

    def record_opening(self, kind: str, key: str, body: bytes | None) -> bytes:
        buckets = {bucket: self.buckets.get(bucket, b"") for bucket in touched_buckets([(kind, key)])}
        shown = proof.record_part(kind, key, body, self.tree.prove(kind, key, buckets))
        return proof.write_opening(self.entries[-1], record=shown)

    def with_checkpoint(self, checkpoint: bytes) -> SampleLog:
        return replace(self, checkpoint=checkpoint)


def header(sender: str, channel: str = "main") -> dict[str, Any]:
    return {
        "channel": channel,
        "contract": "demand_response",
        "command": "settle_dr",
        "sender": sender,
        "nonce": "n-7",
        "not_after_ms": TIME_S * 1000,
        "commitment": commitment(SALT, BODY).hex(),
    }


def sample_log(members: int = 3, cosigned: int = 3, sender: str | None = None, channel: str = "main") -> SampleLog:
    """A log of 11 entries signed by the first member and cosigned by the first `cosigned` members."""
    device = SigningKey(b"\x07" * 32)
    head = header(sender or "ed25519:" + bytes(device.verify_key).hex(), channel)
    signature = device.sign(TRANSACTION_PREFIX + canonical.encode(head)).signature
    receipt = entry.receipt("ok", FACTS, SALT, sha256(b"writes").digest())
    entries = [entry.transaction_entry(head, signature, bytes([n]) * 32) for n in range(10)]
    entries[1] = entry.transaction_entry(head, signature, entry.digest(receipt))
    tree = StateTree()
    changes = {("account", f"a{n}"): ACCOUNT for n in range(40)}
    plan = tree.plan(changes, dict.fromkeys(touched_buckets(changes), b""))
    tree.apply(plan)
    entries.append(
        entry.block_entry(
            channel=channel,
            height=1,
            previous=bytes(32),
            time_ms=TIME_S * 1000,
            tx_count=10,
            first_index=0,
            state_root=tree.root,
            receipts_root=entry.tree_root([receipt] * 10),
            contracts_root=bytes(32),
            validator_set="v1",
            order_revision=1,
        )
    )
    appended = merkle.append(0, [leaf_hash(item) for item in entries], {})
    text = notes.checkpoint_text(ORIGIN, appended.size, appended.root)
    who = [Member(number) for number in range(1, members + 1)]
    lines = [who[0].sign(text), *(member.cosign(text) for member in who[:cosigned])]
    keys: list[VerifierKey] = [member.log_key for member in who]
    policy = write_policy(keys, [member.cosigner_key for member in who])
    note = notes.render_note(text, lines)
    return SampleLog(entries, appended.tiles, note, policy, receipt, tree, plan.buckets, text, who)
