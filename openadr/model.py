"""The neutral model: one event and one report, whatever protocol carries them.

    DrEvent ── Signal ── SignalInterval        Report ── Reading
       │          └───── Unit
       └───── Target

Construction normalises (decimals, targets, comment) and refuses what no wire format could carry back unchanged, so that
an event has exactly one canonical form: `canonical(event)` is the same bytes at the VTN that wrote it and at the VEN
that read it from XML. What enters those bytes, and what does not, is listed in DESIGN.md.

Times are epoch milliseconds UTC, durations whole seconds, numbers that are not energy are decimal strings.
"""

import hashlib
import json
import re
import unicodedata
from decimal import Decimal
from typing import Any, Literal

import msgspec
from msgspec.structs import force_setattr

from openadr.errors import InvalidEvent, InvalidReport

TargetKind = Literal["ven", "group", "group_name", "resource", "party", "other"]
UnitKind = Literal[
    "currency", "currency_per_kw", "currency_per_kwh", "currency_per_therm", "current", "custom", "energy_apparent",
    "energy_reactive", "energy_real", "frequency", "power_apparent", "power_reactive", "power_real", "pulse_count",
    "temperature", "therm", "voltage",
]  # fmt: skip
Quality = Literal["ok", "estimated", "bad", "missing"]

SCALE_EXPONENTS = {
    "p": -12, "n": -9, "micro": -6, "m": -3, "c": -2, "d": -1, "none": 0, "k": 3, "M": 6, "G": 9, "T": 12,
}  # fmt: skip
"""SI prefixes of units, as powers of ten."""

FORMAT = "gridpact.dr_event.1"
_INTEGER_END = 2**53
_ID_LENGTH_MAX = 256
_DECIMAL = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,4})?", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class Target(msgspec.Struct, frozen=True, order=True):
    """Whom an event is for. `other` stands for a designation that is read but not understood: nobody matches it."""

    kind: TargetKind
    value: str

    def __post_init__(self) -> None:
        _check_id("target", self.value)


class PowerAttributes(msgspec.Struct, frozen=True):
    """The supply a power unit refers to; decimal strings, Hz and V."""

    hertz: str = "50"
    voltage: str = "230"
    ac: bool = True

    def __post_init__(self) -> None:
        force_setattr(self, "hertz", decimal(self.hertz))
        force_setattr(self, "voltage", decimal(self.voltage))


class Unit(msgspec.Struct, frozen=True):
    """Unit of a signal's payload or of a reading. `scale` is an SI prefix, a key of SCALE_EXPONENTS."""

    kind: UnitKind
    symbol: str
    scale: str = "none"
    power: PowerAttributes | None = None
    pulse_factor: str | None = None
    description: str = ""

    def __post_init__(self) -> None:
        _check_id("unit symbol", self.symbol)
        if self.scale not in SCALE_EXPONENTS:
            raise InvalidEvent(f"{self.scale[:40]!r} is no SI prefix")
        if self.kind.startswith("power_"):
            # A power unit always names its supply on the wire: fix it here, so that both ends hold the same object.
            force_setattr(self, "power", self.power or PowerAttributes())
        elif self.power is not None:
            raise InvalidEvent(f"power attributes do not belong to the unit {self.kind}")
        if (self.kind == "pulse_count") != (self.pulse_factor is not None):
            raise InvalidEvent("a pulse count needs a pulse factor, and nothing else has one")
        if self.pulse_factor is not None:
            force_setattr(self, "pulse_factor", decimal(self.pulse_factor))
            force_setattr(self, "scale", "none")
        # Only a custom unit describes itself; the description of the others follows from the kind.
        force_setattr(self, "description", _line(self.description) if self.kind == "custom" else "")


class SignalInterval(msgspec.Struct, frozen=True):
    """One step of a signal. `duration_s` 0 in an open-ended event means until further notice."""

    duration_s: int
    payload: str

    def __post_init__(self) -> None:
        _check_count("interval duration", self.duration_s)
        force_setattr(self, "payload", decimal(self.payload))


class Signal(msgspec.Struct, frozen=True):
    """What to do, step by step from the start of the event. `device_classes` narrows it to kinds of device."""

    signal_id: str
    name: str
    type: str
    unit: Unit | None
    intervals: tuple[SignalInterval, ...]
    device_classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for what, value in (("signal id", self.signal_id), ("signal name", self.name), ("signal type", self.type)):
            _check_id(what, value)
        for device_class in self.device_classes:
            _check_id("device class", device_class)
        if not self.intervals:
            raise InvalidEvent(f"signal {self.signal_id} has no interval")
        force_setattr(self, "intervals", tuple(self.intervals))
        force_setattr(self, "device_classes", tuple(sorted(set(self.device_classes))))


class DrEvent(msgspec.Struct, frozen=True):
    """A demand-response event.

    `program` is the market context URI. `priority`: 1 is the highest, 0 means none and is the lowest. `duration_s` 0 is
    open-ended. `start_after_s` is the width of the window in which each VEN draws its own start. `created_ms` is
    information only and not part of the event's identity.
    """

    event_id: str
    program: str
    modification_number: int
    priority: int
    test_event: bool
    start_ms: int
    duration_s: int
    signals: tuple[Signal, ...]
    targets: tuple[Target, ...]
    response_required: bool
    start_after_s: int = 0
    notification_s: int = 0
    ramp_up_s: int = 0
    recovery_s: int = 0
    vtn_comment: str = ""
    cancelled: bool = False
    created_ms: int = 0

    def __post_init__(self) -> None:
        _check_id("event id", self.event_id)
        _check_id("program", self.program)
        for name in ("modification_number", "priority"):
            if not 0 <= getattr(self, name) < 2**32:
                raise InvalidEvent(f"{name} {getattr(self, name)} does not fit 32 bits")
        for name in ("duration_s", "start_after_s", "notification_s", "ramp_up_s", "recovery_s", "created_ms"):
            _check_count(name, getattr(self, name))
        _check_count("start_ms", self.start_ms)
        if not self.signals:
            raise InvalidEvent(f"event {self.event_id} has no signal")
        if len({signal.signal_id for signal in self.signals}) != len(self.signals):
            raise InvalidEvent(f"event {self.event_id} uses a signal id twice")
        force_setattr(self, "signals", tuple(self.signals))
        force_setattr(self, "targets", tuple(sorted(set(self.targets))))
        force_setattr(self, "vtn_comment", _line(self.vtn_comment))

    @property
    def end_ms(self) -> int | None:
        """End of the active period (exclusive), None if open-ended."""
        return self.start_ms + 1000 * self.duration_s if self.duration_s else None


class Reading(msgspec.Struct, frozen=True):
    """Energy metered over [start, start + duration): import > 0, export < 0. The value of a missing one is void."""

    r_id: str
    start_ms: int
    duration_s: int
    value_wh: int
    quality: Quality = "ok"

    def __post_init__(self) -> None:
        if not self.r_id:
            raise InvalidReport("a reading needs the id of its metering point")
        if self.duration_s < 0 or not 0 <= self.start_ms < _INTEGER_END or abs(self.value_wh) >= _INTEGER_END:
            raise InvalidReport(f"reading of {self.r_id} is out of range")


class Report(msgspec.Struct, frozen=True):
    """Usage telemetry: readings that answer one report request."""

    report_id: str
    report_request_id: str
    report_specifier_id: str
    created_ms: int
    readings: tuple[Reading, ...]
    name: str = "TELEMETRY_USAGE"


def canonical(event: DrEvent) -> bytes:
    """The event's identity as canonical JSON: UTF-8, sorted keys, no white space, no floats. Keys: see DESIGN.md."""
    fields: dict[str, Any] = {name: value for name, value in msgspec.to_builtins(event).items() if name != "created_ms"}
    return json.dumps({"format": FORMAT, **fields}, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def digest(event: DrEvent) -> str:
    """SHA-256 of `canonical(event)`, lower-case hex: what contract terms hold."""
    return hashlib.sha256(canonical(event)).hexdigest()


def decimal(text: str) -> str:
    """The one spelling of a finite decimal number: no exponent, no leading or trailing zeros, no "-0".

    Raises InvalidEvent for anything that is not finite or needs more than 34 digits.
    """
    if len(text) > 80 or not _DECIMAL.fullmatch(text):
        raise InvalidEvent(f"{text[:40]!r} is not a finite decimal number")
    number = Decimal(text)
    if not number:
        return "0"
    _, digits, exponent = number.as_tuple()
    if len(digits) > 34 or int(exponent) < -34 or number.adjusted() >= 34:
        raise InvalidEvent(f"{text[:40]!r} needs more than 34 digits")
    plain = format(number, "f")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def _check_id(what: str, value: str) -> None:
    if not value or value != value.strip() or len(value) > _ID_LENGTH_MAX:
        raise InvalidEvent(f"{what} {value[:40]!r} must have 1 to {_ID_LENGTH_MAX} characters and no outer white space")
    if _CONTROL.search(value) or unicodedata.normalize("NFC", value) != value:
        raise InvalidEvent(f"{what} {value[:40]!r} has control characters or is not in Unicode form NFC")


def _check_count(what: str, value: int) -> None:
    if not 0 <= value < _INTEGER_END:
        raise InvalidEvent(f"{what} {value} is out of range")


def _line(text: str) -> str:
    """Free text as one line: XML peers reflow white space, so runs of it count as one blank."""
    line = unicodedata.normalize("NFC", " ".join(text.split()))
    if _CONTROL.search(line):
        raise InvalidEvent("a comment must not have control characters")
    return line
