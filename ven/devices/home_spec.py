"""What of a home can be shed, and what its owner allows.

All numbers here are assumptions: the load data says how much a home uses, not by which appliance. `draw` makes them up
from a seed within ranges that are common for air-conditioned homes; the same seed and home give the same numbers on
every machine.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from ven.devices.control import LEVEL_MAX
from ven.devices.errors import ControlError


@dataclass(frozen=True)
class Appliance:
    """A share of the gross load that can be shed, and how much of it comes back.

    `level`: SIMPLE level from which it is used (1..3). Of the energy shed, `snapback_permille` returns during the
    `snapback_s` after the reduction ends, most of it early.
    """

    name: str
    share_permille: int
    level: int
    snapback_permille: int
    snapback_s: int


@dataclass(frozen=True)
class OwnerLimits:
    """What the owner allows. A reduction ends by itself when it reaches a limit; the budget for duration and comfort is
    renewed when `rest_s` has passed since the last reduction."""

    max_shed_w: int
    max_duration_s: int
    comfort_wh: int  # energy that may be withheld before it is felt
    rest_s: int

    def refusal(self, reduction_w: int, duration_s: int) -> str | None:
        """Why the owner would opt out of such an event; None if the limits allow it."""
        if reduction_w > self.max_shed_w:
            return f"{reduction_w} W is more than the {self.max_shed_w} W the owner allows"
        if duration_s > self.max_duration_s:
            return f"{duration_s} s is longer than the {self.max_duration_s} s the owner allows"
        return None


@dataclass(frozen=True)
class HomeSpec:
    """A home's controllable side. `appliances` are used in the order given, the least felt first.

    Raises ControlError for shares above the whole load or any number out of its range.
    """

    response_delay_s: int
    appliances: tuple[Appliance, ...]
    limits: OwnerLimits

    def __post_init__(self) -> None:
        limits = self.limits
        if min(limits.max_shed_w, limits.max_duration_s, limits.comfort_wh, limits.rest_s, self.response_delay_s) < 0:
            raise ControlError(f"no limit and no delay may be negative: {self}")
        if sum(appliance.share_permille for appliance in self.appliances) > 1000:
            raise ControlError("the appliances' shares sum to more than the whole load")
        for appliance in self.appliances:
            within = appliance.share_permille >= 0 and 0 <= appliance.snapback_permille <= 1000
            if not within or appliance.snapback_s < 1 or not 1 <= appliance.level <= LEVEL_MAX:
                raise ControlError(f"{appliance} is out of range")

    def shed_w(self, load_w: int, wanted_w: int, level: int = LEVEL_MAX) -> tuple[int, ...]:
        """Reduction of each appliance, in W, when the home uses `load_w` and `wanted_w` are asked of it."""
        left_w = min(wanted_w, self.limits.max_shed_w)
        found: list[int] = []
        for appliance in self.appliances:
            available_w = load_w * appliance.share_permille // 1000 if appliance.level <= level else 0
            found.append(min(left_w, available_w))
            left_w -= found[-1]
        return tuple(found)


def draw(home_id: str, seed: int) -> HomeSpec:
    """Made-up numbers for one home: 29-65 % of the load sheddable, up to 1-3 kW, for 3, 4 or 6 hours."""
    rng = random.Random(f"{seed}/{home_id}")

    def between(low: int, high: int, step: int = 1) -> int:
        return low + step * int(rng.random() * ((high - low) // step + 1))

    return HomeSpec(
        response_delay_s=between(15, 120),
        appliances=(
            Appliance("water_heater", between(80, 160), 1, between(800, 1000), 2 * 3600),
            Appliance("plug_loads", between(60, 140), 2, between(400, 800), 4 * 3600),
            Appliance("air_conditioning", between(150, 350), 3, between(300, 700), 3 * 3600),
        ),
        limits=OwnerLimits(
            max_shed_w=between(1000, 3000, 250),
            max_duration_s=(3, 4, 4, 6)[between(0, 3)] * 3600,
            comfort_wh=between(4000, 9000, 500),
            rest_s=4 * 3600,
        ),
    )
