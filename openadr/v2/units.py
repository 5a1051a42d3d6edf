"""Units of the 2.0b wire (emix:itemBase and what substitutes it) and their neutral kinds."""

from typing import Any, get_args

from openadr.errors import InvalidEvent, ResponseCode
from openadr.model import PowerAttributes, Unit, UnitKind
from openadr.v2 import fields
from openadr.v2.document.schema import OADR, POWER, SCALE

_WIRE: dict[UnitKind, tuple[str, str, str]] = {
    "currency": ("oadr", "currency", "currency"),
    "currency_per_kw": ("oadr", "currencyPerKW", "currencyPerKW"),
    "currency_per_kwh": ("oadr", "currencyPerKWh", "currencyPerKWh"),
    "currency_per_therm": ("oadr", "currencyPerThm", "currency"),
    "current": ("oadr", "current", "Current"),
    "custom": ("oadr", "customUnit", ""),
    "energy_apparent": ("power", "energyApparent", "ApparentEnergy"),
    "energy_reactive": ("power", "energyReactive", "ReactiveEnergy"),
    "energy_real": ("power", "energyReal", "RealEnergy"),
    "frequency": ("oadr", "frequency", "Frequency"),
    "power_apparent": ("power", "powerApparent", "ApparentPower"),
    "power_reactive": ("power", "powerReactive", "ReactivePower"),
    "power_real": ("power", "powerReal", "RealPower"),
    "pulse_count": ("oadr", "pulseCount", "pulse count"),
    "temperature": ("oadr", "temperature", "temperature"),
    "therm": ("oadr", "Therm", "Therm"),
    "voltage": ("power", "voltage", "Voltage"),
}
"""kind -> (namespace prefix, element, the description the schema fixes)."""

_NAMESPACES = {"oadr": OADR, "power": POWER}
_KINDS: dict[str, UnitKind] = {_NAMESPACES[prefix] + name: kind for kind, (prefix, name, _) in _WIRE.items()}
_UNSUPPORTED = {POWER + "energyItem", POWER + "powerItem"}
assert set(_WIRE) == set(get_args(UnitKind))


def read_unit(parent: Any) -> Unit | None:
    """The unit among the children of a signal or a report description, None if it has none."""
    for element in parent:
        if element.tag in _UNSUPPORTED:
            raise InvalidEvent("untyped units are not read", ResponseCode.REPORT_NOT_SUPPORTED)
        kind = _KINDS.get(element.tag)
        if kind is not None:
            return _read(element, kind)
    return None


def unit_context(unit: Unit | None) -> dict[str, Any] | None:
    """A unit in the words of openleadr's templates."""
    if unit is None:
        return None
    prefix, name, description = _WIRE[unit.kind]
    return {
        "ns": prefix,
        "name": name,
        "description": unit.description if unit.kind == "custom" else description,
        "unit": unit.symbol,
        "scale": unit.scale,
        "pulse_factor": unit.pulse_factor,
        "power_attributes": unit.power,
    }


def _read(element: Any, kind: UnitKind) -> Unit:
    namespace = element.tag[: element.tag.index("}") + 1]
    attributes = element.find(POWER + "powerAttributes")
    return Unit(
        kind=kind,
        symbol=fields.token(element, namespace + "itemUnits"),
        scale=fields.optional_text(element, SCALE + "siScaleCode") or "none",
        power=None if attributes is None else _read_power(attributes),
        pulse_factor=fields.optional_text(element, OADR + "pulseFactor"),
        description=fields.text(element, namespace + "itemDescription"),
    )


def _read_power(element: Any) -> PowerAttributes:
    return PowerAttributes(
        hertz=fields.token(element, POWER + "hertz"),
        voltage=fields.token(element, POWER + "voltage"),
        ac=fields.boolean(element, POWER + "ac"),
    )
