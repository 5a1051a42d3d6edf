"""Writing what a client takes home: the `.tlog-proof` file and the opening file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ledger.verify import canonical
from ledger.verify.note import encode_base64
from ledger.verify.opening import FORMAT
from ledger.verify.proof import HEADER
from ledger.verify.state import StateProof, key_hash


def write_proof(index: int, hashes: Sequence[bytes], checkpoint: bytes, extra: bytes | None = None) -> bytes:
    """The `.tlog-proof` of entry `index`: inclusion proof and checkpoint note in one text (c2sp.org/tlog-proof).

    `extra` is authenticated by nothing; a strict reader accepts there the opening file alone.
    """
    lines = [HEADER]
    if extra is not None:
        lines.append(f"extra {encode_base64(extra)}")
    lines.append(f"index {index}")
    lines += [encode_base64(hashed) for hashed in hashes]
    return "\n".join([*lines, "", ""]).encode() + checkpoint


def write_opening(
    entry: bytes,
    *,
    receipt: bytes | None = None,
    fact: Mapping[str, Any] | None = None,
    transaction: Mapping[str, Any] | None = None,
    record: Mapping[str, Any] | None = None,
) -> bytes:
    """The opening file of a canonical entry; ledger.verify.opening tells what each part is.

    `fact` comes from entry.fact_part, `transaction` from transaction_part, `record` from record_part.
    """
    opening: dict[str, Any] = {"format": FORMAT, "entry": canonical.decode(entry)}
    if receipt is not None:
        opening["receipt"] = canonical.decode(receipt)
    parts = {"fact": fact, "transaction": transaction, "record": record}
    return canonical.encode(opening | {name: dict(part) for name, part in parts.items() if part is not None})


def transaction_part(salt: bytes, body: bytes) -> dict[str, Any]:
    """The `transaction` member: salt and canonical bytes of the command."""
    return {"salt": salt.hex(), "body": body.decode()}


def record_part(kind: str, key: str, body: bytes | None, proof: StateProof) -> dict[str, Any]:
    """The `record` member: the canonical bytes of a record after the block, or None for one that does not exist."""
    part: dict[str, Any] = {
        "kind": kind,
        "key": key,
        "key_hash": key_hash(kind, key).hex(),
        "leaves": proof.leaves.hex(),
        "path": [item.hex() for item in proof.path],
    }
    return part if body is None else part | {"body": body.decode()}
