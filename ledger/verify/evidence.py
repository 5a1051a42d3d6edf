"""Two checkpoints of one log: that the newer one extends the older, or that one key signed both though none does.

A log signs no checkpoint that is inconsistent with one it signed before, a member cosigns none. Two signed notes of
one key show that it did so:

    same size, other roots            the two notes are the whole evidence
    other sizes                       and the root of the first n leaves of the larger tree, n = the smaller size, with
                                      the consistency proof from it to the larger root: no hash function without
                                      collisions lets a second root lead there, so a smaller root that is not this one
                                      is of no prefix of the larger tree. The notes alone prove nothing here.

Evidence file, canonical JSON, at most 64 KiB; a pair of notes has one form only:

    {"format":"gridpact/equivocation/v1", "key":"<vkey>",
     "first":"<base64>", "second":"<base64>",        the notes, each with the one signature line of the key;
                                                     in order of size, then of the bytes of the root
     "prefix_root":"<hex>", "path":["<hex>", ...]}   exactly where the sizes differ
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import canonical
from .errors import VerificationError
from .merkle import verify_consistency
from .note import Checkpoint, VerifierKey, decode_base64, parse_checkpoint, parse_decimal
from .policy import Attestation, parse_policy, verify_checkpoint

FORMAT = "gridpact/equivocation/v1"
MAX_EVIDENCE_BYTES = 1 << 16
MAX_HASHES = 63

_MEMBERS = {"format", "key", "first", "second"}
_PREFIX_MEMBERS = _MEMBERS | {"prefix_root", "path"}


@dataclass(frozen=True, slots=True)
class Equivocation:
    """`key` signed `first` and `second`, of which one contradicts the other. `name`: the policy's name of a witness;
    for a log, and where no policy was given, the key's own. `signed_at_s`: POSIX seconds of two cosignatures."""

    key: VerifierKey
    name: str
    first: Checkpoint
    second: Checkpoint
    signed_at_s: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Extension:
    """`newer` holds every entry of `older` and none of them changed; the policy accepts both."""

    older: Attestation
    newer: Attestation


def verify_equivocation(evidence: bytes, policy: bytes | None = None) -> Equivocation:
    """Check an evidence file, offline. With a policy the accused key must be one that it names.

    Raises VerificationError(not_canonical, evidence_malformed, evidence_key_unknown, note_malformed,
    signature_invalid, evidence_mismatch, merkle_proof, policy_malformed).
    """
    opened = canonical.decode_object(evidence, MAX_EVIDENCE_BYTES)
    if opened.get("format") != FORMAT or opened.keys() not in (_MEMBERS, _PREFIX_MEMBERS):
        raise VerificationError("evidence_malformed", f"not a {FORMAT} file")
    if not all(isinstance(opened[name], str) for name in ("key", "first", "second")):
        raise VerificationError("evidence_malformed", "key and notes are texts")
    key = VerifierKey.parse(opened["key"])
    name = key.name if policy is None else _name_in_policy(key, policy)
    first, first_s = _signed_by(key, opened["first"])
    second, second_s = _signed_by(key, opened["second"])
    if first.origin != second.origin:
        raise VerificationError("evidence_mismatch", "the two checkpoints are of different logs")
    if (first.size, first.root) >= (second.size, second.root):
        raise VerificationError("evidence_mismatch", "the two checkpoints are of one tree, or not in order")
    if (first.size != second.size) != ("path" in opened):
        raise VerificationError("evidence_malformed", "a prefix is shown exactly where the sizes differ")
    if "path" in opened:
        prefix_root, path = _prefix(opened)
        verify_consistency(first.size, second.size, path, prefix_root, second.root)
        if prefix_root == first.root:
            raise VerificationError("evidence_mismatch", "the larger tree extends the smaller one")
    times = None if first_s is None or second_s is None else (first_s, second_s)
    return Equivocation(key, name, first, second, times)


def verify_extension(older: bytes, extension: bytes, policy: bytes, *, strict: bool = False) -> Extension:
    """Check that a log only grew since the checkpoint note `older`.

    `extension` is what witnesses take (c2sp.org/tlog-witness): `old <size>` LF, the consistency proof, a base64 hash a
    line, LF, the newer checkpoint. Raises VerificationError as `verify_checkpoint`, and extension_malformed,
    extension_mismatch, merkle_proof.
    """
    old_size, hashes, note = parse_extension(extension)
    trusted = parse_policy(policy, strict=strict)
    before = verify_checkpoint(older, trusted, strict=strict)
    after = verify_checkpoint(note, trusted, strict=strict)
    if before.checkpoint.origin != after.checkpoint.origin or before.checkpoint.size != old_size:
        raise VerificationError("extension_mismatch", "the checkpoints are not of the log and size the proof is for")
    verify_consistency(old_size, after.checkpoint.size, hashes, before.checkpoint.root, after.checkpoint.root)
    return Extension(before, after)


def parse_extension(data: bytes) -> tuple[int, tuple[bytes, ...], bytes]:
    """Old size, hashes and checkpoint note (not read) of an add-checkpoint body. Raises extension_malformed."""
    head, blank, note = data.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise VerificationError("extension_malformed", "the lines above the checkpoint are ASCII") from error
    if not blank or not lines[0].startswith("old ") or len(lines) > MAX_HASHES + 1:
        raise VerificationError("extension_malformed", "no old line, no blank line, or too many hashes")
    size = parse_decimal(lines[0][4:], "extension_malformed")
    try:
        hashes = tuple(decode_base64(line) for line in lines[1:])
    except VerificationError as error:
        raise VerificationError("extension_malformed", error.message) from error
    if any(len(hashed) != 32 for hashed in hashes):
        raise VerificationError("extension_malformed", "a hash is not 32 bytes")
    return size, hashes, note


def _name_in_policy(key: VerifierKey, policy: bytes) -> str:
    trusted = parse_policy(policy)
    if key in trusted.logs:
        return key.name
    for name, known in trusted.witnesses:
        if known == key:
            return name
    raise VerificationError("evidence_key_unknown", f"the policy does not name {key.encode()}")


def _signed_by(key: VerifierKey, text: str) -> tuple[Checkpoint, int | None]:
    checkpoint = parse_checkpoint(decode_base64(text))
    lines = checkpoint.signatures
    if len(lines) != 1 or (lines[0].name, lines[0].key_id) != (key.name, key.key_id):
        raise VerificationError("evidence_malformed", "a note does not have exactly the line of the accused key")
    return checkpoint, key.verify(checkpoint.text, lines[0].signature)


def _prefix(opened: dict[str, Any]) -> tuple[bytes, list[bytes]]:
    path = opened["path"]
    if not isinstance(path, list) or len(path) > MAX_HASHES:
        raise VerificationError("evidence_malformed", f"more than {MAX_HASHES} hashes")
    return _hash(opened["prefix_root"]), [_hash(item) for item in path]


def _hash(text: Any) -> bytes:
    try:
        data = bytes.fromhex(text)
    except (TypeError, ValueError) as error:
        raise VerificationError("evidence_malformed", "a hash is not hexadecimal") from error
    if data.hex() != text or len(data) != 32:
        raise VerificationError("evidence_malformed", "a hash is not 32 bytes in lower-case hexadecimal")
    return data
