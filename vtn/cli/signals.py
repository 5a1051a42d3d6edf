"""Signals of an event as an operator writes them: `ELECTRICITY_PRICE price EUR/kWh 0.45@60,0.30@60`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from openadr.conformance import SIGNAL_TYPES
from openadr.errors import OpenAdrError
from openadr.model import PowerAttributes, Signal, SignalInterval, Unit, UnitKind
from vtn.errors import InvalidInput

_UNIT = re.compile(r"(?P<prefix>k|M|G)?(?P<symbol>Wh|W|VAh|VArh)")
_KINDS: dict[str, UnitKind] = {
    "Wh": "energy_real", "W": "power_real", "VAh": "energy_apparent", "VArh": "energy_reactive",
}  # fmt: skip
_PRICES: dict[str, UnitKind] = {"kWh": "currency_per_kwh", "kW": "currency_per_kw", "thm": "currency_per_therm"}
_TEMPERATURES = ("celsius", "fahrenheit")


def parse_signal(text: str, number: int, duration_s: int) -> Signal:
    """`NAME TYPE [UNIT] VALUE[@MINUTES][,VALUE@MINUTES...]`: one value without minutes lasts the whole event.

    `duration_s` 0 is an open-ended event. Raises InvalidInput with what is wrong and how it is written.
    """
    words = text.split()
    if len(words) not in (3, 4):
        raise _wrong(text, "it has three or four words")
    name, type_, *rest = words
    unit = parse_unit(rest[0]) if len(rest) == 2 else None
    try:
        return Signal(f"signal-{number}", name, type_, unit, tuple(_intervals(text, rest[-1], duration_s)))
    except OpenAdrError as error:
        raise _wrong(text, str(error)) from error


def parse_unit(text: str) -> Unit:
    """`kW`, `Wh`, `EUR/kWh`, `EUR/kW`, `EUR/thm`, `EUR`, `celsius`, `fahrenheit`. Raises InvalidInput."""
    match = _UNIT.fullmatch(text)
    if match is not None:
        kind = _KINDS[match["symbol"]]
        power = PowerAttributes() if kind.startswith("power_") else None
        return Unit(kind, match["symbol"], match["prefix"] or "none", power)
    if text in _TEMPERATURES:
        return Unit("temperature", text)
    currency, _, per = text.partition("/")
    if re.fullmatch(r"[A-Z]{3}", currency) and (per in _PRICES or not per):
        return Unit(_PRICES[per] if per else "currency", currency)
    raise InvalidInput("unit_unknown", f"{text} is no unit: kW, kWh, EUR/kWh, EUR/kW, EUR, celsius")


def _intervals(text: str, values: str, duration_s: int) -> Sequence[SignalInterval]:
    found = []
    parts = values.split(",")
    for part in parts:
        value, _, minutes = part.partition("@")
        if minutes and not minutes.isdecimal():
            raise _wrong(text, f"{minutes} is no number of minutes")
        if not minutes and len(parts) > 1:
            raise _wrong(text, f"{part} says for how many minutes: {value}@60")
        found.append(SignalInterval(60 * int(minutes) if minutes else duration_s, value))
    return found


def _wrong(text: str, why: str) -> InvalidInput:
    names = ", ".join(SIGNAL_TYPES)
    return InvalidInput(
        "signal_invalid",
        f"{text!r} is no signal: {why}. Write NAME TYPE [UNIT] VALUE@MINUTES,..; names are {names}",
    )
