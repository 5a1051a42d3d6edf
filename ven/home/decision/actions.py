"""What a device may be asked to do, and what it is able to do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reduce:
    """Use `reduction_w` less than without control, until `until_ms`."""

    reduction_w: int
    until_ms: int
    reason: str


@dataclass(frozen=True)
class Level:
    """Follow SIMPLE level 1..3 until `until_ms`."""

    level: int
    until_ms: int
    reason: str


@dataclass(frozen=True)
class Limit:
    """Stay at or below `power_w` until `until_ms`."""

    power_w: int
    until_ms: int
    reason: str


@dataclass(frozen=True)
class Charge:
    """Hold `stored_wh` in the storage by `until_ms`."""

    stored_wh: int
    until_ms: int
    reason: str


Action = Reduce | Level | Limit | Charge | None
"""None: nothing is asked, the device is free."""


@dataclass(frozen=True)
class Abilities:
    """What the device can do: `max_shed_w` the most it sheds, `rated_w` its rating (None: it varies), `limits` whether
    it holds a limit of power, `storage_wh` what it stores when full (None: nothing)."""

    max_shed_w: int
    rated_w: int | None = None
    limits: bool = False
    storage_wh: int | None = None
