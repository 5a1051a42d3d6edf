"""How far this clock is ahead of the other members': block time never goes back, so one wrong clock may spoil it.

One block of a clock that is a day ahead would take the ledger's time there for good: what is sent in the next day has
expired, deadlines fall due early, and nobody cosigns until the others got there.
"""

from __future__ import annotations

import asyncio

from ledger.errors import ReplicaError
from ledger.replication.peers import Peers
from runtime.clock import Clock


async def ahead_ms(peers: Peers, clock: Clock) -> int | None:
    """By how much, at least, this clock is ahead of more than half of the members that answer (domain milliseconds, 0
    if it is not); None if nobody answers. One member that lies about its clock is not more than half of two."""

    async def ahead_of(name: str) -> int | None:
        before_ms = clock.now_ms()
        said_ms = (await peers.status(name)).time_ms
        return before_ms - said_ms if said_ms else None

    answers = await asyncio.gather(*map(ahead_of, peers.names), return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, ReplicaError):
            raise answer
    ahead = sorted(answer for answer in answers if isinstance(answer, int))
    return max(0, ahead[(len(ahead) - 1) // 2]) if ahead else None


class Anchor:
    """A moment at which this clock was found right: since then it must have gone as fast as the event loop's time."""

    def __init__(self, clock: Clock, limit_ms: float) -> None:
        self._clock = clock
        self._limit_ms = limit_ms
        self._at: tuple[int, float] | None = None

    def drop(self) -> None:
        """Now, in an event loop."""
        self._at = (self._clock.now_ms(), asyncio.get_running_loop().time())

    def jumped(self) -> bool:
        """Is the clock further ahead of where it should be than the limit?"""
        if self._at is None:
            return False
        domain_ms, loop_s = self._at
        due_ms = domain_ms + (asyncio.get_running_loop().time() - loop_s) * 1000 * self._clock.speed
        return self._clock.now_ms() - due_ms > self._limit_ms
