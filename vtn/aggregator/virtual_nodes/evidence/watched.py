"""A home under contract as it is watched, each in its own window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from contracts.baseline import adjustment_wh
from contracts.core.commands import Terms
from contracts.core.units import MS_PER_S
from vtn.aggregator.dispatch import BASIS_POINTS

#: a reading that takes longer than this part of an interval at best may not be there when the interval is looked at
LATE_PARTS = 4


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """A device under contract: its terms, the telemetry received so far (interval start ms -> Wh), and its opt.

    unheard: it polls and has missed several polls (None: nothing is known of it); delay_ms: how long after the end of
    an interval its reading comes at best; reliability_bp: what was expected of it when it was called."""

    contract_id: str
    device: str
    terms: Terms
    readings_wh: Mapping[int, int]
    opted_out: bool
    released: bool = False
    unheard: bool | None = None
    delay_ms: int = 0
    reliability_bp: int = BASIS_POINTS

    def expected(self, closed_until_ms: int) -> list[int]:
        """Intervals of its own window, by their start, whose reading should be here by now."""
        step_ms = self.terms.interval_s * MS_PER_S
        # Readings are looked at a third of an interval after its end (view): who needs longer, or nearly so long,
        # is judged when the next interval has closed.
        late_ms = -(-self.delay_ms // step_ms) * step_ms if self.delay_ms > step_ms // LATE_PARTS else 0
        starts = (self.terms.start_ms + n * step_ms for n in range(len(self.terms.obligation_wh)))
        return [start for start in starts if start + step_ms <= closed_until_ms - late_ms]

    def reading(self, start_ms: int) -> int | None:
        """A reading that can be true: settlement, too, counts none beyond the meter's limit."""
        found = self.readings_wh.get(start_ms)
        return None if found is None or abs(found) > self.terms.meter_limit_wh else found

    def silent(self, closed_until_ms: int) -> int:
        """How many of the latest expected intervals, one after the other, have no reading that can be true."""
        count = 0
        for start in reversed(self.expected(closed_until_ms)):
            if self.reading(start) is not None:
                break
            count += 1
        return count

    def adjustment(self) -> int:
        """Same-day adjustment of its baseline, Wh an interval."""
        baseline = self.terms.baseline
        if baseline is None:
            return 0
        step_ms = self.terms.interval_s * MS_PER_S
        window = [baseline.adjustment_start_ms + n * step_ms for n in range(len(baseline.adjustment_wh))]
        readings = [self.readings_wh.get(start) for start in window]
        # While readings of the window are still on their way the unadjusted curve is the best there is.
        return adjustment_wh(baseline, readings) if None not in readings else 0


def position_of(terms: Terms, start_ms: int) -> int | None:
    """Which interval of a contract begins then, None where it has none."""
    position = (start_ms - terms.start_ms) // (terms.interval_s * MS_PER_S)
    return position if 0 <= position < len(terms.obligation_wh) else None


def obliged(terms: Terms, start_ms: int) -> int:
    """What a contract asks in the interval that begins then, Wh."""
    position = position_of(terms, start_ms)
    return 0 if position is None else terms.obligation_wh[position]


def running(terms: Terms, now_ms: int) -> bool:
    """Is this moment within the contract's window?"""
    return position_of(terms, now_ms) is not None


def profile_of(obligation: Terms, parts: Sequence[tuple[Terms, float]]) -> list[float]:
    """Wh per interval of `obligation` that contracts promise, each by its own window times its factor."""
    step_ms = obligation.interval_s * MS_PER_S
    starts = [obligation.start_ms + n * step_ms for n in range(len(obligation.obligation_wh))]
    return [sum(obliged(terms, start) * factor for terms, factor in parts) for start in starts]
