"""Signed notes, verifier keys, checkpoints and cosignatures, as the C2SP texts specify them.

    note        text (ends in LF) || LF || one or more lines  "— NAME BASE64(key id[4] || signature)" LF
    key id      SHA-256(NAME || LF || type || public key)[:4]
    vkey        NAME+HEX(key id)+BASE64(type || public key)
    checkpoint  note whose text is  ORIGIN LF SIZE LF BASE64(root) LF [extension lines]

Types: 0x01 Ed25519 over the text; 0x04 cosignature/v1: uint64be POSIX seconds || Ed25519 over
"cosignature/v1" LF "time <seconds>" LF text.
(c2sp.org/signed-note, c2sp.org/tlog-checkpoint, c2sp.org/tlog-cosignature)
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256

from .errors import VerificationError
from .keys import verify_ed25519

ED25519 = 0x01
COSIGNATURE_V1 = 0x04
ML_DSA_44 = 0x06
"""Named in policies, and not checked here: browsers and devices have no such signatures yet."""
ML_DSA_44_BYTES = 1312

MAX_NOTE_BYTES = 1 << 20
MAX_SIGNATURES = 128
MAX_INTEGER = (1 << 63) - 1

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f]")
_SIGNATURE = re.compile("— (\\S+) (\\S+)")
_HEX_KEY_ID = re.compile(r"[0-9a-f]{8}", re.ASCII)


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A note key: `name`, `type` (ED25519 or COSIGNATURE_V1) and the 32 raw bytes of an Ed25519 public key; in a policy
    also one of type ML_DSA_44, which is not `readable`."""

    name: str
    type: int
    public: bytes

    @property
    def key_id(self) -> bytes:
        return _key_id(self.name, self.type, self.public)

    @property
    def readable(self) -> bool:
        """Can signatures by this key be checked here?"""
        return self.type in (ED25519, COSIGNATURE_V1)

    def encode(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{encode_base64(bytes((self.type,)) + self.public)}"

    @classmethod
    def create(cls, name: str, type_: int, public: bytes) -> VerifierKey:
        """Raises VerificationError(note_malformed) for a name, type or key that no note can use."""
        if not is_key_name(name):
            raise VerificationError("note_malformed", "a key name is empty or holds a space, a plus or a control")
        if type_ not in (ED25519, COSIGNATURE_V1) or len(public) != 32:
            raise VerificationError("note_malformed", f"no support for key type 0x{type_:02x} of {len(public)} bytes")
        return cls(name, type_, public)

    @classmethod
    def parse(cls, text: str, *, unreadable: bool = False) -> VerifierKey:
        """Read a vkey; a key id that does not belong to the key is refused, and unless `unreadable` a type that cannot
        be checked here."""
        name, _, rest = text.partition("+")
        hex_id, _, encoded = rest.partition("+")
        raw = decode_base64(encoded)
        if not _HEX_KEY_ID.fullmatch(hex_id) or not raw:
            raise VerificationError("note_malformed", "a verifier key is NAME+8 HEX+BASE64")
        if unreadable and raw[0] == ML_DSA_44 and len(raw) == 1 + ML_DSA_44_BYTES and is_key_name(name):
            key = cls(name, raw[0], raw[1:])
        else:
            key = cls.create(name, raw[0], raw[1:])
        if key.key_id.hex() != hex_id:
            raise VerificationError("note_malformed", f"the key id of {name} is not that of its key")
        return key

    def verify(self, text: str, signature: bytes) -> int | None:
        """Check `signature` (after the key id) over the note text.

        Returns the POSIX seconds of a cosignature, None for a plain one; raises VerificationError(signature_invalid).
        """
        message, seconds = text.encode(), None
        if self.type == COSIGNATURE_V1:
            seconds = int.from_bytes(signature[:8], "big")
            message, signature = cosigned_message(text, seconds), signature[8:]
        if (seconds or 0) > MAX_INTEGER or not verify_ed25519(self.public, message, signature):
            raise VerificationError("signature_invalid", f"the signature by {self.name} does not verify")
        return seconds


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line: key name, key id (4 bytes), signature bytes after the key id."""

    name: str
    key_id: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A parsed checkpoint; nothing in it is verified yet."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...]
    text: str
    signatures: tuple[NoteSignature, ...]


def parse_checkpoint(data: bytes) -> Checkpoint:
    """Read a checkpoint with its signatures. Raises VerificationError(note_malformed)."""
    text, signatures = parse_note(data)
    lines = text[:-1].split("\n")
    if len(lines) < 3 or "" in lines:
        raise VerificationError("note_malformed", "a checkpoint has an origin, a size and a root line, none empty")
    root = decode_base64(lines[2])
    if len(root) != 32:
        raise VerificationError("note_malformed", "the root of a checkpoint is not 32 bytes")
    size = parse_decimal(lines[1], "note_malformed")
    return Checkpoint(lines[0], size, root, tuple(lines[3:]), text, signatures)


def parse_note(data: bytes) -> tuple[str, tuple[NoteSignature, ...]]:
    """Split a signed note into text (with the final LF) and signatures. Raises VerificationError(note_malformed)."""
    if len(data) > MAX_NOTE_BYTES:
        raise VerificationError("note_malformed", f"a note of {len(data)} bytes, at most {MAX_NOTE_BYTES} are read")
    try:
        note = data.decode()
    except UnicodeDecodeError as error:
        raise VerificationError("note_malformed", "a note is UTF-8") from error
    body, blank, block = note.rpartition("\n\n")
    if _CONTROL.search(note) or not blank or not block.endswith("\n"):
        raise VerificationError("note_malformed", "a note is text, a blank line and signature lines, without controls")
    lines = block[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise VerificationError("note_malformed", f"more than {MAX_SIGNATURES} signature lines")
    return body + "\n", tuple(_parse_signature(line) for line in lines)


def cosigned_message(text: str, seconds: int) -> bytes:
    """What a cosignature/v1 signs: the checkpoint text under a header and a time line."""
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()


def is_key_name(name: str) -> bool:
    """Non-empty, no Unicode space, no plus, no control, valid Unicode."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return name.split() == [name] and "+" not in name and not _CONTROL.search(name)


@lru_cache(maxsize=1024)
def _key_id(name: str, type_: int, public: bytes) -> bytes:
    return sha256(name.encode() + b"\n" + bytes((type_,)) + public).digest()[:4]


def encode_base64(data: bytes) -> str:
    return b64encode(data).decode()


def decode_base64(text: str) -> bytes:
    """Standard base64 with padding and zero trailing bits only (RFC 4648, section 4). Raises VerificationError."""
    try:
        data = b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise VerificationError("note_malformed", "not base64") from error
    if b64encode(data).decode() != text:
        raise VerificationError("note_malformed", "not the canonical base64 of its bytes")
    return data


def parse_decimal(text: str, code: str) -> int:
    """An ASCII decimal below 2^63 without leading zeros; raises VerificationError(code)."""
    if not _DECIMAL.fullmatch(text) or int(text) > MAX_INTEGER:
        raise VerificationError(code, "not a decimal number below 2^63 without leading zeros")
    return int(text)


def _parse_signature(line: str) -> NoteSignature:
    match = _SIGNATURE.fullmatch(line)
    if match is None or not is_key_name(match[1]):
        raise VerificationError("note_malformed", "a signature line is an em dash, a key name and base64")
    raw = decode_base64(match[2])
    if len(raw) < 5:
        raise VerificationError("note_malformed", "a signature is shorter than its key id and one byte")
    return NoteSignature(match[1], raw[:4], raw[4:])
