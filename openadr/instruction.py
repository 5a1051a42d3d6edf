"""What the signals of an event ask of a load at one moment, as plain numbers in base units.

    DrEvent ── signals ── interval in force ──▶ Instruction(kind, value)      SIMPLE 2            ▶ level 2
                                                                             LOAD_DISPATCH delta ▶ power_delta_w -1500
A VEN says which kinds it can act on; an event with none of them is answered with 460 (`unsupported`). The table is that
of the 2.0b profile's signals; private signals (x-...) are nobody's.
"""

from collections.abc import Collection
from decimal import Decimal
from typing import Literal, get_args

import msgspec

from openadr.model import SCALE_EXPONENTS, DrEvent, Signal
from openadr.timeline import steps

Kind = Literal[
    "level", "power_w", "power_delta_w", "power_factor", "dispatch_level", "capacity_fraction", "level_offset",
    "percent_offset", "set_point", "charge_wh", "charge_delta_wh", "charge_factor", "price_per_kwh",
    "price_delta_per_kwh", "price_factor", "demand_price_per_kw", "bid_price_per_kwh", "bid_power_w", "bid_energy_wh",
]  # fmt: skip
"""What a value means: SIMPLE level 0..3; power to draw, to draw more (or less, < 0), or as a multiple; LOAD_DISPATCH
level -10..10; LOAD_CONTROL's four ways; energy to have stored; price to pay or expect; a bid that was accepted."""

_KINDS: dict[tuple[str, str], Kind] = {
    ("SIMPLE", "level"): "level",
    ("LOAD_DISPATCH", "setpoint"): "power_w",
    ("LOAD_DISPATCH", "delta"): "power_delta_w",
    ("LOAD_DISPATCH", "multiplier"): "power_factor",
    ("LOAD_DISPATCH", "level"): "dispatch_level",
    ("LOAD_CONTROL", "x-loadControlCapacity"): "capacity_fraction",
    ("LOAD_CONTROL", "x-loadControlLevelOffset"): "level_offset",
    ("LOAD_CONTROL", "x-loadControlPercentOffset"): "percent_offset",
    ("LOAD_CONTROL", "x-loadControlSetpoint"): "set_point",
    ("CHARGE_STATE", "setpoint"): "charge_wh",
    ("CHARGE_STATE", "delta"): "charge_delta_wh",
    ("CHARGE_STATE", "multiplier"): "charge_factor",
    ("ELECTRICITY_PRICE", "price"): "price_per_kwh",
    ("ELECTRICITY_PRICE", "priceRelative"): "price_delta_per_kwh",
    ("ELECTRICITY_PRICE", "priceMultiplier"): "price_factor",
    ("ENERGY_PRICE", "price"): "price_per_kwh",
    ("ENERGY_PRICE", "priceRelative"): "price_delta_per_kwh",
    ("ENERGY_PRICE", "priceMultiplier"): "price_factor",
    ("DEMAND_CHARGE", "price"): "demand_price_per_kw",
    ("BID_PRICE", "price"): "bid_price_per_kwh",
    ("BID_LOAD", "setpoint"): "bid_power_w",
    ("BID_ENERGY", "setpoint"): "bid_energy_wh",
}

_UNITS: dict[Kind, str] = {
    "power_w": "power_real",
    "power_delta_w": "power_real",
    "bid_power_w": "power_real",
    "charge_wh": "energy_real",
    "charge_delta_wh": "energy_real",
    "bid_energy_wh": "energy_real",
    "price_per_kwh": "currency_per_kwh",
    "price_delta_per_kwh": "currency_per_kwh",
    "bid_price_per_kwh": "currency_per_kwh",
    "demand_price_per_kw": "currency_per_kw",
}
"""Kinds whose number means nothing without its unit."""
assert set(_KINDS.values()) <= set(get_args(Kind))


class Instruction(msgspec.Struct, frozen=True):
    """What one signal asks from `start_ms` until `end_ms` (None: until further notice). `value` is in W, Wh, currency
    per kWh or a plain number, as `kind` says; `device_classes` narrows it to kinds of device."""

    kind: Kind
    value: Decimal
    start_ms: int
    end_ms: int | None
    signal_id: str
    device_classes: tuple[str, ...] = ()


def kind_of(signal: Signal) -> Kind | None:
    """What the values of a signal mean; None for a signal that is private, unknown, or lacks the unit it needs."""
    name = signal.name.upper() if signal.name == "simple" else signal.name
    kind = _KINDS.get((name, signal.type))
    if kind in _UNITS and (signal.unit is None or signal.unit.kind != _UNITS[kind]):
        return None
    return kind


def instructions(event: DrEvent, now_ms: int, offset_s: int = 0) -> tuple[Instruction, ...]:
    """What the event asks at `now_ms`, one a signal that is understood, in wire order; () while it is not active."""
    found = []
    for signal in event.signals:
        kind = kind_of(signal)
        if kind is None or event.cancelled:
            continue
        for step in steps(event, signal, offset_s):
            if step.start_ms <= now_ms and (step.end_ms is None or now_ms < step.end_ms):
                value = _in_base_units(kind, Decimal(step.payload), signal)
                found.append(
                    Instruction(kind, value, step.start_ms, step.end_ms, signal.signal_id, signal.device_classes)
                )
                break
    return tuple(found)


def unsupported(event: DrEvent, able: Collection[Kind]) -> str | None:
    """Why a VEN that can act on the kinds `able` can act on no signal of this event (460); None if it can."""
    if any(kind_of(signal) in able for signal in event.signals):
        return None
    asked = ", ".join(sorted({f"{signal.name} {signal.type}" for signal in event.signals}))
    return f"no signal of the event can be acted on here: {asked}"


def _in_base_units(kind: Kind, value: Decimal, signal: Signal) -> Decimal:
    if kind not in _UNITS or signal.unit is None:
        return value
    return value.scaleb(SCALE_EXPONENTS[signal.unit.scale])
