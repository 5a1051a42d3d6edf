"""Rule 7: at most one signal of an event is named SIMPLE; others stand beside it."""

from __future__ import annotations

import pytest

from openadr.model import Unit
from tests.conformance.v2.running import a_signal
from tests.vtn.opened import PROGRAM
from vtn.errors import InvalidInput

PRICE, ENERGY, POWER = Unit("currency_per_kwh", "EUR"), Unit("energy_real", "Wh", "k"), Unit("power_real", "W", "k")
SIGNALS = [
    ("SIMPLE", "level", "1", None),
    ("ELECTRICITY_PRICE", "price", "0.45", PRICE),
    ("ENERGY_PRICE", "priceRelative", "-0.1", PRICE),
    ("LOAD_DISPATCH", "setpoint", "2.5", POWER),
    ("LOAD_DISPATCH", "delta", "-1.5", POWER),
    ("LOAD_CONTROL", "x-loadControlCapacity", "0.5", None),
    ("CHARGE_STATE", "setpoint", "40", ENERGY),
    ("BID_PRICE", "price", "0.2", PRICE),
    ("BID_LOAD", "setpoint", "3", POWER),
    ("BID_ENERGY", "setpoint", "12", ENERGY),
]


def test_an_event_carries_signals_of_every_name_in_their_order(vtn, device):
    signals = tuple(
        a_signal((value, 3600), name=name, type=type_, unit=unit, signal_id=f"s-{number}")
        for number, (name, type_, value, unit) in enumerate(SIGNALS)
    )
    event_id = vtn.event(device, signals=signals)
    answer = device.events()
    event = answer.event(event_id)
    assert answer.texts(".//ei:signalName", event) == [name for name, *_ in SIGNALS]
    assert answer.texts(".//ei:signalType", event) == [type_ for _, type_, *_ in SIGNALS]
    assert answer.texts(".//ei:interval//ei:value", event) == [value for _, _, value, _ in SIGNALS]
    units = event.findall(".//{*}eiEventSignal/*/{*}itemUnits")
    assert [each.text for each in units] == [unit.symbol for *_, unit in SIGNALS if unit is not None]


def test_two_signals_named_simple_are_refused(vtn):
    both = (a_signal(("1", 3600)), a_signal(("2", 3600), signal_id="signal-1"))
    with pytest.raises(InvalidInput, match="rule 7"):
        vtn.do(vtn.inside.dr_events.create(vtn.an_event(signals=both), PROGRAM))
