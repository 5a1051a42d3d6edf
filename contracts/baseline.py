"""Baselines in integers: the same curve on the aggregator's machine, on the device and on every replica.

One template covers the published programmes (measurement.md section 1):

    B[t] = adjustment( mean over the selected like-days d of L[d, t] )        delivered[t] = B[t] - L[t]

A preset is data. `commit` makes the unadjusted curve before the event; the same-day adjustment is derived at
settlement by `adjustment_wh` from signed readings of the committed window. All divisions round down, which keeps
the baseline, and so the payment, on the escrow's side.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from contracts.core.codec import digest
from contracts.core.commands import BaselineCommitment
from contracts.core.errors import ContractError
from contracts.core.units import MS_PER_S, percent_of


class InsufficientHistory(ContractError):
    """Too few eligible like-days for the preset; the message says how many there are and how many it needs."""


class Preset(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A baseline programme. Windows are relative to the start of the need.

    days: like-days averaged, the most recent eligible first; days_min: fewer raise InsufficientHistory.
    coverage_percent: of a day's event and window intervals that must be present. window_s, window_gap_s: length of the
    adjustment window, and its distance to the start. cap_percent: limit of the adjustment, in percent of the mean
    absolute unadjusted curve."""

    name: str
    version: int
    source: str
    days: int
    days_min: int
    lookback_days: int
    coverage_percent: int
    window_s: int
    window_gap_s: int
    cap_percent: int


#: 10-of-10 with an additive same-day adjustment: the mean of the ten most recent eligible like-days (CAISO's
#: selection, after its tariff), delta = mean(L - B) over the 3 h that end 1 h before the event (after PJM),
#: capped at 40 % either way (after the programmes' usual 20-40 %): one missing window reading costs a home 40 % of its
#: baseline, not all of it, and load run up before the event cannot double it.
TEN_OF_TEN: Final = Preset(
    name="10of10-additive",
    version=1,
    source="after CAISO 10-in-10 (selection) and PJM (additive adjustment)",
    days=10,
    days_min=5,
    lookback_days=45,
    coverage_percent=90,
    window_s=10_800,
    window_gap_s=3_600,
    cap_percent=40,
)

PRESETS: Final[dict[str, Preset]] = {TEN_OF_TEN.name: TEN_OF_TEN}


class LikeDay(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A past day of the event's type, cut to the event's and the window's wall-clock intervals; None where no
    reading exists. `date` is the site-local day, ISO."""

    date: str
    event_wh: tuple[int | None, ...]
    window_wh: tuple[int | None, ...]


def window_start_ms(preset: Preset, need_start_ms: int) -> int:
    """Start of the adjustment window of an event that starts at `need_start_ms`."""
    return need_start_ms - (preset.window_gap_s + preset.window_s) * MS_PER_S


def commit(preset: Preset, like_days: Sequence[LikeDay], need_start_ms: int) -> BaselineCommitment:
    """The unadjusted curve out of like-days, most recent first (already of the event's day type, without holidays,
    event days and outages, inside the look-back). Raises InsufficientHistory."""
    eligible = [day for day in like_days if _covered(day, preset.coverage_percent)][: preset.days]
    if len(eligible) < preset.days_min:
        raise InsufficientHistory(
            f"{preset.name} needs {preset.days_min} eligible like-days, there are {len(eligible)} of {len(like_days)}"
        )
    return BaselineCommitment(
        preset=preset.name,
        preset_version=preset.version,
        history_digest=digest([msgspec.to_builtins(day) for day in eligible]),
        curve_wh=_means([day.event_wh for day in eligible], preset),
        adjustment_start_ms=window_start_ms(preset, need_start_ms),
        adjustment_wh=_means([day.window_wh for day in eligible], preset),
        adjustment_cap_percent=preset.cap_percent,
    )


def adjustment_wh(commitment: BaselineCommitment, readings_wh: Sequence[int | None]) -> int:
    """Same-day adjustment per interval: mean(L - B) over the window, within the cap.

    A window with a missing reading gives the lowest adjustment the cap allows, so that withholding never pays."""
    cap = adjustment_cap_wh(commitment)
    present = [reading for reading in readings_wh if reading is not None]
    if len(present) < len(commitment.adjustment_wh):
        return -cap
    if not present:
        return 0
    delta = (sum(present) - sum(commitment.adjustment_wh)) // len(present)
    return max(-cap, min(cap, delta))


def adjustment_cap_wh(commitment: BaselineCommitment) -> int:
    """Largest adjustment per interval, either way."""
    total = sum(abs(value) for value in commitment.curve_wh)
    return percent_of(total, commitment.adjustment_cap_percent) // len(commitment.curve_wh)


def _covered(day: LikeDay, coverage_percent: int) -> bool:
    slots = day.event_wh + day.window_wh
    present = sum(1 for value in slots if value is not None)
    return present > 0 and present * 100 >= len(slots) * coverage_percent


def _means(rows: Sequence[tuple[int | None, ...]], preset: Preset) -> tuple[int, ...]:
    means = []
    for slot, column in enumerate(zip(*rows, strict=True)):
        values = [value for value in column if value is not None]
        if not values:
            raise InsufficientHistory(f"{preset.name}: no like-day has a reading in interval {slot}")
        means.append(sum(values) // len(values))
    return tuple(means)
