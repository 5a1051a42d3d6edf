"""Rule 36: a cancellation is confirmed with optIn, and frees the device."""

from __future__ import annotations

import pytest

from tests.conformance.v2.ven import said
from tests.conformance.v2.ven.judged import HOUR_MS


@pytest.mark.parametrize("running", [False, True], ids=["before", "during"])
async def test_it_is_confirmed_and_followed_before_the_event_and_during_it(ven, running):
    start_ms = ven.clock.now_ms() + HOUR_MS
    await ven.hear(said.distribute(said.event("evt-1", start_ms)), "oadrCreatedEvent")
    if running:
        await ven.at(start_ms + 60_000)
        await ven.until(lambda: ven.shed_w == 600)
    cancelled = said.event("evt-1", start_ms, number=1, status="cancelled")
    created = await ven.hear(said.distribute(cancelled, request_id="dist-2"), "oadrCreatedEvent")
    assert (created.opts, created.event_codes) == ([("evt-1", "1", "optIn")], ["200"])
    await ven.at(start_ms + 120_000)
    await ven.until(lambda: ven.shed_w == 0)


async def test_an_event_it_had_opted_out_of_is_confirmed_with_opt_in_too(ven):
    ven.owner(opt_out=True)
    start_ms = ven.clock.now_ms() + HOUR_MS
    created = await ven.hear(said.distribute(said.event("evt-1", start_ms)), "oadrCreatedEvent")
    assert created.opts == [("evt-1", "0", "optOut")]
    cancelled = said.event("evt-1", start_ms, number=1, status="cancelled")
    created = await ven.hear(said.distribute(cancelled, request_id="dist-2"), "oadrCreatedEvent")
    assert created.opts == [("evt-1", "1", "optIn")]
