"""Watching delivery: what each closed interval delivered, who is lost, and how much must be found elsewhere.

Pure: telemetry and contracts in, an assessment out. A single home's baseline is too noisy to judge it by one interval
(measurement.md section 4), so a device counts as lost only when it is silent for two closed intervals or opted out; a
group counts as short when it delivered too little over two intervals although its devices report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from contracts.baseline import adjustment_wh
from contracts.core.commands import Terms
from contracts.core.units import MS_PER_S
from vtn.aggregator.dispatch import BASIS_POINTS

SILENT_INTERVALS = 2
RELEASED = "released"
#: what one home is believed to deliver, in times its obligation: a false reading must not hide that others are short
_BELIEVED = 3


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """A device under contract: its terms, the telemetry received so far (interval start ms -> Wh), and its opt."""

    contract_id: str
    device: str
    terms: Terms
    readings_wh: Mapping[int, int]
    opted_out: bool
    released: bool = False


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
    """`lost` maps contract id to the reason; `short_wh` per interval is what reporting devices lately delivered too
    little, 0 within the tolerance."""

    intervals: tuple[IntervalDelivery, ...]
    lost: dict[str, str]
    short_wh: int


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """A contract still counted on, and how reliable its device is (basis points)."""

    terms: Terms
    reliability_bp: int


def assess(obligation: Terms, watched: Sequence[Watched], closed_until_ms: int, tolerance_percent: int) -> Assessment:
    """Looks at a group under `obligation` (the terms of its SC1) once the intervals up to `closed_until_ms` should have
    been reported."""
    step_ms = obligation.interval_s * MS_PER_S
    starts = [obligation.start_ms + n * step_ms for n in range(len(obligation.obligation_wh))]
    closed = [start for start in starts if start + step_ms <= closed_until_ms]
    adjustments = {device.contract_id: _adjustment(device) for device in watched}
    intervals = tuple(_interval(obligation, watched, adjustments, start) for start in closed)
    lost = {device.contract_id: reason for device in watched if (reason := _lost(device, closed))}
    return Assessment(intervals=intervals, lost=lost, short_wh=_short_wh(intervals, tolerance_percent))


def uncovered_wh(obligation: Terms, live: Sequence[Live], from_ms: int) -> tuple[int, ...]:
    """Wh per interval of the obligation that the contracts still counted on are not expected to deliver; 0 for
    intervals that start before `from_ms`, where nobody new can be called any more."""
    step_ms = obligation.interval_s * MS_PER_S
    uncovered = []
    for n, obliged in enumerate(obligation.obligation_wh):
        start = obligation.start_ms + n * step_ms
        expected = sum(_obliged(each.terms, start) * each.reliability_bp // BASIS_POINTS for each in live)
        uncovered.append(max(0, obliged - expected) if start >= from_ms else 0)
    return tuple(uncovered)


def still_short_wh(
    obligation: Terms, short_wh: int, live: Sequence[Live], from_ms: int, measured_from_ms: int
) -> tuple[int, ...]:
    """Wh per interval from `from_ms` on by which a group stays short: `short_wh`, measured in intervals that begin at
    `measured_from_ms`, less what contracts promise that began later and could not show in all of them."""
    step_ms = obligation.interval_s * MS_PER_S
    called = [each for each in live if each.terms.start_ms > max(measured_from_ms, obligation.start_ms)]
    short = []
    for n in range(len(obligation.obligation_wh)):
        start = obligation.start_ms + n * step_ms
        expected = sum(_obliged(each.terms, start) * each.reliability_bp // BASIS_POINTS for each in called)
        short.append(max(0, short_wh - expected) if start >= from_ms else 0)
    return tuple(short)


def spare_wh(
    obligation: Terms,
    intervals: Sequence[IntervalDelivery],
    released: Sequence[Terms],
    tolerance_percent: int,
    noise_percent: int = 0,
) -> int:
    """Wh an interval that a group delivers beyond what its contract pays for (up to its cap), less what was released
    already and `noise_percent` of its baseline; 0 unless both of the last intervals were above the tolerance."""
    last = intervals[-SILENT_INTERVALS:]
    if len(last) < SILENT_INTERVALS:
        return 0
    spare = []
    for each in last:
        gone = sum(_obliged(terms, each.start_ms) for terms in released)
        sure = each.believed_wh - gone - each.baseline_wh * noise_percent // 100
        above = sure * 100 > each.obligation_wh * (100 + tolerance_percent)
        spare.append(sure - each.obligation_wh * obligation.cap_percent // 100 if above else 0)
    return max(0, min(spare))


def _adjustment(device: Watched) -> int:
    baseline = device.terms.baseline
    if baseline is None:
        return 0
    step_ms = device.terms.interval_s * MS_PER_S
    window = [baseline.adjustment_start_ms + n * step_ms for n in range(len(baseline.adjustment_wh))]
    readings = [device.readings_wh.get(start) for start in window]
    # While readings of the window are still on their way the unadjusted curve is the best there is.
    return adjustment_wh(baseline, readings) if None not in readings else 0


def _interval(
    obligation: Terms, watched: Sequence[Watched], adjustments: Mapping[str, int], start_ms: int
) -> IntervalDelivery:
    baseline = metered = delivered = reporting = contracted = credited = 0
    for device in watched:
        position = _position(device.terms, start_ms)
        if position is None or device.terms.baseline is None:
            continue
        contracted += 1
        reading = _reading(device, start_ms)
        if reading is None:
            continue
        reporting += 1
        expected = device.terms.baseline.curve_wh[position] + adjustments[device.contract_id]
        baseline, metered, delivered = baseline + expected, metered + reading, delivered + expected - reading
        credited += min(expected - reading, _BELIEVED * device.terms.obligation_wh[position])
    return IntervalDelivery(
        start_ms=start_ms,
        obligation_wh=_obliged(obligation, start_ms),
        baseline_wh=baseline,
        metered_wh=metered,
        delivered_wh=delivered,
        reporting=reporting,
        contracted=contracted,
        credited_wh=credited,
    )


def _reading(device: Watched, start_ms: int) -> int | None:
    """A reading that can be true: settlement, too, counts none beyond the meter's limit."""
    found = device.readings_wh.get(start_ms)
    return None if found is None or abs(found) > device.terms.meter_limit_wh else found


def _lost(device: Watched, closed: Sequence[int]) -> str:
    if device.released:
        return RELEASED
    if device.opted_out:
        return "opted out"
    expected = [start for start in closed if _position(device.terms, start) is not None][-SILENT_INTERVALS:]
    if len(expected) == SILENT_INTERVALS and all(_reading(device, start) is None for start in expected):
        if any(start in device.readings_wh for start in expected):
            return "readings beyond what its connection carries"
        return f"no reading for {SILENT_INTERVALS} intervals"
    return ""


def _short_wh(intervals: Sequence[IntervalDelivery], tolerance_percent: int) -> int:
    last = intervals[-SILENT_INTERVALS:]
    if len(last) < SILENT_INTERVALS:
        return 0
    obliged, delivered = sum(i.obligation_wh for i in last), sum(i.believed_wh for i in last)
    if delivered * 100 >= obliged * (100 - tolerance_percent):
        return 0
    return (obliged - max(0, delivered)) // len(last)


def _obliged(terms: Terms, start_ms: int) -> int:
    position = _position(terms, start_ms)
    return 0 if position is None else terms.obligation_wh[position]


def _position(terms: Terms, start_ms: int) -> int | None:
    position = (start_ms - terms.start_ms) // (terms.interval_s * MS_PER_S)
    return position if 0 <= position < len(terms.obligation_wh) else None
