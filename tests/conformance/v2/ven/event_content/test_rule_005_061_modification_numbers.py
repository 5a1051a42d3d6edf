"""Rules 5 and 61: any change but createdDateTime, eventStatus and currentValue comes under a higher modificationNumber,
and the VEN follows and answers it, before the event and during it."""

from __future__ import annotations

import pytest

from tests.conformance.v2.ven import said
from tests.conformance.v2.ven.judged import HOUR_MS


async def agreed(ven, start_ms):
    created = await ven.hear(said.distribute(said.event("evt-1", start_ms)), "oadrCreatedEvent")
    assert created.opts == [("evt-1", "0", "optIn")]


async def test_a_changed_event_is_answered_and_followed_under_its_new_number(ven):
    start_ms = ven.clock.now_ms() + HOUR_MS
    await agreed(ven, start_ms)
    changed = said.event("evt-1", start_ms, said.signal(("PT1H", "3")), number=1)
    created = await ven.hear(said.distribute(changed, request_id="dist-2"), "oadrCreatedEvent")
    assert created.opts == [("evt-1", "1", "optIn")]
    await ven.at(start_ms)
    await ven.until(lambda: ven.shed_w == 900)


async def test_a_change_during_the_event_is_followed_at_once(ven):
    start_ms = ven.clock.now_ms() + HOUR_MS
    await agreed(ven, start_ms)
    await ven.at(start_ms)
    await ven.until(lambda: ven.shed_w == 600)
    changed = said.event("evt-1", start_ms, said.signal(("PT1H", "1")), number=1, status="active")
    created = await ven.hear(said.distribute(changed, request_id="dist-2"), "oadrCreatedEvent")
    assert created.opts == [("evt-1", "1", "optIn")]
    await ven.until(lambda: ven.shed_w == 300)


async def test_a_shift_of_the_start_is_followed(ven):
    start_ms = ven.clock.now_ms() + HOUR_MS
    await agreed(ven, start_ms)
    shifted = said.event("evt-1", start_ms + HOUR_MS, number=1)
    await ven.hear(said.distribute(shifted, request_id="dist-2"), "oadrCreatedEvent")
    await ven.at(start_ms + 60_000)
    assert ven.shed_w == 0
    await ven.at(start_ms + HOUR_MS)
    await ven.until(lambda: ven.shed_w == 600)


@pytest.mark.parametrize(
    "change",
    [{"status": "near"}, {"created_ms": 1_767_225_660_000}, {"status": "active", "current": "2"}],
    ids=["eventStatus", "createdDateTime", "currentValue"],
)
async def test_what_passes_with_time_is_no_change(judge, ven, change):
    start_ms = ven.clock.now_ms() + HOUR_MS
    await agreed(ven, start_ms)
    await ven.at(start_ms)
    await ven.until(lambda: ven.shed_w == 600)
    current = change.pop("current", "0")
    same = said.event("evt-1", start_ms, said.signal(("PT1H", "2"), current=current), **change)
    created = await ven.hear(said.distribute(same, request_id="dist-2"), "oadrCreatedEvent")
    assert created.opts == [("evt-1", "0", "optIn")]
    assert ven.shed_w == 600
