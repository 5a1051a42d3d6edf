"""When a member signs another tree than ours: say so, find the block and transaction, keep what proves it.

contradiction ─▶ a quorum signed that tree? ─yes─▶ we are the ones who differ: halt, sign nothing more
                      │
                      ├─▶ the receipts of both sides, bisected: first block, first transaction, in what they differ
                      └─▶ the key signed our tree as well? ─▶ evidence, a file of its own

One file is enough to convict a key. Of a key that goes on contradicting itself the first FILES_FIRST files stay and the
newest FILES_NEWEST: it cannot fill the disk.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from ledger.errors import Diverged, PeerUnavailable, StoreUnavailable
from ledger.ordering.progress import Progress
from ledger.replication.attestation import Contradiction
from ledger.replication.divergence import Divergence, block_receipts, first_divergence
from ledger.replication.evidence import SignedNotes
from ledger.replication.peers import BlockReceipts, Peers
from ledger.store.store import Store
from ledger.verify import VerificationError, canonical
from ledger.verify.policy import Policy
from runtime.clock import happened
from runtime.logs import get_logger

_log = get_logger("ledger.alarm")

KEPT: Final = 64
FILES_FIRST: Final = 8
FILES_NEWEST: Final = 8
_ASK_S: Final = 10.0
_AGAIN_S: Final = 5.0

KeepEvidence = Callable[[str, bytes], None]
"""name, content: makes a file durable. Raises OSError, and then it is not there at all."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """`what`: the first difference, where it could be found; `evidence`: names of the files that prove a double
    signature (of many about one key not all stay)."""

    member: str
    size: int
    height: int
    what: str
    evidence: tuple[str, ...]


class Alarms:
    """One replica's; the newest KEPT are remembered. halt: stops the replica for good."""

    def __init__(
        self,
        *,
        progress: Progress,
        store: Store,
        peers: Peers,
        origin: str,
        policy: Policy,
        halt: Callable[[Diverged], None],
        keep: KeepEvidence,
    ) -> None:
        self._progress = progress
        self._store = store
        self._peers = peers
        self._halt = halt
        self._keep = keep
        self._notes = SignedNotes(origin, ())
        self.use(policy)
        self._open: deque[Contradiction] = deque(maxlen=KEPT)
        self._unkept: deque[tuple[str, bytes]] = deque(maxlen=KEPT)
        self._rung = asyncio.Event()
        self.raised: deque[Alarm] = deque(maxlen=KEPT)

    def use(self, policy: Policy) -> None:
        """These are the members from now on: evidence is kept against their keys, too."""
        self._notes.learn([*policy.logs, *(key for _, key in policy.witnesses)])

    def contradicted(self, found: Contradiction) -> None:
        """For ledger.replication.attestation: at once what cannot wait, the rest by `run`."""
        event = "a member stopped" if found.said else "a member signed another tree"
        _log.error(event, member=found.member, size=found.size, height=found.height, said=found.said)
        if found.outvoted:
            self._halt(Diverged(f"block {found.height}: a quorum signed another tree of {found.size} leaves than ours"))
        self._open.append(found)
        self._rung.set()

    async def run(self) -> None:
        """For ever; goes on when the replica has halted, because then it is most wanted."""
        while True:
            if self._unkept:
                await happened(self._rung, _AGAIN_S)
            else:
                await self._rung.wait()
            self._rung.clear()
            while self._open:
                await self._investigate(self._open.popleft())
            self._keep_all()

    def as_rows(self) -> list[dict[str, Any]]:
        """For the status, newest first."""
        return [asdict(alarm) for alarm in reversed(self.raised)]

    async def _investigate(self, found: Contradiction) -> None:
        difference: Divergence | None = None
        evidence: tuple[str, ...] = ()
        try:
            with suppress(PeerUnavailable, StoreUnavailable, LookupError, TimeoutError):
                async with asyncio.timeout(_ASK_S):
                    ours = _Ours(self._store, self._progress)
                    difference = await first_divergence(ours, _Theirs(self._peers, found.member))
            with suppress(StoreUnavailable, VerificationError):
                evidence = await self._prove(found)
        except Exception as error:  # what the accused sends must never stop the one who accuses
            _log.error("the alarm could not be looked into", member=found.member, error=repr(error)[:300])
        what = f"the member stopped: {found.said}" if found.said else f"block {found.height}: another tree was signed"
        if difference is not None:
            what = str(difference)
        alarm = Alarm(found.member, found.size, found.height, what, evidence)
        self.raised.append(alarm)
        _log.error("divergence", **asdict(alarm))
        if found.outvoted:
            differs = f"this replica differs from a quorum of the members, of them {found.member}: {what}"
            self._progress.explain(Diverged(differs))

    async def _prove(self, found: Contradiction) -> tuple[str, ...]:
        """Files that show that a key signed both trees, where it did."""
        files: list[bytes] = []
        if found.ours:
            files += self._notes.observe(found.ours, ours=True).evidence
        observed = self._notes.observe(found.theirs, ours=False)
        files += observed.evidence
        for pair in observed.pairs:
            tiles = await self._store.tiles(pair.tiles())
            with suppress(VerificationError, KeyError):
                files.append(pair.prove(tiles))
        named = [(f"equivocation-{sha256(content).hexdigest()[:16]}.json", content) for content in files]
        self._unkept.extend(named)
        self._keep_all()
        return tuple(name for name, _ in named)

    def _keep_all(self) -> None:
        """What a full disk does not take is tried again, for as long as this process lives."""
        while self._unkept:
            try:
                self._keep(*self._unkept[0])
            except OSError as error:
                _log.error("evidence cannot be written, it is tried again", files=len(self._unkept), error=str(error))
                return
            self._unkept.popleft()


def in_folder(folder: Path) -> KeepEvidence:
    """Evidence as files of a folder; one that is there is not written again, and of many about one key those in the
    middle go."""
    crowded: set[str] = set()

    def keep(name: str, content: bytes) -> None:
        path = folder / name
        if path.exists():
            return
        folder.mkdir(parents=True, exist_ok=True)
        _write(path, content)
        key = _accused(content)
        same = [other for other in folder.glob("equivocation-*.json") if _accused(other.read_bytes()) == key]
        same.sort(key=lambda other: (other == path, other.stat().st_mtime_ns))
        dropped = same[FILES_FIRST:-FILES_NEWEST]
        for other in dropped:
            other.unlink()
        if dropped and key not in crowded:
            crowded.add(key)
            _log.warning("of the evidence against one key the oldest and newest stay", key=key, files=len(same) - 1)

    return keep


def _write(path: Path, content: bytes) -> None:
    """Durable and whole, or not there."""
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def _accused(content: bytes) -> str:
    try:
        return str(canonical.decode_object(content).get("key"))
    except VerificationError:
        return ""


class _Ours:
    def __init__(self, store: Store, progress: Progress) -> None:
        self._store = store
        self._progress = progress

    async def height(self) -> int:
        return self._progress.head.height

    async def receipts(self, height: int) -> BlockReceipts | None:
        return await own_receipts(self._store, height)


class _Theirs:
    def __init__(self, peers: Peers, member: str) -> None:
        self._peers = peers
        self._member = member

    async def height(self) -> int:
        return (await self._peers.status(self._member)).height

    async def receipts(self, height: int) -> BlockReceipts | None:
        return await self._peers.receipts(self._member, height)


async def own_receipts(store: Store, height: int) -> BlockReceipts | None:
    """What this replica made of a block, as its tables say now."""
    leaves = await store.leaves(height)
    return None if leaves is None else block_receipts(height, leaves.entries, leaves.receipts)
