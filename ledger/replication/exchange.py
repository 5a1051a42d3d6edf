"""Cosignatures on their way: ours leave once the marker is durable, those of the others are fetched and counted.

block committed ─▶ mine ─ marker on disk ─▶ released ─▶ counted here, and queued for each peer (newest KEPT)
                                                                 │ at most every EVERY_S
                          peer away: back-off, greeted anew ◀────┴────▶ POST cosignatures
quorum reached ─▶ kept with the next block, in its transaction ─▶ shown
                    └─ no block soon: on its own ─────────────────▶ shown
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from ledger.errors import ReplicaError, StoreUnavailable
from ledger.log.checkpoint import checkpoint_text
from ledger.machine import Head
from ledger.marker import Marker
from ledger.replication.attestation import Attestations, FinalCheckpoint
from ledger.replication.offload import Offload
from ledger.replication.peers import Peers, PeerStatus
from ledger.store.store import FinalRow, Store
from ledger.verify import VerificationError
from ledger.verify.note import parse_checkpoint
from runtime.logs import get_logger

_log = get_logger("ledger.exchange")

EVERY_S: Final = 0.1
_CARRIED_S: Final = 0.3
"""So long a final checkpoint waits for a block that is due to keep it."""
KEPT: Final = 64
_GREET_EVERY_S: Final = 5.0
_AGAIN_S: Final = 2.0
_BACKOFF_S: Final = (0.2, 0.5, 1.0, 2.0)


@dataclass(slots=True)
class Contact:
    """What we know of a peer. queue: notes it has not got; reachable None: never asked; heard: what it said last."""

    queue: OrderedDict[int, bytes] = field(default_factory=OrderedDict)
    filled: asyncio.Event = field(default_factory=asyncio.Event)
    reachable: bool | None = None
    error: str = ""
    heard: PeerStatus | None = None

    def put(self, size: int, note: bytes) -> None:
        """To be sent; only the newest are kept for a peer that is away."""
        self.queue[size] = note
        while len(self.queue) > KEPT:
            self.queue.popitem(last=False)
        self.filled.set()


class Exchange:
    """One replica's. grown: called when more may have become final. awaits_block: is one due soon? halted: no signature
    leaves any more. withheld: why none leaves at the moment, None while they do."""

    def __init__(
        self,
        attestations: Attestations,
        peers: Peers,
        marker: Marker,
        store: Store,
        offload: Offload,
        origin: str,
        grown: Callable[[], None],
        awaits_block: Callable[[], bool] = lambda: False,
    ) -> None:
        self._attestations = attestations
        attestations.hold = True
        self._peers = peers
        self._marker = marker
        self._store = store
        self._offload = offload
        self._origin = origin
        self._told = grown
        self._awaits_block = awaits_block
        self._passed = asyncio.Event()
        self._mine: list[tuple[int, bytes, bytes]] = []
        self._due = asyncio.Event()
        self._grown = asyncio.Event()
        self._newest = self._kept = 0
        self.halted = False
        self.withheld: str | None = None
        self.contacts = {name: Contact() for name in peers.names}

    def use(self, names: Collection[str]) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        """These are the peers from now on; what is to run for those that are new."""
        added = [name for name in names if name not in self.contacts]
        for name in [name for name in self.contacts if name not in names]:
            del self.contacts[name]
        self.contacts |= {name: Contact() for name in added}
        return [partial(self._visit, name) for name in added]

    def restore(self, final: FinalCheckpoint) -> None:
        """What was final before the restart."""
        self._attestations.restore(final)
        self._kept = final.size

    def due(self) -> FinalRow | None:
        """What the next block should keep: a newer final checkpoint than the one that is kept, in a row or, where our
        own signature is a quorum, as the note of the newest block."""
        reached = self._attestations.reached
        if reached.size <= self._kept or (self._attestations.alone() and reached.size == self._newest):
            return None
        return FinalRow(reached.size, reached.height, reached.note)

    async def committed(self, head: Head, note: bytes, kept: FinalRow | None = None) -> None:
        """A block is committed with our note of it, and `kept` with it. Where our signature is a quorum it is final on
        return."""
        if kept is not None:
            self._keep(FinalCheckpoint(kept.size, kept.height, kept.note))
        self._passed.set()
        self._attestations.executed(head.size, head.height, head.root)
        self._newest = head.size
        if note != checkpoint_text(self._origin, head.size, head.root).encode():  # signed, then
            self._mine.append((head.size, head.root, note))
        if not self.contacts:
            await self.release()
        else:
            self._due.set()
            self._settle()
        if self._is_past_final():
            self._grown.set()

    async def release(self) -> None:
        """Let our signatures go: the marker first. None goes once the replica has halted, nor while the marker cannot
        be made durable: a full disk delays them."""
        mine, self._mine = self._mine, []
        if not mine or self._stays():
            return
        size, root, _ = mine[-1]
        try:
            await self._offload(self._marker.record, size, root)
        except OSError as error:
            self._mine = [*mine, *self._mine][-KEPT:]
            if self.withheld is None:
                _log.error("signatures are held back: the marker cannot be written", size=size, error=str(error))
            self.withheld = str(error)
            self._due.set()
            return
        self.withheld = None
        if self._stays():  # it halted while the disk was waited for
            return
        for size, _, note in mine:
            self._attestations.take(note)
            for contact in self.contacts.values():
                contact.put(size, note)
        self._settle()

    def _stays(self) -> bool:
        """May no signature leave any more?"""
        return self.halted

    def hear(self, notes: Sequence[bytes]) -> int:
        """Count what peers signed; forged and foreign notes are dropped. How many were of use."""
        used = 0
        for note in notes:
            try:
                used += self._attestations.take(note)
            except VerificationError as error:
                _log.warning("a note was dropped", code=error.code, error=str(error)[:200])
        self._settle()
        return used

    def share(self, note: bytes) -> None:
        """Count the lines of a note of ours that somebody else gave us, and tell the peers of all lines at its size."""
        if self.hear([note]):
            size = parse_checkpoint(note).size
            for contact in self.contacts.values():
                contact.put(size, self._attestations.note(size) or note)

    def jobs(self) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        """What runs for as long as the replica does: releases, keeps what became final, visits each peer."""
        return [self._releasing, self._keeping, *(partial(self._visit, name) for name in self.contacts)]

    def rows(self, member: str, head: Head, proposer: str | None) -> list[dict[str, Any]]:
        """A row for each member, this one (`member`, at `head`) among them: what it cosigned of our log, or said of
        itself, whichever is newer; lag in blocks."""
        cosigned = self._attestations.cosigned()
        rows = []
        for name in sorted({member, *self.contacts}):
            contact, (size, height) = self.contacts.get(name), cosigned.get(name, (0, 0))
            signed = size
            if contact is None:
                size, height = head.size, head.height
            elif contact.heard is not None and contact.heard.height > height:
                size, height = contact.heard.size, contact.heard.height
            row = {"name": name, "height": height, "size": size, "lag": max(0, head.height - height)}
            row |= {"cosigned_size": signed, "proposer": name == proposer}
            row |= {"reachable": True, "error": ""} if contact is None else _reached(contact)
            rows.append(row)
        return rows

    def answering(self) -> list[str]:
        """Peers that answered when they were asked last."""
        return [name for name, contact in self.contacts.items() if contact.reachable]

    def _settle(self) -> None:
        """What became final is shown as soon as it is kept, and whoever waits for it looks again."""
        reached = self._attestations.reached
        if reached.size <= self._attestations.final.size:
            return
        if self._attestations.alone() and reached.size == self._newest:  # our note in the block's row is all of it
            self._attestations.show(reached)
            self._told()
        else:
            self._grown.set()

    def _is_past_final(self) -> bool:
        """Is what is shown as final neither kept nor, any more, in the newest block's row?"""
        return self._kept < self._attestations.final.size < self._newest

    async def _releasing(self) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            await self.release()
            await asyncio.sleep(EVERY_S if self.withheld is None else _AGAIN_S)

    async def _keeping(self) -> None:
        """The final checkpoint outlives a restart."""
        while True:
            await self._grown.wait()
            self._grown.clear()
            await self._carried()
            reached = self._attestations.reached
            if reached.size > self._attestations.final.size or self._is_past_final():
                try:
                    await self._store.save_final(FinalRow(reached.size, reached.height, reached.note))
                    self._keep(reached)
                except StoreUnavailable:
                    self._grown.set()
                    await asyncio.sleep(_BACKOFF_S[-1])
            await asyncio.sleep(EVERY_S)

    async def _carried(self) -> None:
        """Where a block is due, it keeps in its transaction what became final, which spares a commit. The one that is
        being executed may have begun too early for that, the one after it has not."""
        for _ in range(2):
            if not self._awaits_block() or self.due() is None:
                return
            self._passed.clear()
            try:
                async with asyncio.timeout(_CARRIED_S):
                    await self._passed.wait()
            except TimeoutError:
                return

    def _keep(self, final: FinalCheckpoint) -> None:
        """It outlives a crash from now on."""
        self._kept = max(self._kept, final.size)
        if final.size > self._attestations.final.size:
            self._attestations.show(final)
            self._told()

    async def _visit(self, name: str) -> None:
        """Greets a peer, sends it what we sign, and asks now and then where it stands."""
        contact, failures = self.contacts[name], 0
        while self.contacts.get(name) is contact:
            try:
                if contact.reachable is not True or not contact.queue:
                    self._heard(name, contact, await self._peers.status(name))
                while contact.queue and not self.halted:
                    contact.filled.clear()
                    notes = dict(contact.queue)
                    await self._peers.cosign(name, list(notes.values()))
                    for size, note in notes.items():
                        if contact.queue.get(size) is note:  # else it gained a line meanwhile, and goes again
                            del contact.queue[size]
                    await asyncio.sleep(EVERY_S)
                failures = 0
                await self._filled(contact)
            except ReplicaError as error:
                if contact.reachable is not False:
                    _log.warning("a member does not answer", member=name, error=str(error))
                contact.reachable, contact.error = False, str(error)
                await asyncio.sleep(_BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)])
                failures += 1

    async def _filled(self, contact: Contact) -> None:
        try:
            async with asyncio.timeout(_GREET_EVERY_S):
                await contact.filled.wait()
        except TimeoutError:
            return

    def _heard(self, name: str, contact: Contact, status: PeerStatus) -> None:
        contact.reachable, contact.error, contact.heard = True, "", status
        self.hear([text.encode() for text in (status.final, status.note) if text])
        self._attestations.stands(name, status.size, status.height, status.fault)


def _reached(contact: Contact) -> dict[str, Any]:
    return {"reachable": contact.reachable, "error": contact.error}
