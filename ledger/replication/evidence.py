"""Finding and writing down that a key signed two trees; ledger.verify.evidence has the format and judges it.

    note of a peer ─▶ SignedNotes.observe ─▶ same size, two roots ................ evidence at once
                      (is it our tree?)  └─▶ a note that is not of our tree, and a larger one by the same key that is:
                                             a Pair; our own tiles show the root the smaller one should have had

Only what the key signed itself counts. A peer whose tree is not ours and who never signed ours has not contradicted
itself: that is a divergence (ledger.replication.divergence), not an equivocation.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from contracts.core.commands import ReportEquivocation, Statement
from ledger.log import merkle
from ledger.log.checkpoint import render_note
from ledger.log.tiles import TileId, edge_tiles
from ledger.verify import VerificationError, canonical, verify_equivocation
from ledger.verify.evidence import FORMAT
from ledger.verify.note import Checkpoint, NoteSignature, VerifierKey, encode_base64, parse_checkpoint

SIZES_KEPT = 1_024
FOREIGN_KEPT = 16


@dataclass(frozen=True, slots=True)
class Prefix:
    """The root of the first leaves of a larger tree, and the consistency proof from there to its root."""

    root: bytes
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two notes of one key; the larger is of the tree whose tiles are at hand, the smaller is not of it."""

    key: VerifierKey
    smaller: bytes
    larger: bytes

    def tiles(self) -> list[TileId]:
        """What `prove` reads."""
        small, large = parse_checkpoint(self.smaller).size, parse_checkpoint(self.larger).size
        return prefix_tiles(small, large)

    def prove(self, reader: merkle.TileReader) -> bytes:
        """The evidence. Raises VerificationError(evidence_mismatch) if the smaller tree is a prefix after all."""
        small, large = parse_checkpoint(self.smaller).size, parse_checkpoint(self.larger).size
        return write_evidence(self.key, self.smaller, self.larger, prefix_of(small, large, reader))


@dataclass(frozen=True, slots=True)
class Observed:
    """`evidence`: files that are ready; `pairs`: contradictions that need tiles of the own log."""

    evidence: tuple[bytes, ...] = ()
    pairs: tuple[Pair, ...] = ()


@dataclass(slots=True)
class _Seen:
    """Notes of one key by size: `ours` are of the own tree (the newest stay), `foreign` of another."""

    ours: OrderedDict[int, tuple[bytes, bytes]] = field(default_factory=OrderedDict)
    foreign: OrderedDict[int, tuple[bytes, bytes]] = field(default_factory=OrderedDict)


class SignedNotes:
    """What each key was seen to sign of one log; bounded, so that no peer can fill the memory."""

    def __init__(self, origin: str, keys: Iterable[VerifierKey]) -> None:
        self._origin = origin
        self._keys: dict[tuple[str, bytes], VerifierKey] = {}
        self._seen: dict[tuple[str, bytes], _Seen] = {}
        self.learn(keys)

    def learn(self, keys: Iterable[VerifierKey]) -> None:
        """Watch these keys too: of members that joined. Those of members that left are watched on."""
        for key in keys:
            self._keys[key.name, key.key_id] = key
            self._seen.setdefault((key.name, key.key_id), _Seen())

    def observe(self, note: bytes, *, ours: bool) -> Observed:
        """Take a note; `ours` says whether its root is the own log's at that size. Every line of a known key is
        verified. Raises VerificationError(note_malformed, signature_invalid)."""
        checkpoint = parse_checkpoint(note)
        if checkpoint.origin != self._origin:
            return Observed()
        evidence: list[bytes] = []
        pairs: list[Pair] = []
        for line in checkpoint.signatures:
            key = self._keys.get((line.name, line.key_id))
            if key is not None:
                key.verify(checkpoint.text, line.signature)
                self._line(key, checkpoint, line, ours, evidence, pairs)
        return Observed(tuple(evidence), tuple(pairs))

    def _line(
        self,
        key: VerifierKey,
        checkpoint: Checkpoint,
        line: NoteSignature,
        ours: bool,
        evidence: list[bytes],
        pairs: list[Pair],
    ) -> None:
        seen = self._seen[key.name, key.key_id]
        size, root, alone = checkpoint.size, checkpoint.root, render_note(checkpoint.text, [line])
        for other_root, other in filter(None, (seen.ours.get(size), seen.foreign.get(size))):
            if other_root != root:
                evidence.append(write_evidence(key, alone, other))
        if ours:
            new = size not in seen.ours
            seen.ours[size] = (root, alone)
            _bound(seen.ours, SIZES_KEPT)
            if new:
                pairs += [Pair(key, note, alone) for at, (_, note) in seen.foreign.items() if at < size]
            return
        if size not in seen.foreign:
            seen.foreign[size] = (root, alone)
            _bound(seen.foreign, FOREIGN_KEPT)
            larger = max((at for at in seen.ours if at > size), default=None)
            if larger is not None:
                pairs.append(Pair(key, alone, seen.ours[larger][1]))


def write_evidence(key: VerifierKey, one: bytes, other: bytes, prefix: Prefix | None = None) -> bytes:
    """The evidence file against `key` from two notes that carry its line, checked before it is given out.

    `prefix`: needed exactly where the sizes differ. Raises VerificationError for notes that prove nothing.
    """
    first, second = sorted((_alone(key, one), _alone(key, other)), key=lambda made: (made[0].size, made[0].root))
    value: dict[str, object] = {
        "format": FORMAT,
        "key": key.encode(),
        "first": encode_base64(first[1]),
        "second": encode_base64(second[1]),
    }
    if prefix is not None:
        value |= {"prefix_root": prefix.root.hex(), "path": [item.hex() for item in prefix.path]}
    evidence = canonical.encode(value)
    verify_equivocation(evidence)
    return evidence


def as_report(evidence: bytes, member: str) -> ReportEquivocation:
    """The command by which the ledger itself judges the evidence and expels `member`, whose key it accuses.

    Raises VerificationError as `verify_equivocation`. A size of zero is no matter for the contract, which refuses it.
    """
    found = verify_equivocation(evidence)
    opened = canonical.decode_object(evidence)
    path: list[str] = opened.get("path", [])
    if "prefix_root" in opened and found.first.size & (found.first.size - 1) == 0:
        path = [opened["prefix_root"], *path]  # the contract's path always names both roots by itself
    times = found.signed_at_s or (None, None)
    first, second = (_statement(*each) for each in zip((found.first, found.second), times, strict=True))
    return ReportEquivocation(member=member, first=first, second=second, path=tuple(path))


def prefix_tiles(size: int, larger: int) -> list[TileId]:
    """The tiles that `prefix_of` reads."""
    return sorted({*edge_tiles(size), *merkle.range_tiles(merkle.consistency_ranges(size, larger))})


def prefix_of(size: int, larger: int, reader: merkle.TileReader) -> Prefix:
    """The root of the first `size` leaves of the tree of `larger` leaves in `reader`, and its proof."""
    return Prefix(merkle.root(size, reader), tuple(merkle.consistency_proof(size, larger, reader)))


def _statement(checkpoint: Checkpoint, time_s: int | None) -> Statement:
    signature = checkpoint.signatures[0].signature[0 if time_s is None else 8 :]
    return Statement(size=checkpoint.size, root=checkpoint.root.hex(), time_s=time_s, signature=signature.hex())


def _alone(key: VerifierKey, note: bytes) -> tuple[Checkpoint, bytes]:
    """The note with the newest line of the key alone."""
    checkpoint = parse_checkpoint(note)
    lines = [line for line in checkpoint.signatures if (line.name, line.key_id) == (key.name, key.key_id)]
    if not lines:
        raise VerificationError("evidence_malformed", f"the note is not signed by {key.name}")
    return checkpoint, render_note(checkpoint.text, lines[-1:])


def _bound(kept: OrderedDict[int, tuple[bytes, bytes]], most: int) -> None:
    while len(kept) > most:
        kept.popitem(last=False)
