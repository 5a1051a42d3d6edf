"""The file of homes and their devices: JSON, times as local HH:MM, energies in Wh, power in W, money in minor units.

Every series may be one number, a value a slot, or a value an hour. A field nobody knows is an error: a misspelt limit
must not go unnoticed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from runtime.errors import SettingsError
from scheduling.devices import Appliance, Battery, Ev, Hvac, WaterHeater
from scheduling.errors import ScheduleError
from scheduling.home import Connection, Home, Obligation, Tariff
from vtn.cli.schedule.horizon import Horizon

Values = float | list[float]
D = TypeVar("D")


class Entry(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What entries have in common: a field that is not known is refused."""


class EvEntry(Entry):
    """A car; energy_wh it is to leave with more than it came with."""

    arrives: str
    departs: str
    energy_wh: int
    name: str = "ev"
    power_w_min: float = 1400.0
    power_w_max: float = 7400.0
    priority: float = 1.0


class ApplianceEntry(Entry):
    """profile_w: power of each `profile_minutes` of its run."""

    name: str
    earliest: str
    latest_end: str
    profile_w: list[float]
    profile_minutes: int = 15
    delay_minor_per_h: float = 0.0
    priority: float = 1.0


class WaterHeaterEntry(Entry):
    """draws_wh: heat taken out, a slot or an hour."""

    litres: float
    power_w: float
    draws_wh: Values
    c_start: float
    name: str = "water heater"
    c_min: float = 45.0
    c_max: float = 65.0
    c_wished: float | None = None
    c_final: float | None = None
    c_ambient: float = 20.0
    loss_w_per_k: float = 1.5
    cop: float = 1.0
    discomfort_minor_per_kh: float = 0.0
    priority: float = 1.0


class HvacEntry(Entry):
    """A room with its band; c_* may be one number or a value an hour."""

    power_w: float
    k_per_w: float
    wh_per_k: float
    c_outdoor: Values
    c_start: float
    name: str = "hvac"
    mode: Literal["heat", "cool"] = "heat"
    c_low: Values = 19.0
    c_high: Values = 23.0
    c_wished: Values | None = None
    gains_w: Values = 0.0
    cop: float = 3.0
    discomfort_minor_per_kh: float = 0.0
    priority: float = 1.0


class BatteryEntry(Entry):
    """As `scheduling.devices.Battery`."""

    capacity_wh: float
    charge_w: float
    discharge_w: float
    soc_start_wh: float
    name: str = "battery"
    round_trip_efficiency: float = 0.9
    soc_min_wh: float = 0.0
    soc_max_wh: float | None = None
    soc_final_wh: float | None = None
    wear_minor_per_kwh: float = 0.0


class TariffEntry(Entry):
    """Minor units per kWh; import_ may be left to --signals."""

    import_minor_per_kwh: Values | None = None
    export_minor_per_kwh: Values = 0.0
    peak_minor_per_kw: float = 0.0
    peak_so_far_w: float = 0.0


class ObligationEntry(Entry):
    """A dispatch between two local times: net power at most (and at least) so much."""

    begins: str
    ends: str
    net_w_max: float | None = None
    net_w_min: float | None = None
    penalty_minor_per_kwh: float | None = None


class HomeEntry(Entry):
    """load_wh and pv_wh: where no file gives them."""

    name: str
    node: str = "all"
    load_wh: Values | None = None
    pv_wh: Values | None = None
    pv_curtailable: bool = True
    tariff: TariffEntry | None = None
    import_limit_w: float | None = None
    export_limit_w: float | None = None
    battery: BatteryEntry | None = None
    evs: list[EvEntry] = []
    appliances: list[ApplianceEntry] = []
    water_heaters: list[WaterHeaterEntry] = []
    hvacs: list[HvacEntry] = []
    obligation: ObligationEntry | None = None


class HomesFile(Entry):
    """homes; tariff: of all that have none of their own."""

    homes: list[HomeEntry]
    tariff: TariffEntry = msgspec.field(default_factory=TariffEntry)


def read(path: Path) -> HomesFile:
    """Raises SettingsError with the place in the file."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=HomesFile)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise SettingsError(f"{path} is no file of homes: {error}") from error
    names = [home.name for home in found.homes]
    if not names or len(set(names)) < len(names):
        raise SettingsError(f"{path} names no home" if not names else f"{path} names a home twice: {names}")
    return found


def home_of(
    entry: HomeEntry, horizon: Horizon, shared: TariffEntry, load_wh: Sequence[float] | None,
    pv_wh: Sequence[float] | None, signals: Mapping[str, Sequence[float]],
) -> Home:  # fmt: skip
    """The home as a problem. load_wh, pv_wh: of files; what the entry says itself comes first. signals: import and
    export prices (minor units per kWh) of a file. Raises SettingsError."""
    load = (
        horizon.over_slots(entry.load_wh, f"{entry.name}: load_wh", energy=True)
        if entry.load_wh is not None
        else load_wh
    )
    if load is None:
        raise SettingsError(f"nothing says what {entry.name} uses: give --input, or load_wh in the file")
    pv = horizon.over_slots(entry.pv_wh, f"{entry.name}: pv_wh", energy=True) if entry.pv_wh is not None else pv_wh
    try:
        return Home(
            name=entry.name, interval_s=horizon.interval_s, load_wh=tuple(load), pv_wh=tuple(pv or ()),
            pv_curtailable=entry.pv_curtailable, tariff=_tariff(entry, horizon, shared, signals),
            connection=Connection(import_limit_w=entry.import_limit_w, export_limit_w=entry.export_limit_w),
            battery=None if entry.battery is None else Battery(**msgspec.structs.asdict(entry.battery)),
            evs=tuple(_ev(each, horizon) for each in entry.evs),
            appliances=tuple(_appliance(each, horizon) for each in entry.appliances),
            water_heaters=tuple(_series(each, horizon, WaterHeater, ("draws_wh",)) for each in entry.water_heaters),
            hvacs=tuple(_series(each, horizon, Hvac, ("c_outdoor", "c_low", "c_high", "c_wished", "gains_w"))
                        for each in entry.hvacs),
            obligation=_obligation(entry.obligation, horizon),
        )  # fmt: skip
    except ScheduleError as error:
        raise SettingsError(f"{entry.name}: {error}") from error


def _tariff(entry: HomeEntry, horizon: Horizon, shared: TariffEntry, signals: Mapping[str, Sequence[float]]) -> Tariff:
    own = entry.tariff or shared
    taken = signals.get("import") if own.import_minor_per_kwh is None else own.import_minor_per_kwh
    if taken is None:
        raise SettingsError(
            f"nothing says what {entry.name} pays: give --signals, or tariff.import_minor_per_kwh in the file"
        )
    given = signals.get("export", own.export_minor_per_kwh)
    return Tariff(
        import_minor_per_kwh=_over(horizon, taken, "tariff.import_minor_per_kwh"),
        export_minor_per_kwh=_over(horizon, given, "tariff.export_minor_per_kwh"),
        peak_minor_per_kw=own.peak_minor_per_kw, peak_so_far_w=own.peak_so_far_w,
    )  # fmt: skip


def _over(horizon: Horizon, values: float | Sequence[float], what: str) -> tuple[float, ...]:
    return horizon.over_slots(values, what, energy=False)


def _ev(entry: EvEntry, horizon: Horizon) -> Ev:
    fields = msgspec.structs.asdict(entry)
    arrival = horizon.slot(fields.pop("arrives"), f"{entry.name}: arrives", up=True)
    departure = horizon.slot(fields.pop("departs"), f"{entry.name}: departs", after=min(arrival + 1, horizon.count))
    return Ev(arrival=arrival, departure=departure, **fields)


def _appliance(entry: ApplianceEntry, horizon: Horizon) -> Appliance:
    earliest = horizon.slot(entry.earliest, f"{entry.name}: earliest", up=True)
    latest_end = horizon.slot(entry.latest_end, f"{entry.name}: latest_end", after=min(earliest + 1, horizon.count))
    if entry.profile_minutes < 1:
        raise SettingsError(f"{entry.name}: profile_minutes is {entry.profile_minutes}; it is 1 or more")
    length = horizon.interval_s / 60
    minutes = len(entry.profile_w) * entry.profile_minutes
    profile = []
    for slot in range(-(-minutes // int(length))):
        begin, end = slot * length, (slot + 1) * length
        energy = sum(
            power
            * max(min(end, (place + 1) * entry.profile_minutes) - max(begin, place * entry.profile_minutes), 0)
            / 60
            for place, power in enumerate(entry.profile_w)
        )
        profile.append(round(energy))
    return Appliance(
        name=entry.name, earliest=earliest, latest_end=latest_end, profile_wh=tuple(profile),
        delay_minor_per_h=entry.delay_minor_per_h, priority=entry.priority,
    )  # fmt: skip


def _series(entry: Entry, horizon: Horizon, made: type[D], names: Sequence[str]) -> D:
    fields: dict[str, Any] = msgspec.structs.asdict(entry)
    for name in names:
        if fields[name] is not None:
            what = f"{fields['name']}: {name}"
            fields[name] = horizon.over_slots(fields[name], what, energy=name == "draws_wh")
    return made(**fields)


def _obligation(entry: ObligationEntry | None, horizon: Horizon) -> Obligation:
    if entry is None:
        return Obligation()
    first = horizon.slot(entry.begins, "obligation: begins")
    last = horizon.slot(entry.ends, "obligation: ends", after=min(first + 1, horizon.count), up=True)
    hours = horizon.interval_s / 3600

    def within(power_w: float | None) -> tuple[float | None, ...]:
        energy = None if power_w is None else power_w * hours
        return tuple(energy if first <= slot < last else None for slot in range(horizon.count))

    return Obligation(
        net_wh_max=within(entry.net_w_max), net_wh_min=within(entry.net_w_min),
        penalty_minor_per_kwh=entry.penalty_minor_per_kwh,
    )  # fmt: skip
