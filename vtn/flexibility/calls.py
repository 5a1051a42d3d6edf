"""How often a home may be called, how calls are spread over homes, and how even that is.

Limits are linear in the calls of the plan: each home has so many calls left, and nobody gets more than `fair_extra`
above the mean of all. The Gini coefficient says how even it became.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

DAY, WEEK, SEASON, FAIR = (
    "its calls of the day are used up",
    "its calls of the week are used up",
    "its calls of the season are used up",
    "it was called more often than others",
)


class CallLimits(msgspec.Struct, frozen=True, kw_only=True):
    """At most so many calls of one home; `fair_extra`: above the mean of all homes, None: no matter."""

    day: int = 2
    week: int = 7
    season: int = 60
    fair_extra: int | None = None


class CallsMade(msgspec.Struct, frozen=True, kw_only=True):
    """Calls of one home so far, each count within the longer one; `week_most`: what its owner set, if less."""

    day: int = 0
    week: int = 0
    season: int = 0
    week_most: int | None = None


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """What is left: calls, and the reason where there are none."""

    calls: int
    reason: str = ""


def allowance(made: CallsMade, limits: CallLimits, mean: float) -> Allowance:
    """Calls a home may still get, where homes have had `mean` calls of the season on average."""
    week = limits.week if made.week_most is None else min(limits.week, made.week_most)
    left = [(limits.day - made.day, DAY), (week - made.week, WEEK), (limits.season - made.season, SEASON)]
    if limits.fair_extra is not None:
        left.append((int(mean) + limits.fair_extra - made.season, FAIR))
    least, reason = min(left, key=lambda each: each[0])
    return Allowance(calls=max(0, least), reason="" if least > 0 else reason)


def weariness(made: CallsMade, limits: CallLimits) -> float:
    """0 for a home that was left in peace, 1 for one whose season is used up: a surcharge in the choice, so that calls
    go round before a limit stops them."""
    return min(1.0, made.season / limits.season) if limits.season else 0.0


def gini(calls: Sequence[int]) -> float:
    """0: everybody was called alike; near 1: one home had all calls. 0 for no calls at all."""
    total, count = sum(calls), len(calls)
    if not total:
        return 0.0
    ranked = sum(rank * number for rank, number in enumerate(sorted(calls), 1))
    return (2 * ranked - (count + 1) * total) / (count * total)
