"""Settlement formulas: from readings and terms to Wh, from Wh to money. Pure integer functions, no state.

    reading[t] missing, or beyond what the device's connection can carry
                        ->  D[t] = min(0, worst reported D); its shortfall is the whole obligation less that, without
                            tolerance (so that hiding one bad reading among others never pays)
    device     D[t] = B[t] + adjustment - L[t]                          d = sum of D[t]
    group      G[t] = sum over devices of D[t], signed                  G = clamp(sum of G[t], 0, cap * obligation)
    counted    c = clamp(d, 0, cap * the device's obligation)
    share      of a device = c * min(G, sum of c) / sum of c, rounded down
    money      energy = paid Wh * price, down;  penalty = sum over t of shortfall beyond the tolerance * price, up

The group is settled with signed sums and clamped once an event: clamping each home and interval pays for noise,
19-37 % of the load with no response at all (measurement.md section 4). With one interval, no tolerance and a cap of
100 % these are the published single-sided USEF figures (7 -> 14, 9 -> -4, 11 -> -33: tests/contracts).
"""

from collections.abc import Sequence

import msgspec

from contracts.baseline import adjustment_wh
from contracts.core.commands import BaselineCommitment, Terms
from contracts.core.units import charged_minor, earned_minor, percent_of

FULL_PERCENT = 100


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """What one device delivered, per interval and in sum; `missing` counts intervals without a valid reading."""

    delivered_wh: tuple[int, ...]
    total_wh: int
    shortfall_wh: int
    missing: int
    adjustment_wh: int


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """amount = energy - penalty: `from_escrow_minor` - `from_deposit_minor`; one of the two is 0."""

    energy_minor: int
    penalty_minor: int
    from_escrow_minor: int
    from_deposit_minor: int


def device_delivery(
    terms: Terms,
    baseline: BaselineCommitment,
    readings_wh: Sequence[int | None],
    window_wh: Sequence[int | None],
) -> Delivery:
    """Delivery of a device from its readings in the contract's intervals and in the adjustment window (None: no
    reading; one beyond the terms' meter limit counts as none)."""
    readings_wh, window_wh = _valid(terms, readings_wh), _valid(terms, window_wh)
    adjustment = adjustment_wh(baseline, window_wh)
    reported = [
        None if reading is None else base + adjustment - reading
        for base, reading in zip(baseline.curve_wh, readings_wh, strict=True)
    ]
    present = [value for value in reported if value is not None]
    worst = min(present, default=0)
    delivered = tuple(min(0, worst) if value is None else value for value in reported)
    lacks = [
        None if value is None else lack_wh(obligation, value, terms.tolerance_percent)
        for obligation, value in zip(terms.obligation_wh, reported, strict=True)
    ]
    worst_lack = max((lack for lack in lacks if lack is not None), default=0)
    shortfall = sum(
        max(obligation - min(0, worst), worst_lack) if lack is None else lack
        for obligation, lack in zip(terms.obligation_wh, lacks, strict=True)
    )
    return Delivery(
        delivered_wh=delivered,
        total_wh=sum(delivered),
        shortfall_wh=shortfall,
        missing=len(reported) - len(present),
        adjustment_wh=adjustment,
    )


def lack_wh(obligation_wh: int, delivered_wh: int, tolerance_percent: int) -> int:
    """Wh below what the tolerance still accepts in one interval; 0 for an interval without obligation.

    A tolerance of 300 % accepts readings up to twice the obligation above the baseline: the baseline of a single home
    is that uncertain, and a household should not pay for it."""
    if obligation_wh == 0:
        return 0
    return max(0, percent_of(obligation_wh, FULL_PERCENT - tolerance_percent) - delivered_wh)


def clamped_wh(terms: Terms, total_wh: int) -> int:
    """Delivered Wh that count: not below zero, not above the cap; once an event."""
    return max(0, min(total_wh, percent_of(sum(terms.obligation_wh), terms.cap_percent)))


def share_wh(counted_wh: int, group_wh: int, counted_sum_wh: int) -> int:
    """A device's part of what its group delivered: by what counts of its own delivery, never more than that."""
    return counted_wh * min(group_wh, counted_sum_wh) // counted_sum_wh if counted_sum_wh else 0


def _valid(terms: Terms, readings_wh: Sequence[int | None]) -> list[int | None]:
    return [None if reading is None or abs(reading) > terms.meter_limit_wh else reading for reading in readings_wh]


def outcome(terms: Terms, delivered_wh: int) -> str:
    """success, partial_failure or failure, by the terms' percentages of the obligation."""
    obligation = sum(terms.obligation_wh)
    if delivered_wh * FULL_PERCENT >= obligation * terms.success_percent:
        return "success"
    if delivered_wh > 0 and delivered_wh * FULL_PERCENT >= obligation * terms.partial_percent:
        return "partial_failure"
    return "failure"


def payment(terms: Terms, paid_wh: int, shortfall_wh: int, held_minor: int, *, passed_on_minor: int = 0) -> Payment:
    """Money of a contract: the penalty is taken from what was earned (less what was passed on to contracts below),
    then from the deposit `held_minor`, and never more."""
    energy = earned_minor(paid_wh, terms.energy_price_minor_per_mwh)
    own = max(0, energy - passed_on_minor)
    penalty = min(charged_minor(shortfall_wh, terms.penalty_price_minor_per_mwh), own + held_minor)
    return Payment(
        energy_minor=energy,
        penalty_minor=penalty,
        from_escrow_minor=max(0, own - penalty),
        from_deposit_minor=max(0, penalty - own),
    )


def escrow_minor(terms: Terms, price_minor_per_mwh: int) -> int:
    """The most a contract can pay for energy at `price_minor_per_mwh`: what its escrow must hold."""
    return earned_minor(percent_of(sum(terms.obligation_wh), terms.cap_percent), price_minor_per_mwh)
