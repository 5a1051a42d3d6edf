"""Devices of a home that may run at other times, each with its limits. W, Wh, degrees Celsius, minor units of money.

Slots count from the beginning of the horizon; a window [a, b) holds slots a to b - 1. What depends on their number
is checked when a `Home` is made of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from scheduling.errors import InvalidHome

Series = Sequence[float]
WATER_WH_PER_LITRE_K = 1.163


@dataclass(frozen=True, kw_only=True)
class Battery:
    """A battery behind the meter, lossless at rest.

    capacity_wh; charge_w and discharge_w at the connection; round_trip_efficiency 0..1, half of the loss each way;
    soc_*_wh: limits, state at the begin and least state at the end (None: as at the begin; max None: the capacity);
    wear_minor_per_kwh of energy discharged. Raises InvalidHome.
    """

    capacity_wh: float
    charge_w: float
    discharge_w: float
    soc_start_wh: float
    name: str = "battery"
    round_trip_efficiency: float = 0.9
    soc_min_wh: float = 0.0
    soc_max_wh: float | None = None
    soc_final_wh: float | None = None
    wear_minor_per_kwh: float = 0.0

    def __post_init__(self) -> None:
        for field in ("capacity_wh", "charge_w", "discharge_w", "soc_min_wh", "wear_minor_per_kwh"):
            not_negative(self.name, field, getattr(self, field))
        if not 0 < self.round_trip_efficiency <= 1:
            raise InvalidHome(
                f"{self.name}: round_trip_efficiency is {self.round_trip_efficiency}; it is a share above 0, at most 1"
            )
        if not self.soc_min_wh <= self.soc_max <= self.capacity_wh:
            raise InvalidHome(
                f"{self.name}: state of charge from {self.soc_min_wh:g} to {self.soc_max:g} Wh does not fit a capacity "
                f"of {self.capacity_wh:g} Wh: give soc_min_wh <= soc_max_wh <= capacity_wh"
            )
        for field, value in (("soc_start_wh", self.soc_start_wh), ("soc_final_wh", self.soc_final)):
            if not self.soc_min_wh <= value <= self.soc_max:
                raise InvalidHome(
                    f"{self.name}: {field} is {value:g}, outside {self.soc_min_wh:g} to {self.soc_max:g} Wh: "
                    "widen soc_min_wh and soc_max_wh, or give a value between them"
                )

    @property
    def soc_max(self) -> float:
        return self.capacity_wh if self.soc_max_wh is None else self.soc_max_wh

    @property
    def soc_final(self) -> float:
        return self.soc_start_wh if self.soc_final_wh is None else self.soc_final_wh

    @property
    def one_way(self) -> float:
        """Efficiency of charging, and of discharging."""
        return math.sqrt(self.round_trip_efficiency)


@dataclass(frozen=True, kw_only=True)
class Ev:
    """A car that is there in the slots [arrival, departure) and leaves with `energy_wh` more than it came with (whole
    Wh at the plug). In a slot it takes nothing or between power_w_min and power_w_max. Raises InvalidHome."""

    arrival: int
    departure: int
    energy_wh: int
    name: str = "ev"
    power_w_min: float = 1400.0
    power_w_max: float = 7400.0
    priority: float = 1.0

    def __post_init__(self) -> None:
        window(self.name, self.arrival, self.departure, ("arrival", "departure"))
        not_negative(self.name, "energy_wh", self.energy_wh)
        positive(self.name, "priority", self.priority)
        if not 0 <= self.power_w_min <= self.power_w_max < math.inf:
            raise InvalidHome(
                f"{self.name}: power is {self.power_w_min:g} to {self.power_w_max:g} W: give power_w_min <= power_w_max"
            )
        if int(self.energy_wh) != self.energy_wh:
            raise InvalidHome(f"{self.name}: energy_wh is {self.energy_wh}; it is whole Wh")


@dataclass(frozen=True, kw_only=True)
class Appliance:
    """Runs once, whole and without a break, within [earliest, latest_end).

    profile_wh: whole Wh in each slot of its run; delay_minor_per_h: what waiting is worth to those who live there.
    Raises InvalidHome.
    """

    name: str
    earliest: int
    latest_end: int
    profile_wh: tuple[int, ...]
    delay_minor_per_h: float = 0.0
    priority: float = 1.0

    def __post_init__(self) -> None:
        window(self.name, self.earliest, self.latest_end, ("earliest", "latest_end"))
        if not self.profile_wh:
            raise InvalidHome(f"{self.name}: profile_wh is empty; give the Wh of each slot of a run")
        series(self.name, "profile_wh", self.profile_wh, len(self.profile_wh), low=0)
        if any(int(each) != each for each in self.profile_wh):
            raise InvalidHome(f"{self.name}: profile_wh holds fractions; it is whole Wh in each slot")
        not_negative(self.name, "delay_minor_per_h", self.delay_minor_per_h)
        positive(self.name, "priority", self.priority)

    @property
    def starts(self) -> range:
        """Slots it may begin in; empty where the window is shorter than its run."""
        return range(self.earliest, self.latest_end - len(self.profile_wh) + 1)


@dataclass(frozen=True, kw_only=True)
class WaterHeater:
    """A mixed tank: litres * 1.163 Wh/K, loss in W per K above ambient, `draws_wh` of heat taken in each slot.

    Between c_min and c_max; heated to c_wished at once when nobody schedules it (None: c_max). cop: heat per electric
    energy. c_final: least temperature at the end (None: as at the begin, or as wished if that is lower).
    discomfort_minor_per_kh: what a Kelvin below c_wished costs for an hour. Raises InvalidHome.
    """

    litres: float
    power_w: float
    draws_wh: tuple[float, ...]
    c_start: float
    name: str = "water heater"
    c_min: float = 45.0
    c_max: float = 65.0
    c_wished: float | None = None
    c_final: float | None = None
    c_ambient: float = 20.0
    loss_w_per_k: float = 1.5
    cop: float = 1.0
    discomfort_minor_per_kh: float = 0.0
    priority: float = 1.0

    def __post_init__(self) -> None:
        for field in ("litres", "power_w", "cop", "priority"):
            positive(self.name, field, getattr(self, field))
        for field in ("loss_w_per_k", "discomfort_minor_per_kh"):
            not_negative(self.name, field, getattr(self, field))
        if not self.c_ambient < self.c_min <= self.wished <= self.c_max:
            raise InvalidHome(
                f"{self.name}: temperatures are ambient {self.c_ambient:g} < least {self.c_min:g} <= wished "
                f"{self.wished:g} <= most {self.c_max:g}: one of them is out of order"
            )
        if not self.c_ambient <= self.c_start <= self.c_max:
            raise InvalidHome(
                f"{self.name}: c_start is {self.c_start:g}, outside {self.c_ambient:g} to {self.c_max:g} C"
            )
        if not self.c_min <= self.final <= self.c_max:
            raise InvalidHome(f"{self.name}: c_final is {self.final:g}, outside {self.c_min:g} to {self.c_max:g} C")

    @property
    def wh_per_k(self) -> float:
        return self.litres * WATER_WH_PER_LITRE_K

    @property
    def wished(self) -> float:
        return self.c_max if self.c_wished is None else self.c_wished

    @property
    def final(self) -> float:
        return max(min(self.c_start, self.wished), self.c_min) if self.c_final is None else self.c_final


@dataclass(frozen=True, kw_only=True)
class Hvac:
    """A room heated or cooled within a comfort band; first order: k_per_w to the outside, wh_per_k of heat stored.

    c_low and c_high: the band, one number or one a slot; c_wished: what the thermostat holds when nobody schedules it
    (None: the middle of the band); c_outdoor and gains_w (sun, people) in each slot; cop: heat moved per energy.
    discomfort_minor_per_kh: what a Kelvin away from c_wished costs for an hour. At the end it is no colder (heating) or
    warmer (cooling) than at the begin, or than wished. Raises InvalidHome.
    """

    power_w: float
    k_per_w: float
    wh_per_k: float
    c_outdoor: tuple[float, ...]
    c_start: float
    name: str = "hvac"
    mode: Literal["heat", "cool"] = "heat"
    c_low: float | tuple[float, ...] = 19.0
    c_high: float | tuple[float, ...] = 23.0
    c_wished: float | tuple[float, ...] | None = None
    gains_w: tuple[float, ...] = ()
    cop: float = 3.0
    discomfort_minor_per_kh: float = 0.0
    priority: float = 1.0

    def __post_init__(self) -> None:
        for field in ("power_w", "k_per_w", "wh_per_k", "cop", "priority"):
            positive(self.name, field, getattr(self, field))
        not_negative(self.name, "discomfort_minor_per_kh", self.discomfort_minor_per_kh)
        if self.mode not in ("heat", "cool"):
            raise InvalidHome(f"{self.name}: mode is {self.mode}; it is heat or cool")
        if not math.isfinite(self.c_start):
            raise InvalidHome(f"{self.name}: c_start is {self.c_start}; it is a temperature in C")
        count = len(self.c_outdoor)
        for slot, (low, wished, high) in enumerate(
            zip(self.lows(count), self.wishes(count), self.highs(count), strict=True)
        ):
            if not low <= wished <= high:
                raise InvalidHome(
                    f"{self.name}: in slot {slot} the band is {low:g} to {high:g} C and {wished:g} C are wished: "
                    "give c_low <= c_wished <= c_high"
                )

    def lows(self, count: int) -> tuple[float, ...]:
        return per_slot(self.c_low, count)

    def highs(self, count: int) -> tuple[float, ...]:
        return per_slot(self.c_high, count)

    def wishes(self, count: int) -> tuple[float, ...]:
        if self.c_wished is not None:
            return per_slot(self.c_wished, count)
        return tuple((low + high) / 2 for low, high in zip(self.lows(count), self.highs(count), strict=True))

    def final(self, count: int) -> float:
        """Least temperature at the end of heating, highest of cooling."""
        low, wished, high = self.lows(count)[-1], self.wishes(count)[-1], self.highs(count)[-1]
        if self.mode == "heat":
            return max(min(self.c_start, wished), low)
        return min(max(self.c_start, wished), high)


def per_slot(value: float | tuple[float, ...], count: int) -> tuple[float, ...]:
    """One number as one for each slot."""
    return value if isinstance(value, tuple) else (value,) * count


def series(name: str, field: str, values: Series, count: int, *, low: float = -math.inf) -> None:
    """Raises InvalidHome for another length, or a value that is no finite number of at least `low`."""
    if len(values) != count:
        raise InvalidHome(f"{name}: {field} has {len(values)} values for {count} slots: give one for each slot")
    for slot, value in enumerate(values):
        if not math.isfinite(value) or value < low:
            least = "" if low == -math.inf else f" of at least {low:g}"
            raise InvalidHome(f"{name}: {field} is {value} in slot {slot}; it is a number{least}")


def positive(name: str, field: str, value: float) -> None:
    """Raises InvalidHome for what is not above zero."""
    if not 0 < value < math.inf:
        raise InvalidHome(f"{name}: {field} is {value}; it is above zero")


def not_negative(name: str, field: str, value: float) -> None:
    """Raises InvalidHome for what is below zero or no number."""
    if not 0 <= value < math.inf:
        raise InvalidHome(f"{name}: {field} is {value}; it is zero or more")


def window(name: str, first: int, last: int, fields: tuple[str, str]) -> None:
    """Raises InvalidHome for a window that ends before it begins, or begins before the horizon."""
    if not 0 <= first <= last:
        raise InvalidHome(
            f"{name}: {fields[0]} is slot {first} and {fields[1]} slot {last}: slots count from 0, and the window ends "
            "after it begins"
        )
