"""What a home can give of what its devices are rated for, learnt from its own past events. Pure.

Each event that was delivered is a trial, in parts of what the home is rated for in its intervals:

    asked = (obligation + margin) / rated      seen = (baseline - meter) / rated      noise = baseline's error / rated

The estimate (forecasting/capability.py, with its sources) has a prior of 1 +- 0.3, to which few or noisy events leave
it near; a distribution with heavy tails, so that a single odd event moves little; and forgets: of n events ago 0.98^n
counts. What is counted on is its median.

Whose events count for which device: those that one device did by itself count for its kind, those of several for all.

The home corrects what it says of itself, against its devices' ratings; the VTN corrects what is left between what the
home says now and what it delivers, from the last correction on. Each event is used by both, and taken off once: the
rating never changes, so the home's part does not depend on what it said before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from forecasting.capability import Capability
from ven.flexibility.outcomes import Ended, Outcome

#: what a home differs by from event to event, beside what its baseline errs by
_WAVERS = 0.05
_SURE = 0.9
_EVENTS_MIN = 3
"""Before so many events nothing is refused because of them."""


@dataclass(frozen=True)
class Experience:
    """What past events say: of the home as a whole, and of kinds of devices."""

    whole: Capability = field(default_factory=Capability)
    by_kind: dict[str, Capability] = field(default_factory=dict)

    def part(self, kind: str = "") -> float:
        """The part of its rating that a kind of device gives, "" the home as a whole; 1 before any event."""
        return self.by_kind.get(kind, self.whole).part

    def most_wh(self, claimed_wh: int) -> int | None:
        """What the home gives at most, as sure as nine in ten, where it is rated for `claimed_wh`; None: not known."""
        if self.whole.trials < _EVENTS_MIN:
            return None
        return int(claimed_wh * self.whole.quantile(_SURE))


def learnt(outcomes: Sequence[Outcome]) -> Experience:
    """The experience of these outcomes, the oldest first."""
    trials = [each for each in outcomes if each.ended is Ended.DELIVERED and each.claimed_wh > 0]
    kinds = {each.kind for each in trials if each.kind}
    whole = _known(trials)
    of_kind = {kind: [each for each in trials if each.kind in ("", kind)] for kind in sorted(kinds)}
    return Experience(
        whole, {kind: whole if len(mine) == len(trials) else _known(mine) for kind, mine in of_kind.items()}
    )


def _known(trials: Sequence[Outcome]) -> Capability:
    known = Capability()
    for each in trials:
        rated = each.claimed_wh
        delivered_wh = each.delivered_wh or 0
        known = known.after(each.asked_wh / rated, delivered_wh / rated, math.hypot(each.noise_wh / rated, _WAVERS))
    return known
