"""EiOpt: what the owner planned ahead is told by oadrCreateOpt with its windows, and taken back by oadrCancelOpt; once
each, also through errors and restarts. Rule 206: an event is answered by one of the two services, not by both."""

from __future__ import annotations

import contextlib

import pytest

from tests.conformance.v2 import wire
from tests.conformance.v2.ven import said
from tests.conformance.v2.ven.judged import HOUR_MS
from ven.home.store import Opt, Store
from ven.home.store.schedules import OptSchedule


@contextlib.contextmanager
def owner(ven):
    """The owner's commands, beside the running agent."""
    with contextlib.closing(Store(ven.folder / "ven.sqlite")) as beside:
        yield beside.schedules


def plan(ven, opt_id="plan-07", opt=Opt.OUT):
    start_ms = ven.clock.now_ms() + 24 * HOUR_MS
    windows = ((start_ms, start_ms + HOUR_MS), (start_ms + 5 * HOUR_MS, start_ms + 7 * HOUR_MS))
    with owner(ven) as schedules:
        schedules.add(OptSchedule(opt_id=opt_id, opt=opt, windows=windows, created_ms=ven.clock.now_ms()))
    return start_ms


async def test_a_plan_is_told_with_its_windows(judge, ven):
    start_ms = plan(ven)
    await ven.until(lambda: judge.of("oadrCreateOpt"), moving=True)
    [created] = judge.of("oadrCreateOpt")
    assert created.service == "EiOpt"
    assert (created.text("./ei:optID"), created.text("./ei:optType")) == ("plan-07", "optOut")
    assert created.text("./ei:venID") == said.VEN
    assert created.texts("./ei:eiTarget/ei:venID") == [said.VEN]
    assert created.elements("./ei:qualifiedEventID") == []
    starts = created.texts(".//xcal:available//xcal:dtstart/xcal:date-time")
    assert starts == [wire.when(start_ms), wire.when(start_ms + 5 * HOUR_MS)]
    assert created.texts(".//xcal:available//xcal:duration/xcal:duration") == ["PT1H", "PT2H"]


async def test_it_is_told_once_and_again_after_a_new_registration(judge, ven):
    plan(ven)
    await ven.until(lambda: judge.of("oadrCreateOpt"), moving=True)
    await ven.restart()
    await ven.poll()
    assert len(judge.of("oadrCreateOpt")) == 1
    await ven.poll(wire.cancel_party_registration(said.REGISTRATION, said.VEN))
    await ven.until(lambda: len(judge.of("oadrCreateOpt")) == 2, moving=True)


async def test_it_is_taken_back(judge, ven):
    plan(ven)
    await ven.until(lambda: judge.of("oadrCreateOpt"), moving=True)
    with owner(ven) as schedules:
        assert schedules.cancel("plan-07")
    await ven.until(lambda: judge.of("oadrCancelOpt"), moving=True)
    [canceled] = judge.of("oadrCancelOpt")
    assert (canceled.service, canceled.text("./ei:optID"), canceled.text("./ei:venID")) == (
        "EiOpt",
        "plan-07",
        said.VEN,
    )
    await ven.poll()
    assert len(judge.of("oadrCancelOpt")) == 1


@pytest.mark.parametrize("trouble", [503, b"nonsense"])
async def test_it_is_told_until_there_is_an_answer(judge, ven, trouble):
    judge.reply("oadrCreateOpt", trouble, trouble)
    plan(ven)
    await ven.until(lambda: len(judge.of("oadrCreateOpt")) == 3, moving=True)
    assert {each.text("./ei:optID") for each in judge.of("oadrCreateOpt")} == {"plan-07"}
    await ven.poll()
    assert len(judge.of("oadrCreateOpt")) == 3


async def test_a_vtn_without_opts_is_not_asked_for_ever(judge, ven):
    judge.reply("oadrCreateOpt", wire.response("x", said.VEN, 451))
    plan(ven)
    await ven.until(lambda: judge.of("oadrCreateOpt"), moving=True)
    await ven.poll()
    assert len(judge.of("oadrCreateOpt")) == 1


async def test_an_event_in_a_window_is_opted_out_of_by_its_answer_alone(judge, ven):
    """Rule 206: after an oadrCreateOpt about an event its oadrCreatedEvent would not count."""
    start_ms = plan(ven)
    event = said.event("evt-1", start_ms)
    created = await ven.hear(said.distribute(event), "oadrCreatedEvent")
    assert created.opts == [("evt-1", "0", "optOut")]
    outside = said.event("evt-2", start_ms + 2 * HOUR_MS)
    await ven.poll(said.distribute(event, outside, request_id="dist-2"))
    answers = [opt for heard in judge.of("oadrCreatedEvent") for opt in heard.opts]
    assert ("evt-2", "0", "optIn") in answers
    assert all(each.elements("./ei:qualifiedEventID") == [] for each in judge.of("oadrCreateOpt"))
