"""What a home really gives, learnt from what it was asked for and delivered.

Who corrects what, where the home learns, too (ven/flexibility):

    home   what it says of itself: watts and watt-hours, learnt against what its devices are rated for
    here   what is left of it: delivered against what it says now, from the last time on that it corrected itself

so that no shortfall is taken off twice: when a home says less than before because it learnt, what was learnt here of
what it said earlier is over (history.py). A home that says nothing of learning is corrected here alone.

What was asked is known in parts of what the home says (`asked`): a home that was asked for half of it because it is
known to be weak, and gave that, is as weak as before. Whether a home answers at all is counted apart (answering.py), so
that one that was away does not look weak.
"""

from __future__ import annotations

import math

import msgspec

from forecasting.capability import PART_MAX, PART_MIN, Capability

#: error of what one home delivered in one event, as a part of its baseline: measurement.md puts a single hour at 50 to
#: 60 %, hours of one evening err partly together
_BASELINE_ERROR = 0.4
#: where no baseline is known: a part of what was said
_NOISE = 0.5
#: what homes differ from event to event besides
_WAVERS = 0.1


class Learnt(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one home. part: what it can give over what it says, when it answers; doubt: variance of that;
    events: how many that rests on; weights: see Capability."""

    part: float = 1.0
    doubt: float = 0.09
    events: int = 0
    weights: bytes = b""

    def after(
        self, offered_wh: float, delivered_wh: float, *, asked: float = 1.0, baseline_wh: float | None = None
    ) -> Learnt:
        """With one more event it answered. offered_wh: its obligation, which was `asked` of what it said it could
        (0 to 1); baseline_wh: its baseline over the event, from which what was delivered is measured."""
        if offered_wh <= 0 or asked <= 0:
            return self
        said_wh = offered_wh / asked
        noise = _NOISE if baseline_wh is None else _BASELINE_ERROR * abs(baseline_wh) / said_wh
        known = Capability(self.weights, self.events).after(asked, delivered_wh / said_wh, math.hypot(noise, _WAVERS))
        return msgspec.structs.replace(
            self,
            part=min(PART_MAX, max(PART_MIN, known.part)),
            doubt=known.doubt,
            weights=known.weights,
            events=self.events + 1,
        )

    @property
    def spread(self) -> float:
        """Coefficient of variation of what it delivers when it answers: its own, and what is not known of it yet. The
        noise of measuring one event is not in it."""
        return min(1.0, (_WAVERS + math.sqrt(self.doubt) / 4) / max(self.part, PART_MIN))
