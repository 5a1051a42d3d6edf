"""Rules 16 and 17: a VEN answers optIn or optOut, and says so unasked when it changes its mind."""

from __future__ import annotations

from tests.conformance.v2.ven import said
from tests.conformance.v2.ven.judged import HOUR_MS


async def changed_mind(judge, ven, opt_type, event_id="evt-1"):
    """The next message that says so: oadrCreatedEvent, or oadrCreateOpt for the event."""

    def says(heard):
        if heard.name == "oadrCreateOpt":
            about = heard.text("./ei:qualifiedEventID/ei:eventID"), heard.text("./ei:optType")
            return about == (event_id, opt_type)
        return heard.name == "oadrCreatedEvent" and (event_id, "0", opt_type) in heard.opts

    seen = len(judge.heard)
    await ven.until(lambda: any(says(each) for each in judge.heard[seen:]), moving=True)


async def test_an_owner_who_has_opted_out_opts_out(ven):
    ven.owner(opt_out=True)
    start_ms = ven.clock.now_ms() + HOUR_MS
    created = await ven.hear(said.distribute(said.event("evt-1", start_ms)), "oadrCreatedEvent")
    assert created.opts == [("evt-1", "0", "optOut")]
    await ven.at(start_ms)
    assert ven.shed_w == 0


async def test_a_later_opt_out_is_said_unasked_and_ends_the_reduction(judge, ven):
    start_ms = ven.clock.now_ms() + HOUR_MS
    judge.listed.append(said.event("evt-1", start_ms))
    created = await ven.hear(said.distribute(*judge.listed), "oadrCreatedEvent")
    assert created.opts == [("evt-1", "0", "optIn")]
    await ven.at(start_ms)
    await ven.until(lambda: ven.shed_w == 600)
    ven.owner(opt_out=True)
    await changed_mind(judge, ven, "optOut")
    await ven.until(lambda: ven.shed_w == 0)


async def test_an_owner_may_come_back(judge, ven):
    start_ms = ven.clock.now_ms() + 24 * HOUR_MS
    await ven.hear(said.distribute(said.event("evt-1", start_ms)), "oadrCreatedEvent")
    for choice, opt_type in ((True, "optOut"), (False, "optIn")):
        ven.owner(opt_out=choice)
        await changed_mind(judge, ven, opt_type)


async def test_an_opt_out_outlives_a_restart(judge, ven):
    start_ms = ven.clock.now_ms() + HOUR_MS
    ven.owner(opt_out=True)
    await ven.hear(said.distribute(said.event("evt-1", start_ms)), "oadrCreatedEvent")
    judge.listed.append(said.event("evt-1", start_ms))
    await ven.restart()
    created = await judge.next("oadrCreatedEvent")
    assert created.opts == [("evt-1", "0", "optOut")]
    await ven.at(start_ms)
    assert ven.shed_w == 0
