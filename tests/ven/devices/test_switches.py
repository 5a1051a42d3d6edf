"""Relay and dimmer: energy follows from the commands, each of which ends by itself."""

from __future__ import annotations

import pytest

from ven.devices.base import Meter, Mode, Persistent, Reporting, Sheddable
from ven.devices.control import Command, ControlLog, Kind
from ven.devices.dimmer import Dimmer
from ven.devices.errors import ControlError
from ven.devices.relay import Relay

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS


def test_a_relay_off_for_ten_minutes_of_an_hour_uses_five_sixths() -> None:
    """1200 W for 50 of 60 minutes: 1000 Wh."""
    relay = Relay("heater", 1200)
    relay.shed(20 * MINUTE_MS, 100, 30 * MINUTE_MS)
    assert relay.energy_wh(0, HOUR_MS) == 1000
    assert relay.energy_wh(0, 25 * MINUTE_MS) == 400  # 20 minutes of 1200 W
    assert (relay.power_w(25 * MINUTE_MS), relay.power_w(30 * MINUTE_MS)) == (0, 1200)
    assert relay.status(25 * MINUTE_MS).mode is Mode.SHEDDING
    assert relay.status(25 * MINUTE_MS).until_ms == 30 * MINUTE_MS


def test_a_relay_opens_from_its_level_on() -> None:
    relay = Relay("heater", 1200, opens_at_level=2)
    for hour, level in enumerate([1, 2, 3, 0]):
        relay.set_level(hour * HOUR_MS, level, 9 * HOUR_MS)
    assert [relay.energy_wh(hour * HOUR_MS, (hour + 1) * HOUR_MS) for hour in range(4)] == [1200, 0, 0, 1200]


def test_a_dimmer_sheds_to_its_floor_and_no_further() -> None:
    """600 W, floor 150 W: 200 W less gives 400 W, 500 W less the floor, level 2 (2/3 of 450) 300 W; limits likewise."""
    dimmer = Dimmer("lights", 600, floor_w=150)
    dimmer.shed(0, 200, HOUR_MS)
    dimmer.shed(HOUR_MS, 500, 2 * HOUR_MS)
    dimmer.set_level(2 * HOUR_MS, 2, 3 * HOUR_MS)
    dimmer.limit(3 * HOUR_MS, 500, 4 * HOUR_MS)
    dimmer.limit(4 * HOUR_MS, 0, 5 * HOUR_MS)
    assert [dimmer.energy_wh(hour * HOUR_MS, (hour + 1) * HOUR_MS) for hour in range(6)] == [
        400,
        150,
        300,
        500,
        150,
        600,
    ]


def test_a_command_takes_effect_after_the_delay_and_so_does_its_restore() -> None:
    """3600 W, 60 s delay, asked from 0 and restored at 10 min: off from 1 to 11 min, 50 min on: 3000 Wh."""
    relay = Relay("heater", 3600, delay_s=60)
    relay.shed(0, 1, HOUR_MS)
    relay.restore(10 * MINUTE_MS)
    assert relay.energy_wh(0, HOUR_MS) == 3000
    assert relay.status(30_000).mode is Mode.NORMAL


def test_readings_of_any_cut_add_up() -> None:
    """7 W: a minute is 0.117 Wh; the minutes of an hour still sum to 7 Wh."""
    relay = Relay("router", 7)
    assert sum(relay.energy_wh(minute * MINUTE_MS, (minute + 1) * MINUTE_MS) for minute in range(60)) == 7


def test_a_device_resumes_in_the_middle_of_a_reduction() -> None:
    """1000 W, 300 W less for the first hour of two: 700 + 1000 Wh, with the agent dying after half an hour."""
    dimmer = Dimmer("x", 1000)
    dimmer.shed(0, 300, HOUR_MS)
    resumed = Dimmer("x", 1000, state=dimmer.state())
    resumed.shed(30 * MINUTE_MS, 300, HOUR_MS)  # the agent repeats what it had commanded
    assert resumed.state() == dimmer.state()
    assert resumed.energy_wh(0, 2 * HOUR_MS) == 1700


def test_a_state_of_another_device_or_damaged_is_refused() -> None:
    with pytest.raises(ControlError, match="of 'a', not of 'b'"):
        Relay("b", 1, state=Relay("a", 1).state())
    with pytest.raises(ControlError, match="cannot be read"):
        Relay("a", 1, state=b'{"device_id": "a"}')


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (Command(5, 5, Kind.REDUCE, 1), "cannot end at 5"),
        (Command(0, 5, Kind.REDUCE, 0), "at least 1"),
        (Command(0, 5, Kind.LEVEL, 4), "SIMPLE level is 4"),
        (Command(0, 5, Kind.LIMIT, -1), "not be negative"),
    ],
)
def test_commands_out_of_range_are_refused(command: Command, message: str) -> None:
    with pytest.raises(ControlError, match=message):
        ControlLog(0).add(command)


def test_a_command_older_than_the_last_is_refused() -> None:
    relay = Relay("heater", 1000)
    relay.shed(10, 1, 20)
    with pytest.raises(ControlError, match="came after"):
        relay.restore(9)


def test_a_restore_of_nothing_is_not_remembered() -> None:
    relay = Relay("heater", 1000)
    before = relay.state()
    relay.restore(5)
    assert relay.state() == before


def test_impossible_ratings_are_refused() -> None:
    with pytest.raises(ControlError, match="rated_w 0"):
        Relay("x", 0)
    with pytest.raises(ControlError, match="opens_at_level"):
        Relay("x", 1, opens_at_level=4)
    with pytest.raises(ControlError, match="floor_w"):
        Dimmer("x", 100, floor_w=101)


def test_an_interval_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(ControlError, match="ends before it starts"):
        Relay("x", 1).energy_wh(1, 0)


def test_devices_have_the_capabilities_they_name() -> None:
    meters: list[Meter] = [Relay("r", 1), Dimmer("d", 1)]
    sheddable: list[Sheddable] = [Relay("r", 1), Dimmer("d", 5, floor_w=2)]
    reporting: list[Reporting] = [Relay("r", 1), Dimmer("d", 1)]
    persistent: list[Persistent] = [Relay("r", 1), Dimmer("d", 1)]
    assert [device.max_shed_w for device in sheddable] == [1, 3]
    assert len(meters) == len(reporting) == len(persistent) == 2
