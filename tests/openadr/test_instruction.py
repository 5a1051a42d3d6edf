"""What signals ask, as numbers a device can be told."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from openadr.instruction import instructions, kind_of, unsupported
from openadr.model import Signal, SignalInterval, Unit
from tests.builders import a_dr_event

START_MS = a_dr_event().start_ms


def signal(name: str, type: str, *payloads: str, unit: Unit | None = None, signal_id: str = "s") -> Signal:
    return Signal(signal_id, name, type, unit, tuple(SignalInterval(900, each) for each in payloads))


def an_event(*signals: Signal, **given):
    return msgspec.structs.replace(a_dr_event(), signals=signals, duration_s=900 * len(signals[0].intervals), **given)


KW = Unit("power_real", "W", scale="k")
EURO = Unit("currency_per_kwh", "EUR")


@pytest.mark.parametrize(
    ("asked", "kind", "value"),
    [
        (signal("SIMPLE", "level", "2"), "level", "2"),
        (signal("simple", "level", "2"), "level", "2"),
        (signal("LOAD_DISPATCH", "setpoint", "1.5", unit=KW), "power_w", "1500"),
        (signal("LOAD_DISPATCH", "delta", "-0.5", unit=KW), "power_delta_w", "-500"),
        (signal("LOAD_CONTROL", "x-loadControlCapacity", "0.25"), "capacity_fraction", "0.25"),
        (signal("CHARGE_STATE", "setpoint", "7", unit=Unit("energy_real", "Wh", scale="k")), "charge_wh", "7000"),
        (signal("ELECTRICITY_PRICE", "price", "0.31", unit=EURO), "price_per_kwh", "0.31"),
        (signal("ENERGY_PRICE", "priceMultiplier", "2"), "price_factor", "2"),
    ],
)
def test_a_signal_is_a_number_in_base_units(asked, kind, value):
    [found] = instructions(an_event(asked), START_MS)
    assert (found.kind, found.value) == (kind, Decimal(value))
    assert (found.start_ms, found.end_ms) == (START_MS, START_MS + 900_000)


def test_each_signal_has_its_own_interval_in_force_and_the_draw_shifts_it():
    event = an_event(
        signal("SIMPLE", "level", "1", "3", signal_id="a"), signal("BID_LOAD", "setpoint", "1", "2", unit=KW)
    )
    second = START_MS + 900_000
    assert [(each.kind, each.value) for each in instructions(event, second)] == [("level", 3), ("bid_power_w", 2000)]
    assert [each.value for each in instructions(event, second, offset_s=60)] == [1, 1000]
    assert instructions(event, START_MS - 1) == ()
    assert instructions(event, START_MS + 1_800_000) == ()
    assert instructions(msgspec.structs.replace(event, cancelled=True), second) == ()


@pytest.mark.parametrize(
    "asked",
    [
        signal("x-private", "level", "1"),
        signal("LOAD_DISPATCH", "setpoint", "1500"),
        signal("LOAD_DISPATCH", "setpoint", "1500", unit=Unit("power_reactive", "VAR")),
        signal("LOAD_DISPATCH", "price", "1"),
    ],
)
def test_a_signal_that_is_private_or_lacks_its_unit_asks_nothing(asked):
    assert kind_of(asked) is None
    assert instructions(an_event(asked), START_MS) == ()


def test_one_signal_that_can_be_acted_on_is_enough():
    price, level = signal("ELECTRICITY_PRICE", "price", "1", unit=EURO), signal("SIMPLE", "level", "1", signal_id="t")
    assert unsupported(an_event(price, level), {"level"}) is None
    assert unsupported(an_event(price), {"level"}) == (
        "no signal of the event can be acted on here: ELECTRICITY_PRICE price"
    )
