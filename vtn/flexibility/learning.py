"""What a home really gives, learnt from what it offered and delivered.

The part delivered is tracked by a scalar filter that begins at 1 (what is offered is delivered) with some doubt: each
event moves it less than the one before, an odd one moves it little, and a change of habit still gets through. Whether a
home answers at all is counted apart (a beta distribution), so that a home that was away does not look weak.
"""

from __future__ import annotations

import math

import msgspec

#: doubt about a home that was never called, and the noise of one event's measurement against a baseline, as variances
#: of the part delivered; drift: what habits change between two events
_DOUBT = 0.16
_NOISE = 0.25
_DRIFT = 0.002
_ODD = 2.5
PART_MIN, PART_MAX = 0.05, 1.5


class Learnt(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one home. part: delivered over offered when it answers; doubt: variance of that; events it
    answered; called and opted_out counts."""

    part: float = 1.0
    doubt: float = _DOUBT
    events: int = 0
    called: int = 0
    opted_out: int = 0

    def after(self, offered_wh: float, delivered_wh: float) -> Learnt:
        """With one more event it answered."""
        if offered_wh <= 0:
            return self
        seen = delivered_wh / offered_wh
        doubt = self.doubt + _DRIFT
        surprise = seen - self.part
        noise = _NOISE
        limit = _ODD * math.sqrt(doubt + noise)
        if abs(surprise) > limit:  # one broken reading is not a new habit: two of them are
            surprise = limit if surprise > 0 else -limit
        gain = doubt / (doubt + noise)
        part = min(PART_MAX, max(PART_MIN, self.part + gain * surprise))
        return msgspec.structs.replace(
            self, part=part, doubt=(1 - gain) * doubt, events=self.events + 1, called=self.called + 1
        )

    def away(self) -> Learnt:
        """With one more call it opted out of, rejected, or left without an answer."""
        return msgspec.structs.replace(self, called=self.called + 1, opted_out=self.opted_out + 1)

    def answers(self, prior: float = 0.9, weight: float = 10.0) -> float:
        """Probability that it answers the next call, shrunk toward `prior` as strong as `weight` calls."""
        return (self.called - self.opted_out + prior * weight) / (self.called + weight)

    @property
    def spread(self) -> float:
        """Coefficient of variation of what it delivers when it answers: its own, and what is not known of it yet. The
        noise of measuring one event is not in it."""
        return min(1.0, (0.1 + math.sqrt(self.doubt) / 4) / max(self.part, PART_MIN))
