"""Rule 47: a duration of 0 is open-ended: the event lasts until it is cancelled."""

from __future__ import annotations

import pytest

from tests.conformance.v2.ven import said
from tests.conformance.v2.ven.judged import HOUR_MS


async def test_it_is_followed_until_it_is_cancelled(ven):
    start_ms = ven.clock.now_ms() + HOUR_MS
    steps = said.signal(("PT10M", "1"), ("PT0S", "2"))
    created = await ven.hear(said.distribute(said.event("evt-1", start_ms, steps, length="PT0S")), "oadrCreatedEvent")
    assert created.opts == [("evt-1", "0", "optIn")]
    for moment_ms, shed_w in ((start_ms, 300), (start_ms + 11 * 60_000, 600), (start_ms + 50 * HOUR_MS, 600)):
        await ven.at(moment_ms)
        await ven.until(lambda shed_w=shed_w: ven.shed_w == shed_w)
    ended = said.event("evt-1", start_ms, steps, length="PT0S", number=1, status="cancelled")
    created = await ven.hear(said.distribute(ended, request_id="dist-2"), "oadrCreatedEvent")
    assert created.opts == [("evt-1", "1", "optIn")]
    await ven.until(lambda: ven.shed_w == 0)


@pytest.mark.parametrize("steps", [(("PT0S", "1"), ("PT10M", "2")), (("PT10M", "2"),)], ids=["first", "none"])
async def test_an_open_end_elsewhere_is_a_compliance_error(ven, steps):
    event = said.event("evt-1", ven.clock.now_ms() + HOUR_MS, said.signal(*steps), length="PT0S")
    created = await ven.hear(said.distribute(event), "oadrCreatedEvent")
    assert (created.opts, created.event_codes) == ([("evt-1", "0", "optOut")], ["459"])
