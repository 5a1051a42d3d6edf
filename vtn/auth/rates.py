"""How often one sender may do something: a count for each sender and minute, in the memory of one worker."""

from __future__ import annotations

from runtime.clock import Clock
from vtn.errors import NotAllowed

_MINUTE_MS = 60_000
_SENDERS_MAX = 100_000


class Rate:
    """At most `per_minute` of `what` from one sender in a minute of wall time."""

    def __init__(self, clock: Clock, per_minute: int, code: str, what: str) -> None:
        self._clock = clock
        self.per_minute = per_minute
        self._code = code
        self._what = what
        self._minute = 0
        self._counts: dict[str, int] = {}

    def check(self, sender: str) -> None:
        """Count nothing. Raises NotAllowed for a sender who reached the limit."""
        if self._clock.wall_ms() // _MINUTE_MS == self._minute and self._counts.get(sender, 0) >= self.per_minute:
            raise self._refused()

    def admit(self, sender: str) -> None:
        """Count one more. Raises NotAllowed."""
        minute = self._clock.wall_ms() // _MINUTE_MS
        if minute != self._minute or len(self._counts) >= _SENDERS_MAX:
            self._minute = minute
            self._counts.clear()
        count = self._counts[sender] = self._counts.get(sender, 0) + 1
        if count > self.per_minute:
            raise self._refused()

    def _refused(self) -> NotAllowed:
        return NotAllowed(self._code, f"more than {self.per_minute} {self._what} in a minute")
