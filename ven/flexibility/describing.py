"""What a home says of itself: its devices as they are rated, within its owner's limits, corrected by experience. Pure.

driver: rated for ──▶ owner: at most, how long, when ──▶ past events: so much of it ──▶ said (and signed)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from ven.devices.base import Describing, Description
from ven.flexibility.learning import Experience
from ven.home.owner import Owner

DEVICES_MAX = 64
_HOUR_S = 3_600
_STEP = 5  # percent: what is said changes when experience has moved by so much
_ALONE_PERCENT = 90
_BROAD = 20  # one part in so many: a number that changed by less is not told for its own sake


class Offer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the owner offers: W, percent of the load, events a week, and the devices behind it. corrected_percent: so
    much of what they are rated for, by experience; None: this home does not learn."""

    flexible_w: int
    flexible_percent: int
    max_events_per_week: int
    devices: tuple[Description, ...] = ()
    corrected_percent: int | None = None


@dataclass(frozen=True)
class Rated:
    """What there is before any experience: the devices, the most the owner lets be asked for (W), the part of the load
    (percent) and the events a week that the owner offers."""

    devices: tuple[Description, ...]
    most_w: int
    flexible_percent: int
    max_events_per_week: int

    def claimed_wh(self, load_wh: Sequence[int], interval_s: int) -> int:
        """What the home is rated for in consecutive intervals in which it would use `load_wh` each."""
        left = [_energy_wh(each) for each in self.devices]
        most, claimed = self.most_w * interval_s // _HOUR_S, 0
        for load in load_wh:
            behind, given = max(0, load) * self.flexible_percent // 100, 0
            for n, device in enumerate(self.devices):
                can = min(device.power_w * interval_s // _HOUR_S, left[n] or 0, most - given)
                if left[n] is None:
                    can = min(device.power_w * interval_s // _HOUR_S, most - given)
                can = max(0, can if device.exports else min(can, behind - given))
                left[n] = None if left[n] is None else (left[n] or 0) - can
                given += can
            claimed += given if self.devices else min(most, behind)
        return claimed

    def kind_for(self, reduction_w: int) -> str:
        """The kind of device that a reduction is taken from, "" where no kind does nine tenths of it: devices are used
        in their order, each as far as it goes."""
        left, by_kind = min(reduction_w, self.most_w), dict[str, int]()
        asked = left
        for device in self.devices:
            taken = min(left, device.power_w)
            by_kind[device.kind] = by_kind.get(device.kind, 0) + taken
            left -= taken
        return next((kind for kind, taken in by_kind.items() if taken * 100 >= asked * _ALONE_PERCENT > 0), "")


def rated(
    device: object,
    owner: Owner,
    at_ms: int,
    *,
    flexible_w: int | None,
    flexible_percent: int,
    max_events_per_week: int,
) -> Rated:
    """A home's devices within its owner's limits at a moment. `device`: its driver, None where there is none yet;
    `flexible_w`: of the settings."""
    found = device.describe(at_ms)[:DEVICES_MAX] if isinstance(device, Describing) else ()
    limits = [getattr(device, "max_shed_w", None), flexible_w, owner.max_shed_w]
    most_w = min((limit for limit in limits if limit is not None), default=0)
    return Rated(
        devices=tuple(_within(each, owner, most_w) for each in found),
        most_w=most_w,
        flexible_percent=flexible_percent,
        max_events_per_week=max_events_per_week,
    )


def said(home: Rated, experience: Experience, before: Offer | None = None) -> Offer:
    """What the home says of itself: never more than the owner allows. What it said `before` stands until experience
    has moved by 5 % of the rating."""
    percent = round(100 * experience.part())
    if before is not None and before.corrected_percent is not None:
        percent = before.corrected_percent if abs(percent - before.corrected_percent) < _STEP else percent
    less = min(percent, 100)
    scale = percent / 100 / max(experience.part(), 0.01)  # kinds move with the whole, in the same steps
    return Offer(
        flexible_w=home.most_w * less // 100,
        flexible_percent=home.flexible_percent * less // 100,
        max_events_per_week=home.max_events_per_week,
        devices=tuple(_corrected(each, experience.part(each.kind) * scale, home.most_w) for each in home.devices),
        corrected_percent=max(1, percent),
    )


def differs(new: Offer, told: Offer) -> bool:
    """Is what there is to say something else than what was told, by more than a trifle?"""
    if len(new.devices) != len(told.devices) or new.corrected_percent != told.corrected_percent:
        return True
    mine, theirs = msgspec.structs.astuple(new)[:3], msgspec.structs.astuple(told)[:3]
    if any(_far(a, b) for a, b in zip(mine, theirs, strict=True)):
        return True
    return any(_other(a, b) for a, b in zip(new.devices, told.devices, strict=True))


def _other(new: Description, told: Description) -> bool:
    if abs(new.level_percent - told.level_percent) >= 2 * _STEP:
        return True
    numbers = ("power_w", "up_w", "energy_wh")
    fixed = {"level_percent": 0, "level_ms": 0, **dict.fromkeys(numbers, 0)}
    if msgspec.structs.replace(new, **fixed) != msgspec.structs.replace(told, **fixed):
        return True
    return any(_far(getattr(new, name), getattr(told, name)) for name in numbers)


def _far(new: int | None, told: int | None) -> bool:
    if new is None or told is None:
        return new != told
    return abs(new - told) * _BROAD > max(abs(new), abs(told))


def _within(device: Description, owner: Owner, most_w: int) -> Description:
    """A device as far as its owner lets it be used: in watts, how long, and when."""
    power_w, energy_wh, hours = min(device.power_w, most_w), device.energy_wh, device.hours
    if owner.max_duration_s is not None:
        longest_wh = power_w * owner.max_duration_s // _HOUR_S
        stores = device.kind in ("battery", "ev")  # theirs is what they hold: the contract's length is limited anyway
        energy_wh = energy_wh if stores else min(longest_wh, longest_wh if energy_wh is None else energy_wh)
    if hours is None:
        hours = owner.hours
    return msgspec.structs.replace(device, power_w=power_w, energy_wh=energy_wh, hours=hours)


def _corrected(device: Description, part: float, most_w: int) -> Description:
    energy_wh = None if device.energy_wh is None else round(device.energy_wh * part)
    return msgspec.structs.replace(device, power_w=min(most_w, round(device.power_w * part)), energy_wh=energy_wh)


def _energy_wh(device: Description) -> int | None:
    if device.kind == "battery" and device.energy_wh is not None:
        return device.energy_wh * max(0, device.level_percent - device.reserve_percent) // 100
    return device.energy_wh
