"""What must never happen, checked at the moment it does: at every commit, every answer, every signature that leaves.

    order      the block at a height has the same bytes at every member, and they are those of the order
    state      same state root, same tree root and size at every member
    money      accounts sum to zero, held amounts pair up, nobody's free funds are negative
    answers    what was acknowledged is committed at the member that says so, and stays as it is everywhere
    signature  nobody shows a signed tree of which it has not stored the signature, nor two trees of one size
    final      the final checkpoint only grows and is of the one tree
    queue      what a member took ("unknown" so far) is ordered in the end, if the member lives so long
    fence      only the holder of the lease orders

The run ends at the first violation.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from contracts.core.codec import read
from contracts.tokens import ISSUANCE, Account
from ledger.errors import Diverged
from ledger.machine import Executed
from ledger.ordering.block import render_block
from ledger.ordering.pool import TransactionResult
from ledger.verify.merkle import EMPTY_ROOT
from ledger.verify.note import parse_checkpoint
from tests.simulation.models.etcd import KeyValue
from tests.simulation.models.loop import Loop, Process

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster, Member


class Violation(Exception):
    """An invariant does not hold."""


class Canon(msgspec.Struct, frozen=True):
    """What the first member that committed a block made of it."""

    data: bytes
    state_root: bytes
    root: bytes
    size: int
    by: str
    time_ms: int


class Judge:
    """One run's memory of what was promised."""

    def __init__(self, loop: Loop, *, trace: bool = False) -> None:
        self.loop = loop
        self.trace = trace
        self.events: list[str] = []
        self.counts: Counter[str] = Counter()
        self.canon: dict[int, Canon] = {}
        self.roots: dict[int, bytes] = {0: EMPTY_ROOT}
        self.acknowledged: dict[str, TransactionResult] = {}
        self.executed: list[bytes] = []
        self.finals: dict[str, int] = {}
        self.entrusted: dict[str, tuple[Member, Process]] = {}
        self._signed: dict[tuple[str, int], bytes] = {}
        self._accounts: dict[str, Account] = {}
        self._ordered: dict[bytes, bytes] = {}
        self._hash = hashlib.sha256()
        self._cluster: Cluster

    def follow(self, cluster: Cluster) -> None:
        """Watch this cluster."""
        self._cluster = cluster
        cluster.etcd.on_put = self._put
        cluster.network.sent = self._sent

    @property
    def digest(self) -> str:
        """Names this run: two runs with the same digest did the same."""
        return self._hash.hexdigest()[:16]

    def note(self, text: str) -> None:
        """Something happened."""
        line = f"{self.loop.time():10.5f} {self.loop.steps:7d} {self.loop.current().name:12} {text}"
        self._hash.update(line.encode())
        if self.trace:
            print(line)
        self.events.append(line)

    def broken(self, text: str, cause: BaseException | None = None) -> None:
        """End the run."""
        self.note(f"VIOLATION {text}")
        violation = Violation(text)
        violation.__cause__ = cause
        self.loop.fail(violation)

    # ---- the order

    def _put(self, new: KeyValue, old: KeyValue | None) -> None:
        prefix, found, _ = new.key.rpartition(b"/block/")
        if not found:
            return
        data = new.value
        if self._ordered.setdefault(new.key, data) != data or old is not None:
            self.broken(f"{new.key!r} was ordered twice")
        holder = self._cluster.etcd.get(prefix + b"/proposer")
        name = "nobody" if holder is None else holder.value.decode()
        proposer = msgspec.json.decode(data[4 : 4 + int.from_bytes(data[:4], "big")])["proposer"]
        if proposer != name:
            self.broken(f"{proposer} ordered {new.key!r} while {name} held the lease")

    # ---- commits

    def committed(self, member: Member, executed: Executed, note: bytes) -> None:
        """A member has stored a block."""
        head, data = executed.head, render_block(executed.block)
        mine = Canon(data, executed.plan.root, head.root, head.size, member.name, head.time_ms)
        first = self.canon.setdefault(head.height, mine)
        self.note(f"commit {member.name} {head.height} size {head.size} {head.root.hex()[:8]}")
        if first is mine:
            self.roots[head.size] = head.root
            key = b"/gridpact/main/block/%016d" % head.height
            if self._ordered.get(key) != data:
                self.broken(f"{member.name} committed a block {head.height} that was not ordered")
            self._weigh(executed)
            self.executed += executed.block.contents
        for name in ("data", "state_root", "root", "size"):
            if getattr(first, name) != getattr(mine, name):
                self.broken(f"block {head.height}: {name} of {member.name} is not that of {first.by}")
        self._check_note(member.name, note)

    def restored(self, member: Member) -> None:
        """Its rows are those of a backup: finality as it knows it starts over."""
        self.finals.pop(member.name, None)
        self.note(f"restored {member.name} at {member.disk.height}")

    def _weigh(self, executed: Executed) -> None:
        changed = False
        for (kind, key), body in executed.writes.items():
            if kind == "account" and body is not None:
                account = self._accounts[key] = read(body, Account)
                changed = True
                free = account.credits_posted - account.debits_posted - account.debits_pending
                if free < 0 and key != ISSUANCE:
                    self.broken(f"account {key} holds {free} at block {executed.head.height}")
        if changed:
            accounts = self._accounts.values()
            if sum(each.credits_posted - each.debits_posted for each in accounts):
                self.broken(f"the accounts do not sum to zero at block {executed.head.height}")
            if sum(each.credits_pending - each.debits_pending for each in accounts):
                self.broken(f"held amounts do not pair up at block {executed.head.height}")

    # ---- answers

    def answered(self, member_name: str, result: TransactionResult) -> None:
        """A client received a result."""
        if result.id is None or result.height is None or result.status == "unknown":
            return
        self.counts["answers"] += 1
        before = self.acknowledged.get(result.id)
        if before is None:
            self.note(f"ack {result.id[:8]} {result.code} {result.height}/{result.index} by {member_name}")
            self.acknowledged[result.id] = result
        elif _place(before) != _place(result) and self._registered(result.id):
            self.broken(f"{result.id[:16]} was answered {_place(before)} first and {_place(result)} now")
        if result.status == "committed":
            member = next(each for each in self._cluster.members if each.name == member_name)
            self._check_stored(member, result)

    def replied(self, member: Member, results: list[TransactionResult]) -> None:
        """A member is about to answer: at this moment it must have stored what it says."""
        for result in results:
            if result.status == "committed" and result.id not in member.disk.results:
                self.broken(f"{member.name} acknowledges {(result.id or '')[:16]} before it is committed there")

    def taken(self, member: Member, process: Process, transaction_id: str) -> None:
        """A member said "unknown" of a transaction that nobody will send again."""
        self.counts["entrusted"] += 1
        self.entrusted[transaction_id] = (member, process)

    def forgotten(self) -> list[str]:
        """What was taken, is not ordered, and whose member has lived on."""
        return [
            f"{transaction_id[:16]} taken by {member.name}"
            for transaction_id, (member, process) in self.entrusted.items()
            if process.alive and member in self._cluster.present() and transaction_id not in member.disk.results
        ]

    def _check_stored(self, member: Member, result: TransactionResult) -> None:
        row = member.disk.results.get(result.id or "")
        if row is not None and (row.height, row.log_index, row.code) != _place(result):
            self.broken(
                f"{(result.id or '')[:16]} was acknowledged as {_place(result)}, {member.name} has it otherwise"
            )

    def _registered(self, transaction_id: str) -> bool:
        return any(transaction_id in member.disk.results for member in self._cluster.members)

    # ---- signatures

    def _sent(self, source: str, target: str, what: Any) -> None:
        member = next(each for each in self._cluster.members if each.name == source)
        for note in what:
            size = self._check_note(source, note)
            if size not in member.disk.checkpoints:
                self.broken(f"{source} shows a signature of size {size} that it has not stored")

    def _check_note(self, name: str, note: bytes) -> int:
        if b"\n\n" not in note:
            return 0  # a tree that it may not sign, by itself
        checkpoint = parse_checkpoint(note)  # remembered: every replica reads the same notes
        cosigned = any(line.name == name for line in checkpoint.signatures)
        if cosigned:
            self.counts["cosigned"] += 1
            if self._signed.setdefault((name, checkpoint.size), checkpoint.root) != checkpoint.root:
                self.broken(f"{name} signed two trees of size {checkpoint.size}")
        known = self.roots.get(checkpoint.size)
        if known is not None and known != checkpoint.root:
            self.broken(f"{name} signed another tree of size {checkpoint.size} than the ledger's")
        return checkpoint.size

    # ---- from time to time

    def look(self) -> None:
        """What can be seen of the replicas at any moment."""
        for member in self._cluster.members:
            replica = member.replica
            if replica is None:
                continue
            fault = replica._progress.fault
            if fault is not None:
                self.broken(f"{member.name} halted: {fault}", fault if isinstance(fault, Diverged) else None)
                return
            self._look_at_final(member, replica)

    def _look_at_final(self, member: Member, replica: Any) -> None:
        checkpoint = replica._attestations.final
        if checkpoint.size == self.finals.get(member.name):
            return
        if checkpoint.size < self.finals.get(member.name, 0):
            self.broken(f"final of {member.name} went back from {self.finals[member.name]} to {checkpoint.size}")
        self.finals[member.name] = checkpoint.size
        if checkpoint.note and self.roots.get(checkpoint.size) != parse_checkpoint(checkpoint.note).root:
            self.broken(f"{member.name} holds another tree of size {checkpoint.size} for final")


def _place(result: TransactionResult) -> tuple[Any, ...]:
    return (result.height, result.index, result.code)
