"""Customers in words: the segment of each home, with the numbers that put it there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecasting.calendar import SiteCalendar
from forecasting.clustering.traits import TRAITS, Homes, day_profiles
from forecasting.panels.panel import Floats, Panel


@dataclass(frozen=True)
class Segment:
    """A home's segment and why: the first rule that holds, from what matters most for flexibility."""

    home: str
    segment: str
    why: str
    mean_w: float
    peak_hour: int


@dataclass(frozen=True)
class LoadProfile:
    """A home's typical days: mean Wh of each of the 24 local hours, on working days and on others (weekends, holidays);
    None for an hour without a reading. days: how many of each kind there were."""

    home: str
    working_wh: tuple[int | None, ...]
    other_wh: tuple[int | None, ...]
    days: tuple[int, int]


def load_profiles(panel: Panel, calendar: SiteCalendar) -> list[LoadProfile]:
    """Typical days of the homes of a panel, in its order."""
    working, other, days = day_profiles(panel, calendar)
    return [
        LoadProfile(home, _whole(working[row]), _whole(other[row]), (int(days[row, 0]), int(days[row, 1])))
        for row, home in enumerate(panel.ids)
    ]


def _whole(values: Floats) -> tuple[int | None, ...]:
    return tuple(None if value != value else round(float(value)) for value in values)


def segments(homes: Homes) -> list[Segment]:
    """In the order of the homes: unknown, generation, electric heating, cooling, evening, night, day, steady."""
    at = {name: position for position, name in enumerate(TRAITS)}
    found = []
    for row, home in enumerate(homes.ids):
        traits, profile = homes.traits[row], homes.profiles[row]
        evening = float(profile[17:22].mean() / max(float(np.abs(profile).mean()), 1e-9))
        night = float(profile[0:6].mean() / max(float(np.abs(profile).mean()), 1e-9))
        day = float(profile[9:16].mean() / max(float(np.abs(profile).mean()), 1e-9))
        rules = [
            (home in homes.short, "unknown", "less than a week of history"),
            (traits[at["generation"]] > 0.5, "generation", f"PV of {traits[at['generation']]:.1f} times its mean load"),
            (traits[at["heating"]] > 0.04, "electric heating", f"{traits[at['heating']]:+.0%} a degree below 16 C"),
            (traits[at["cooling"]] > 0.04, "cooling", f"{traits[at['cooling']]:+.0%} a degree above 20 C"),
            (evening > 1.5, "evening", f"17 to 22 h is {evening:.1f} times the mean"),
            (night > 1.3, "night", f"0 to 6 h is {night:.1f} times the mean"),
            (day > 1.25, "day", f"9 to 16 h is {day:.1f} times the mean"),
            (True, "steady", "no time of day stands out"),
        ]
        name, why = next((name, why) for holds, name, why in rules if holds)
        found.append(Segment(home, name, why, float(np.exp(traits[at["level"]])), int(profile.argmax())))
    return found
