"""The `.tlog-proof` file: index, inclusion proof and checkpoint in one text (c2sp.org/tlog-proof).

c2sp.org/tlog-proof@v1 LF  ["extra " BASE64 LF]  "index " N LF  (BASE64(hash) LF)*  LF  checkpoint
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import VerificationError
from .note import decode_base64, parse_decimal

HEADER = "c2sp.org/tlog-proof@v1"
MAX_HASHES = 63
MAX_PROOF_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class TlogProof:
    """`hashes` run from the leaf's sibling to the root's child; nothing in the file authenticates `extra`."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None


def parse_proof(data: bytes) -> TlogProof:
    """Raises VerificationError(proof_malformed); the checkpoint is only cut out, not read."""
    if len(data) > MAX_PROOF_BYTES:
        raise VerificationError("proof_malformed", f"a proof of {len(data)} bytes")
    head, blank, checkpoint = data.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise VerificationError("proof_malformed", "the lines above the checkpoint are ASCII") from error
    if not blank or lines.pop(0) != HEADER:
        raise VerificationError("proof_malformed", f"no {HEADER} line, or no blank line before the checkpoint")
    extra = None
    if lines and lines[0].startswith("extra "):
        extra = _decode(lines.pop(0)[6:])
        if not extra:
            raise VerificationError("proof_malformed", "an extra line without data")
    if not lines or not lines[0].startswith("index "):
        raise VerificationError("proof_malformed", "no index line where one belongs")
    index = parse_decimal(lines.pop(0)[6:], "proof_malformed")
    hashes = tuple(_decode(line) for line in lines)
    if len(hashes) > MAX_HASHES or any(len(hashed) != 32 for hashed in hashes):
        raise VerificationError("proof_malformed", f"more than {MAX_HASHES} hashes, or one that is not 32 bytes")
    return TlogProof(index, hashes, checkpoint, extra)


def _decode(text: str) -> bytes:
    try:
        return decode_base64(text)
    except VerificationError as error:
        raise VerificationError("proof_malformed", error.message) from error
