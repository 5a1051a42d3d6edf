"""The opening file, and the one call that checks proof, policy and opening together.

The log holds hashes; the opening holds what they are hashes of. It is canonical JSON:

    {"format":"gridpact/opening/v1", "entry":{...},                     the log entry itself
     "receipt":{...},                                                   its result
     "fact":{"index":n,"salt":hex,"path":[hex],"body":"<canonical>"},   one fact of the result
     "transaction":{"salt":hex,"body":"<canonical>"},                   the command
     "record":{"kind","key","key_hash":hex,"leaves":hex,"path":[hex],"body":"<canonical>"}}    a record of the state

Everything but format and entry may be absent; receipt, fact and transaction belong to a transaction entry, fact alone
to a tick entry (deadlines that fell due; the entry holds the receipt itself), record to a block entry (without "body"
it proves that the record does not exist; `key_hash` repeats what kind and key hash to, because in a nearly empty state
one proof of absence fits many keys and a changed key would go unnoticed).
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, TypeAlias

from . import canonical
from .errors import VerificationError
from .keys import is_text_key, verify_text_key
from .merkle import leaf_hash, verify_inclusion
from .policy import Attestation, parse_policy, verify_checkpoint
from .proof import parse_proof
from .state import StateProof, key_hash, verify_record

FORMAT = "gridpact/opening/v1"
TRANSACTION_PREFIX = b"gridpact/tx/v1\x00"
COMMITMENT_PREFIX = b"gridpact/commit/v1\x00"
FACT_SALT_PREFIX = b"gridpact/fact/v1\x00"
SALT_BYTES = 32

_Members: TypeAlias = Mapping[str, type]

_ENTRY_TRANSACTION: _Members = {"kind": str, "channel": str, "header": dict, "signature": str, "receipt": str}
_HEADER: _Members = {
    "channel": str, "contract": str, "command": str, "sender": str, "nonce": str, "not_after_ms": int,
    "commitment": str,
}  # fmt: skip
_ENTRY_TICK: _Members = {"kind": str, "channel": str, "height": int, "time_ms": int, "receipt": dict}
_ENTRY_BLOCK: _Members = {
    "kind": str, "channel": str, "height": int, "previous": str, "time_ms": int, "tx_count": int, "first_index": int,
    "state_root": str, "receipts_root": str, "contracts_root": str, "validator_set": str, "order_revision": int,
}  # fmt: skip
_RECEIPT: _Members = {"code": str, "facts": int, "facts_root": str, "writes": str}
_FACT: _Members = {"index": int, "salt": str, "path": list, "body": str}
_TRANSACTION: _Members = {"salt": str, "body": str}
_RECORD: _Members = {"kind": str, "key": str, "key_hash": str, "leaves": str, "path": list}
_RECORD_PRESENT: _Members = {**_RECORD, "body": str}

PAYMENT_FACT = "DRCompleted"
_COMPLETED_TEXT = {"contract_id", "payer", "payee", "outcome"}
_COMPLETED_NUMBERS = {
    "obligation_wh", "delivered_wh", "paid_wh", "energy_minor", "children_minor", "penalty_minor", "amount_minor",
}  # fmt: skip
ACCOUNT_KIND = "account"
_COUNTERS = {"debits_pending", "debits_posted", "credits_pending", "credits_posted"}

_ENTRIES: Mapping[str, _Members] = {"transaction": _ENTRY_TRANSACTION, "tick": _ENTRY_TICK, "block": _ENTRY_BLOCK}
_PARTS = {"transaction": {"receipt", "fact", "transaction"}, "tick": {"fact"}, "block": {"record"}}


@dataclass(frozen=True, slots=True)
class Record:
    """A record of the state after the block; `body` None: it does not exist."""

    kind: str
    key: str
    body: Any


@dataclass(frozen=True, slots=True)
class Verified:
    """What is proved: `entry` is leaf `index` of the attested checkpoint, and the opened parts belong to it.

    `receipt`, `fact`, `body` (command) and `record` are None where the opening does not hold them. `sender_verified`
    tells whether the transaction's signature was checked (its sender is a key, or the caller gave the sender's key).
    """

    index: int
    attestation: Attestation
    entry: Mapping[str, Any]
    receipt: Mapping[str, Any] | None
    fact: Any
    body: Any
    record: Record | None
    sender_verified: bool

    @property
    def channel(self) -> str:
        return str(self.entry["channel"])

    @property
    def members(self) -> tuple[str, ...]:
        """Who cosigned the checkpoint, by the policy's names, sorted."""
        return tuple(sorted(self.attestation.cosigned_at_s))


@dataclass(frozen=True, slots=True)
class Payment:
    """A contract's end as the ledger recorded it; money in minor units, energy in Wh. `amount_minor` below zero came
    out of the deposit; `members`: who cosigned, by the policy's names."""

    contract_id: str
    payer: str
    payee: str
    outcome: str
    obligation_wh: int
    delivered_wh: int
    paid_wh: int
    energy_minor: int
    children_minor: int
    penalty_minor: int
    amount_minor: int
    members: tuple[str, ...]
    proved: Verified


@dataclass(frozen=True, slots=True)
class Balance:
    """An account after block `height`, in minor units; all zero where the state holds no such account."""

    account: str
    debits_pending: int
    debits_posted: int
    credits_pending: int
    credits_posted: int
    height: int
    time_ms: int
    members: tuple[str, ...]
    proved: Verified

    @property
    def free_minor(self) -> int:
        """What may be spent: pending credits are no funds, pending debits are spoken for."""
        return self.credits_posted - self.debits_posted - self.debits_pending


def verify_proof(
    proof: bytes, policy: bytes, opening: bytes, *, strict: bool = False, sender_key: str | None = None
) -> Verified:
    """Check the three files against each other, offline, and return what they prove.

    `strict` refuses whatever the C2SP texts let a reader ignore (signatures by unknown keys, an `extra` line, comments
    and URLs in the policy), so that no byte of the three files can change unnoticed. `sender_key` is the sender's
    public key (`ed25519:<hex>` or `p256:<hex>`) when the header names a party instead of a key. Raises
    VerificationError; its docstring lists the codes.
    """
    parsed = parse_proof(proof)
    if strict and parsed.extra not in (None, opening):
        raise VerificationError("proof_extra", "the extra line of the proof is not the opening")
    attestation = verify_checkpoint(parsed.checkpoint, parse_policy(policy, strict=strict), strict=strict)
    return verify_leaf(attestation, parsed.index, parsed.hashes, opening, sender_key=sender_key)


def verify_leaf(
    attestation: Attestation, index: int, hashes: Sequence[bytes], opening: bytes, *, sender_key: str | None = None
) -> Verified:
    """As `verify_proof`, under a checkpoint that was verified before (or that another log vouches for)."""
    opened = _read_opening(opening)
    entry = opened["entry"]
    checkpoint = attestation.checkpoint
    leaf = leaf_hash(canonical.encode(entry))
    verify_inclusion(leaf, index, checkpoint.size, hashes, checkpoint.root)
    if checkpoint.origin.rpartition("/")[2] != entry["channel"]:
        raise VerificationError("channel_mismatch", f"{entry['channel']!r} is not the channel of {checkpoint.origin!r}")
    if entry["kind"] == "block":
        record = _check_record(opened.get("record"), entry)
        return Verified(index, attestation, entry, None, None, None, record, False)
    if entry["kind"] == "tick":
        settled = _require(entry["receipt"], _RECEIPT)
        fact = _check_fact(opened.get("fact"), settled, None)
        return Verified(index, attestation, entry, settled, fact, None, None, False)
    sender_verified = _check_sender(entry, sender_key)
    receipt = _check_receipt(opened.get("receipt"), entry)
    salt, body = _check_transaction(opened.get("transaction"), entry)
    fact = _check_fact(opened.get("fact"), receipt, salt)
    return Verified(index, attestation, entry, receipt, fact, body, None, sender_verified)


def verify_payment(proof: bytes, policy: bytes, opening: bytes, *, strict: bool = True) -> Payment:
    """All that a device checks before it believes that it was paid: inclusion, quorum, receipt, fact and its sum.

    Raises VerificationError as `verify_proof`, and payment_mismatch for a fact that is no completed contract, that
    belongs to a refused transaction, or whose amount is not energy - children - penalty.
    """
    verified = verify_proof(proof, policy, opening, strict=strict)
    fact, receipt = verified.fact, verified.receipt
    members = _COMPLETED_TEXT | _COMPLETED_NUMBERS | {"fact", "parent"}
    if not isinstance(fact, dict) or fact.get("fact") != PAYMENT_FACT or not members <= fact.keys():
        raise VerificationError("payment_mismatch", f"the opening shows no {PAYMENT_FACT}")
    if not all(isinstance(fact[name], str) for name in _COMPLETED_TEXT):
        raise VerificationError("payment_mismatch", "a name in the fact is no text")
    if not all(type(fact[name]) is int for name in _COMPLETED_NUMBERS):
        raise VerificationError("payment_mismatch", "a figure in the fact is no integer")
    if receipt is None or receipt["code"] != "ok":
        raise VerificationError("payment_mismatch", "the transaction was refused")
    if fact["amount_minor"] != fact["energy_minor"] - fact["children_minor"] - fact["penalty_minor"]:
        raise VerificationError("payment_mismatch", "the amount is not energy less what was passed on less penalty")
    figures = {name: fact[name] for name in _COMPLETED_TEXT | _COMPLETED_NUMBERS}
    return Payment(**figures, members=verified.members, proved=verified)


def verify_balance(proof: bytes, policy: bytes, opening: bytes, *, strict: bool = True) -> Balance:
    """The counters of the account an opening shows (a record of kind `account` under a block entry), or its absence.

    Raises VerificationError as `verify_proof`, and balance_mismatch for an opening of anything else.
    """
    verified = verify_proof(proof, policy, opening, strict=strict)
    record = verified.record
    if record is None or record.kind != ACCOUNT_KIND:
        raise VerificationError("balance_mismatch", "the opening shows no account")
    counters = dict.fromkeys(sorted(_COUNTERS), 0) if record.body is None else record.body
    if not isinstance(counters, dict) or counters.keys() != _COUNTERS:
        raise VerificationError("balance_mismatch", "an account has four counters")
    if not all(type(value) is int and value >= 0 for value in counters.values()):
        raise VerificationError("balance_mismatch", "a counter of the account is no integer from 0 on")
    entry = verified.entry
    return Balance(
        record.key,
        **counters,
        height=entry["height"],
        time_ms=entry["time_ms"],
        members=verified.members,
        proved=verified,
    )


def commitment(salt: bytes, body: bytes) -> bytes:
    """SHA-256("gridpact/commit/v1\\0" || salt || body): hides the command until its salt is shown."""
    return sha256(COMMITMENT_PREFIX + salt + body).digest()


def fact_salt(transaction_salt: bytes, index: int) -> bytes:
    """Salt of fact `index`, derived so that one fact can be opened without the others."""
    return hmac.digest(transaction_salt, FACT_SALT_PREFIX + index.to_bytes(4, "big"), "sha256")


def _read_opening(data: bytes) -> dict[str, Any]:
    opened = canonical.decode_object(data)
    entry = opened.get("entry")
    kind = entry.get("kind") if isinstance(entry, dict) else None
    if opened.get("format") != FORMAT or not isinstance(kind, str) or kind not in _ENTRIES:
        raise VerificationError("opening_malformed", f"not a {FORMAT} file of a transaction, a tick or a block")
    unknown = opened.keys() - _PARTS[kind] - {"format", "entry"}
    if unknown or None in opened.values():
        raise VerificationError("opening_malformed", f"{sorted(unknown) or 'null'} in the opening of a {kind} entry")
    _require(entry, _ENTRIES[kind])
    return opened


def _check_sender(entry: dict[str, Any], sender_key: str | None) -> bool:
    header = _require(entry["header"], _HEADER)
    if header["channel"] != entry["channel"]:
        raise VerificationError("channel_mismatch", "the header of the transaction names another channel")
    sender = header["sender"]
    if is_text_key(sender):
        if sender_key not in (None, sender):
            raise VerificationError("sender_signature", "the transaction was sent by another key")
        sender_key = sender
    if sender_key is None:
        return False
    message = TRANSACTION_PREFIX + canonical.encode(header)
    if not verify_text_key(sender_key, message, _hex(entry["signature"])):
        raise VerificationError("sender_signature", "the signature of the transaction is not by its sender")
    return True


def _check_receipt(receipt: Any, entry: dict[str, Any]) -> Mapping[str, Any] | None:
    if receipt is None:
        return None
    _require(receipt, _RECEIPT)
    if sha256(canonical.encode(receipt)).hexdigest() != entry["receipt"]:
        raise VerificationError("receipt_mismatch", "the entry commits to another receipt")
    return dict(receipt)


def _check_transaction(transaction: Any, entry: dict[str, Any]) -> tuple[bytes | None, Any]:
    if transaction is None:
        return None, None
    _require(transaction, _TRANSACTION)
    salt, text = _hex(transaction["salt"], SALT_BYTES), transaction["body"].encode()
    if commitment(salt, text).hex() != entry["header"]["commitment"]:
        raise VerificationError("commitment_mismatch", "the header commits to another body")
    return salt, canonical.decode(text)


def _check_fact(fact: Any, receipt: Mapping[str, Any] | None, transaction_salt: bytes | None) -> Any:
    if fact is None:
        return None
    _require(fact, _FACT)
    if receipt is None:
        raise VerificationError("opening_malformed", "a fact without its receipt")
    index, salt, text = fact["index"], _hex(fact["salt"], SALT_BYTES), fact["body"].encode()
    if not 0 <= index < min(receipt["facts"], 1 << 32):
        raise VerificationError("fact_mismatch", f"fact {index} of {receipt['facts']}")
    if transaction_salt is not None and fact_salt(transaction_salt, index) != salt:
        raise VerificationError("fact_mismatch", "the salt of the fact is not derived from that of the transaction")
    path = [_hex(item, 32) for item in fact["path"]]
    try:
        verify_inclusion(leaf_hash(salt + text), index, receipt["facts"], path, _hex(receipt["facts_root"], 32))
    except VerificationError as error:
        raise VerificationError("fact_mismatch", "the fact is not under the facts root of the receipt") from error
    return canonical.decode(text)


def _check_record(record: Any, entry: dict[str, Any]) -> Record | None:
    if record is None:
        return None
    present = isinstance(record, dict) and "body" in record
    _require(record, _RECORD_PRESENT if present else _RECORD)
    if key_hash(record["kind"], record["key"]).hex() != record["key_hash"]:
        raise VerificationError("state_mismatch", "the key hash is not that of the kind and key")
    text = record["body"].encode() if present else None
    proof = StateProof(_hex(record["leaves"]), tuple(_hex(item, 32) for item in record["path"]))
    verify_record(_hex(entry["state_root"], 32), record["kind"], record["key"], text, proof)
    return Record(record["kind"], record["key"], None if text is None else canonical.decode(text))


def _require(value: Any, members: _Members) -> dict[str, Any]:
    if not isinstance(value, dict) or value.keys() != members.keys():
        raise VerificationError("opening_malformed", f"an object must have exactly the members {sorted(members)}")
    for name, type_ in members.items():
        if not isinstance(value[name], type_) or isinstance(value[name], bool):
            raise VerificationError("opening_malformed", f"the member {name} has the wrong type")
    return value


def _hex(text: Any, length: int | None = None) -> bytes:
    try:
        data = bytes.fromhex(text)
    except (TypeError, ValueError) as error:
        raise VerificationError("opening_malformed", "not hexadecimal") from error
    if data.hex() != text or (length is not None and len(data) != length):
        raise VerificationError("opening_malformed", "not lower-case hexadecimal of the right length")
    return data
