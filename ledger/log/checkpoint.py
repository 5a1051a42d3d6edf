"""Writing checkpoints: the note text, the log's signature (0x01) and cosignatures (0x04), and merging them.

Every member signs with a 0x01 key of its own whose name is the log's origin, and cosigns with a 0x04 key of its own
under its own name: "I verified and re-executed every entry up to this size and the state roots agree". Whoever
signs must first have made the size and root durable (never sign two trees); that is the caller's duty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ledger.verify.errors import VerificationError
from ledger.verify.note import (
    COSIGNATURE_V1,
    ED25519,
    NoteSignature,
    VerifierKey,
    cosigned_message,
    encode_base64,
    parse_checkpoint,
)

Sign = Callable[[bytes], bytes]


def log_key(origin: str, public: bytes) -> VerifierKey:
    """A member's log key: Ed25519 under the name of the log. `public`: 32 raw bytes."""
    return VerifierKey.create(origin, ED25519, public)


def cosigner_key(name: str, public: bytes) -> VerifierKey:
    """A member's or witness's cosigning key under its own name. `public`: 32 raw bytes."""
    return VerifierKey.create(name, COSIGNATURE_V1, public)


def checkpoint_text(origin: str, size: int, root: bytes) -> str:
    """The text that is signed: origin, size and root, a line each. State roots never go here but into the last leaf."""
    if len(root) != 32 or size < 0 or not origin or "\n" in origin:
        raise ValueError("a checkpoint has a one-line origin, a size and a root of 32 bytes")
    return f"{origin}\n{size}\n{encode_base64(root)}\n"


def sign_checkpoint(text: str, key: VerifierKey, sign: Sign) -> NoteSignature:
    """The log's signature line. Raises VerificationError(signature_invalid) if `sign` is not the key's."""
    return _checked(text, key, sign(text.encode()))


def cosign_checkpoint(text: str, key: VerifierKey, sign: Sign, time_s: int) -> NoteSignature:
    """A cosignature line made at `time_s` (POSIX seconds, UTC)."""
    signature = sign(cosigned_message(text, time_s))
    return _checked(text, key, time_s.to_bytes(8, "big") + signature)


def render_note(text: str, signatures: Iterable[NoteSignature]) -> bytes:
    """The signed note with its lines in the order given; at least one is needed."""
    lines = [render_line(line) for line in signatures]
    if not lines:
        raise ValueError("a note needs a signature")
    return f"{text}\n{''.join(lines)}".encode()


def render_line(line: NoteSignature) -> str:
    """One signature line, with its LF: what a witness answers."""
    return f"— {line.name} {encode_base64(line.key_id + line.signature)}\n"


def add_signatures(note: bytes, signatures: Iterable[NoteSignature]) -> bytes:
    """The checkpoint with these lines added; a newer line of a key takes the place of the older one.

    Old lines are not verified here. Raises VerificationError(note_malformed).
    """
    checkpoint = parse_checkpoint(note)
    lines = {(line.name, line.key_id): line for line in (*checkpoint.signatures, *signatures)}
    return render_note(checkpoint.text, lines.values())


def _checked(text: str, key: VerifierKey, signature: bytes) -> NoteSignature:
    # A fault in a signer would otherwise be found by every reader of the checkpoint but not by us.
    try:
        key.verify(text, signature)
    except VerificationError as error:
        raise VerificationError("signature_invalid", f"the signer at hand is not the key {key.encode()}") from error
    return NoteSignature(key.name, key.key_id, signature)
