"""Error bands from a model's own past errors (split conformal prediction).

The errors (actual minus forecast) of days the model had not seen when it forecast them say how far off it is. The band
for level p at some time of day is the forecast plus an order statistic of the errors made around that time of day:

    n errors sorted, e(1) <= ... <= e(n)
    p > 1/2:  e(k), k = ceil((n + 1) p)        p <= 1/2:  e(k), k = floor((n + 1) p)

With exchangeable errors at least the share q - p of future values lies between the levels p < q (Vovk, Gammerman,
Shafer, "Algorithmic Learning in a Random World", 2005; Lei et al., JASA 113, 2018, section 2.2). Energy use drifts with
the season, so errors are not quite exchangeable: measure the coverage, do not assume it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from forecasting.calendar import DAY_S, slot_of
from forecasting.model import Forecast


@dataclass(frozen=True)
class Bands:
    """Sorted errors by wall-clock slot, each slot pooled with its neighbours, and all of them together."""

    zone: str
    interval_s: int
    by_slot: Mapping[int, tuple[float, ...]]
    overall: tuple[float, ...]

    def apply(self, forecast: Forecast, levels: Sequence[float]) -> Forecast:
        """The forecast with a quantile for each level (0 < level < 1), and reasons where the errors are too few.

        Where a time of day has too few errors for a level, those of the whole day are used; where these are too few
        as well, the most extreme error stands in and the band is narrower than its level says. Raises ValueError for
        a level outside (0, 1) or another interval length.
        """
        if forecast.interval_s != self.interval_s:
            raise ValueError(f"bands for {self.interval_s} s do not fit a forecast in steps of {forecast.interval_s} s")
        slots = [slot_of(self.zone, self.interval_s, at_ms) for at_ms in forecast.starts_ms]
        reasons: list[str] = []
        quantiles: dict[float, tuple[float, ...]] = {}
        for level in sorted(levels):
            pooled = self._too_few(level, slots)
            quantiles[level] = tuple(
                value + order_statistic(self.overall if slot in pooled else self.by_slot[slot], level)
                for value, slot in zip(forecast.values, slots, strict=True)
            )
            reasons += self._reasons(level, sum(slot in pooled for slot in slots), len(slots))
        return replace(forecast, quantiles=quantiles, reasons=(*forecast.reasons, *reasons))

    def _too_few(self, level: float, slots: Sequence[int]) -> set[int]:
        wanted = errors_wanted(level)
        return {slot for slot in slots if len(self.by_slot.get(slot, ())) < wanted}

    def _reasons(self, level: float, pooled: int, count: int) -> list[str]:
        wanted, have = errors_wanted(level), len(self.overall)
        if not pooled:
            return []
        if have < wanted:
            return [f"level {level}: only {have} past errors where {wanted} are needed; the band is too narrow"]
        return [f"level {level}: {pooled} of {count} intervals use the errors of the whole day"]


def calibrate(errors: Iterable[tuple[int, float]], zone: str, interval_s: int, neighbour_s: int = 3600) -> Bands:
    """Bands from (interval start in UTC ms, actual - forecast) pairs of forecasts made before the fact.

    Each time of day is pooled with those up to `neighbour_s` away, around midnight too. Raises ValueError without any
    error or for one that is not finite.
    """
    exact: dict[int, list[float]] = {}
    for start_ms, error in errors:
        if not math.isfinite(error):
            raise ValueError(f"the error at {start_ms} is {error}")
        exact.setdefault(slot_of(zone, interval_s, start_ms), []).append(error)
    if not exact:
        raise ValueError("no past errors: a model without a test on history has no band")
    slots, reach = DAY_S // interval_s, neighbour_s // interval_s
    around = range(-reach, reach + 1) if 2 * reach < slots else range(slots)
    by_slot = {
        slot: tuple(sorted(error for step in around for error in exact.get((slot + step) % slots, ())))
        for slot in range(slots)
    }
    return Bands(zone, interval_s, by_slot, tuple(sorted(error for values in exact.values() for error in values)))


def order_statistic(ordered: Sequence[float], level: float) -> float:
    """The conformal quantile of sorted errors; the extreme one where `level` asks for more errors than there are."""
    rank = _rank(len(ordered), level)
    return ordered[min(max(rank, 1), len(ordered)) - 1]


def errors_wanted(level: float) -> int:
    """Fewest errors with which the level exists: 9 for 0.1 and 0.9, 19 for 0.05 and 0.95."""
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must lie between 0 and 1")
    tail = min(level, 1 - level)
    return math.ceil(round(1 / tail - 1, 9))


def _rank(count: int, level: float) -> int:
    exact = round((count + 1) * level, 9)  # 100 * 0.55 is 55.00000000000001 to a float: still rank 55
    return math.ceil(exact) if level > 0.5 else math.floor(exact)
