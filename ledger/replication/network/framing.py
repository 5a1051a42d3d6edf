"""Bytes between members: transactions and blocks in frames, notes as JSON; read strictly, never beyond a bound.

transactions   (uint32be length || canonical transaction)*
blocks         (uint64be height || uint64be revision || uint32be length || ordered block
                || uint8 hashes || hash[32]*)*                        the hashes prove consistency with `size`
changes        (uint64be height || uint32be length || canonical transaction)*
cosignatures   [{"note": text}, ...]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from ledger.replication.peers import GivenBlock, GivenChange

TRANSACTIONS_MAX: Final = 8_192
NOTES_MAX: Final = 256
PROOF_MAX: Final = 128

_HASH: Final = 32
_HEADER: Final = 20


class FrameInvalid(ValueError):
    """Bytes that are not what was to come."""


class _Note(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    note: str


def frame_transactions(contents: Sequence[bytes]) -> bytes:
    """The body of POST transactions."""
    return b"".join(part for content in contents for part in (len(content).to_bytes(4, "big"), content))


def read_transactions(data: bytes) -> list[bytes]:
    """At most TRANSACTIONS_MAX. Raises FrameInvalid."""
    found: list[bytes] = []
    at = 0
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "big")
        if at + 4 >= end or end > len(data) or len(found) == TRANSACTIONS_MAX:
            raise FrameInvalid("a frame is empty or ends beyond the body, or there are too many")
        found.append(data[at + 4 : end])
        at = end
    return found


def frame_blocks(blocks: Sequence[GivenBlock]) -> bytes:
    """The answer of GET blocks."""
    parts: list[bytes] = []
    for block in blocks:
        parts.append(block.height.to_bytes(8, "big") + block.revision.to_bytes(8, "big"))
        parts += [len(block.data).to_bytes(4, "big"), block.data]
        parts += [len(block.proof).to_bytes(1, "big"), *block.proof]
    return b"".join(parts)


def read_blocks(data: bytes) -> list[GivenBlock]:
    """Raises FrameInvalid."""
    found: list[GivenBlock] = []
    at = 0
    while at < len(data):
        height, revision = int.from_bytes(data[at : at + 8], "big"), int.from_bytes(data[at + 8 : at + 16], "big")
        end = at + _HEADER + int.from_bytes(data[at + 16 : at + _HEADER], "big")
        count = data[end] if end < len(data) else PROOF_MAX + 1
        after = end + 1 + _HASH * count
        if count > PROOF_MAX or after > len(data):
            raise FrameInvalid("a block ends beyond the answer, or its proof is too long")
        proof = tuple(data[place : place + _HASH] for place in range(end + 1, after, _HASH))
        found.append(GivenBlock(height, revision, data[at + _HEADER : end], proof))
        at = after
    return found


def frame_changes(changes: Sequence[GivenChange]) -> bytes:
    """The answer of GET changes."""
    frames = [
        (change.height.to_bytes(8, "big"), len(change.content).to_bytes(4, "big"), change.content) for change in changes
    ]
    return b"".join(part for frame in frames for part in frame)


def read_changes(data: bytes) -> list[GivenChange]:
    """Raises FrameInvalid."""
    found: list[GivenChange] = []
    at = 0
    while at < len(data):
        start = at + 12
        end = start + int.from_bytes(data[at + 8 : start], "big")
        if start >= end or end > len(data):
            raise FrameInvalid("a change ends beyond the answer")
        found.append(GivenChange(int.from_bytes(data[at : at + 8], "big"), data[start:end]))
        at = end
    return found


def frame_notes(notes: Sequence[bytes]) -> bytes:
    """The body of POST cosignatures."""
    return msgspec.json.encode([_Note(note.decode()) for note in notes])


def read_notes(data: bytes) -> list[bytes]:
    """At most NOTES_MAX. Raises FrameInvalid."""
    try:
        notes = msgspec.json.decode(data, type=list[_Note])
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise FrameInvalid(f"no list of notes: {error}") from None
    if len(notes) > NOTES_MAX:
        raise FrameInvalid(f"{len(notes)} notes, at most {NOTES_MAX} are read")
    return [note.note.encode() for note in notes]
