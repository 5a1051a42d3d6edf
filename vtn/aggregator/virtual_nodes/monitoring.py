"""Watching delivery: what each closed interval delivered, who is lost, and how much must be found elsewhere.

Pure: telemetry and contracts in, an assessment out. Each home is watched in the window of its own contract. What may be
concluded about one home, and what about the group, is in `evidence`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from contracts.core.commands import Terms
from contracts.core.units import MS_PER_S
from vtn.aggregator.dispatch import BASIS_POINTS
from vtn.aggregator.virtual_nodes.evidence.performance import BELIEVED, Performance, performance
from vtn.aggregator.virtual_nodes.evidence.silence import RELEASED, SILENT_INTERVALS, lost
from vtn.aggregator.virtual_nodes.evidence.watched import Watched, obliged, position_of, profile_of

__all__ = [
    "RELEASED",
    "SILENT_INTERVALS",
    "Assessment",
    "IntervalDelivery",
    "Live",
    "Watched",
    "assess",
    "uncovered_wh",
]

#: a measurement counts for more than the expectation from here on
_MEASURED = 0.5
#: homes are let go when more than this is expected, down to that, in percent of what is obliged
_SPARE_FROM_PERCENT, _KEPT_PERCENT = 110, 105


class IntervalDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """One closed interval of the group. Wh; `reporting` of `contracted` devices sent a reading; credited: delivered, as
    far as it is believed of each."""

    start_ms: int
    obligation_wh: int
    baseline_wh: int
    metered_wh: int
    delivered_wh: int
    reporting: int
    contracted: int
    credited_wh: int | None = None

    @property
    def believed_wh(self) -> int:
        """What is judged by."""
        return self.delivered_wh if self.credited_wh is None else self.credited_wh


class Assessment(msgspec.Struct, frozen=True, kw_only=True):
    """`lost` maps contract id to the reason; `performance`: what the others deliver of what was expected."""

    intervals: tuple[IntervalDelivery, ...]
    lost: dict[str, str]
    performance: Performance


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """A contract still counted on, and what is expected of its device (basis points of the obligation)."""

    terms: Terms
    reliability_bp: int


def assess(
    obligation: Terms, watched: Sequence[Watched], closed_until_ms: int, now_ms: int, noise_percent: int
) -> Assessment:
    """Looks at a group under `obligation` (the terms of its SC1) once the intervals up to `closed_until_ms` should have
    been reported. noise_percent: see `performance`."""
    step_ms = obligation.interval_s * MS_PER_S
    starts = [obligation.start_ms + n * step_ms for n in range(len(obligation.obligation_wh))]
    closed = [start for start in starts if start + step_ms <= closed_until_ms]
    adjustments = {device.contract_id: device.adjustment() for device in watched}
    gone = lost(watched, closed_until_ms, now_ms)
    return Assessment(
        intervals=tuple(_interval(obligation, watched, adjustments, start) for start in closed),
        lost=gone,
        performance=performance(watched, gone, closed, noise_percent),
    )


def uncovered_wh(obligation: Terms, live: Sequence[Live], from_ms: int) -> tuple[int, ...]:
    """Wh per interval of the obligation that the contracts still counted on are not expected to deliver; 0 for
    intervals that start before `from_ms`, where nobody new can be called any more."""
    expected = expected_wh(obligation, live)
    step_ms = obligation.interval_s * MS_PER_S
    return tuple(
        max(0, wanted - int(found)) if obligation.start_ms + n * step_ms >= from_ms else 0
        for n, (wanted, found) in enumerate(zip(obligation.obligation_wh, expected, strict=True))
    )


def expected_wh(obligation: Terms, live: Sequence[Live]) -> list[float]:
    """Wh per interval that contracts still counted on are expected to deliver."""
    return profile_of(obligation, [(each.terms, each.reliability_bp / BASIS_POINTS) for each in live])


def is_spare(obligation: Terms, kept: Sequence[Live], without: Live, from_ms: int, weight: float) -> bool:
    """Is one of `kept` called for nothing from the interval on that runs at `from_ms`? Then more is expected in one of
    its intervals than is worth having, and enough in all of them without it.

    Worth having is what is paid for, the cap; as far as the group is measured (`weight`), the obligation with a tenth
    for what may still be lost."""
    measured = weight >= _MEASURED
    spare_from = min(_SPARE_FROM_PERCENT, obligation.cap_percent) if measured else obligation.cap_percent
    enough = min(_KEPT_PERCENT, spare_from) if measured else obligation.cap_percent
    step_ms = obligation.interval_s * MS_PER_S
    found = False
    expected, part = expected_wh(obligation, kept), expected_wh(obligation, [without])
    for n, wanted in enumerate(obligation.obligation_wh):
        if obligation.start_ms + (n + 1) * step_ms <= from_ms or not part[n]:
            continue
        if (expected[n] - part[n]) * 100 < wanted * enough:
            return False
        found = found or expected[n] * 100 > wanted * spare_from
    return found


def _interval(
    obligation: Terms, watched: Sequence[Watched], adjustments: Mapping[str, int], start_ms: int
) -> IntervalDelivery:
    baseline = metered = delivered = reporting = contracted = credited = 0
    for device in watched:
        position = position_of(device.terms, start_ms)
        if position is None or device.terms.baseline is None:
            continue
        contracted += 1
        reading = device.reading(start_ms)
        if reading is None:
            continue
        reporting += 1
        expected = device.terms.baseline.curve_wh[position] + adjustments[device.contract_id]
        baseline, metered, delivered = baseline + expected, metered + reading, delivered + expected - reading
        credited += min(expected - reading, BELIEVED * device.terms.obligation_wh[position])
    return IntervalDelivery(
        start_ms=start_ms,
        obligation_wh=obliged(obligation, start_ms),
        baseline_wh=baseline,
        metered_wh=metered,
        delivered_wh=delivered,
        reporting=reporting,
        contracted=contracted,
        credited_wh=credited,
    )
