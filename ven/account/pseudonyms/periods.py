"""Billing periods, and the moments at which a home turns from one id to the next: pure.

    local month      |------------------------------ 2026-02 ------------------------------
    new id              ×  at random in the first hours, once no contract is open
    old id                      ×  at random on the first day after: everything to the sponsor, and no more signatures

The two moments are drawn apart, for each home and period: whoever reads the ledger sees as many ids come as go, and
cannot tell which became which. Homes that turn together are each other's cover.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import msgspec

OPEN_WITHIN_MS = 6 * 3_600_000
CLOSE_FROM_MS, CLOSE_WITHIN_MS = 12 * 3_600_000, 24 * 3_600_000


class Period(msgspec.Struct, frozen=True, kw_only=True):
    """The period of the present id ("2026-02"), and when the home turns to that of the next one (None: not drawn)."""

    period: str
    turning_to: str | None = None
    open_ms: int = 0
    close_ms: int = 0


def period_at(at_ms: int, zone: str) -> str:
    """The billing period at a moment: the month at the site."""
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(ZoneInfo(zone)):%Y-%m}"


def drawn(known: Period, now_ms: int, zone: str, draw: Callable[[int], int]) -> Period:
    """What is known, with the moments of the next turn drawn once its period has begun. `draw(n)`: 0 .. n."""
    period = period_at(now_ms, zone)
    if period in (known.period, known.turning_to):
        return known
    open_ms = now_ms + draw(OPEN_WITHIN_MS)
    close_ms = now_ms + CLOSE_FROM_MS + draw(CLOSE_WITHIN_MS)
    return msgspec.structs.replace(known, turning_to=period, open_ms=open_ms, close_ms=close_ms)


def due(known: Period, now_ms: int) -> bool:
    """Is it time to turn?"""
    return known.turning_to is not None and now_ms >= known.open_ms
