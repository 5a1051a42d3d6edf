"""Where one replica stands, and who waits for it to get further.

foresee(head) ─▶ the next block may be ordered on it: committed or not, nobody comes to another result
publish(head) ─▶ reached(height) returns, subscribers wake        halt(fault) ─▶ they raise it
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from ledger.errors import CatchingUp, Diverged, OrderingUnavailable
from ledger.machine import Head


class Progress:
    """One for each replica; not for several event loops.

    head: committed. foreseen: executed, being committed or committed: `head`, or one block further.
    target: the height to be reached before the replica serves writes, 0 while it is not known, None once it has been;
    trouble: why it gets no closer to it. stopped: set while nothing can be ordered. retired: why this replica takes
    nothing any more, for good."""

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self.head: Head
        self.foreseen: Head
        self.fault: Diverged | None = None
        self.target: int | None = 0
        self.trouble = ""
        self.stopped = asyncio.Event()
        self.retired: str | None = None
        self._unavailable: str | None = None
        self._subscribers: set[asyncio.Event] = set()
        self._executed = asyncio.Event()

    @property
    def unavailable(self) -> str | None:
        """Why nothing can be ordered at the moment."""
        return self._unavailable

    @unavailable.setter
    def unavailable(self, reason: str | None) -> None:
        changed = (reason is None) != (self._unavailable is None)
        self._unavailable = reason
        if reason is None:
            self.stopped.clear()
        else:
            self.stopped.set()
        if changed:
            self.wake()

    def aim(self, height: int) -> None:
        """The order is known to reach this height."""
        self.target = None if self.head.height >= height else height

    def foresee(self, head: Head) -> None:
        """The block is executed. Where its commit fails, it is executed again, and comes to the same."""
        self.foreseen = head
        self._executed.set()

    def publish(self, head: Head) -> None:
        """The block is committed, or loaded."""
        self.head = self.foreseen = head
        if self.target is not None and head.height >= self.target > 0:
            self.target = None
        self.wake()

    def halt(self, fault: Diverged) -> None:
        """For good."""
        self.fault = self.fault or fault
        self.wake()

    def explain(self, fault: Diverged) -> None:
        """The cause of a halt was found: it is told instead of what was noticed first."""
        self.fault = fault

    def wake(self) -> None:
        """Everybody who waits looks again."""
        self._executed.set()
        for event in self._subscribers:
            event.set()

    @contextlib.asynccontextmanager
    async def subscribe(self) -> AsyncIterator[asyncio.Event]:
        """An event that is set whenever something changed; whoever waits for it clears it."""
        event = asyncio.Event()
        self._subscribers.add(event)
        try:
            yield event
        finally:
            self._subscribers.discard(event)

    async def reached(self, height: int) -> None:
        """Returns when the height is committed here. Raises Diverged."""
        async with self.subscribe() as changed:
            while self.head.height < height:
                self.require_sound()
                changed.clear()
                await changed.wait()

    async def executed(self, height: int) -> None:
        """Returns when the next block may be ordered on this height: for one who waits. Raises Diverged."""
        while self.foreseen.height < height:
            self.require_sound()
            self._executed.clear()
            await self._executed.wait()

    def require_sound(self) -> None:
        """Raises Diverged once the replica has halted."""
        if self.fault is not None:
            raise self.fault.with_traceback(None)  # one object for all: its traceback would grow with each request

    def require_current(self) -> None:
        """Raises CatchingUp until the height that the order had at the start is reached, Diverged."""
        self.require_sound()
        if self.target is not None:
            of = f"of {self.target}" if self.target else "while the order does not answer"
            why = f": {self.trouble}" if self.trouble else ""
            raise CatchingUp(f"catching up with the order: at block {self.head.height} {of}{why}")

    def require_writable(self) -> None:
        """Raises OrderingUnavailable, CatchingUp or Diverged while nothing can be ordered."""
        self.require_current()
        reason = self.retired or self.unavailable
        if reason is not None:
            raise OrderingUnavailable(reason)
