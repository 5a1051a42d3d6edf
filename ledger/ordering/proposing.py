"""Who orders what waits: the lease holder cuts blocks, everybody else hands its transactions to the lease holder.

pool ─ leads? ─yes─▶ take ─▶ make_block ─▶ orderer.propose ─▶ executed? ─▶ next, while this one is committed
              └no──▶ hand_over ─▶ peers.forward(proposer) ─▶ kept until applied; again on a change of proposer,
                                                             or after AGAIN_S: duplicates fall to the id
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from ledger.config import LedgerSettings
from ledger.errors import OrderingUnavailable, StoreUnavailable
from ledger.ordering.block import TRANSACTIONS_MAX, Block, make_block, render_block
from ledger.ordering.orderer import Conflict, Fenced, Orderer, Proposed, Unknown
from ledger.ordering.pool import Pool
from ledger.ordering.progress import Progress
from ledger.ordering.signatures import CheckpointSigner
from ledger.replication.forwarding import Forwarding
from ledger.serving import first_result
from ledger.store.store import Store
from runtime.clock import Clock
from runtime.logs import get_logger

_log = get_logger("ledger.proposing")

BACKOFF_S: Final = (0.05, 0.2, 0.5, 1.0, 2.0)
_UNCONFIRMED_S: Final = 0.7
_STALLED_S: Final = 1.0
_LOOK_S: Final = 1.0


class Proposing:
    """The proposing half of one replica. may_propose: is this replica's member one at the next height, and its
    clock right?"""

    def __init__(
        self,
        *,
        progress: Progress,
        pool: Pool,
        store: Store,
        orderer: Orderer,
        forwarding: Forwarding,
        signer: CheckpointSigner,
        clock: Clock,
        settings: LedgerSettings,
        may_propose: Callable[[], Awaitable[bool]],
    ) -> None:
        self._progress = progress
        self._pool = pool
        self._store = store
        self._orderer = orderer
        self._forwarding = forwarding
        self._signer = signer
        self._clock = clock
        self._settings = settings
        self._may_propose = may_propose
        self._block_s = 0.0
        self._sure_s = -1e9

    async def run(self) -> None:
        """One block at a time until it is executed: what arrives while a block is under way makes the next."""
        count = 0
        while True:
            await self._work()
            if not self._orderer.leads:
                count = 0
                await self._forward()
                continue
            wait_s = min(self._settings.block_ms / 1000, self._block_s) if count > 1 else 0.0
            await self._pool.gather(count, wait_s)
            taken = self._pool.take(self._settings.block_bytes_max, TRANSACTIONS_MAX)
            count = len(taken)
            known = await self._answer_known([ticket.parsed.id for ticket in taken])
            contents = [ticket.parsed.content for ticket in taken if ticket.parsed.id not in known]
            if contents or self._is_due():
                await self._order(contents)

    async def confirm(self, within_s: float = 0.0) -> None:
        """Return if proposals are possible, or were within the last seconds, else raise OrderingUnavailable: so nobody
        waits in a queue for nothing."""
        if asyncio.get_running_loop().time() - self._sure_s < within_s:
            return
        try:
            await self._orderer.check()
        except OrderingUnavailable as error:
            self._progress.unavailable = str(error)
            raise
        self._progress.unavailable = None
        self._sure_s = asyncio.get_running_loop().time()

    async def watch(self) -> None:
        """While something waits or nothing can be ordered, asks whether that changed."""
        while True:
            height = self._progress.head.height
            await asyncio.sleep(_UNCONFIRMED_S)
            stuck = len(self._pool) > 0 and self._progress.head.height == height
            if self._progress.fault is None and (stuck or self._progress.unavailable is not None):
                try:
                    await self.confirm()
                except OrderingUnavailable as error:
                    _log.warning("nothing can be ordered", channel=self._progress.channel, error=str(error))

    async def _work(self) -> None:
        """Returns when transactions wait, a deadline is due or the proposer changed: an idle ledger makes no blocks."""
        while not self._pool.arrived.is_set() and not (self._orderer.leads and self._is_due()):
            due_ms = self._progress.foreseen.next_due_ms
            waits = [asyncio.create_task(self._pool.arrived.wait()), asyncio.create_task(self._orderer.changed())]
            if due_ms is not None and self._orderer.leads:
                waits.append(asyncio.create_task(self._clock.sleep_until(due_ms)))
            try:
                await asyncio.wait(waits, timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in waits:
                    task.cancel()

    def _is_due(self) -> bool:
        due_ms = self._progress.foreseen.next_due_ms
        return due_ms is not None and self._clock.now_ms() >= due_ms

    async def _answer_known(self, ids: list[str]) -> frozenset[str]:
        """Those that have a first result are answered with it. Waits while the store is away."""
        for attempt in range(1_000_000):
            try:
                known = await self._store.known(ids) if ids else frozenset()
                for result in (await self._store.results(list(known))).values():
                    self._pool.resolve(first_result(result))
                return known
            except StoreUnavailable:
                await asyncio.sleep(BACKOFF_S[min(attempt, len(BACKOFF_S) - 1)])
        raise AssertionError("never")

    async def _forward(self) -> None:
        """What waits goes to the proposer, after what has a result already was answered."""
        taken = self._pool.hand_over(self._settings.block_bytes_max, TRANSACTIONS_MAX)
        known = await self._answer_known([ticket.parsed.id for ticket in taken])
        sent = [ticket for ticket in taken if ticket.parsed.id not in known and not ticket.answer.done()]
        if sent:
            await self._forwarding.send(sent)

    async def _order(self, contents: list[bytes]) -> None:
        if (
            not await self._may_propose()
        ):  # removed, or held back, while it holds the lease: it is about to give it back
            self._pool.put_back(contents)
            await asyncio.sleep(_UNCONFIRMED_S)
            return
        head = self._progress.foreseen
        block = make_block(
            channel=self._progress.channel,
            height=head.height + 1,
            previous=head.previous,
            time_ms=max(self._clock.now_ms(), head.time_ms + 1),
            proposer=self._signer.member,
            contents=contents,
            sign=self._signer.sign_block,
        )
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        outcome = await self._propose(block)
        if not isinstance(outcome, Fenced):
            await self._progress.executed(block.header.height)
        if isinstance(outcome, Conflict | Fenced):
            self._pool.put_back(contents)
        self._block_s = loop.time() - started_s
        if not contents and self._progress.foreseen.next_due_ms == head.next_due_ms:
            _log.warning("a due deadline made no progress", height=head.height, due_ms=head.next_due_ms)
            await asyncio.sleep(_STALLED_S)

    async def _propose(self, block: Block) -> Proposed:
        """The same bytes until the outcome is known; also where the block was seen in the order meanwhile."""
        height, data = block.header.height, render_block(block)
        for attempt in range(1_000_000):
            try:
                outcome = await self._orderer.propose(height, data)
            except OrderingUnavailable as error:
                self._progress.unavailable = str(error)
                outcome = Unknown(str(error))
            if not isinstance(outcome, Unknown):
                self._progress.unavailable = None
                self._sure_s = asyncio.get_running_loop().time()
                return outcome
            if self._progress.head.height >= height:  # a block of this height came by `watch`, ours or another
                return Conflict()
            await asyncio.sleep(BACKOFF_S[min(attempt, len(BACKOFF_S) - 1)])
        raise AssertionError("never")
