"""What a home can do with its devices: power up and down, energy, how long, what comes back, what people feel.

    water heater  1.5 kW for 2 h   all comes back        thermostat  1.2 kW for 45 min  60 % comes back, felt
    battery       5 kW until empty  recharged with loss   EV          7 kW until it must be ready

An envelope is the sum over devices of one home; `profile` cuts it to the load that is there to be shed.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec


class Kind(StrEnum):
    """What shifts."""

    RELAY = "relay"
    DIMMER = "dimmer"
    THERMOSTAT = "thermostat"
    WATER_HEATER = "water_heater"
    BATTERY = "battery"
    EV = "ev"
    APPLIANCE = "appliance"


class Device(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A device as its home describes it. Watts as seen at the meter; energy_wh: what it can go without (or hold) now;
    level_percent: how full a store is."""

    kind: Kind
    power_w: int
    energy_wh: int | None = None
    level_percent: int = 50

    def __post_init__(self) -> None:
        if not (0 <= self.power_w <= 10**9 and 0 <= (self.energy_wh or 0) <= 10**9 and 0 <= self.level_percent <= 100):
            raise ValueError("power_w and energy_wh are 0 to 1 G, level_percent 0 to 100")


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """down_w: import it can take away; up_w: import it can add; energy_wh: how much of the first in one call;
    duration_s: how long at full power; rebound_percent of the energy comes back within rebound_s; comfort_minor: what
    an hour of it costs its people, in the currency's minor units."""

    down_w: int
    up_w: int
    energy_wh: int
    duration_s: int
    rebound_percent: int
    rebound_s: int
    comfort_minor: int


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
    Kind.BATTERY: _Nature(hours=2.0, rebound_percent=115, rebound_s=14_400, comfort_minor=1, up=True),
    Kind.EV: _Nature(hours=3.0, rebound_percent=100, rebound_s=14_400, comfort_minor=2, up=False),
    Kind.APPLIANCE: _Nature(hours=2.0, rebound_percent=100, rebound_s=7_200, comfort_minor=5, up=False),
}


def envelope_of(devices: Sequence[Device]) -> Envelope:
    """The sum over devices: powers and energies add, times are those of the energy as a whole."""
    down = up = energy = 0
    rebound_wh = rebound_s = comfort = 0.0
    for device in devices:
        nature = _NATURES[device.kind]
        held = device.energy_wh if device.energy_wh is not None else int(device.power_w * nature.hours)
        if device.kind is Kind.BATTERY:
            held = held * device.level_percent // 100
        down += device.power_w if held else 0
        up += device.power_w if nature.up else 0
        energy += held
        rebound_wh += held * nature.rebound_percent / 100
        rebound_s += held * nature.rebound_s
        comfort += nature.comfort_minor * device.power_w / 1000
    return Envelope(
        down_w=down,
        up_w=up,
        energy_wh=energy,
        duration_s=energy * 3600 // down if down else 0,
        rebound_percent=round(100 * rebound_wh / energy) if energy else 0,
        rebound_s=round(rebound_s / energy) if energy else 0,
        comfort_minor=round(comfort),
    )


def declared(flexible_w: int, hours: float = 4.0) -> Envelope:
    """The envelope of a home that names a power only: it holds out for `hours`, and some of it comes back."""
    return Envelope(
        down_w=flexible_w,
        up_w=0,
        energy_wh=int(flexible_w * hours),
        duration_s=int(hours * 3600),
        rebound_percent=30,
        rebound_s=3_600,
        comfort_minor=round(4 * flexible_w / 1000),
    )


def profile_wh(envelope: Envelope, load_wh: Sequence[float], flexible_percent: int, interval_s: int) -> tuple[int, ...]:
    """What the home can shed per interval from the first on: within its power, its flexible part of the load that is
    forecast, and until its energy is used. Never negative."""
    most, left = envelope.down_w * interval_s // 3600, envelope.energy_wh
    shed = []
    for load in load_wh:
        part = max(0, min(most, int(load) * flexible_percent // 100, left))
        left -= part
        shed.append(part)
    return tuple(shed)
