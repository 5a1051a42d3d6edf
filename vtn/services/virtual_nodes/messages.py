"""What is said of a virtual node, in the words of IEC 61968-5:2020 and the CIM package DER.

    EndDeviceGroup ── EndDevices            the virtual node and its homes
         ├── DERFunction                    what it can be asked for
         └── DERMonitorableParameter ── DispatchSchedule ── DERCurveData (an interval each)

Names of the standard are spelled as there; what it has no name for is beside them in ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Literal

import msgspec

from vtn.aggregator.virtual_nodes.groups.records import HomeMove, NodeRow, Quality


class Name(msgspec.Struct, frozen=True, kw_only=True):
    """A name people use."""

    name: str


class EndDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A home: venID and venName."""

    mrid: str = msgspec.field(name="mRID")
    names: tuple[Name, ...] = msgspec.field(name="Names")


class DERFunction(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the group can be asked for; everything the standard names is said."""

    connect_disconnect: bool = False
    frequency_watt_curve_function: bool = False
    max_real_power_limiting: bool = False
    ramp_rate_control: bool = False
    reactive_power_dispatch: bool = False
    real_power_dispatch: bool = True
    volt_var_curve_function: bool = False
    volt_watt_curve_function: bool = False
    voltage_regulation: bool = False


class DERCurveData(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An interval: nominal value, and where it is a forecast the band of 80 %."""

    interval_number: int
    time_stamp: str
    nominal_y_value: float
    min_y_value: float | None = msgspec.field(default=None, name="minYValue")
    max_y_value: float | None = msgspec.field(default=None, name="maxYValue")


class DispatchSchedule(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Consecutive intervals; confidence in percent, None where none is meant."""

    start_time: str
    time_interval_duration: int
    number_of_intervals: int
    curve_data: tuple[DERCurveData, ...] = msgspec.field(name="DERCurveData")
    time_interval_unit: str = "s"
    curve_style_kind: str = "constantYValue"
    confidence: float | None = None


class DERMonitorableParameter(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Active power in W: forward is import, reverse export or less import."""

    parameter: str = msgspec.field(default="activePower", name="DERParameter")
    flow_direction: Literal["forward", "reverse"] = "forward"
    y_multiplier: str = "none"
    y_unit: str = "W"
    y_unit_installed_max: float | None = None
    y_unit_installed_min: float | None = None
    schedule: DispatchSchedule | None = msgspec.field(default=None, name="DispatchSchedule")


class EndDeviceGroup(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A virtual node: mRID is its name on the wire, Names what people call it."""

    mrid: str = msgspec.field(name="mRID")
    names: tuple[Name, ...] = msgspec.field(name="Names")
    version: str = ""
    devices: tuple[EndDevice, ...] = msgspec.field(default=(), name="EndDevices")
    function: DERFunction | None = msgspec.field(default=None, name="DERFunction")
    parameters: tuple[DERMonitorableParameter, ...] = msgspec.field(default=(), name="DERMonitorableParameter")


class NodeView(msgspec.Struct, frozen=True, kw_only=True):
    """A virtual node as operators see it. homes: how many; notes: what followed from the operation that shows it."""

    group: EndDeviceGroup = msgspec.field(name="EndDeviceGroup")
    name: str
    label: str
    area: str
    program: str
    party: str | None
    made_by: str
    state: str
    homes: int
    quality: Quality
    moves: tuple[HomeMove, ...] = ()
    notes: tuple[str, ...] = ()


def group_of(
    row: NodeRow,
    homes: Iterable[tuple[str, str]] = (),
    *,
    function: DERFunction | None = None,
    parameters: Sequence[DERMonitorableParameter] = (),
) -> EndDeviceGroup:
    """The group of a row; homes as (venID, venName)."""
    return EndDeviceGroup(
        mrid=row.name,
        names=(Name(name=row.label),),
        version=str(row.version),
        devices=tuple(EndDevice(mrid=ven_id, names=(Name(name=name),)) for ven_id, name in homes),
        function=function,
        parameters=tuple(parameters),
    )


def stamp(at_ms: int) -> str:
    """An instant as the standard writes it."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def power(energy_wh: float, interval_s: int) -> float:
    """Mean W of an interval."""
    return round(energy_wh * 3600 / interval_s, 1)


def schedule(
    start_ms: int, interval_s: int, values: Sequence[tuple[float, ...]],
    confidence: float | None = None,
) -> DispatchSchedule:  # fmt: skip
    """Intervals of (nominal,) or (nominal, least, most) in W."""
    curve = tuple(
        DERCurveData(
            interval_number=number, time_stamp=stamp(start_ms + (number - 1) * interval_s * 1000),
            nominal_y_value=each[0], min_y_value=each[1] if each[1:] else None,
            max_y_value=each[2] if each[1:] else None,
        )
        for number, each in enumerate(values, 1)
    )  # fmt: skip
    return DispatchSchedule(
        start_time=stamp(start_ms), time_interval_duration=interval_s, number_of_intervals=len(values),
        curve_data=curve, confidence=confidence,
    )  # fmt: skip
