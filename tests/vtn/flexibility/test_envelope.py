"""An envelope is what the devices of a home can do together, at the time it is asked for."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vtn.flexibility.envelope import Device, Envelope, Kind, Moment, absorb_wh, declared, envelope_of, profile_wh
from vtn.services.vens import Resource

HOUR_MS = 3_600_000


def at(month: int, hour: int, hours: int = 3, zone: str = "Europe/Paris") -> Moment:
    start_ms = int(datetime(2026, month, 10, hour, tzinfo=UTC).timestamp() * 1000)
    return Moment(start_ms=start_ms, end_ms=start_ms + hours * HOUR_MS, zone=zone)


some_devices = st.lists(
    st.builds(
        Device,
        kind=st.sampled_from([*Kind, "fountain"]),
        power_w=st.integers(0, 20_000),
        up_w=st.none() | st.integers(0, 20_000),
        energy_wh=st.none() | st.integers(0, 50_000),
        level_percent=st.integers(0, 100),
        level_ms=st.sampled_from([0, at(1, 0).start_ms]),
        reserve_percent=st.integers(0, 100),
        exports=st.booleans(),
        hours=st.none() | st.tuples(st.integers(0, 1440), st.integers(0, 1440)),
        months=st.lists(st.integers(1, 12), max_size=3).map(tuple),
    ),
    max_size=5,
)
some_loads = st.lists(st.integers(-4_000, 8_000), min_size=1, max_size=16)
some_moment = st.none() | st.builds(at, st.integers(1, 12), st.integers(0, 23), st.integers(0, 6))


def test_an_envelope_is_the_sum_of_what_its_devices_can_do() -> None:
    """Water heater 1.5 kW for 2 h and a half-full battery of 10 kWh and 5 kW: 6.5 kW, 3 + 5 = 8 kWh; the battery is
    empty after an hour."""
    heater = Device(kind=Kind.WATER_HEATER, power_w=1_500)
    battery = Device(kind=Kind.BATTERY, power_w=5_000, energy_wh=10_000, level_percent=50)
    found = envelope_of([heater, battery])
    assert (found.down_w, found.up_w, found.energy_wh, found.up_wh) == (6_500, 6_500, 8_000, 8_000)
    assert found.duration_s == 3_600
    assert found.rebound_percent == round((3_000 * 1.00 + 5_000 * 1.15) / 80)


def test_what_is_shed_falls_when_the_first_device_has_nothing_left() -> None:
    """Half-hours of the two above with load enough: 3,250 Wh twice, then the heater's 750 alone, until its 3 kWh."""
    heater = Device(kind=Kind.WATER_HEATER, power_w=1_500)
    battery = Device(kind=Kind.BATTERY, power_w=5_000, energy_wh=10_000, level_percent=50)
    shed = profile_wh(envelope_of([heater, battery]), [9_000] * 5, 100, 1_800)
    assert shed == (3_250, 3_250, 750, 750, 0)


def test_only_what_feeds_in_takes_away_more_than_is_used() -> None:
    battery = Device(kind=Kind.BATTERY, power_w=4_000, energy_wh=10_000, level_percent=100)
    feeding = msgspec.structs.replace(battery, exports=True)
    relay = Device(kind=Kind.RELAY, power_w=2_000)
    assert profile_wh(envelope_of([battery]), [600, -200], 50, 3_600) == (300, 0)
    assert profile_wh(envelope_of([feeding]), [600, -200], 50, 3_600) == (4_000, 4_000)
    assert profile_wh(envelope_of([feeding, relay]), [600, -200], 50, 3_600) == (4_300, 4_000)


def test_an_empty_battery_takes_nothing_away_and_a_full_one_takes_nothing_in() -> None:
    empty = Device(kind=Kind.BATTERY, power_w=5_000, energy_wh=10_000, level_percent=0)
    full = msgspec.structs.replace(empty, level_percent=100)
    assert (envelope_of([empty]).down_w, envelope_of([empty]).up_wh) == (0, 10_000)
    assert (envelope_of([full]).up_w, envelope_of([full]).energy_wh) == (0, 10_000)
    assert envelope_of([]).energy_wh == 0
    kept = msgspec.structs.replace(full, reserve_percent=30)
    assert envelope_of([kept]).energy_wh == 7_000


def test_how_full_a_battery_was_counts_less_the_later_it_is_asked() -> None:
    """Full at noon, usually at 40 %: at once all of it is there, a day later hardly more than usual."""
    noon = at(6, 12).start_ms
    battery = Device(
        kind=Kind.BATTERY, power_w=5_000, energy_wh=10_000, level_percent=100, level_ms=noon, usual_percent=40
    )
    held = [
        envelope_of([battery], Moment(start_ms=noon + n * HOUR_MS, end_ms=noon + (n + 1) * HOUR_MS)).energy_wh
        for n in (0, 6, 24)
    ]
    assert held == [10_000, 6_207, 4_109]


def test_a_car_that_is_away_and_a_heat_pump_in_summer_add_nothing() -> None:
    """At home from 18:00 to 7:00; an event at 17:00 in Paris begins without it, one at 22:00 has it all through."""
    car = Device(kind=Kind.EV, power_w=7_000, energy_wh=40_000, level_percent=60, hours=(18 * 60, 7 * 60))
    pump = Device(kind=Kind.THERMOSTAT, power_w=1_200, months=(10, 11, 12, 1, 2, 3, 4))
    assert envelope_of([car, pump], at(1, 16)).down_w == 1_200
    assert envelope_of([car, pump], at(1, 21)).down_w == 8_200
    assert envelope_of([car, pump], at(7, 15)).down_w == 0
    assert envelope_of([car], at(1, 21)).energy_wh == 16_000  # what it still lacks, charged later
    assert envelope_of([car], at(1, 4)).down_w == 0  # leaves at 7:00, an hour before the end


def test_an_unknown_kind_is_taken_by_what_the_home_says_of_it() -> None:
    said = b'{"kind":"fountain","power_w":300,"energy_wh":900,"rebound_percent":0,"comfort_minor":7,"jets":12}'
    fountain = msgspec.json.decode(said, type=Device)
    found = envelope_of([fountain])
    assert (found.down_w, found.energy_wh, found.rebound_percent, found.comfort_minor) == (300, 900, 0, 7)
    resource = msgspec.json.decode(b'{"flexible_w":300,"devices":[' + said + b"]}", type=Resource)
    assert resource.devices == (fountain,)


@pytest.mark.parametrize(
    "wrong",
    [{"power_w": -1}, {"level_percent": 101}, {"months": (0,)}, {"hours": (0, 1441)}, {"kind": ""}, {"rebound_s": -5}],
)
def test_a_device_that_cannot_be_is_refused_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="device 'tank'"):
        Device(**{"kind": "relay", "name": "tank", "power_w": 1, **wrong})  # type: ignore[arg-type]


@settings(max_examples=80, deadline=None)
@given(some_devices, some_moment, some_loads, st.integers(0, 100), st.sampled_from([900, 1_800, 3_600]))
def test_a_profile_keeps_to_power_energy_and_load(
    devices: list[Device], moment: Moment | None, load_wh: list[int], percent: int, interval_s: int
) -> None:
    found = envelope_of(devices, moment)
    shed = profile_wh(found, load_wh, percent, interval_s)
    feeding_wh = sum(part.down_w for part in found.parts if part.exports) * interval_s // 3_600
    assert all(0 <= wh <= found.down_w * interval_s // 3_600 for wh in shed)
    assert sum(shed) <= found.energy_wh
    for wh, load in zip(shed, load_wh, strict=True):
        assert wh <= max(0, load) * percent // 100 + feeding_wh
    taken = absorb_wh(found, load_wh, interval_s, connection_w=10_000)
    assert sum(taken) <= found.up_wh
    for wh, load in zip(taken, load_wh, strict=True):
        assert 0 <= wh <= found.up_w * interval_s // 3_600
        assert not wh or wh + load <= 10_000 * interval_s // 3_600


@settings(max_examples=60, deadline=None)
@given(some_devices, some_devices, some_moment)
def test_two_groups_of_devices_together_do_what_each_does(
    one: list[Device], other: list[Device], moment: Moment | None
) -> None:
    """Powers and energies add; at full power the sum holds out as long as the weaker."""
    both, first, second = envelope_of([*one, *other], moment), envelope_of(one, moment), envelope_of(other, moment)
    for name in ("down_w", "up_w", "energy_wh", "up_wh"):
        assert getattr(both, name) == getattr(first, name) + getattr(second, name)
    lasting = [each.duration_s for each in (first, second) if each.down_w]
    assert both.duration_s == min(lasting, default=0)


@settings(max_examples=40, deadline=None)
@given(some_devices, some_loads, st.integers(0, 5_000))
def test_an_owners_limit_holds_whatever_the_devices_can(devices: list[Device], load_wh: list[int], most_w: int) -> None:
    found = envelope_of(devices)
    limited: Envelope = msgspec.structs.replace(found, down_w=min(found.down_w, most_w))
    assert all(wh <= most_w // 4 for wh in profile_wh(limited, load_wh, 100, 900))


def test_a_home_that_names_a_power_only_holds_out_for_four_hours() -> None:
    """1 kW is 250 Wh a quarter-hour, half of 400 Wh of load is 200, 600 Wh in all; export sheds nothing."""
    envelope = declared(1_000, hours=0.6)
    assert profile_wh(envelope, [400.0, -300.0, 900.0, 900.0, 900.0], 50, 900) == (200, 0, 250, 150, 0)
