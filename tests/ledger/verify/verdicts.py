"""One call of the shared vectors: the code of the refusal, or what was proved, as plain JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ledger.verify import (
    VerificationError,
    canonical,
    parse_policy,
    verify_balance,
    verify_checkpoint,
    verify_consistency,
    verify_equivocation,
    verify_extension,
    verify_inclusion,
    verify_payment,
    verify_proof,
)
from ledger.verify.disclosure import verify_disclosure


def verdict(call: str, given: dict[str, bytes], options: dict[str, Any]) -> dict[str, Any]:
    """{"code"} of the refusal, or {"value"}: what was proved, in plain JSON."""
    try:
        return {"value": CALLS[call](given, options)}
    except VerificationError as error:
        return {"code": error.code}


def _proved(result: Any) -> dict[str, Any]:
    record = result.record
    return {
        "index": str(result.index),
        "attestation": _attestation(result.attestation),
        "channel": result.channel,
        "members": list(result.members),
        "entry": result.entry,
        "receipt": result.receipt,
        "fact": result.fact,
        "body": result.body,
        "record": None if record is None else {"kind": record.kind, "key": record.key, "body": record.body},
        "sender_verified": result.sender_verified,
    }


def _attestation(result: Any) -> dict[str, Any]:
    checkpoint = result.checkpoint
    cosigned = {name: str(at) for name, at in result.cosigned_at_s.items()}
    return _checkpoint(checkpoint) | {"cosigned": cosigned}


def _checkpoint(checkpoint: Any) -> dict[str, Any]:
    shown = {"origin": checkpoint.origin, "size": str(checkpoint.size), "root": checkpoint.root.hex()}
    return shown | {"extensions": list(checkpoint.extensions)}


def _payment(given: dict[str, bytes], options: dict[str, Any]) -> Any:
    result = verify_payment(**given, **options)
    names = ("contract_id", "payer", "payee", "outcome", "obligation_wh", "delivered_wh", "paid_wh", "energy_minor",
             "children_minor", "penalty_minor", "amount_minor")  # fmt: skip
    return {name: getattr(result, name) for name in names} | {"proved": _proved(result.proved)}


def _balance(given: dict[str, bytes], options: dict[str, Any]) -> Any:
    result = verify_balance(**given, **options)
    names = ("account", "debits_pending", "debits_posted", "credits_pending", "credits_posted", "height", "time_ms")
    shown = {name: getattr(result, name) for name in names} | {"free_minor": str(result.free_minor)}
    return shown | {"proved": _proved(result.proved)}


def _equivocation(given: dict[str, bytes], options: dict[str, Any]) -> Any:
    result = verify_equivocation(**given)
    times = None if result.signed_at_s is None else [str(at) for at in result.signed_at_s]
    both = {"first": _checkpoint(result.first), "second": _checkpoint(result.second)}
    return {"key": result.key.name, "name": result.name, "signed_at": times} | both


def _extension(given: dict[str, bytes], options: dict[str, Any]) -> Any:
    result = verify_extension(**given, **options)
    return {"older": _attestation(result.older), "newer": _attestation(result.newer)}


def _disclosure(given: dict[str, bytes], options: dict[str, Any]) -> Any:
    result = verify_disclosure(**given, **options)
    shown = {"channel": result.channel, "origin": result.origin, "size": str(result.size), "height": result.height}
    both = {"anchor": _proved(result.anchor), "items": [_proved(item) for item in result.items]}
    return shown | both | {"time_ms": result.time_ms, "members": list(result.members)}


def _hashes(items: Iterable[str]) -> list[bytes]:
    return [bytes.fromhex(item) for item in items]


def _policy(given: dict[str, bytes], options: dict[str, Any]) -> Any:
    policy = parse_policy(given["policy"], **options)
    return {"logs": [key.encode() for key in policy.logs], "quorum": policy.quorum, "witnesses": len(policy.witnesses)}


CALLS: dict[str, Callable[[dict[str, bytes], dict[str, Any]], Any]] = {
    "verify_proof": lambda given, options: _proved(verify_proof(**given, **options)),
    "verify_payment": _payment,
    "verify_balance": _balance,
    "verify_checkpoint": lambda given, options: _attestation(
        verify_checkpoint(given["note"], parse_policy(given["policy"]), **options)
    ),
    "verify_extension": _extension,
    "verify_equivocation": _equivocation,
    "verify_disclosure": _disclosure,
    "parse_policy": _policy,
    "verify_inclusion": lambda given, o: verify_inclusion(
        bytes.fromhex(o["leaf"]), int(o["index"]), int(o["size"]), _hashes(o["path"]), bytes.fromhex(o["root"])
    ),
    "verify_consistency": lambda given, o: verify_consistency(
        int(o["old_size"]),
        int(o["new_size"]),
        _hashes(o["path"]),
        bytes.fromhex(o["old_root"]),
        bytes.fromhex(o["new_root"]),
    ),
    "decode": lambda given, options: canonical.decode(given["data"]),
}
