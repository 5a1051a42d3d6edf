"""Made-up homes: a daily shape each, weekends, seasons, spells of more or less use, and noise. Seeded."""

from __future__ import annotations

from datetime import date

import numpy as np

from forecasting.calendar import SiteCalendar
from forecasting.panels.localdays import LocalDays
from forecasting.panels.panel import Panel

LOS_ANGELES = SiteCalendar("America/Los_Angeles", frozenset({date(2026, 5, 25)}))


def some_homes(
    count: int,
    days: int,
    calendar: SiteCalendar = LOS_ANGELES,
    *,
    first: date = date(2026, 1, 1),
    interval_s: int = 3600,
    seed: int = 7,
) -> Panel:
    """Loads of `count` homes in Wh from the local midnight of `first`; wall-clock habits, whatever the clock does."""
    random = np.random.default_rng(seed)
    start_ms, end_ms = calendar.start_ms(first), calendar.start_ms(date.fromordinal(first.toordinal() + days))
    start_ms -= start_ms % (interval_s * 1000)
    grid = LocalDays(calendar, start_ms, interval_s, (end_ms - start_ms) // (interval_s * 1000))
    hour = (np.arange(grid.slots) + 0.5) * interval_s / 3600
    total = grid.days
    weekend = ~grid.working(total)
    values = np.empty((count, grid.count), dtype=np.float32)
    for row in range(count):
        base, evening, morning = random.uniform(150, 400), random.uniform(400, 1500), random.uniform(100, 700)
        at, width = random.normal(19, 1.2), random.uniform(1.5, 3)
        shape = base + evening * np.exp(-(((hour - at) / width) ** 2)) + morning * np.exp(-(((hour - 7.5) / 1.5) ** 2))
        lazy = base + 1.1 * evening * np.exp(-(((hour - at) / 3) ** 2)) + morning * np.exp(-(((hour - 11) / 3) ** 2))
        level = np.empty(total)
        level[0] = 0.0
        for day in range(1, total):
            level[day] = 0.8 * level[day - 1] + random.normal(0, 0.1)
        profile = np.where(weekend[:, None], lazy, shape) * np.exp(level)[:, None]
        noise = random.lognormal(-0.08, 0.4, size=(total, grid.slots))
        values[row] = (profile * noise)[grid.day_of, grid.slot_of] * interval_s / 3600
    return Panel(tuple(f"home-{row:05}" for row in range(count)), start_ms, interval_s, values)
