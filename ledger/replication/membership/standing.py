"""Whether this replica runs for proposer, as long as it lives.

current, and a member ─▶ clock asked about ─ no further ahead than most others' ─▶ runs
                             ▲      │ too far ahead                                 │ every LOOK_S, and at once
                             │      ▼                                               │ where the clock has jumped
                             └── held back: gives the lease away, follows on ◀──────┘
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from ledger.errors import OrderingUnavailable
from ledger.ordering.orderer import Orderer
from ledger.ordering.progress import Progress
from ledger.replication.membership.clocks import Anchor, ahead_ms
from ledger.replication.peers import Peers
from runtime.clock import Clock, happened
from runtime.logs import get_logger

_log = get_logger("ledger.standing")

_LOOK_S: Final = 2.0
_BACKOFF_S: Final = (0.2, 0.5, 1.0, 2.0)

Patiently = Callable[[Callable[[], Awaitable[None]]], Awaitable[None]]


class Standing:
    """One replica's. held: why it does not run although it could, "" where it does. ahead_ms: of most other clocks, as
    last learned (domain time), None before."""

    def __init__(
        self,
        *,
        progress: Progress,
        orderer: Orderer,
        peers: Peers,
        clock: Clock,
        limit_ms: float,
        is_member: Callable[[], bool],
        patiently: Patiently,
    ) -> None:
        self._progress = progress
        self._orderer = orderer
        self._peers = peers
        self._clock = clock
        self._limit_ms = limit_ms
        self._is_member = is_member
        self._patiently = patiently
        self._anchor = Anchor(clock, limit_ms)
        self._ask, self._judged = asyncio.Event(), asyncio.Event()
        self._runs: bool | None = None
        self.held = ""
        self.ahead_ms: int | None = None

    async def steady(self) -> bool:
        """May a block be made by this clock now? Where it has jumped the others are asked first."""
        if not self.held and self._anchor.jumped():
            self._judged.clear()
            self._ask.set()
            await happened(self._judged, _LOOK_S)
        return not self.held and not self._anchor.jumped()

    async def run(self) -> None:
        """For ever. Begins once everything is executed that was ordered before this replica started. One that joins
        later follows until it is a member, and hands over what it is sent."""
        async with self._progress.subscribe() as changed:
            while self._progress.target is not None:
                changed.clear()
                await changed.wait()
        while True:
            if self._is_member():
                self._judge(await self._asked())
                self._judged.set()
            await self._stand(self._is_member() and not self.held)
            await happened(self._ask, _LOOK_S)
            self._ask.clear()

    def require_somebody(self) -> None:
        """Raises OrderingUnavailable where this member is held back and nobody else orders blocks."""
        if self.held and self._orderer.proposer is None:
            raise OrderingUnavailable(f"nobody orders blocks at the moment, and {self.held}")

    def why_unknown(self) -> str:
        """What a client is told of a transaction that has no outcome yet: why, and what to do."""
        who = f"{self._orderer.proposer or 'nobody known here'} orders blocks"
        why = self._progress.unavailable or "; ".join(filter(None, (who, self.held)))
        return f"not executed here yet ({why}): ask for the id, or send the same transaction again: it is executed once"

    async def _asked(self) -> int | None:
        """By how much this clock is ahead; None where nobody answers for a while: then it must do by itself."""
        for wait_s in _BACKOFF_S if self._peers.names else ():
            ahead = await ahead_ms(self._peers, self._clock)
            if ahead is not None:
                return ahead
            if self._runs and not self._anchor.jumped():
                return None
            await asyncio.sleep(wait_s)
        return None

    def _judge(self, ahead: int | None) -> None:
        before, self.ahead_ms = self.held, self.ahead_ms if ahead is None else ahead
        if ahead is not None and ahead > self._limit_ms:
            self.held = (
                f"this member's clock is {ahead / 1000:.0f} s ahead of most others' ({self._limit_ms / 1000:.0f} s are "
                "borne): it orders no blocks, because the ledger's time would go there and never back. Set the clock "
                "(is time synchronisation running?), or correct the clock file; meanwhile send to another member"
            )
        elif ahead is not None:
            self.held = ""
        if not self.held:
            self._anchor.drop()
        if bool(before) != bool(self.held):
            _log.error("held back", reason=self.held) if self.held else _log.info("no longer held back")
            self._progress.wake()

    async def _stand(self, runs: bool) -> None:
        if runs is self._runs:
            return
        first, self._runs = self._runs is None, runs
        await self._patiently(lambda: self._orderer.start(self._progress.head.height, runs=runs))
        if first:
            _log.info("replica is current", channel=self._progress.channel, height=self._progress.head.height)
