"""What a device can do, as small capabilities: a driver implements those its hardware has.

    Meter        energy_wh(start_ms, end_ms)              what flowed; import > 0, export < 0
    Sheddable    shed(...), restore(...), max_shed_w      use less by so many watts
    Levelled     set_level(...)                           react to SIMPLE 0..3 in the owner's own way
    Limitable    limit(...)                               stay below so many watts
    Storing      charge_to(...), storage_wh               hold so much energy
    Reporting    status(at_ms)                            what it is doing
    Describing   describe(at_ms)                          what it is able to do, device by device
    Persistent   state()                                  bytes to write before anything is acted on

Times are domain UTC epoch ms, passed in: no device looks at a clock. Every command carries its own end, which the
device keeps by itself: an agent that dies never leaves a home without its water heater. Calls raise ControlError for
values out of range or commands older than the last; a driver of real hardware raises DeviceError when it is not
answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

import msgspec


class Mode(StrEnum):
    NORMAL = "normal"
    SHEDDING = "shedding"
    RECOVERING = "recovering"  # restored, and returning part of the energy


@dataclass(frozen=True)
class Status:
    """What a device is doing at an instant.

    `shed_w` is the reduction in force, `snapback_w` the extra power of recovery. `until_ms` is when the present mode
    ends if nothing else is commanded (None: never). `released_by` names the owner's limit that ended a reduction which
    is still asked for: "max_duration" or "comfort".
    """

    mode: Mode
    shed_w: int
    snapback_w: int
    until_ms: int | None
    released_by: str | None = None


class Description(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one device is rated for, as its driver knows it. None: not known, whoever asks takes it by the kind.

    power_w: import it can take away; up_w: import it can add. energy_wh: what it can go without in one call, of a store
    what it holds when full. level_percent: how full that was at `level_ms`, usual_percent: to where it tends,
    reserve_percent: what its owner keeps in it. Of the energy `rebound_percent` comes back within `rebound_s`;
    comfort_minor: what an hour at full power costs the people at home. exports: it can feed into the grid. hours: local
    minutes of the day [from, to) in which it is there; months: 1 to 12, in which it is used (empty: all)."""

    kind: str
    power_w: int
    name: str = ""
    up_w: int | None = None
    energy_wh: int | None = None
    level_percent: int = 50
    level_ms: int = 0
    usual_percent: int = 50
    reserve_percent: int = 0
    rebound_percent: int | None = None
    rebound_s: int | None = None
    comfort_minor: int | None = None
    exports: bool = False
    hours: tuple[int, int] | None = None
    months: tuple[int, ...] = ()


class Meter(Protocol):
    def energy_wh(self, start_ms: int, end_ms: int) -> int:
        """Whole Wh in [start_ms, end_ms): import > 0, export < 0. Readings of adjoining intervals add up exactly."""
        ...


class Sheddable(Protocol):
    @property
    def max_shed_w(self) -> int:
        """Largest reduction the owner allows, in W; how much is there to shed depends on the moment."""
        ...

    def shed(self, at_ms: int, reduction_w: int, until_ms: int) -> None:
        """Use `reduction_w` less than without control, until `until_ms`. Replaces what was commanded before."""
        ...

    def restore(self, at_ms: int) -> None:
        """End the reduction now. Does nothing if there is none."""
        ...


class Levelled(Protocol):
    def set_level(self, at_ms: int, level: int, until_ms: int) -> None:
        """React to SIMPLE level 1 (moderate), 2 (high) or 3 (special) until `until_ms`; 0 restores."""
        ...


@runtime_checkable
class Limitable(Protocol):
    def limit(self, at_ms: int, power_w: int, until_ms: int) -> None:
        """Stay at or below `power_w` until `until_ms`."""
        ...


@runtime_checkable
class Storing(Protocol):
    @property
    def storage_wh(self) -> int:
        """What it holds when full, in Wh."""
        ...

    def charge_to(self, at_ms: int, stored_wh: int, until_ms: int) -> None:
        """Hold `stored_wh` by `until_ms`, charging or discharging as it must."""
        ...


@runtime_checkable
class Describing(Protocol):
    def describe(self, at_ms: int) -> tuple[Description, ...]:
        """Each device behind this driver, in the order in which a reduction takes them."""
        ...


class Reporting(Protocol):
    def status(self, at_ms: int) -> Status: ...


class Persistent(Protocol):
    def state(self) -> bytes:
        """All that cannot be computed again, as JSON; the constructor takes it back after a restart."""
        ...
