"""Blocks that the order has dropped come from other members, and none of them is believed.

    quorum-cosigned checkpoint (size S) ◀── status of every peer, verified by the policy
    block h ── chain hash, proposer's signature ──▶ executed ──▶ its tree is a prefix of S (proof)? ──▶ commit
                                                                   no: nothing committed, another peer is asked

So a replica that catches up commits only what a quorum has vouched for, block by block, whoever the bytes came from.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final, Protocol

from ledger.errors import PeerUnavailable, ReplicaError
from ledger.machine import BlockRefused, Head
from ledger.ordering.orderer import Ordered
from ledger.ordering.progress import Progress
from ledger.replication.peers import GivenBlock, Peers
from ledger.verify import VerificationError, verify_checkpoint, verify_consistency
from ledger.verify.canonical import MAX_INT
from ledger.verify.note import Checkpoint
from ledger.verify.policy import Policy
from runtime.logs import get_logger

_log = get_logger("ledger.transfer")

PAGE: Final = 64
_BACKOFF_S: Final = (0.2, 0.5, 1.0, 2.0)


class Apply(Protocol):
    """ledger.ordering.following.Following.apply"""

    async def __call__(self, ordered: Ordered, against: Callable[[Head], None] | None = None) -> None: ...


class Transfer:
    """One replica's. trouble: why it does not get further at the moment, for readiness."""

    def __init__(self, progress: Progress, peers: Peers, policy: Callable[[], Policy]) -> None:
        self._progress = progress
        self._peers = peers
        self._policy = policy
        self.trouble = ""
        self.taken = 0

    async def catch_up(self, height: int, apply: Apply) -> None:
        """Returns when the block of this height is committed here. Raises Diverged."""
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
                    self.trouble = f"member {member} does not help: {error}"
                    _log.warning("a member does not help to catch up", member=member, error=str(error))
            failures = 0 if self._progress.head.height > before else failures + 1
            if failures:
                self.trouble = self.trouble or f"no member shows a final checkpoint that covers block {before + 1}"
                await asyncio.sleep(_BACKOFF_S[min(failures - 1, len(_BACKOFF_S) - 1)])
        self.trouble = ""
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
            with contextlib.suppress(VerificationError):
                shown = verify_checkpoint(answer.final.encode(), self._policy()).checkpoint if answer.final else None
                if shown is not None and (target is None or shown.size > target.size):
                    target = shown
        able = [name for name in names if target is not None and sizes.get(name, -1) >= target.size]
        return target, able

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
            raise PeerUnavailable(f"it has no block {self._progress.head.height + 1} to give, or its bodies are erased")

    def _behind(self, target: Checkpoint) -> bool:
        return self._progress.head.size < target.size

    async def _page(self, member: str, height: int, size: int) -> list[GivenBlock]:
        return await self._peers.blocks(member, height, PAGE, size)


def _against(given: GivenBlock, target: Checkpoint) -> Callable[[Head], None]:
    def check(head: Head) -> None:
        try:
            verify_consistency(head.size, target.size, given.proof, head.root, target.root)
        except (VerificationError, ValueError) as error:
            raise BlockRefused(f"its tree is no part of the final one of {target.size} leaves: {error}") from error

    return check
