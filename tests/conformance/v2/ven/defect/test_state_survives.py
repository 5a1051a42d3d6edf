"""A stock client forgets at a restart: its registration, its events and answers, the reports it owes."""

from __future__ import annotations

from tests.conformance.v2 import wire
from tests.conformance.v2.ven import said
from tests.conformance.v2.ven.judged import HOUR_MS


async def test_a_running_event_goes_on_after_a_restart_without_the_vtn(judge, ven):
    start_ms = ven.clock.now_ms() + HOUR_MS
    await ven.hear(said.distribute(said.event("evt-1", start_ms)), "oadrCreatedEvent")
    await ven.at(start_ms)
    await ven.until(lambda: ven.shed_w == 600)
    judge.reply("oadrRequestEvent", *[503] * 1000)
    judge.reply("oadrQueryRegistration", *[503] * 1000)
    judge.to_poll.extend([503] * 1000)
    await ven.restart()
    await ven.until(lambda: ven.shed_w == 600)
    await ven.at(start_ms + HOUR_MS)
    await ven.until(lambda: ven.shed_w == 0)


async def test_an_answer_the_vtn_never_got_is_sent_after_a_restart(judge, ven):
    start_ms = ven.clock.now_ms() + 24 * HOUR_MS
    judge.listed.append(said.event("evt-1", start_ms))
    judge.reply("oadrCreatedEvent", *[503] * 3)
    await ven.until(lambda: True)
    judge.to_poll.append(said.distribute(*judge.listed))
    await ven.until(lambda: judge.of("oadrCreatedEvent"), moving=True)
    await ven.restart()
    await ven.until(lambda: not judge.replies["oadrCreatedEvent"], moving=True)
    await ven.until(lambda: ven.store.events.find("evt-1").sent is not None, moving=True)
    assert judge.of("oadrCreatedEvent")[-1].opts == [("evt-1", "0", "optIn")]


async def test_what_was_cancelled_in_its_absence_is_not_followed(judge, ven):
    start_ms = ven.clock.now_ms() + HOUR_MS
    await ven.hear(said.distribute(said.event("evt-1", start_ms)), "oadrCreatedEvent")
    await ven.stop()
    ven.clock.advance(2 * HOUR_MS - 600_000)
    await ven.start()  # within the event; the list is empty now
    await ven.poll()
    await ven.until(lambda: ven.shed_w == 0)


async def test_six_hours_without_a_vtn_cost_no_event_that_was_agreed(judge, ven):
    start_ms = ven.clock.now_ms() + 3 * HOUR_MS
    judge.listed.append(said.event("evt-1", start_ms))
    await ven.hear(said.distribute(*judge.listed), "oadrCreatedEvent")
    judge.to_poll.extend([503] * 100_000)
    judge.reply("oadrRequestEvent", *[503] * 100_000)
    for moment_ms, shed_w in ((start_ms, 600), (start_ms + HOUR_MS, 0), (start_ms + 3 * HOUR_MS, 0)):
        await ven.at(moment_ms)
        await ven.until(lambda shed_w=shed_w: ven.shed_w == shed_w)
    judge.to_poll.clear()
    judge.replies.clear()
    await ven.poll(wire.response("", said.VEN))
    assert len(judge.of("oadrCreatePartyRegistration")) == 1
