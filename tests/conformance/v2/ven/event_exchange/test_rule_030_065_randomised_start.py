"""Rules 30 and 65: with startafter a VEN draws its own moment inside the window, for the start, for the end, and for
the end of an event that is cancelled while it runs; a restart does not draw again."""

from __future__ import annotations

from tests.conformance.v2.ven import said
from tests.conformance.v2.ven.judged import HOUR_MS

WINDOW = {"start_after": "PT1H"}


async def test_each_event_is_drawn_for_on_its_own_inside_its_window(ven):
    start_ms = ven.clock.now_ms() + HOUR_MS
    await ven.poll(said.distribute(*(said.event(f"evt-{n}", start_ms + 3 * n * HOUR_MS, **WINDOW) for n in range(8))))
    drawn = [stored.offset_s for stored in ven.store.events.all()]
    assert len(drawn) == 8
    assert len(set(drawn)) > 1
    assert all(0 <= each <= 3600 for each in drawn)


async def test_start_and_end_are_shifted_alike(ven):
    start_ms = ven.clock.now_ms() + HOUR_MS
    created = await ven.hear(said.distribute(said.event("evt-1", start_ms, **WINDOW)), "oadrCreatedEvent")
    assert created.opts == [("evt-1", "0", "optIn")]
    own_start_ms = start_ms + 1000 * ven.store.events.find("evt-1").offset_s
    await ven.at(own_start_ms - 1000)
    assert ven.shed_w == 0
    await ven.at(own_start_ms)
    await ven.until(lambda: ven.shed_w == 600)
    await ven.at(own_start_ms + HOUR_MS - 1000)
    assert ven.shed_w == 600
    await ven.at(own_start_ms + HOUR_MS)
    await ven.until(lambda: ven.shed_w == 0)


async def test_a_restart_keeps_what_was_drawn(judge, ven):
    start_ms = ven.clock.now_ms() + HOUR_MS
    judge.listed.append(said.event("evt-1", start_ms, **WINDOW))
    await ven.hear(said.distribute(*judge.listed), "oadrCreatedEvent")
    drawn = ven.store.events.find("evt-1").offset_s
    for _ in range(3):
        await ven.restart()
        await judge.next("oadrCreatedEvent")
        assert ven.store.events.find("evt-1").offset_s == drawn


async def test_the_end_of_a_cancelled_event_is_drawn_too(ven):
    """Three events, because one may draw the moment of the cancellation itself."""
    later = 0
    for n in range(3):
        start_ms = ven.clock.now_ms() + HOUR_MS
        given = {"length": "PT6H", "start_after": "PT30M"}
        await ven.hear(said.distribute(said.event(f"evt-{n}", start_ms, **given)), "oadrCreatedEvent")
        await ven.at(start_ms + HOUR_MS)
        await ven.until(lambda: ven.shed_w == 600)
        ended = said.event(f"evt-{n}", start_ms, **given, number=1, status="cancelled")
        created = await ven.hear(said.distribute(ended, request_id="dist-2"), "oadrCreatedEvent")
        assert created.opts == [(f"evt-{n}", "1", "optIn")]
        await ven.at(ven.clock.now_ms())
        later += ven.shed_w == 600
        await ven.at(ven.clock.now_ms() + HOUR_MS // 2)
        await ven.until(lambda: ven.shed_w == 0)
    assert later


async def test_a_change_of_the_window_keeps_the_draw_inside_it(ven):
    start_ms = ven.clock.now_ms() + HOUR_MS
    drawn = []
    for number, window in enumerate(({"start_after": "PT4H"}, {"start_after": "PT1S"}, {}, WINDOW, WINDOW)):
        event = said.event("evt-1", start_ms, number=number, **window)
        await ven.hear(said.distribute(event, request_id=f"dist-{number}"), "oadrCreatedEvent")
        drawn.append(ven.store.events.find("evt-1").offset_s)
    assert drawn[1] <= 1
    assert drawn[2] == 0
    assert 0 <= drawn[3] == drawn[4] <= 3600
