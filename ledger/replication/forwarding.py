"""Transactions on their way to the proposer: each is kept here until this replica has seen it applied.

hand_over ─▶ forwarded ── applied ─▶ answered
                │  proposer changed, not taken, or AGAIN_S without an answer
                └─▶ waiting ─▶ to whoever proposes now            after FORGET_S: "unknown", the sender sends again
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from ledger.errors import NotProposer, PeerUnavailable, QueueFull, ReplicaError
from ledger.ordering.orderer import Orderer
from ledger.ordering.pool import Pool, Ticket
from ledger.replication.peers import Peers
from runtime.logs import get_logger

_log = get_logger("ledger.forwarding")

AGAIN_S: Final = 2.0
FORGET_S: Final = 60.0
_LOOK_S: Final = 0.5
_PAUSE_S: Final = 0.1


class Forwarding:
    """The forwarding half of one replica; `sent` counts transactions handed to a proposer."""

    def __init__(self, pool: Pool, orderer: Orderer, peers: Peers) -> None:
        self._pool = pool
        self._orderer = orderer
        self._peers = peers
        self.sent = 0

    async def send(self, tickets: Sequence[Ticket]) -> None:
        """Hand them to the proposer. Where that fails all of them wait again, and this returns after a pause."""
        proposer = self._orderer.proposer
        try:
            if proposer is None or self._orderer.leads:
                raise PeerUnavailable("nobody proposes at the moment")
            await self._peers.forward(proposer, [ticket.parsed.content for ticket in tickets])
            self.sent += len(tickets)
        except QueueFull as error:
            self._pool.recall(only=tickets)
            await asyncio.sleep(min(error.retry_after_s, AGAIN_S))
        except ReplicaError as error:
            if not isinstance(error, NotProposer) and proposer is not None and not self._orderer.leads:
                _log.info("not forwarded", proposer=proposer, transactions=len(tickets), error=str(error))
            self._pool.recall(only=tickets)
            await asyncio.sleep(_PAUSE_S)

    async def watch(self) -> None:
        """Calls back what the proposer took to its grave: at a change of proposer all, else what is old."""
        loop = asyncio.get_running_loop()
        known = (self._orderer.proposer, self._orderer.leads)
        while True:
            try:
                async with asyncio.timeout(_LOOK_S):
                    await self._orderer.changed()
            except TimeoutError:
                pass
            now_s, current = loop.time(), (self._orderer.proposer, self._orderer.leads)
            self._pool.recall(None if current != known else now_s - AGAIN_S)
            self._pool.forget(now_s - FORGET_S)
            known = current
