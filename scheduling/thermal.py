"""How warm a tank or a room gets: T after a slot = keep * T before + per_wh * electric energy + drift."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scheduling.devices import Hvac, WaterHeater


@dataclass(frozen=True)
class Dynamics:
    """keep (0..1), per_wh (K a Wh of electricity, negative for cooling), drift (K, a value a slot)."""

    keep: float
    per_wh: float
    drift: tuple[float, ...]

    def temperatures(self, start: float, energy_wh: Sequence[float]) -> tuple[float, ...]:
        """Temperature at the end of each slot, C."""
        now, found = start, []
        for energy, drift in zip(energy_wh, self.drift, strict=True):
            now = self.keep * now + self.per_wh * energy + drift
            found.append(now)
        return tuple(found)

    def needed_wh(self, before: float, slot: int, wished: float) -> float:
        """Electric energy that ends the slot at the wished temperature; negative where none is needed."""
        return (wished - self.keep * before - self.drift[slot]) / self.per_wh


def of_tank(heater: WaterHeater, hours: float) -> Dynamics:
    """A mixed tank. Loss and draws are spread over the slot: exact for constant ones."""
    if heater.loss_w_per_k == 0:
        keep, part = 1.0, 1.0
    else:
        rate = heater.loss_w_per_k * hours / heater.wh_per_k
        keep = math.exp(-rate)
        part = (1 - keep) / rate
    drift = tuple((1 - keep) * heater.c_ambient - draw * part / heater.wh_per_k for draw in heater.draws_wh)
    return Dynamics(keep, heater.cop * part / heater.wh_per_k, drift)


def of_room(hvac: Hvac, hours: float) -> Dynamics:
    """First order, exact for constant power over the slot."""
    keep = math.exp(-hours / (hvac.k_per_w * hvac.wh_per_k))
    gains = hvac.gains_w or (0.0,) * len(hvac.c_outdoor)
    drift = tuple((1 - keep) * (out + hvac.k_per_w * gain) for out, gain in zip(hvac.c_outdoor, gains, strict=True))
    sign = 1 if hvac.mode == "heat" else -1
    return Dynamics(keep, sign * (1 - keep) * hvac.k_per_w * hvac.cop / hours, drift)
