"""Writing the proof that a log only grew: what a witness takes in add-checkpoint (c2sp.org/tlog-witness)."""

from __future__ import annotations

from collections.abc import Sequence

from ledger.verify.note import encode_base64


def write_extension(old_size: int, hashes: Sequence[bytes], checkpoint: bytes) -> bytes:
    """`old <size>` LF, a base64 hash a line, LF, the newer checkpoint note. `hashes`: merkle.consistency_proof."""
    lines = [f"old {old_size}", *(encode_base64(hashed) for hashed in hashes)]
    return "\n".join([*lines, "", ""]).encode() + checkpoint
