"""Finality: whose cosignatures cover which size of the log, and the newest checkpoint that a quorum signed.

    own note of each block ──┐ (released: the marker is durable)
    notes of the members ────┴─▶ lines by size, each held against the own root ─▶ quorum of the policy ─▶ final note
                                   │ another root at a size of ours
                                   └─▶ Contradiction: kept, told, and never counted

A member's line at a size covers everything below it. Everything is bounded: the newest WINDOW sizes of our own blocks,
and for each member the newest AHEAD_MAX notes of sizes that we have not reached.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from ledger.log.checkpoint import add_signatures, checkpoint_text, render_note
from ledger.log.policy import parties_of
from ledger.verify import VerificationError
from ledger.verify.note import NoteSignature, parse_checkpoint
from ledger.verify.policy import Policy

WINDOW: Final = 4_096
AHEAD_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class FinalCheckpoint:
    """A checkpoint that a quorum cosigned."""

    size: int
    height: int
    note: bytes


@dataclass(frozen=True, slots=True)
class Contradiction:
    """`member` signed another tree than ours. height: our block that ends there, or holds that leaf; ours: a note of
    that block with all lines at hand; outvoted: the members that signed the other tree form a quorum. said: it signed
    nothing that we know of, but stopped for this reason."""

    member: str
    size: int
    height: int
    ours: bytes
    theirs: bytes
    outvoted: bool
    said: str = ""


@dataclass(slots=True)
class _Signed:
    """The verified lines of one note: of logs by key id, of members by name."""

    size: int
    root: bytes
    text: str
    log_lines: dict[bytes, NoteSignature] = field(default_factory=dict)
    lines: dict[str, NoteSignature] = field(default_factory=dict)


@dataclass(slots=True)
class _Tree:
    """One of our sizes, with everybody's lines. `others`: members by the root they signed instead."""

    height: int
    root: bytes
    text: str
    log_lines: dict[bytes, NoteSignature] = field(default_factory=dict)
    lines: dict[str, NoteSignature] = field(default_factory=dict)
    others: dict[bytes, set[str]] = field(default_factory=dict)


class Attestations:
    """One channel's. `contradicted` is told of each other tree that a member signed, once for each size.

    agreed: the largest size that a quorum of the members cosigned, whatever external witnesses the policy's quorum
    needs besides. reached: the newest checkpoint with a quorum. final: the newest that is shown; with `hold` it is
    shown by `show`, once it is kept: what was final before a crash is final after it."""

    def __init__(
        self,
        origin: str,
        member: str,
        policy: Policy,
        contradicted: Callable[[Contradiction], None],
    ) -> None:
        self._origin = origin
        self._member = member
        self._contradicted = contradicted
        self._trees: OrderedDict[int, _Tree] = OrderedDict()
        self._ahead: dict[str, OrderedDict[int, _Signed]] = {}
        self._cosigned: dict[str, tuple[int, int]] = {}
        self._stopped: set[str] = set()
        self.final = self.reached = FinalCheckpoint(0, 0, b"")
        self.agreed = 0
        self.hold = False
        self.use(policy)

    def use(self, policy: Policy) -> None:
        """Count by this policy from now on."""
        self.policy = policy
        self._witnesses = {(key.name, key.key_id): key for _, key in policy.witnesses}
        self._names = {key.name: name for name, key in policy.witnesses}
        self._logs = {(key.name, key.key_id): key for key in policy.logs}
        self._parties = parties_of(policy)
        self._members = frozenset(key.name for key in self._parties.members)

    def members(self) -> list[str]:
        """Names of those who order and cosign, without external witnesses."""
        return sorted(self._members)

    def executed(self, size: int, height: int, root: bytes) -> None:
        """A tree of ours, before our own signature is released."""
        if size in self._trees:
            return
        self._trees[size] = _Tree(height, root, checkpoint_text(self._origin, size, root))
        while len(self._trees) > WINDOW:
            self._trees.popitem(last=False)
        for notes in self._ahead.values():
            for at in [at for at in notes if at <= size]:
                self._count(notes.pop(at))

    def restore(self, final: FinalCheckpoint) -> None:
        """The final checkpoint that was stored."""
        if final.size >= self.reached.size:
            self.final = self.reached = final

    def show(self, final: FinalCheckpoint) -> None:
        """It is kept: everybody may know it, with the lines that came meanwhile."""
        if final.size > self.final.size:
            self.final = self.reached if self.reached.size == final.size else final

    def take(self, note: bytes) -> bool:
        """Count the lines of a note: of our own, once released, or of a peer. Returns whether one is counted or kept.

        A note of a size that we have not reached waits. Raises VerificationError for a note that is malformed, forged
        or of another log; nothing of it is kept."""
        checkpoint = parse_checkpoint(note)
        if checkpoint.origin != self._origin or checkpoint.extensions:
            raise VerificationError("channel_mismatch", f"a checkpoint of the log {checkpoint.origin!r}")
        signed = _Signed(checkpoint.size, checkpoint.root, checkpoint.text)
        tree = self._trees.get(checkpoint.size)
        known = [] if tree is None or tree.root != checkpoint.root else [*tree.lines.values(), *tree.log_lines.values()]
        for line in checkpoint.signatures:
            at = (line.name, line.key_id)
            key = self._logs.get(at) or self._witnesses.get(at)
            if key is None:
                continue
            if line not in known:
                key.verify(checkpoint.text, line.signature)
            if key.name == self._origin:
                signed.log_lines[line.key_id] = line
            else:
                signed.lines[key.name] = line
        return bool(signed.lines) and self._count(signed)

    def stands(self, member: str, size: int, height: int, fault: str) -> None:
        """What a member says of itself: one that stopped before it signed the tree in which it differs is told of, too,
        once for as long as it stays stopped."""
        if not fault:
            self._stopped.discard(member)
            return
        told = member in self._stopped or any(
            member in names for tree in self._trees.values() for names in tree.others.values()
        )
        self._stopped.add(member)
        if not told:
            self._contradicted(Contradiction(member, size, height, b"", b"", outvoted=False, said=fault))

    def attested(self, index: int) -> int:
        """How many members cosigned a tree that holds this leaf."""
        return sum(size > index for name, (size, _) in self._cosigned.items() if name in self._members)

    def cosigned(self) -> dict[str, tuple[int, int]]:
        """By member: the largest (size, height) of ours that it cosigned."""
        return dict(self._cosigned)

    def ahead(self) -> int:
        """The largest size that a member cosigned and we have not reached, 0 for none."""
        return max((size for notes in self._ahead.values() for size in notes), default=0)

    def alone(self) -> bool:
        """Is our own line a quorum?"""
        return self.is_quorum([self._member])

    def agreed_note(self) -> bytes | None:
        """A checkpoint that a quorum of the members cosigned, with all lines at hand: the newest, or one a little older
        if every log signed that. Some witnesses know the log by one member's key, whichever that is."""
        for size in islice(reversed(self._trees), AHEAD_MAX):
            tree = self._trees[size]
            if size <= self.agreed and len(tree.log_lines) == len(self._logs) and self._is_agreed(tree):
                return self.note(size)
        return self.note(self.agreed)

    def note(self, size: int) -> bytes | None:
        """All lines for a recent size of ours, None where there is none."""
        tree = self._trees.get(size)
        if tree is None or not (tree.log_lines or tree.lines):
            return None
        return render_note(tree.text, [*tree.log_lines.values(), *tree.lines.values()])

    def _count(self, signed: _Signed) -> bool:
        tree = self._trees.get(signed.size)
        if tree is None:
            return self._keep(signed)
        if signed.root != tree.root:
            for name in signed.lines:
                self._contradict(tree, name, signed)
            return True
        tree.lines |= signed.lines
        tree.log_lines |= signed.log_lines
        for name in signed.lines:
            self._cosigned[name] = max(self._cosigned.get(name, (0, 0)), (signed.size, tree.height))
        self._judge(signed.size, tree)
        return True

    def _keep(self, signed: _Signed) -> bool:
        if signed.size <= next(reversed(self._trees), -1):
            return self._misfit(signed)
        for name in signed.lines:
            notes = self._ahead.setdefault(name, OrderedDict())
            notes[signed.size] = signed
            while len(notes) > AHEAD_MAX:
                notes.pop(min(notes))
        return True

    def _misfit(self, signed: _Signed) -> bool:
        """A size at which no block of ours ends: another log, unless it is older than our window."""
        if signed.size < next(iter(self._trees)):
            return False
        tree = next(tree for size, tree in self._trees.items() if size > signed.size)
        for name in signed.lines:
            self._contradict(tree, name, signed)
        return True

    def _contradict(self, tree: _Tree, name: str, signed: _Signed) -> None:
        if any(name in names for names in tree.others.values()):
            return  # told already; nobody fills the memory with ever new roots
        same = tree.others.setdefault(signed.root, set())
        same.add(name)
        theirs = render_note(signed.text, [*signed.log_lines.values(), signed.lines[name]])
        lines = [*tree.log_lines.values(), *tree.lines.values()]
        ours = render_note(tree.text, lines) if lines else b""
        outvoted = self.is_quorum(same)
        self._contradicted(Contradiction(name, signed.size, tree.height, ours, theirs, outvoted))

    def _judge(self, size: int, tree: _Tree) -> None:
        if self._is_agreed(tree):
            self.agreed = max(self.agreed, size)
        if size < self.reached.size or not tree.log_lines or not self.is_quorum(tree.lines):
            return
        if size == self.reached.size and self.reached.note:
            note = add_signatures(self.reached.note, [*tree.log_lines.values(), *tree.lines.values()])
        else:
            # every log line: a witness or monitor knows one member's key as the log's, and asks that member
            log_lines = [tree.log_lines[key_id] for key_id in sorted(tree.log_lines)]
            note = render_note(tree.text, [*log_lines, *(tree.lines[name] for name in sorted(tree.lines))])
        self.reached = FinalCheckpoint(size, tree.height, note)
        if not self.hold or size == self.final.size:
            self.final = self.reached

    def _is_agreed(self, tree: _Tree) -> bool:
        return bool(tree.log_lines) and len(self._members & tree.lines.keys()) >= self._parties.quorum

    def could_be_quorum(self, members: Iterable[str]) -> bool:
        """Would these members' cosignatures do, if every external witness cosigned?"""
        return self.is_quorum({*members, *(key.name for key in self._parties.witnesses)})

    def is_quorum(self, members: Iterable[str]) -> bool:
        """Do these members' cosignatures make a checkpoint final?"""
        return self.policy.quorum_met({self._names[name] for name in members if name in self._names})
