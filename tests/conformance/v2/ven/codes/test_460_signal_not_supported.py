"""Code 460: an event without a signal the VEN understands is refused by that code, whatever else is right with it."""

from __future__ import annotations

import pytest

from tests.conformance.v2.ven import said
from tests.conformance.v2.ven.judged import HOUR_MS


@pytest.mark.parametrize(
    ("name", "type", "unit"),
    [
        ("ELECTRICITY_PRICE", "price", said.PRICE_UNIT),
        ("CHARGE_STATE", "multiplier", ""),
        ("x-something", "level", ""),
    ],
)
async def test_a_signal_it_cannot_follow_is_refused_by_its_code(ven, name, type, unit):
    start_ms = ven.clock.now_ms() + HOUR_MS
    event = said.event("evt-1", start_ms, said.signal(("PT1H", "0.5"), name=name, type=type, unit=unit))
    created = await ven.hear(said.distribute(event), "oadrCreatedEvent")
    assert (created.opts, created.event_codes) == ([("evt-1", "0", "optOut")], ["460"])
    await ven.at(start_ms)
    assert ven.shed_w == 0
