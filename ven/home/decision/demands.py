"""What an event asks of this device in an interval: the one of its signals that the device can follow, in its terms.

    LOAD_DISPATCH   delta: so many W less                    setpoint: at most so many W
                    multiplier: that part of the rating
    LOAD_CONTROL    x-loadControlCapacity: that part of the rating
                    x-loadControlPercentOffset: so many percent of the rating less
    CHARGE_STATE    setpoint: so much stored                 multiplier: that part of the storage
    SIMPLE          level 1..3
    ELECTRICITY_PRICE, ENERGY_PRICE    price: the level that the owner set for it

The first in this order that the device (and, for prices, its owner) can follow is the one that counts: SIMPLE stands
beside a more precise signal for those that know nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from openadr.model import SCALE_EXPONENTS, DrEvent, Signal
from ven.home.decision.actions import Abilities, Charge, Level, Limit, Reduce

Demand = Reduce | Level | Limit | Charge | None
"""An action whose end is not known yet: `until_ms` is 0."""

PriceLevels = Sequence[tuple[str, int]]
"""(price per kWh as a decimal, level from that price on), ascending."""

_PERCENT = 100
_ORDER = ("LOAD_DISPATCH", "LOAD_CONTROL", "CHARGE_STATE", "SIMPLE", "ELECTRICITY_PRICE", "ENERGY_PRICE")
_POWERS = ("power_real",)
_ENERGIES = ("energy_real",)


def heeded(event: DrEvent, abilities: Abilities, prices: PriceLevels) -> Signal | None:
    """The signal of an event that this device follows; None if there is none it could."""
    for name in _ORDER:
        for signal in event.signals:
            if signal.name.upper() == name and _reader(signal, abilities, prices) is not None:
                return signal
    return None


def asked(signal: Signal, payload: str, abilities: Abilities, prices: PriceLevels, reason: str) -> Demand:
    """What a payload of a signal that `heeded` gave asks for; None: nothing (normal operation).

    A reduction is rounded up and a limit down to whole W: never less than what is asked."""
    read = _reader(signal, abilities, prices)
    return None if read is None else read(_scaled(signal, payload), reason)


def simple_signal(event: DrEvent) -> Signal | None:
    """The SIMPLE signal of an event (rule 7: there is at most one)."""
    return next((signal for signal in event.signals if signal.name.upper() == "SIMPLE"), None)


_Read = Callable[[Decimal, str], Demand]


def _reader(signal: Signal, abilities: Abilities, prices: PriceLevels) -> _Read | None:
    """How the payloads of a signal are read; None if this device cannot follow it."""
    rated_w, limits = abilities.rated_w, abilities.limits
    kind = None if signal.unit is None else signal.unit.kind
    match signal.name.upper(), signal.type:
        case "SIMPLE", _:
            return _level
        case "LOAD_DISPATCH", "delta" if kind in _POWERS:
            return _less
        case "LOAD_DISPATCH", "setpoint" if kind in _POWERS and limits:
            return _at_most
        case ("LOAD_DISPATCH", "multiplier") | ("LOAD_CONTROL", "x-loadControlCapacity") if limits and rated_w:
            return lambda value, reason: None if value >= 1 else _at_most(value * rated_w, reason)
        case "LOAD_CONTROL", "x-loadControlPercentOffset" if rated_w:
            return lambda value, reason: _less(value * rated_w / _PERCENT, reason)
        case "CHARGE_STATE", "setpoint" if kind in _ENERGIES and abilities.storage_wh:
            storage_wh = abilities.storage_wh
            return lambda value, reason: Charge(_within(value, storage_wh), 0, reason)
        case "CHARGE_STATE", "multiplier" if abilities.storage_wh:
            full_wh = abilities.storage_wh
            return lambda value, reason: Charge(_within(value * full_wh, full_wh), 0, reason)
        case (("ELECTRICITY_PRICE" | "ENERGY_PRICE"), "price") if prices and kind in ("currency_per_kwh", None):
            return lambda value, reason: _priced(value, prices, reason)
    return None


def _scaled(signal: Signal, payload: str) -> Decimal:
    exponent = 0 if signal.unit is None else SCALE_EXPONENTS[signal.unit.scale]
    return Decimal(payload).scaleb(exponent)


def _level(value: Decimal, reason: str) -> Demand:
    return Level(int(value), 0, reason) if value in (1, 2, 3) else None


def _less(value: Decimal, reason: str) -> Demand:
    """More than normal is nothing a home is made to do."""
    return Reduce(int((-value).to_integral_value(ROUND_CEILING)), 0, reason) if value < 0 else None


def _at_most(value: Decimal, reason: str) -> Demand:
    return Limit(max(0, int(value.to_integral_value(ROUND_FLOOR))), 0, reason)


def _within(value: Decimal, full_wh: int) -> int:
    return min(full_wh, max(0, int(value.to_integral_value(ROUND_FLOOR))))


def _priced(value: Decimal, prices: PriceLevels, reason: str) -> Demand:
    level = max((level for price, level in prices if value >= Decimal(price)), default=0)
    return Level(level, 0, reason) if level else None
