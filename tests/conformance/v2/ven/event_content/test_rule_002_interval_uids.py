"""Rule 2: interval uids count from 0 by 1; an event with others is refused, not guessed at."""

from __future__ import annotations

import pytest

from tests.conformance.v2.ven import said
from tests.conformance.v2.ven.judged import HOUR_MS


async def test_intervals_are_acted_on_in_the_order_of_their_uids(ven):
    start_ms = ven.clock.now_ms() + HOUR_MS
    steps = said.signal(("PT20M", "1"), ("PT20M", "3"), ("PT20M", "0"))
    created = await ven.hear(said.distribute(said.event("evt-1", start_ms, steps)), "oadrCreatedEvent")
    assert created.opts == [("evt-1", "0", "optIn")]
    for minutes, shed_w in ((1, 300), (21, 900), (41, 0)):
        await ven.at(start_ms + minutes * 60_000)
        await ven.until(lambda shed_w=shed_w: ven.shed_w == shed_w)


@pytest.mark.parametrize("uids", [("1", "2"), ("0", "2"), ("1", "0"), ("0", "0")], ids="-".join)
async def test_other_uids_are_a_compliance_error(ven, uids):
    broken = said.event("evt-1", ven.clock.now_ms() + HOUR_MS, said.signal(("PT30M", "1"), ("PT30M", "2"), uids=uids))
    created = await ven.hear(said.distribute(broken), "oadrCreatedEvent")
    assert (created.opts, created.event_codes) == ([("evt-1", "0", "optOut")], ["459"])
    await ven.at(ven.clock.now_ms() + HOUR_MS + 60_000)
    assert ven.shed_w == 0
