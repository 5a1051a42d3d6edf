"""Values in another unit than was said: the whole of a series, or some of its days."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from forecasting.calendar import DAY_S
from forecasting.errors import BadReadings
from forecasting.panels.panel import Floats

Kind = Literal["load", "net", "generation"]
Note = Callable[[str, int, str], None]

UNITS: dict[str, tuple[float, bool]] = {
    "Wh": (1.0, False),
    "kWh": (1e3, False),
    "MWh": (1e6, False),
    "W": (1.0, True),
    "kW": (1e3, True),
    "MW": (1e6, True),
}
"""Factor to Wh or W, and whether it is power."""

_FAR_OFF = (300.0, 3000.0)
_ALIKE = 4.0


def refuse_other_units(values: Floats, interval_s: int, unit: str, mean_w: tuple[float, float]) -> None:
    """Raises BadReadings where the mean power cannot be a site's: beyond the range, or below it by a thousand. A mean
    far below, of a site nobody uses, is possible."""
    size = np.abs(values[~np.isnan(values)])
    power = float(size.mean()) * 3600 / interval_s if len(size) else 0.0
    wrong = ""
    if 0 < power < mean_w[0] <= power * 1000 <= mean_w[1]:
        wrong = "a thousand times smaller than a site's"
    elif power > mean_w[1]:
        wrong = "a thousand times larger than a site's" if power <= 1000 * mean_w[1] else "more than any site uses"
    if wrong:
        raise BadReadings(
            f"a mean of {power:.3g} W is {wrong}: the values are not in {unit}; "
            "name their unit, or the range of the mean if it is right"
        )


def without_unit_changes(
    stamps: NDArray[np.int64], values: Floats, interval_s: int, mean_w: tuple[float, float], note: Note
) -> Floats:
    """Days a thousand times above or below the others as gaps: somebody changed the unit for a while, or for good. Of
    two units that of most days is right, unless only the other gives a mean in the range `mean_w`.

    A day of another unit has the shape of the others, a thousand times off. A house nobody is in has not: its meter
    counts a little now and then, or always the same. Such days stay.
    """
    names, place = np.unique(stamps // (DAY_S * 1000), return_inverse=True)
    there = ~np.isnan(values)
    counts = np.bincount(place, there, len(names))
    means = np.bincount(place, np.where(there, np.abs(values), 0), len(names)) / np.maximum(counts, 1)
    usual = float(np.median(means[counts > 0])) if (counts > 0).any() else 0.0
    if usual <= 0 or len(names) < 3:
        return values
    ratio = means / usual
    factor = np.where((ratio > _FAR_OFF[0]) & (ratio < _FAR_OFF[1]), 1e-3, 1.0)
    factor[(means > 0) & (ratio > 1 / _FAR_OFF[1]) & (ratio < 1 / _FAR_OFF[0])] = 1e3
    if (factor == 1).all():
        return values
    wanted = _shape(values[there & (factor[place] == 1)])
    wrong = np.zeros(len(names), dtype=np.bool_)
    for scale in (1e-3, 1e3):
        days = np.flatnonzero(factor == scale)
        if len(days) and wanted is not None:
            wrong[days] = _alike(_shape(values[there & np.isin(place, days)] * scale), wanted)
    left_out = wrong[place] & there
    if left_out.any() and not _possible(values[there & ~left_out], interval_s, mean_w):
        others = there & ~left_out
        left_out = others if _possible(values[left_out], interval_s, mean_w) else left_out
    note("unit changed", int(left_out.sum()), "left out: whole days like the others, a thousand times off")
    return np.where(left_out, np.nan, values)


def _possible(values: Floats, interval_s: int, mean_w: tuple[float, float]) -> bool:
    return len(values) > 0 and mean_w[0] <= float(np.abs(values).mean()) * 3600 / interval_s <= mean_w[1]


def _shape(values: Floats) -> Floats | None:
    """Low, middle and high values, and how far they are apart; None without any."""
    if not len(values):
        return None
    low, middle, high = np.quantile(np.abs(values), (0.2, 0.5, 0.9))
    return np.array([low, middle, high, high - low])


def _alike(found: Floats | None, wanted: Floats) -> bool:
    if found is None:
        return False
    least = 1e-3 * wanted.max()
    ratio = np.maximum(found, least) / np.maximum(wanted, least)
    return bool(((ratio > 1 / _ALIKE) & (ratio < _ALIKE)).all())
