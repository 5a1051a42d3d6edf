"""The baseline as this home computes it from its own meter, to compare with the one it is asked to accept."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date

from contracts.baseline import PRESETS, InsufficientHistory, LikeDay, commit, window_start_ms
from contracts.core.commands import BaselineCommitment, Terms
from forecasting.calendar import SiteCalendar
from forecasting.likedays import like_day_slots

MS_PER_S = 1000


def need_start_ms(commitment: BaselineCommitment) -> int | None:
    """Start of the need a commitment was made for: its window lies a fixed time before it. None for an unknown preset.

    The contracts refuse a window that is not the preset's, so the commitment cannot hide another start."""
    preset = PRESETS.get(commitment.preset)
    if preset is None:
        return None
    return commitment.adjustment_start_ms - window_start_ms(preset, 0)


def recompute(
    readings_wh: Mapping[int, int], calendar: SiteCalendar, terms: Terms, event_days: Collection[date]
) -> BaselineCommitment:
    """The commitment these terms should hold, from the home's own readings.

    `event_days`: local days on which the home was under contract. Raises InsufficientHistory, also for terms without
    a known preset."""
    commitment = terms.baseline
    start_ms = None if commitment is None else need_start_ms(commitment)
    if commitment is None or start_ms is None:
        raise InsufficientHistory(f"no baseline of a known preset for {terms.baseline_preset}")
    preset = PRESETS[commitment.preset]
    count, step_ms = len(terms.obligation_wh), terms.interval_s * MS_PER_S
    window_ms = window_start_ms(preset, start_ms)
    event = [terms.start_ms + n * step_ms for n in range(count)]
    window = [window_ms + n * step_ms for n in range(preset.window_s // terms.interval_s)]
    rows = like_day_slots(
        readings_wh,
        calendar,
        terms.interval_s,
        [*event, *window],
        event_start_ms=start_ms,
        look_back_days=preset.lookback_days,
        excluded=event_days,
    )
    days = [LikeDay(date=day.isoformat(), event_wh=row[:count], window_wh=row[count:]) for day, row in rows]
    return commit(preset, days, start_ms)
