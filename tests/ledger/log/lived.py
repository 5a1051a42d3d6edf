"""The log that the shared vectors are made of: each kind of entry, one of each file a verifier reads, fixed keys."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from nacl.signing import SigningKey

from ledger.log import checkpoint as notes
from ledger.log import entry, merkle, proof
from ledger.log.extension import write_extension
from ledger.log.policy import write_policy
from ledger.log.statetree import StateTree, touched_buckets
from ledger.replication.evidence import Prefix, prefix_of, write_evidence
from ledger.verify import canonical
from ledger.verify.disclosure import write_disclosure
from ledger.verify.evidence import FORMAT
from ledger.verify.keys import P256_ORDER
from ledger.verify.merkle import leaf_hash
from ledger.verify.note import ML_DSA_44, NoteSignature, VerifierKey, encode_base64, parse_checkpoint
from ledger.verify.opening import TRANSACTION_PREFIX, commitment
from tests.ledger.log.sample import ORIGIN, TIME_S, Member

PREVIOUS = sha256(b"the block before").digest()
COMPLETED = {
    "fact": "DRCompleted",
    "contract_id": "sc2-7",
    "parent": "sc1-1",
    "payer": "aggregator-1",
    "payee": "home-17",
    "outcome": "success",
    "obligation_wh": 4000,
    "delivered_wh": 4120,
    "paid_wh": 4120,
    "energy_minor": 1236,
    "children_minor": 0,
    "penalty_minor": 36,
    "amount_minor": 1200,
}
EXPIRED = {"fact": "DRExpired", "contract_id": "sc1-2", "parent": None, "payer": "aggregator-1", "payee": "vn-1"}
ANCHORED: dict[str, Any] = {
    "fact": "CheckpointAnchored",
    "channel": "vn-1",
    "origin": "ledger.example/dr/vn-1",
    "size": 3,
    "height": 1,
    "time_ms": TIME_S * 1000,
}
ACCOUNT = {"credits_pending": 0, "credits_posted": 1900, "debits_pending": 100, "debits_posted": 700}
SALT = bytes(range(64, 96))
BODY = canonical.encode({"command": "DRCompletion", "contract_id": "sc2-7", "note": "Wärme"})


@dataclass(frozen=True)
class Lived:
    """A log of 21 leaves: 0 a transaction by an Ed25519 key, 1 by a P-256 key, 2 by a named party, 3 a tick, then more
    transactions; 20 the block. `files` by name."""

    entries: list[bytes]
    files: dict[str, bytes]


def lived() -> Lived:
    """Always the same bytes."""
    facts = [canonical.encode(EXPIRED | {"contract_id": f"sc1-{n}"}) for n in range(4)]
    facts[2] = canonical.encode(COMPLETED)
    receipt = entry.receipt("ok", facts, SALT, sha256(b"writes").digest())
    due = [canonical.encode(EXPIRED)]
    child = [_signed("ed25519", receipt, "vn-1"), _signed("named", receipt, "vn-1"), *due]
    branch = merkle.append(0, [leaf_hash(item) for item in child], {})
    anchored = [canonical.encode(ANCHORED | {"root": branch.root.hex()})]
    anchor_receipt = entry.receipt("ok", anchored, SALT, sha256(b"anchor").digest())
    tree = StateTree()
    accounts = {("account", f"party/{n}"): canonical.encode(ACCOUNT | {"credits_posted": 1900 + n}) for n in range(600)}
    plan = tree.plan(accounts, dict.fromkeys(touched_buckets(accounts), b""))
    tree.apply(plan)
    entries = [_signed(by, receipt) for by in ("ed25519", "p256", "named")]
    tick_receipt = entry.receipt("ok", due, PREVIOUS, sha256(b"due").digest())
    entries.append(_tick(tick_receipt))
    entries += [_signed("ed25519", entry.receipt("late", [], SALT, bytes([n]) * 32)) for n in range(16)]
    stranger = canonical.decode_object(entries[4])
    stranger["header"]["channel"] = "vn-1"
    entries[4] = canonical.encode(stranger)
    entries[5] = _signed("ed25519", anchor_receipt)
    entries.append(_block(tree.root, entry.tree_root([tick_receipt, receipt])))
    files = _notes(entries)
    openings = {
        "payment": proof.write_opening(
            entries[0],
            receipt=receipt,
            fact=entry.fact_part(facts, SALT, 2),
            transaction=proof.transaction_part(SALT, BODY),
        ),
        "p256": proof.write_opening(entries[1], receipt=receipt, fact=entry.fact_part(facts, SALT, 0)),
        "named": proof.write_opening(entries[2], transaction=proof.transaction_part(SALT, BODY)),
        "tick": proof.write_opening(entries[3], fact=entry.fact_part(due, PREVIOUS, 0)),
        "stranger": proof.write_opening(entries[4]),
        "bare": proof.write_opening(entries[0]),
    }
    for name, key in (("balance", "party/7"), ("absence", "party/none"), ("transfer", "t-1")):
        kind = "transfer" if name == "transfer" else "account"
        rows = {bucket: plan.buckets.get(bucket, b"") for bucket in touched_buckets([(kind, key)])}
        part = proof.record_part(kind, key, accounts.get((kind, key)), tree.prove(kind, key, rows))
        openings[name] = proof.write_opening(entries[-1], record=part)
    openings["anchor"] = proof.write_opening(
        entries[5], receipt=anchor_receipt, fact=entry.fact_part(anchored, SALT, 0)
    )
    shown = proof.write_opening(child[0], receipt=receipt, fact=entry.fact_part(facts, SALT, 2))
    named = proof.write_opening(child[1], transaction=proof.transaction_part(SALT, BODY))
    items = [(index, merkle.inclusion_proof(index, 3, branch.tiles), each) for index, each in enumerate((shown, named))]
    for name, (index, opening) in {
        "disclosure": (5, openings["anchor"]),
        "disclosure.none": (0, openings["payment"]),
    }.items():
        files[name] = write_disclosure(
            anchor_proof=files[f"proof.{index}"], anchor_opening=opening, origin=ANCHORED["origin"], items=items
        )
    return Lived(entries, files | {f"opening.{name}": data for name, data in openings.items()})


def _tick(receipt: bytes) -> bytes:
    place = {"kind": "tick", "channel": "main", "height": 2, "time_ms": TIME_S * 1000}
    return canonical.encode(place | {"receipt": canonical.decode(receipt)})


def _block(state_root: bytes, receipts_root: bytes) -> bytes:
    return entry.block_entry(
        channel="main",
        height=2,
        previous=PREVIOUS,
        time_ms=TIME_S * 1000,
        tx_count=19,
        first_index=0,
        state_root=state_root,
        receipts_root=receipts_root,
        contracts_root=sha256(b"contracts").digest(),
        validator_set=sha256(b"members").hexdigest(),
        order_revision=7,
    )


def _notes(entries: list[bytes]) -> dict[str, bytes]:
    leaves = [leaf_hash(item) for item in entries]
    small, whole = merkle.append(0, leaves[:13], {}), merkle.append(0, leaves, {})
    other = merkle.append(0, [*leaves[:9], *leaves[10:14]], {})
    fork = merkle.append(0, [*leaves[:-1], leaf_hash(b"another")], {})
    members = [Member(number) for number in (1, 2, 3)]
    policy = write_policy([m.log_key for m in members], [m.cosigner_key for m in members])
    made = {name: _note(members, tree) for name, tree in
            {"small": small, "whole": whole, "other": other, "fork": fork}.items()}  # fmt: skip
    files = {f"note.{name}": data for name, data in made.items()} | {"policy": policy}
    for index in (0, 1, 2, 3, 4, 5, 20):
        path = merkle.inclusion_proof(index, whole.size, whole.tiles)
        files[f"proof.{index}"] = proof.write_proof(index, path, made["whole"])
    grown = merkle.consistency_proof(13, 21, whole.tiles)
    files["extension"] = write_extension(13, grown, made["whole"])
    log, cosigner = members[0].log_key, members[1].cosigner_key
    files["evidence.same"] = write_evidence(cosigner, made["whole"], made["fork"])
    files["evidence.log"] = write_evidence(log, made["whole"], made["fork"])
    files["evidence.prefix"] = write_evidence(cosigner, made["other"], made["whole"], prefix_of(13, 21, whole.tiles))
    logs = "".join(f"log {m.log_key.encode()} https://x.example/\n" for m in members)
    files["evidence.consistent"] = _unproved(cosigner, made["small"], made["whole"], prefix_of(13, 21, whole.tiles))
    files["evidence.alike"] = _unproved(log, made["whole"], made["whole"], None)
    files["policy.levels"] = (
        f"# two levels\n{logs}\n\twitness a {members[0].cosigner_key.encode()}\nwitness b "
        f"{members[1].cosigner_key.encode()} https://b.example/\ngroup left all a b\n witness c "
        f"{members[2].cosigner_key.encode()}\ngroup right any c\ngroup both 2 left right\nquorum both\n"
    ).encode()
    strangers = [Member(number) for number in (4, 5, 6, 7)]
    files["policy.strangers"] = write_policy([m.log_key for m in strangers], [m.cosigner_key for m in strangers])
    return files | _witnessed(members, made["whole"])


def _witnessed(members: list[Member], note: bytes) -> dict[str, bytes]:
    """A note that an external witness cosigned, with lines by a key of a type that is named and not checked; policies
    that ask for that witness, and policies that name such a key."""
    keys = [m.log_key for m in members], [m.cosigner_key for m in members]
    witness, other = Member(8), Member(9)
    later = VerifierKey("later.example/w", ML_DSA_44, sha256(b"later").digest() * 41)
    line = NoteSignature(later.name, later.key_id, bytes(8 + 2420))
    cosigned = witness.cosign(parse_checkpoint(note).text)
    both = f"{write_policy(*keys).decode().partition('group')[0]}witness later {later.encode()}\n"
    external = [witness.cosigner_key, other.cosigner_key]
    return {
        "note.witnessed": notes.add_signatures(note, [cosigned]),
        "note.later": notes.add_signatures(note, [cosigned, line]),
        "policy.named": write_policy(*keys, witnesses=external),
        "policy.one": write_policy(*keys, witnesses=external, required=1),
        "policy.two": write_policy(*keys, witnesses=external, required=2),
        "policy.later": f"{both}group g any later member.example/m1\nquorum g\n".encode(),
        "policy.later.all": f"{both}group g all later member.example/m1\nquorum g\n".encode(),
        "policy.later.log": f"log {replace(later, name=ORIGIN).encode()}\n{both}quorum none\n".encode(),
        "policy.later.twice": f"{both}witness again {replace(later, name='again').encode()}\nquorum none\n".encode(),
        "policy.later.short": f"log {VerifierKey(ORIGIN, ML_DSA_44, bytes(1311)).encode()}\nquorum none\n".encode(),
    }


def _unproved(key: VerifierKey, one: bytes, other: bytes, prefix: Prefix | None) -> bytes:
    """A file in the form of evidence that proves nothing."""
    texts = []
    for note in (one, other):
        checkpoint = parse_checkpoint(note)
        line = next(line for line in checkpoint.signatures if line.key_id == key.key_id)
        texts.append(encode_base64(notes.render_note(checkpoint.text, [line])))
    value: dict[str, Any] = {"format": FORMAT, "key": key.encode(), "first": texts[0], "second": texts[1]}
    if prefix is not None:
        value |= {"prefix_root": prefix.root.hex(), "path": [item.hex() for item in prefix.path]}
    return canonical.encode(value)


def _note(members: list[Member], tree: merkle.Appended) -> bytes:
    text = notes.checkpoint_text(ORIGIN, tree.size, tree.root)
    return notes.render_note(text, [members[0].sign(text), *(member.cosign(text) for member in members)])


def _signed(by: str, receipt: bytes, channel: str = "main") -> bytes:
    device = SigningKey(b"\x07" * 32)
    private = ec.derive_private_key(int.from_bytes(sha256(b"device").digest(), "big"), ec.SECP256R1())
    point = private.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
    senders = {
        "ed25519": "ed25519:" + bytes(device.verify_key).hex(),
        "p256": "p256:" + point.hex(),
        "named": "home-17",
    }
    header: dict[str, Any] = {
        "channel": channel,
        "contract": "demand_response",
        "command": "DRCompletion",
        "sender": senders[by],
        "nonce": "n-7",
        "not_after_ms": TIME_S * 1000,
        "commitment": commitment(SALT, BODY).hex(),
    }
    message = TRANSACTION_PREFIX + canonical.encode(header)
    signature = device.sign(message).signature
    if by == "p256":
        made = private.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        r, s = utils.decode_dss_signature(made)
        signature = r.to_bytes(32, "big") + min(s, P256_ORDER - s).to_bytes(32, "big")
    return entry.transaction_entry(header, signature, entry.digest(receipt))
