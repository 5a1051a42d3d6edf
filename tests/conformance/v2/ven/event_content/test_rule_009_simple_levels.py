"""Rule 9: SIMPLE is a level of 0 to 3."""

from __future__ import annotations

import pytest

from tests.conformance.v2.ven import said
from tests.conformance.v2.ven.judged import HOUR_MS


@pytest.mark.parametrize(("level", "shed_w"), [("0", 0), ("1", 300), ("2", 600), ("3", 900), ("2.0", 600)])
async def test_each_level_is_acted_on(ven, level, shed_w):
    start_ms = ven.clock.now_ms() + HOUR_MS
    event = said.event("evt-1", start_ms, said.signal(("PT1H", level)))
    created = await ven.hear(said.distribute(event), "oadrCreatedEvent")
    assert created.opts == [("evt-1", "0", "optIn")]
    await ven.at(start_ms)
    await ven.until(lambda: ven.shed_w == shed_w)


@pytest.mark.parametrize("level", ["4", "-1", "0.5", "1000000"])
async def test_another_value_is_invalid_data(ven, level):
    event = said.event("evt-1", ven.clock.now_ms() + HOUR_MS, said.signal(("PT1H", level)))
    created = await ven.hear(said.distribute(event), "oadrCreatedEvent")
    assert (created.opts, created.event_codes) == ([("evt-1", "0", "optOut")], ["454"])
