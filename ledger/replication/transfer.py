"""Blocks that the order has dropped come from other members, and none of them is believed.

    quorum-cosigned checkpoint (size S) ◀── status of every peer, verified by the policy of the members here
                                              │ the members changed since: by those that follow from signed changes
    block h ── chain hash, proposer's signature ──▶ executed ──▶ its tree is a prefix of S (proof)? ──▶ commit
                                                                   no: nothing committed, another peer is asked

So a replica that catches up commits only what a quorum has vouched for, block by block, whoever the bytes came from.
Who may propose a block, and whose signatures count, is what the state before that block says.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

from ledger.errors import PeerUnavailable, ReplicaError, StoreUnavailable
from ledger.machine import BlockRefused, Head
from ledger.ordering.orderer import Ordered
from ledger.ordering.progress import Progress
from ledger.replication.attestation import Attestations
from ledger.replication.membership.rosters import Rosters
from ledger.replication.membership.succession import Members, Successions
from ledger.replication.peers import GivenBlock, Peers
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


class Transfer:
    """One replica's; what keeps it from getting further is told to its progress. further: URLs by name of those
    that are asked while it catches up, beside the members it knows."""

    def __init__(
        self,
        progress: Progress,
        peers: Peers,
        attestations: Attestations,
        successions: Successions,
        rosters: Rosters,
        member: str,
        seeds: Mapping[str, str],
    ) -> None:
        self._progress = progress
        self._peers = peers
        self._attestations = attestations
        self._successions = successions
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
                if target is None or not self._behind(target):
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

    async def _target(self) -> tuple[Checkpoint | None, list[str]]:
        """The largest checkpoint with a quorum that any member shows, and the members that have got that far."""
        names = list(self._peers.names)
        answers = await asyncio.gather(*map(self._peers.status, names), return_exceptions=True)
        target: Checkpoint | None = None
        sizes: dict[str, int] = {}
        for name, answer in zip(names, answers, strict=True):
            if isinstance(answer, ReplicaError):
                continue
            if isinstance(answer, BaseException):
                raise answer
            sizes[name] = answer.size
            shown = await self._believed(name, answer.final.encode())
            if shown is not None and (target is None or shown.size > target.size):
                target = shown
        able = [name for name in names if target is not None and sizes.get(name, -1) >= target.size]
        return target, able

    async def _believed(self, member: str, note: bytes) -> Checkpoint | None:
        """The final checkpoint that a peer shows, where the quorum is one of the members here, or of those that
        followed them by changes which the members before approved."""
        if not note:
            return None
        found = _by_quorum(note, [self._attestations.policy])
        if found is not None:
            return found
        try:
            members = await self._successions.shown_by(member)
        except (PeerUnavailable, StoreUnavailable) as error:
            self._progress.trouble = f"member {member} shows no members that follow those known here: {error}"
            _log.warning("a member shows no succession", member=member, error=str(error))
            return None
        found = _by_quorum(note, map(self._rosters.policy_of, reversed(members)))
        if found is None:
            self._progress.trouble = f"member {member} shows a checkpoint that no quorum of the members signed"
        else:
            self._know(_addresses(members))
        return found

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

    async def _take(self, member: str, target: Checkpoint, apply: Apply) -> None:
        """Blocks of one member up to the target. Raises PeerUnavailable, BlockRefused, Diverged."""
        height = self._progress.head.height + 1
        page = await self._page(member, height, target.size)
        while page:
            last = page[-1].height
            ahead: asyncio.Task[list[GivenBlock]] | None = None
            if len(page) > 1:  # the next page travels while this one is executed
                ahead = asyncio.create_task(self._page(member, last + 1, target.size))
            try:
                for given in page:
                    if given.height != self._progress.head.height + 1:
                        raise PeerUnavailable(f"it gave block {given.height} after {self._progress.head.height}")
                    if given.revision > MAX_INT:
                        raise PeerUnavailable(f"it gave block {given.height} a revision that no order has")
                    await apply(Ordered(given.height, given.data, given.revision), _against(given, target))
                    self.taken += 1
            except BaseException:
                if ahead is not None:
                    ahead.cancel()
                raise
            if ahead is not None:
                page = await ahead
            else:
                page = await self._page(member, last + 1, target.size) if self._behind(target) else []
        if self._behind(target):
            raise PeerUnavailable(
                f"it has no block {self._progress.head.height + 1} to give, or its bodies are erased; where all "
                "members erased them, stop this replica and copy the state of one: dr-ledger copy-state"
            )

    def _behind(self, target: Checkpoint) -> bool:
        return self._progress.head.size < target.size

    async def _page(self, member: str, height: int, size: int) -> list[GivenBlock]:
        return await self._peers.blocks(member, height, PAGE, size)


def _by_quorum(note: bytes, policies: Iterable[Policy]) -> Checkpoint | None:
    for policy in policies:
        with contextlib.suppress(VerificationError):
            return verify_checkpoint(note, policy).checkpoint
    return None


def _addresses(members: list[Members]) -> dict[str, str]:
    """Of all these sets of members; who is in several is where the last one says."""
    return {each.name: each.peer_url for known in members for each in known}


def _against(given: GivenBlock, target: Checkpoint) -> Callable[[Head], None]:
    def check(head: Head) -> None:
        try:
            verify_consistency(head.size, target.size, given.proof, head.root, target.root)
        except (VerificationError, ValueError) as error:
            raise BlockRefused(f"its tree is no part of the final one of {target.size} leaves: {error}") from error

    return check
