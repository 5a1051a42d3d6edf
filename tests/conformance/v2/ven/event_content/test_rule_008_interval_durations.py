"""Rule 8: the durations of the intervals add up to the active period."""

from __future__ import annotations

import pytest

from tests.conformance.v2.ven import said
from tests.conformance.v2.ven.judged import HOUR_MS


@pytest.mark.parametrize("lengths", [("PT30M",), ("PT30M", "PT31M"), ("PT1H", "PT0S")], ids="+".join)
async def test_intervals_that_do_not_add_up_are_a_compliance_error(ven, lengths):
    event = said.event("evt-1", ven.clock.now_ms() + HOUR_MS, said.signal(*((length, "1") for length in lengths)))
    created = await ven.hear(said.distribute(event), "oadrCreatedEvent")
    assert (created.opts, created.event_codes) == ([("evt-1", "0", "optOut")], ["459"])


async def test_the_same_length_in_other_words_adds_up(ven):
    event = said.event("evt-1", ven.clock.now_ms() + HOUR_MS, said.signal(("PT60S", "1"), ("PT0H59M", "2")))
    created = await ven.hear(said.distribute(event), "oadrCreatedEvent")
    assert created.opts == [("evt-1", "0", "optIn")]
