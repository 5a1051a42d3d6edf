"""Is this home's clock right? Compared with the ledger's block time and with the VTN's, where they say what time it is.

    before ──ask──▶ (theirs) ──answer──▶ after         skew = mine - theirs lies in [before - theirs, after - theirs]
    a block that was made already                      skew <= now - its time
    a block that holds what was sent since             skew >= moment of sending - its time

The ledger's word counts before the VTN's: members agree on it. A clock is wrong if the skew lies beyond the tolerance
for certain, right if it lies within it for certain, and otherwise not known; a source that contradicts itself says
nothing. While the clock is wrong, and from the moment it was set until somebody says that it is right, no interval is
closed by it: the meter keeps them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Literal

import msgspec

from runtime.clock import Clock
from runtime.logs import get_logger
from ven.home.store import Notes
from ven.metrics import Metrics

NOTE = "clock"
Source = Literal["ledger", "vtn"]
LEDGER: Final = "ledger"
VTN: Final = "vtn"

_FRESH_WALL_S = 3600.0
_DOUBT_S = 86_400.0  # where nobody ever says what time it is, the clock that was set is believed after this
_FAR_MS = 2**53

_log = get_logger("ven.home.timekeeping")


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the clock. low_ms, high_ms: bounds of its skew (ahead > 0), None where there is none; `source`:
    by whose word; right_ms: when it was last found right, by itself."""

    state: Literal["right", "wrong", "unknown"] = "unknown"
    source: str = ""
    low_ms: int | None = None
    high_ms: int | None = None
    right_ms: int | None = None

    @property
    def text(self) -> str:
        """For the owner."""
        if self.state != "wrong":
            return f"the clock is {self.state}"
        ahead = self.low_ms is not None and self.low_ms > 0
        by_s = (self.low_ms or 0) // 1000 if ahead else -(self.high_ms or 0) // 1000
        return f"the clock is at least {by_s} s {'ahead of' if ahead else 'behind'} the {self.source}'s: set it"


class _Bounds:
    """The skew by one source's word; a bound is replaced by a better one, or by any once it is old."""

    def __init__(self) -> None:
        self.low_ms, self.high_ms = -_FAR_MS, _FAR_MS
        self._low_s, self._high_s = 0.0, 0.0

    def at_least(self, skew_ms: int, at_s: float) -> None:
        if skew_ms >= self.low_ms or at_s - self._low_s > _FRESH_WALL_S:
            self.low_ms, self._low_s = skew_ms, at_s

    def at_most(self, skew_ms: int, at_s: float) -> None:
        if skew_ms <= self.high_ms or at_s - self._high_s > _FRESH_WALL_S:
            self.high_ms, self._high_s = skew_ms, at_s


class Timekeeper:
    """Of one home. `tolerance_s` is wall time. `running_s` is a clock that nobody sets: it shows when ours was.

    `became_wrong()` is called in the moment in which the clock is found wrong."""

    def __init__(
        self,
        clock: Clock,
        notes: Notes,
        metrics: Metrics,
        *,
        home: str,
        tolerance_s: float,
        running_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._notes = notes
        self._metrics = metrics
        self._home = home
        self._tolerance_ms = int(tolerance_s * 1000 * clock.speed)
        self._running_s = running_s
        self._bounds: dict[str, _Bounds] = {LEDGER: _Bounds(), VTN: _Bounds()}
        self._mark = clock.now_ms(), running_s()
        self._set_s: float | None = None
        kept = notes.read(NOTE, Verdict) or Verdict()
        self.verdict = Verdict(right_ms=kept.right_ms)
        self.became_wrong: Callable[[], None] = lambda: None

    @property
    def wrong(self) -> bool:
        """Is the clock wrong for certain?"""
        return self.verdict.state == "wrong"

    @property
    def withholding(self) -> str | None:
        """Why nothing is stamped by this clock now, None if it is."""
        if self.wrong:
            return self.verdict.text
        if self._set_s is not None and self._running_s() - self._set_s < _DOUBT_S:
            return "the clock was set, and nobody has said yet that it is right"
        return None

    def compare(self, source: Source, theirs_ms: int, before_ms: int, after_ms: int) -> None:
        """Their time was `theirs_ms` at some moment between asking and their answer, both by our clock."""
        bounds = self._bounds[source]
        bounds.at_least(before_ms - theirs_ms, self._running_s())
        bounds.at_most(after_ms - theirs_ms, self._running_s())
        self._judge()

    def block(self, time_ms: int, sent_ms: int | None) -> None:
        """The ledger made a block at `time_ms` of its time; `sent_ms`: when we sent what it holds, None for others'."""
        bounds = self._bounds[LEDGER]
        bounds.at_most(self._clock.now_ms() - time_ms, self._running_s())
        if sent_ms is not None:
            bounds.at_least(sent_ms - time_ms, self._running_s())
        self._judge()

    def look(self) -> None:
        """Notices that the clock was set: what was known of it is worth nothing then."""
        now_ms, running_s = self._clock.now_ms(), self._running_s()
        step_ms = now_ms - self._mark[0] - int((running_s - self._mark[1]) * 1000 * self._clock.speed)
        self._mark = now_ms, running_s
        if abs(step_ms) > self._tolerance_ms:
            _log.warning("the clock was set", home=self._home, step_s=step_ms // 1000)
            self._bounds = {LEDGER: _Bounds(), VTN: _Bounds()}
            self._set_s = running_s
            self._judge()

    def _judge(self) -> None:
        found = [self._of(source) for source in (LEDGER, VTN)]
        verdict = next((each for each in found if each.state != "unknown"), found[0])
        right_ms = self._clock.now_ms() if verdict.state == "right" else self.verdict.right_ms
        if verdict.state == "right":
            self._set_s = None
        before, self.verdict = self.verdict, msgspec.structs.replace(verdict, right_ms=right_ms)
        if self.verdict.high_ms is not None or self.verdict.low_ms is not None:
            bounds = [each for each in (self.verdict.low_ms, self.verdict.high_ms) if each is not None]
            self._metrics.clock_skew.set(sum(bounds) / len(bounds) / 1000)
        changed = before.state != self.verdict.state
        if changed:
            if self.wrong:
                _log.error("clock wrong", home=self._home, why=self.verdict.text)
            self._metrics.clocks_wrong.inc(self.wrong - (before.state == "wrong"))
        # not at every look: a note is a write to the disk
        if changed or (right_ms or 0) - (before.right_ms or 0) > self._tolerance_ms or before.right_ms is None:
            self._notes.write(NOTE, self.verdict)
        if changed and self.wrong:
            self.became_wrong()

    def _of(self, source: str) -> Verdict:
        bounds = self._bounds[source]
        low_ms, high_ms = bounds.low_ms, bounds.high_ms
        state: Literal["right", "wrong", "unknown"] = "unknown"
        if low_ms > high_ms:
            pass
        elif low_ms > self._tolerance_ms or high_ms < -self._tolerance_ms:
            state = "wrong"
        elif low_ms >= -self._tolerance_ms and high_ms <= self._tolerance_ms:
            state = "right"
        return Verdict(
            state=state,
            source=source,
            low_ms=None if low_ms == -_FAR_MS else low_ms,
            high_ms=None if high_ms == _FAR_MS else high_ms,
        )
