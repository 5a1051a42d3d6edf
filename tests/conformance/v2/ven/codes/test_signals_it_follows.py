"""Signals beside SIMPLE, in the units of the profile's signal table: the device does what they say, and where SIMPLE
stands beside one, the more precise one counts."""

from __future__ import annotations

import pytest

from tests.conformance.v2.ven import said
from tests.conformance.v2.ven.judged import HOUR_MS

WATTS = (
    "<power:powerReal><power:itemDescription>RealPower</power:itemDescription><power:itemUnits>W</power:itemUnits>"
    "<scale:siScaleCode>{scale}</scale:siScaleCode><power:powerAttributes><power:hertz>50</power:hertz><power:voltage>230"
    "</power:voltage><power:ac>true</power:ac></power:powerAttributes></power:powerReal>"
)
SIMPLE = said.signal(("PT1H", "3"), signal_id="simple")


@pytest.mark.parametrize(
    ("name", "type", "value", "scale", "shed_w"),
    [
        ("LOAD_DISPATCH", "setpoint", "400", "none", 500),
        ("LOAD_DISPATCH", "setpoint", "0.4", "k", 500),
        ("LOAD_CONTROL", "x-loadControlCapacity", "0.5", None, 450),
    ],
)
async def test_it_is_followed_in_watts(ven, name, type, value, scale, shed_w):
    start_ms = ven.clock.now_ms() + HOUR_MS
    unit = "" if scale is None else WATTS.format(scale=scale)
    precise = said.signal(("PT1H", value), name=name, type=type, unit=unit)
    created = await ven.hear(said.distribute(said.event("evt-1", start_ms, SIMPLE, precise)), "oadrCreatedEvent")
    assert created.opts == [("evt-1", "0", "optIn")]
    await ven.at(start_ms)
    await ven.until(lambda: ven.shed_w == shed_w)
    await ven.at(start_ms + HOUR_MS)
    await ven.until(lambda: ven.shed_w == 0)
