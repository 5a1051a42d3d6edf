"""What a group turns out to deliver of what was expected of it, as far as its baselines let that be known.

    measured / expected, over the latest hour and the homes that reported, is believed by its precision:

    performance = 1 + w (measured / expected - 1)       w = s^2 / (s^2 + (noise / expected)^2)

s: how far a group that is not measured may be off its expectation; noise: the error of the group's baseline, taken as
the same in all intervals of the hour, so that waiting makes nothing surer. With a baseline of 20 homes and a tenth of
their load under contract, w is 0.002: two intervals of bad luck call nobody, and nobody is let go for good luck.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from vtn.aggregator.dispatch import BASIS_POINTS
from vtn.aggregator.virtual_nodes.evidence.watched import Watched, position_of

MEASURED_INTERVALS = 4
#: what one home is believed to deliver, in times its obligation: a false reading must not hide that others are short
BELIEVED = 3
#: standard deviation of an unmeasured group's performance
_UNMEASURED = 0.1
_MOST = 2.0


class Performance(msgspec.Struct, frozen=True, kw_only=True):
    """factor: delivery over expectation; weight: how far it rests on measurement, 0 to 1; of: contracts measured."""

    factor: float = 1.0
    weight: float = 0.0
    of: frozenset[str] = frozenset()


def performance(
    watched: Sequence[Watched], lost: Collection[str], closed: Sequence[int], noise_percent: int
) -> Performance:
    """Of the homes that are not lost, over the last of the `closed` intervals. noise_percent: twice the standard error
    of the group's baseline."""
    measured = expected = baseline = 0.0
    seen = set()
    for each in watched:
        if each.contract_id in lost or each.terms.baseline is None:
            continue
        adjustment = each.adjustment()
        for start in closed[-MEASURED_INTERVALS:]:
            position, reading = position_of(each.terms, start), each.reading(start)
            if position is None or reading is None or not each.terms.obligation_wh[position]:
                continue
            asked, usual = each.terms.obligation_wh[position], each.terms.baseline.curve_wh[position] + adjustment
            measured += min(usual - reading, BELIEVED * asked)
            expected += asked * each.reliability_bp / BASIS_POINTS
            baseline += abs(usual)
            seen.add(each.contract_id)
    if expected <= 0:
        return Performance()
    noise = noise_percent / 200 * baseline / expected
    weight = _UNMEASURED**2 / (_UNMEASURED**2 + noise**2)
    factor = 1 + weight * (measured / expected - 1)
    return Performance(factor=min(_MOST, max(0.0, factor)), weight=weight, of=frozenset(seen))
