"""A home as a problem: what it uses anyway, what the roof gives, what energy costs, and which devices may move."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from scheduling.devices import (
    Appliance,
    Battery,
    Ev,
    Hvac,
    Series,
    WaterHeater,
    not_negative,
    positive,
    series,
)  # fmt: skip
from scheduling.errors import InvalidHome

INTERVAL_S_MIN, INTERVAL_S_MAX = 300, 3600


@dataclass(frozen=True, kw_only=True)
class Tariff:
    """What energy costs in each slot, in minor units of money per kWh, of any sign: exported energy earns export_*.

    peak_minor_per_kw: for the highest import of the horizon, as far as it is above peak_so_far_w (paid already).
    """

    import_minor_per_kwh: Series
    export_minor_per_kwh: Series
    peak_minor_per_kw: float = 0.0
    peak_so_far_w: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Connection:
    """What the connection bears, W; None: no limit."""

    import_limit_w: float | None = None
    export_limit_w: float | None = None


@dataclass(frozen=True, kw_only=True)
class Obligation:
    """What a dispatch asks of the home: net import (Wh, export negative) at most and at least, None where it asks
    nothing. penalty_minor_per_kwh: what each kWh beyond costs; None: it is kept, whatever it costs. `weight`: how much
    worse a Wh that lacks here is than one that lacks at a device of priority 1, where not all can be had."""

    net_wh_max: tuple[float | None, ...] = ()
    net_wh_min: tuple[float | None, ...] = ()
    penalty_minor_per_kwh: float | None = None
    weight: float = 10.0

    @classmethod
    def reduction(cls, baseline_wh: Series, reduction_wh: Series) -> Obligation:
        """A contract over a reduction against a baseline, each a value a slot; where it is zero nothing is asked."""
        pairs = zip(baseline_wh, reduction_wh, strict=True)
        return cls(net_wh_max=tuple(base - less if less > 0 else None for base, less in pairs))

    def beyond_wh(self, net_wh: Sequence[float]) -> float:
        """By how much a net import is outside, over all slots."""
        over = sum(max(net - most, 0) for net, most in zip(net_wh, self.net_wh_max, strict=False) if most is not None)
        under = (max(least - net, 0) for net, least in zip(net_wh, self.net_wh_min, strict=False) if least is not None)
        return over + sum(under)

    def slots(self) -> list[int]:
        """Where it asks something."""
        asked = {slot for slot, most in enumerate(self.net_wh_max) if most is not None}
        return sorted(asked | {slot for slot, least in enumerate(self.net_wh_min) if least is not None})


@dataclass(frozen=True, kw_only=True)
class Home:
    """A home over a horizon of len(load_wh) slots of interval_s seconds (300 to 3600).

    load_wh: what it uses anyway, without its devices and before generation; pv_wh: forecast generation (empty: none);
    pv_curtailable: the inverter may be turned down. Fractions of a Wh are rounded to the next slot, so sums are kept
    to half a Wh. Raises InvalidHome.
    """

    name: str
    interval_s: int
    load_wh: Series
    tariff: Tariff
    pv_wh: Series = ()
    pv_curtailable: bool = True
    connection: Connection = field(default_factory=Connection)
    battery: Battery | None = None
    evs: tuple[Ev, ...] = ()
    appliances: tuple[Appliance, ...] = ()
    water_heaters: tuple[WaterHeater, ...] = ()
    hvacs: tuple[Hvac, ...] = ()
    obligation: Obligation = field(default_factory=Obligation)

    def __post_init__(self) -> None:
        if not INTERVAL_S_MIN <= self.interval_s <= INTERVAL_S_MAX:
            raise InvalidHome(f"{self.name}: a slot lasts {self.interval_s} s; it lasts 5 to 60 minutes")
        count = len(self.load_wh)
        if not count:
            raise InvalidHome(f"{self.name}: load_wh is empty; give the load of each slot, 0 where there is none")
        series(self.name, "load_wh", self.load_wh, count, low=0)
        if len(self.pv_wh):
            series(self.name, "pv_wh", self.pv_wh, count, low=0)
        self._check_terms(count)
        names = [device.name for device in self.devices()]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InvalidHome(f"{self.name}: two devices are called {twice!r}: give each a name of its own")
        for ev in self.evs:
            self._within(ev.name, "departure", ev.departure, count)
        for appliance in self.appliances:
            self._within(appliance.name, "latest_end", appliance.latest_end, count)
        for heater in self.water_heaters:
            series(heater.name, "draws_wh", heater.draws_wh, count, low=0)
        for hvac in self.hvacs:
            series(hvac.name, "c_outdoor", hvac.c_outdoor, count)
            if hvac.gains_w:
                series(hvac.name, "gains_w", hvac.gains_w, count)
            for name, values in (
                ("c_low", hvac.lows(count)),
                ("c_high", hvac.highs(count)),
                ("c_wished", hvac.wishes(count)),
            ):
                series(hvac.name, name, values, count)

    def _check_terms(self, count: int) -> None:
        tariff, connection = self.tariff, self.connection
        series(self.name, "tariff.import_minor_per_kwh", tariff.import_minor_per_kwh, count)
        series(self.name, "tariff.export_minor_per_kwh", tariff.export_minor_per_kwh, count)
        not_negative(self.name, "tariff.peak_minor_per_kw", tariff.peak_minor_per_kw)
        not_negative(self.name, "tariff.peak_so_far_w", tariff.peak_so_far_w)
        for limit in ("import_limit_w", "export_limit_w"):
            if (value := getattr(connection, limit)) is not None:
                not_negative(self.name, f"connection.{limit}", value)
        positive(self.name, "obligation.weight", self.obligation.weight)
        if self.obligation.penalty_minor_per_kwh is not None:
            not_negative(self.name, "obligation.penalty_minor_per_kwh", self.obligation.penalty_minor_per_kwh)
        for name in ("net_wh_max", "net_wh_min"):
            if values := getattr(self.obligation, name):
                series(self.name, f"obligation.{name}", [0.0 if each is None else each for each in values], count)
        for slot in range(min(len(self.obligation.net_wh_max), len(self.obligation.net_wh_min))):
            most, least = self.obligation.net_wh_max[slot], self.obligation.net_wh_min[slot]
            if most is not None and least is not None and least > most:
                raise InvalidHome(
                    f"{self.name}: in slot {slot} the obligation asks for at least {least:g} and at most {most:g} Wh: "
                    "nobody can keep both"
                )

    def _within(self, device: str, what: str, slot: int, count: int) -> None:
        if slot > count:
            raise InvalidHome(
                f"{device}: {what} is slot {slot}, behind the horizon of {count} slots: lengthen the horizon or give "
                f"{what} = {count}"
            )

    @property
    def count(self) -> int:
        """Number of slots."""
        return len(self.load_wh)

    @property
    def hours(self) -> float:
        """Length of a slot."""
        return self.interval_s / 3600

    def devices(self) -> Iterator[Battery | Ev | Appliance | WaterHeater | Hvac]:
        """All of them, each once."""
        if self.battery is not None:
            yield self.battery
        yield from self.evs
        yield from self.appliances
        yield from self.water_heaters
        yield from self.hvacs

    def load(self) -> tuple[int, ...]:
        """What it uses anyway, whole Wh."""
        return whole(self.load_wh)

    def pv(self) -> tuple[int, ...]:
        """Generation, whole Wh."""
        return whole(self.pv_wh) if len(self.pv_wh) else (0,) * self.count

    def net_max_wh(self) -> tuple[float, ...]:
        """Highest net import in each slot by connection and obligation, whole Wh or infinite."""
        limit = self.connection.import_limit_w
        physical = math.inf if limit is None else math.floor(limit * self.hours + 1e-9)
        asked = self.obligation.net_wh_max if self.obligation.penalty_minor_per_kwh is None else ()
        asked = asked or (None,) * self.count
        return tuple(physical if most is None else min(physical, math.floor(most + 1e-9)) for most in asked)

    def net_min_wh(self) -> tuple[float, ...]:
        """Lowest net import in each slot by connection and obligation, whole Wh or minus infinity."""
        limit = self.connection.export_limit_w
        physical = -math.inf if limit is None else -math.floor(limit * self.hours + 1e-9)
        asked = self.obligation.net_wh_min if self.obligation.penalty_minor_per_kwh is None else ()
        asked = asked or (None,) * self.count
        return tuple(physical if least is None else max(physical, math.ceil(least - 1e-9)) for least in asked)

    def at_prices(self, extra_minor_per_kwh: Series) -> Home:
        """The same home where net import costs so much more in each slot, and export earns so much more."""
        tariff = self.tariff
        return replace(self, tariff=replace(
            tariff,
            import_minor_per_kwh=[a + b for a, b in zip(tariff.import_minor_per_kwh, extra_minor_per_kwh, strict=True)],
            export_minor_per_kwh=[a + b for a, b in zip(tariff.export_minor_per_kwh, extra_minor_per_kwh, strict=True)],
        ))  # fmt: skip


def whole(values: Series) -> tuple[int, ...]:
    """Whole Wh whose running sum is never more than half a Wh off; bounds that are whole are kept."""
    rounded: list[int] = []
    total, done = 0.0, 0
    for value in values:
        total += value
        rounded.append(math.floor(total + 0.5) - done)
        done += rounded[-1]
    return tuple(rounded)
