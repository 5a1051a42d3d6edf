"""The conformance rules of OpenADR 2.0b that one event can keep or break on its own.

A VTN refuses to publish an event with violations; a VEN answers it with their code. Numbers are those of the OpenADR
Alliance's conformance rules as independent implementations cite them.
"""

import msgspec

from openadr.errors import ResponseCode
from openadr.model import DrEvent, Signal

SIGNAL_TYPES: dict[str, frozenset[str]] = {
    "SIMPLE": frozenset({"level"}),
    "ELECTRICITY_PRICE": frozenset({"price", "priceRelative", "priceMultiplier"}),
    "ENERGY_PRICE": frozenset({"price", "priceRelative", "priceMultiplier"}),
    "DEMAND_CHARGE": frozenset({"price", "priceRelative", "priceMultiplier"}),
    "BID_PRICE": frozenset({"price"}),
    "BID_LOAD": frozenset({"setpoint"}),
    "BID_ENERGY": frozenset({"setpoint"}),
    "CHARGE_STATE": frozenset({"setpoint", "delta", "multiplier"}),
    "LOAD_DISPATCH": frozenset({"setpoint", "delta", "multiplier", "level"}),
    "LOAD_CONTROL": frozenset(
        {
            "x-loadControlCapacity",
            "x-loadControlLevelOffset",
            "x-loadControlPercentOffset",
            "x-loadControlSetpoint",
        }
    ),
}
"""Signal types the 2.0b profile allows for each signal name. Names that begin with x- are private and unrestricted."""


_PRICES = frozenset({"currency_per_kwh", "currency_per_kw", "currency_per_therm", "currency"})
_POWERS = frozenset({"power_real", "power_reactive", "power_apparent"})
_ENERGIES = frozenset({"energy_real", "energy_reactive", "energy_apparent"})
_UNITS: dict[tuple[str, str], frozenset[str]] = {
    **{
        (name, kind): _PRICES
        for name in ("ELECTRICITY_PRICE", "ENERGY_PRICE", "DEMAND_CHARGE", "BID_PRICE")
        for kind in ("price", "priceRelative")
    },
    ("BID_LOAD", "setpoint"): _POWERS,
    ("BID_ENERGY", "setpoint"): _ENERGIES,
    ("CHARGE_STATE", "setpoint"): _ENERGIES,
    ("CHARGE_STATE", "delta"): _ENERGIES,
    ("LOAD_DISPATCH", "setpoint"): _POWERS,
    ("LOAD_DISPATCH", "delta"): _POWERS,
}
"""Kinds of unit of a signal by name and type; in the profile every other one has none."""


class Violation(msgspec.Struct, frozen=True):
    """One broken rule (0: the signal table of the profile), the code to answer with and what is wrong."""

    rule: int
    code: ResponseCode
    detail: str


def violations(event: DrEvent, *, is_new: bool = False) -> tuple[Violation, ...]:
    """Rules the event breaks. `is_new` also demands modificationNumber 0 (rule 4)."""
    found: list[Violation] = []
    if is_new and event.modification_number:
        detail = f"a new event has modificationNumber 0, not {event.modification_number}"
        found.append(Violation(4, ResponseCode.COMPLIANCE_ERROR, detail))
    if sum(signal.name.upper() == "SIMPLE" for signal in event.signals) > 1:
        found.append(Violation(7, ResponseCode.COMPLIANCE_ERROR, "more than one signal is named SIMPLE"))
    for signal in event.signals:
        found.extend(_signal_violations(event, signal))
    return tuple(found)


def unit_violations(event: DrEvent) -> tuple[Violation, ...]:
    """Signals whose unit is not that of the profile's signal table. For who writes events: one that is read is still
    understood without its unit."""
    found = []
    for signal in event.signals:
        if signal.name.startswith("x-"):
            continue
        wanted = _UNITS.get((signal.name, signal.type))
        kind = None if signal.unit is None else signal.unit.kind
        if (wanted is None and kind is not None) or (wanted is not None and kind not in wanted):
            detail = f"signal {signal.name} {signal.type} has {kind or 'no unit'}, not {_listed(wanted)}"
            found.append(Violation(0, ResponseCode.SIGNAL_NOT_SUPPORTED, detail))
    return tuple(found)


def _listed(kinds: frozenset[str] | None) -> str:
    return "no unit" if kinds is None else " or ".join(sorted(kinds))


def _signal_violations(event: DrEvent, signal: Signal) -> list[Violation]:
    found: list[Violation] = []
    name = signal.name.upper() if signal.name == "simple" else signal.name
    if not name.startswith("x-") and signal.type not in SIGNAL_TYPES.get(name, frozenset()):
        detail = f"signal {signal.name} with type {signal.type} is not in the profile"
        found.append(Violation(0, ResponseCode.SIGNAL_NOT_SUPPORTED, detail))
    if name == "SIMPLE" and any(interval.payload not in ("0", "1", "2", "3") for interval in signal.intervals):
        detail = f"signal {signal.signal_id} is SIMPLE with a payload outside 0..3"
        found.append(Violation(9, ResponseCode.INVALID_DATA, detail))
    total_s = sum(interval.duration_s for interval in signal.intervals)
    if event.duration_s and total_s != event.duration_s:
        detail = f"intervals of signal {signal.signal_id} last {total_s} s, the active period {event.duration_s} s"
        found.append(Violation(8, ResponseCode.COMPLIANCE_ERROR, detail))
    closed = signal.intervals if event.duration_s else signal.intervals[:-1]
    if any(interval.duration_s == 0 for interval in closed):
        detail = f"an interval of 0 s is the last one of an open-ended event (signal {signal.signal_id})"
        found.append(Violation(47, ResponseCode.COMPLIANCE_ERROR, detail))
    if not event.duration_s and signal.intervals[-1].duration_s:
        detail = f"the last interval of an open-ended event lasts 0 s (signal {signal.signal_id})"
        found.append(Violation(47, ResponseCode.COMPLIANCE_ERROR, detail))
    return found
