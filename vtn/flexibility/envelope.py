"""What a home can do with its devices: power up and down, energy, how long, what comes back, what people feel.

    water heater  1.5 kW for 2 h   all comes back        thermostat  1.2 kW for 45 min  60 % comes back, felt
    battery       5 kW until empty  recharged with loss   EV          7 kW until it must be ready

An envelope is made of what each device can do at the time it is asked for. Powers add; energies add, too, but each can
be had from its own device only, so what a home sheds falls from the moment on in which the first of them is used up:

    W   |#####|                     battery      `profile_wh` cuts this to the load that is there to be shed:
        |#####|#####|               heater       what does not feed in cannot take away more than is used
        |#####|#####|#####|#####|   dimmer
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

import msgspec

_HOUR_S = 3_600
_DAY_MINUTES = 1_440
_LOOK_MS = 900_000
_ENDLESS = 2**53
#: how fast what was known of a store's level is worth nothing: after so long a third of it is left
_LEVEL_FADES_MS = 6 * 3_600_000


class Kind(StrEnum):
    """What shifts. A home may name other kinds: they are taken by the numbers it gives, and by cautious ones."""

    RELAY = "relay"
    DIMMER = "dimmer"
    THERMOSTAT = "thermostat"
    WATER_HEATER = "water_heater"
    AIR_CONDITIONING = "air_conditioning"
    BATTERY = "battery"
    EV = "ev"
    APPLIANCE = "appliance"


class Device(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A device as its home describes it; what is None is taken from its kind. What a later release says besides is not
    looked at.

    power_w: import it can take away; up_w: import it can add, both as seen at the meter. energy_wh: what it can go
    without in one call, of a store (battery, EV) what it holds when full. level_percent: how full that was at
    `level_ms` (0: now), usual_percent: to where it tends, reserve_percent: what its owner keeps in it. Of the energy
    `rebound_percent` comes back within `rebound_s`; comfort_minor: what an hour at full power costs its people, in the
    currency's minor units. exports: it can feed into the grid. hours: local minutes of the day [from, to) in which it
    is there (an EV at home; from > to runs over midnight), None: always. months: 1 to 12, in which it is used (a heat
    pump in winter), empty: all."""

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

    def __post_init__(self) -> None:
        who = f"device {self.name or self.kind!r}"
        if not 0 < len(self.kind) <= 64 or len(self.name) > 96:
            raise ValueError(f"{who}: a kind has 1 to 64 characters, a name 96 at most")
        large = (self.power_w, self.up_w or 0, self.energy_wh or 0, self.comfort_minor or 0)
        if not all(0 <= value <= 10**9 for value in large):
            raise ValueError(f"{who}: power_w, up_w, energy_wh and comfort_minor are 0 to 1 G")
        if not all(0 <= value <= 100 for value in (self.level_percent, self.usual_percent, self.reserve_percent)):
            raise ValueError(f"{who}: level_percent, usual_percent and reserve_percent are 0 to 100")
        if not (0 <= (self.rebound_percent or 0) <= 300 and 0 <= (self.rebound_s or 0) <= 7 * 86_400):
            raise ValueError(f"{who}: rebound_percent is 0 to 300, rebound_s a week at most")
        if self.hours is not None and not all(0 <= minute <= _DAY_MINUTES for minute in self.hours):
            raise ValueError(f"{who}: hours are minutes of the day, 0 to {_DAY_MINUTES}")
        if not all(1 <= month <= 12 for month in self.months):
            raise ValueError(f"{who}: months are 1 to 12")


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """The time for which an envelope is asked, [start_ms, end_ms), and the zone of the home."""

    start_ms: int
    end_ms: int
    zone: str = "UTC"


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What one device adds to an envelope: W and Wh down and up, and whether it feeds in."""

    down_w: int
    energy_wh: int
    up_w: int = 0
    up_wh: int = 0
    exports: bool = False


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """down_w: import it can take away; up_w: import it can add; energy_wh, up_wh: how much of each in one call;
    duration_s: how long at full power, until the first device has nothing left; rebound_percent of the energy comes
    back within rebound_s; comfort_minor: what an hour of it costs its people, in the currency's minor units. `parts`:
    device by device, empty where only the whole is known."""

    down_w: int
    up_w: int
    energy_wh: int
    duration_s: int
    rebound_percent: int
    rebound_s: int
    comfort_minor: int
    up_wh: int = 0
    parts: tuple[Part, ...] = ()


class _Nature(msgspec.Struct, frozen=True, kw_only=True):
    hours: float
    rebound_percent: int
    rebound_s: int
    comfort_minor: int
    up: bool


#: Ordinary values, meant as a beginning: learning (learning.py) corrects what a home really gives.
_NATURES = {
    Kind.RELAY: _Nature(hours=1.0, rebound_percent=30, rebound_s=3_600, comfort_minor=4, up=False),
    Kind.DIMMER: _Nature(hours=4.0, rebound_percent=0, rebound_s=0, comfort_minor=3, up=False),
    Kind.THERMOSTAT: _Nature(hours=0.75, rebound_percent=60, rebound_s=5_400, comfort_minor=8, up=True),
    Kind.WATER_HEATER: _Nature(hours=2.0, rebound_percent=100, rebound_s=7_200, comfort_minor=2, up=True),
    Kind.AIR_CONDITIONING: _Nature(hours=1.0, rebound_percent=60, rebound_s=7_200, comfort_minor=8, up=True),
    Kind.BATTERY: _Nature(hours=2.0, rebound_percent=115, rebound_s=14_400, comfort_minor=1, up=True),
    Kind.EV: _Nature(hours=3.0, rebound_percent=100, rebound_s=14_400, comfort_minor=2, up=False),
    Kind.APPLIANCE: _Nature(hours=2.0, rebound_percent=100, rebound_s=7_200, comfort_minor=5, up=False),
}
_OTHER = _Nature(hours=1.0, rebound_percent=50, rebound_s=3_600, comfort_minor=5, up=False)
"""Of a kind that nobody here has heard of."""


def envelope_of(devices: Sequence[Device], at: Moment | None = None) -> Envelope:
    """What the devices can do together at a time (None: whenever, stores as full as they were said to be). Who is not
    there then, or out of season, adds nothing."""
    parts: list[Part] = []
    rebound_wh = rebound_s = comfort = 0.0
    for device in devices:
        if at is not None and not _there(device, at):
            continue
        nature = _nature(device)
        part = _part(device, nature, at)
        parts.append(part)
        rebound_wh += part.energy_wh * _or(device.rebound_percent, nature.rebound_percent) / 100
        rebound_s += part.energy_wh * _or(device.rebound_s, nature.rebound_s)
        if part.down_w:
            comfort += (
                nature.comfort_minor * part.down_w / 1000 if device.comfort_minor is None else device.comfort_minor
            )
    energy = sum(part.energy_wh for part in parts)
    return Envelope(
        down_w=sum(part.down_w for part in parts),
        up_w=sum(part.up_w for part in parts),
        energy_wh=energy,
        up_wh=sum(part.up_wh for part in parts),
        duration_s=min((part.energy_wh * _HOUR_S // part.down_w for part in parts if part.down_w), default=0),
        rebound_percent=round(100 * rebound_wh / energy) if energy else 0,
        rebound_s=round(rebound_s / energy) if energy else 0,
        comfort_minor=round(comfort),
        parts=tuple(parts),
    )


def declared(flexible_w: int, hours: float = 4.0) -> Envelope:
    """The envelope of a home that names a power only: it holds out for `hours`, and some of it comes back."""
    return Envelope(
        down_w=flexible_w,
        up_w=0,
        energy_wh=int(flexible_w * hours),
        duration_s=int(hours * _HOUR_S),
        rebound_percent=30,
        rebound_s=3_600,
        comfort_minor=round(4 * flexible_w / 1000),
    )


def tireless(envelope: Envelope) -> Envelope:
    """The same power for as long as one likes: what a home sheds in an interval if it was not called before it."""
    parts = tuple(msgspec.structs.replace(part, energy_wh=_ENDLESS) for part in envelope.parts)
    return msgspec.structs.replace(envelope, energy_wh=_ENDLESS, parts=parts)


def profile_wh(envelope: Envelope, load_wh: Sequence[float], flexible_percent: int, interval_s: int) -> tuple[int, ...]:
    """What the home can shed per interval from the first on: each device within its power and until its energy is used,
    together within the power of the envelope and the flexible part of the load that is forecast; what feeds in needs no
    load. Never negative."""
    parts = envelope.parts or (Part(down_w=envelope.down_w, energy_wh=envelope.energy_wh),)
    # what feeds in comes last: load that is left to it would be shed by nobody
    order = sorted(range(len(parts)), key=lambda n: parts[n].exports)
    left, in_all = [part.energy_wh for part in parts], envelope.energy_wh
    most = envelope.down_w * interval_s // _HOUR_S
    shed = []
    for load in load_wh:
        room, behind, given = min(most, in_all), max(0, int(load) * flexible_percent // 100), 0
        for n in order:
            part = parts[n]
            can = min(part.down_w * interval_s // _HOUR_S, left[n], room - given)
            can = max(0, can if part.exports else min(can, behind - given))
            left[n] -= can
            given += can
        in_all -= given
        shed.append(given)
    return tuple(shed)


def absorb_wh(
    envelope: Envelope, load_wh: Sequence[float], interval_s: int, connection_w: int | None = None
) -> tuple[int, ...]:
    """What the home can take in besides its load per interval from the first on (a surplus of the sun): each device
    within its power and until it is full, together within what the connection carries. Never negative."""
    parts = envelope.parts or (Part(down_w=0, energy_wh=0, up_w=envelope.up_w, up_wh=envelope.up_wh),)
    left, most = [part.up_wh for part in parts], envelope.up_w * interval_s // _HOUR_S
    taken = []
    for load in load_wh:
        room = most if connection_w is None else min(most, connection_w * interval_s // _HOUR_S - math.ceil(load))
        given = 0
        for n, part in enumerate(parts):
            can = max(0, min(part.up_w * interval_s // _HOUR_S, left[n], room - given))
            left[n] -= can
            given += can
        taken.append(given)
    return tuple(taken)


def _part(device: Device, nature: _Nature, at: Moment | None) -> Part:
    up_w = device.up_w if device.up_w is not None else device.power_w if nature.up else 0
    held = device.energy_wh if device.energy_wh is not None else int(device.power_w * nature.hours)
    down_wh = up_wh = held
    if device.kind == Kind.BATTERY or (device.kind == Kind.EV and device.energy_wh is not None):
        level = _level(device, at)
        up_wh = int(held * (100 - level) / 100)
        # a car that only charges sheds by charging later: what it still lacks
        gives = device.kind == Kind.BATTERY or device.exports
        down_wh = int(held * max(0.0, level - device.reserve_percent) / 100) if gives else up_wh
    return Part(
        down_w=device.power_w if down_wh else 0,
        energy_wh=down_wh if device.power_w else 0,
        up_w=up_w if up_wh else 0,
        up_wh=up_wh if up_w else 0,
        exports=device.exports,
    )


def _level(device: Device, at: Moment | None) -> float:
    """How full a store is expected to be: as it was said to be, and less and less so as time goes by."""
    if at is None or not device.level_ms or at.start_ms <= device.level_ms:
        return device.level_percent
    kept = math.exp((device.level_ms - at.start_ms) / _LEVEL_FADES_MS)
    return device.usual_percent + (device.level_percent - device.usual_percent) * kept


def _there(device: Device, at: Moment) -> bool:
    """Is it in season, and at home all the time?"""
    zone = ZoneInfo(at.zone)
    moments = [*range(at.start_ms, max(at.end_ms, at.start_ms + 1), _LOOK_MS), max(at.end_ms - 1, at.start_ms)]
    for moment_ms in moments:
        local = datetime.fromtimestamp(moment_ms / 1000, zone)
        if device.months and local.month not in device.months:
            return False
        if device.hours is not None:
            first, last = device.hours
            if (local.hour * 60 + local.minute - first) % _DAY_MINUTES >= ((last - first) % _DAY_MINUTES or 1_440):
                return False
    return True


def _nature(device: Device) -> _Nature:
    return _NATURES[Kind(device.kind)] if device.kind in _NATURES else _OTHER


def _or(value: int | None, otherwise: int) -> int:
    return otherwise if value is None else value
