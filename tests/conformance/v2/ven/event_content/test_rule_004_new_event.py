"""Rule 4: a new event has modificationNumber 0. A VEN that was away may first see it under a later number, and takes
it."""

from __future__ import annotations

import pytest

from tests.conformance.v2.ven import said
from tests.conformance.v2.ven.judged import HOUR_MS


@pytest.mark.parametrize("number", [0, 3])
async def test_an_event_is_answered_under_the_number_it_came_with(ven, number):
    start_ms = ven.clock.now_ms() + HOUR_MS
    created = await ven.hear(said.distribute(said.event("evt-1", start_ms, number=number)), "oadrCreatedEvent")
    assert (created.opts, created.event_codes) == ([("evt-1", str(number), "optIn")], ["200"])
    await ven.at(start_ms)
    await ven.until(lambda: ven.shed_w == 600)
