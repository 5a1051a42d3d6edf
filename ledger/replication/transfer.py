"""Blocks that the order has dropped come from other members, and none of them is believed.

    changes of the members since ◀── every peer
    quorum-cosigned checkpoint (size S) ◀── status of every peer, verified by the policy of the members of block h or of
                                              │ those that follow; of former ones for blocks before their end only
    block h ── chain hash, proposer's signature ──▶ executed ──▶ its tree is a prefix of S (proof)? ──▶ commit
                                                                   no: nothing committed, another peer is asked

So a replica that catches up commits only what a quorum has vouched for, block by block, whoever the bytes came from.
Who may propose a block, and whose signatures count, is what the state before that block says.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple, Protocol

from ledger.errors import PeerUnavailable, ReplicaError, StoreUnavailable
from ledger.machine import BlockRefused, Head
from ledger.ordering.orderer import Ordered
from ledger.ordering.progress import Progress
from ledger.replication.attestation import Attestations
from ledger.replication.membership.rosters import Rosters
from ledger.replication.membership.shown import Shown, shown_by
from ledger.replication.membership.succession import own_records
from ledger.replication.peers import GivenBlock, Peers
from ledger.store.store import Store
from ledger.verify import VerificationError, verify_checkpoint, verify_consistency
from ledger.verify.canonical import MAX_INT
from ledger.verify.note import Checkpoint
from ledger.verify.policy import Policy
from runtime.errors import GridpactError
from runtime.logs import get_logger

_log = get_logger("ledger.transfer")

PAGE: Final = 64
_BACKOFF_S: Final = (0.2, 0.5, 1.0, 2.0)


class Apply(Protocol):
    """ledger.ordering.following.Following.apply"""

    async def __call__(self, ordered: Ordered, against: Callable[[Head], None] | None = None) -> None: ...


class Target(NamedTuple):
    """What blocks are held against. until: the first block for which those who signed it count no more."""

    checkpoint: Checkpoint
    until: int | None

    def leads_on(self, head: Head) -> bool:
        """Does it vouch for the block after this one?"""
        return head.size < self.checkpoint.size and (self.until is None or head.height + 1 < self.until)


def furthest(found: Iterable[Target], head: Head) -> Target | None:
    """Which leads on from here, and furthest: newer members first, for whoever signs beyond its time can name any size.
    A small tree may be signed by newer members, too, and leads nobody on."""
    on = (target for target in found if target.leads_on(head))
    return max(on, key=lambda each: (MAX_INT if each.until is None else each.until, each.checkpoint.size), default=None)


class Transfer:
    """One replica's; what keeps it from getting further is told to its progress. further: URLs by name of those
    that are asked while it catches up, beside the members it knows."""

    def __init__(
        self,
        progress: Progress,
        peers: Peers,
        attestations: Attestations,
        store: Store,
        rosters: Rosters,
        member: str,
        seeds: Mapping[str, str],
    ) -> None:
        self._progress = progress
        self._peers = peers
        self._attestations = attestations
        self._store = store
        self._member = member
        self._seeds = {name: url for name, url in seeds.items() if name != member}
        self._rosters = rosters
        self.further: Mapping[str, str] = {}
        self.taken = 0

    async def catch_up(self, height: int, apply: Apply) -> None:
        """Returns when the block of this height is committed here. Raises Diverged."""
        self._know(self._seeds)
        try:
            await self._catch_up(height, apply)
        finally:
            self.further = {}
            self._rosters.reach({})

    async def _catch_up(self, height: int, apply: Apply) -> None:
        started_s, first = asyncio.get_running_loop().time(), self._progress.head.height
        failures = 0
        while self._progress.head.height < height:
            before = self._progress.head.height
            target, sources = await self._target()
            for member in sources:
                if target is None or not target.leads_on(self._progress.head):
                    break
                try:
                    await self._take(member, target, apply)
                except (PeerUnavailable, BlockRefused) as error:
                    self._progress.trouble = f"member {member} does not help: {error}"
                    _log.warning("a member does not help to catch up", member=member, error=str(error))
            failures = 0 if self._progress.head.height > before else failures + 1
            if failures:
                self._progress.trouble = (
                    self._progress.trouble or f"no member shows a final checkpoint that covers block {before + 1}"
                )
                await asyncio.sleep(_BACKOFF_S[min(failures - 1, len(_BACKOFF_S) - 1)])
        self._progress.trouble = ""
        seconds = asyncio.get_running_loop().time() - started_s
        _log.info("caught up from members", first=first + 1, height=self._progress.head.height, seconds=seconds)

    async def _target(self) -> tuple[Target | None, list[str]]:
        """The checkpoint with a quorum that leads furthest of those that members show, and who has got that far."""
        try:
            known = await own_records(self._store)
        except StoreUnavailable as error:
            self._progress.trouble = str(error)
            return None, []
        shown = await shown_by(self._peers, known, self._progress.channel, self._progress.head.height, self._know)
        names = list(self._peers.names)
        answers = await asyncio.gather(*map(self._peers.status, names), return_exceptions=True)
        found: list[Target] = []
        sizes: dict[str, int] = {}
        for name, answer in zip(names, answers, strict=True):
            if isinstance(answer, ReplicaError):
                continue
            if isinstance(answer, BaseException):
                raise answer
            sizes[name] = answer.size
            believed = self._believed(name, answer.final.encode(), shown)
            found += [] if believed is None else [believed]
        target = furthest(found, self._progress.head)
        able = [name for name in names if target is not None and sizes.get(name, -1) >= target.checkpoint.size]
        return target, able

    def _believed(self, member: str, note: bytes, shown: Shown) -> Target | None:
        """The final checkpoint that a peer shows, and for which blocks it is believed."""
        if not note:
            return None
        if not shown.successions:  # a ledger of one may name nobody in its state
            alone = _by_quorum(note, self._attestations.policy)
            return None if alone is None else Target(alone, None)
        found = shown.believed(lambda members: _by_quorum(note, self._rosters.policy_of(members)))
        if found is None:
            why = "a checkpoint that no quorum of the members signed"
            if member in shown.refused:
                why = f"no members that follow those known here: {shown.refused[member]}"
            elif len(shown.successions) > 1:
                why += ": the changes of the members that are shown contradict each other"
            self._progress.trouble = f"member {member} shows {why}"
            _log.warning("a member's checkpoint is not believed", member=member, why=why)
            return None
        target = Target(*found)
        if target.until is not None and self._progress.head.height + 1 >= target.until:
            self._progress.trouble = (
                f"member {member} shows a checkpoint of former members, who count before block {target.until} only"
            )
            return None
        return target

    def _know(self, addresses: Mapping[str, str]) -> None:
        """Ask these, too."""
        new = {name: url for name, url in addresses.items() if name != self._member}
        if new.items() <= self.further.items():
            return
        before, self.further = self.further, {**self.further, **new}
        try:
            self._rosters.reach(self.further)
        except GridpactError as error:  # an address that must not be used
            self.further = before
            self._rosters.reach(before)
            _log.warning("a member cannot be asked", error=str(error))

    async def _take(self, member: str, target: Target, apply: Apply) -> None:
        """Blocks of one member up to the target. Raises PeerUnavailable, BlockRefused, Diverged."""
        height = self._progress.head.height + 1
        page = await self._page(member, height, target.checkpoint.size)
        while page and target.leads_on(self._progress.head):
            last = page[-1].height
            ahead: asyncio.Task[list[GivenBlock]] | None = None
            if len(page) > 1:  # the next page travels while this one is executed
                ahead = asyncio.create_task(self._page(member, last + 1, target.checkpoint.size))
            try:
                for given in page:
                    if not target.leads_on(self._progress.head):
                        break
                    if given.height != self._progress.head.height + 1:
                        raise PeerUnavailable(f"it gave block {given.height} after {self._progress.head.height}")
                    if given.revision > MAX_INT:
                        raise PeerUnavailable(f"it gave block {given.height} a revision that no order has")
                    await apply(Ordered(given.height, given.data, given.revision), _against(given, target.checkpoint))
                    self.taken += 1
            except BaseException:
                if ahead is not None:
                    ahead.cancel()
                raise
            if ahead is not None:
                page = await ahead
            else:
                page = (
                    await self._page(member, last + 1, target.checkpoint.size)
                    if target.leads_on(self._progress.head)
                    else []
                )
        if target.leads_on(self._progress.head):
            raise PeerUnavailable(
                f"it has no block {self._progress.head.height + 1} to give, or its bodies are erased; where all "
                "members erased them, stop this replica and copy the state of one: dr-ledger copy-state"
            )

    async def _page(self, member: str, height: int, size: int) -> list[GivenBlock]:
        return await self._peers.blocks(member, height, PAGE, size)


def _by_quorum(note: bytes, policy: Policy) -> Checkpoint | None:
    with contextlib.suppress(VerificationError):
        return verify_checkpoint(note, policy).checkpoint
    return None


def _against(given: GivenBlock, target: Checkpoint) -> Callable[[Head], None]:
    def check(head: Head) -> None:
        try:
            verify_consistency(head.size, target.size, given.proof, head.root, target.root)
        except (VerificationError, ValueError) as error:
            raise BlockRefused(f"its tree is no part of the final one of {target.size} leaves: {error}") from error

    return check
