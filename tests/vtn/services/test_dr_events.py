"""dr_events: numbering, digests and states as the rules of the profile want them."""

from __future__ import annotations

import msgspec
import pytest
import sqlalchemy as sa

from openadr.model import Target, Unit, digest
from tests.builders import START_MS, a_dr_event, a_signal
from tests.vtn.opened import PROGRAM
from vtn.errors import Conflict, InvalidInput, NotFound
from vtn.records.messages import open_messages
from vtn.records.tables import dr_event_versions
from vtn.services.reports import USAGE_METADATA, MeteringPoint, Specifier

CONTEXT = f"urn:gridpact:program:{PROGRAM}"
LATER_MS = START_MS + 7_200_000


def an_event(event_id="evt-1", **given):
    return a_dr_event(event_id, **{"program": CONTEXT, "start_ms": LATER_MS, **given})


async def two_vens(vtn):
    return [(await vtn.vens.add(name, "F1", PROGRAM, virtual_node="vn-1")).ven_id for name in ("home-1", "home-2")]


async def _open(vtn, ven_id):
    async with vtn.database.reading() as connection:
        return [(each.kind, each.key) for each in await open_messages(connection, ven_id)]


async def test_an_event_read_back_has_the_digest_it_was_stored_with(opened_vtn):
    event = an_event(vtn_comment="ä evening", targets=(Target("group", "vn-1"), Target("ven", "x")))
    record = await opened_vtn.vtn.dr_events.create(event, PROGRAM)
    again = await opened_vtn.vtn.dr_events.get("evt-1")
    assert (again.status, again.event, again.digest) == ("planned", event, digest(event))
    assert record.digest == again.digest == digest(again.event)


async def test_creating_the_same_event_again_changes_nothing_another_one_is_refused(opened_vtn):
    events = opened_vtn.vtn.dr_events
    first = await events.create(an_event(), PROGRAM)
    assert await events.create(an_event(), PROGRAM) == first
    with pytest.raises(Conflict):
        await events.create(an_event(duration_s=1800, signals=(a_signal(intervals=a_half_hour()),)), PROGRAM)
    with pytest.raises(NotFound):
        await events.create(an_event("evt-2"), "no such program")
    with pytest.raises(InvalidInput):
        await events.create(an_event("evt-2", program="http://other.example"), PROGRAM)


def a_half_hour():
    whole = a_signal().intervals
    return tuple(msgspec.structs.replace(each, duration_s=1800 // len(whole)) for each in whole)


async def test_rule_4_a_new_event_has_modification_number_0(opened_vtn):
    with pytest.raises(InvalidInput, match="rule 4"):
        await opened_vtn.vtn.dr_events.create(an_event(modification_number=1), PROGRAM)


async def test_publishing_queues_the_event_once_for_each_chosen_ven(opened_vtn):
    vtn = opened_vtn.vtn
    first, second = await two_vens(vtn)
    await vtn.dr_events.create(an_event(), PROGRAM)
    assert await vtn.dr_events.publish("evt-1", [first]) == [first]
    assert await vtn.dr_events.publish("evt-1", [first]) == []
    assert await _open(vtn, first) == [("event", "evt-1")]
    assert await _open(vtn, second) == []
    assert await vtn.dr_events.applicable(second) == []
    assert await vtn.dr_events.publish("evt-1", [first, second]) == [second]
    assert [each.event_id for each in await vtn.dr_events.applicable(second)] == ["evt-1"]


async def test_without_a_choice_the_targets_decide(opened_vtn):
    vtn = opened_vtn.vtn
    first, second = await two_vens(vtn)
    outsider = (await vtn.vens.add("home-3", "F1", PROGRAM)).ven_id
    await vtn.dr_events.create(an_event(targets=(Target("group", "vn-1"),)), PROGRAM)
    assert await vtn.dr_events.publish("evt-1") == sorted([first, second])
    await vtn.dr_events.create(an_event("evt-2", targets=(Target("ven", outsider),)), PROGRAM)
    assert await vtn.dr_events.publish("evt-2") == [outsider]
    await vtn.dr_events.create(an_event("evt-3", targets=()), PROGRAM)
    assert await vtn.dr_events.publish("evt-3") == sorted([first, second, outsider])


async def test_an_unknown_ven_stops_the_whole_publication(opened_vtn):
    vtn = opened_vtn.vtn
    first, _ = await two_vens(vtn)
    await vtn.dr_events.create(an_event(), PROGRAM)
    with pytest.raises(NotFound):
        await vtn.dr_events.publish("evt-1", [first, "nobody"])
    assert (await vtn.dr_events.get("evt-1")).status == "planned"
    assert await _open(vtn, first) == []


async def test_rules_5_and_61_a_change_counts_on_and_is_sent_again(opened_vtn):
    vtn = opened_vtn.vtn
    first, _ = await two_vens(vtn)
    await vtn.dr_events.create(an_event(), PROGRAM)
    await vtn.dr_events.publish("evt-1", [first])
    await vtn.dr_events.record_opt(first, "evt-1", 0, "optIn")
    assert await _open(vtn, first) == []
    changed = await vtn.dr_events.modify(an_event(priority=1))
    assert changed.modification_number == 1
    assert await _open(vtn, first) == [("event", "evt-1")]
    [delivery] = await vtn.dr_events.deliveries("evt-1")
    assert (delivery.state, delivery.modification_number, delivery.answered_ms) == ("queued", 1, None)
    same = await vtn.dr_events.modify(an_event(priority=1, created_ms=5))
    assert same == changed
    async with vtn.database.reading() as connection:
        versions = list(await connection.scalars(sa.select(dr_event_versions.c.modification_number)))
    assert sorted(versions) == [0, 1]


async def test_rule_36_a_cancelled_event_is_listed_until_the_ven_confirms_it(opened_vtn):
    vtn = opened_vtn.vtn
    first, _ = await two_vens(vtn)
    await vtn.dr_events.create(an_event(), PROGRAM)
    await vtn.dr_events.publish("evt-1", [first])
    await vtn.dr_events.record_opt(first, "evt-1", 0, "optIn")
    cancelled = await vtn.dr_events.cancel("evt-1")
    assert (cancelled.modification_number, cancelled.event.cancelled) == (1, True)
    assert await vtn.dr_events.cancel("evt-1") == cancelled
    assert [each.cancelled for each in await vtn.dr_events.applicable(first)] == [True]
    await vtn.dr_events.record_opt(first, "evt-1", 1, "optIn")
    assert await vtn.dr_events.applicable(first) == []
    with pytest.raises(Conflict):
        await vtn.dr_events.publish("evt-1", [first])


async def test_a_completed_event_leaves_the_list_a_little_after_its_end(opened_vtn, clock):
    vtn = opened_vtn.vtn
    first, _ = await two_vens(vtn)
    await vtn.dr_events.create(an_event(), PROGRAM)
    await vtn.dr_events.publish("evt-1", [first])
    clock.advance(LATER_MS + 3_600_000 - START_MS)
    assert len(await vtn.dr_events.applicable(first)) == 1
    clock.advance(300_000)
    assert await vtn.dr_events.applicable(first) == []


async def test_rules_16_and_17_the_last_opt_counts(opened_vtn):
    vtn = opened_vtn.vtn
    first, _ = await two_vens(vtn)
    await vtn.dr_events.create(an_event(), PROGRAM)
    await vtn.dr_events.publish("evt-1", [first])
    assert (await vtn.dr_events.record_opt(first, "evt-1", 0, "optIn")).state == "opted_in"
    assert (await vtn.dr_events.record_opt(first, "evt-1", 0, "optOut")).state == "opted_out"


async def test_an_answer_after_the_start_is_late(opened_vtn, clock):
    vtn = opened_vtn.vtn
    first, second = await two_vens(vtn)
    await vtn.dr_events.create(an_event(), PROGRAM)
    await vtn.dr_events.publish("evt-1", [first, second])
    assert not (await vtn.dr_events.record_opt(first, "evt-1", 0, "optIn")).late
    clock.advance(LATER_MS - START_MS)
    assert (await vtn.dr_events.record_opt(second, "evt-1", 0, "optIn")).late
    changed_mind = await vtn.dr_events.record_opt(first, "evt-1", 0, "optOut")
    assert (changed_mind.state, changed_mind.late) == ("opted_out", False)


async def test_answers_about_another_event_or_modification_are_refused(opened_vtn):
    vtn = opened_vtn.vtn
    first, second = await two_vens(vtn)
    await vtn.dr_events.create(an_event(), PROGRAM)
    await vtn.dr_events.publish("evt-1", [first])
    with pytest.raises(Conflict) as refused:
        await vtn.dr_events.record_opt(first, "evt-1", 1, "optIn")
    assert refused.value.code == "modification_out_of_sequence"
    with pytest.raises(NotFound):
        await vtn.dr_events.record_opt(second, "evt-1", 0, "optIn")


async def test_an_event_withdrawn_from_one_ven_is_cancelled_for_it_alone(opened_vtn):
    vtn = opened_vtn.vtn
    first, second = await two_vens(vtn)
    record = await vtn.dr_events.create(an_event(), PROGRAM)
    await vtn.dr_events.publish("evt-1", [first, second])
    assert await vtn.dr_events.withdraw("evt-1", [first]) == [first]
    assert await vtn.dr_events.withdraw("evt-1", [first]) == []
    [theirs] = await vtn.dr_events.applicable(first)
    assert (theirs.cancelled, theirs.modification_number) == (True, 1)
    [other] = await vtn.dr_events.applicable(second)
    assert digest(other) == record.digest
    confirmed = await vtn.dr_events.record_opt(first, "evt-1", 1, "optIn")
    assert (confirmed.state, confirmed.withdrawn) == ("acknowledged", True)
    assert await vtn.dr_events.applicable(first) == []
    await vtn.dr_events.modify(an_event(priority=3))
    assert await _open(vtn, first) == []
    assert await vtn.dr_events.publish("evt-1", [first]) == []


async def test_who_opted_out_is_not_told_that_an_event_is_withdrawn(opened_vtn):
    vtn = opened_vtn.vtn
    first, _ = await two_vens(vtn)
    await vtn.dr_events.create(an_event(), PROGRAM)
    await vtn.dr_events.publish("evt-1", [first])
    await vtn.dr_events.record_opt(first, "evt-1", 0, "optOut")
    assert await vtn.dr_events.withdraw("evt-1", [first]) == []


async def test_an_event_that_was_not_answered_before_its_start_is_shown_as_late(opened_vtn, clock):
    vtn = opened_vtn.vtn
    first, _ = await two_vens(vtn)
    await vtn.dr_events.create(an_event(), PROGRAM)
    await vtn.dr_events.publish("evt-1", [first])
    assert [each.late for each in await vtn.dr_events.deliveries("evt-1")] == [False]
    clock.advance(LATER_MS - START_MS)
    assert [(each.state, each.late) for each in await vtn.dr_events.deliveries("evt-1")] == [("queued", True)]


async def test_an_event_that_is_over_is_not_modified(opened_vtn, clock):
    vtn = opened_vtn.vtn
    await vtn.dr_events.create(an_event(), PROGRAM)
    clock.advance(LATER_MS + 3_600_000 - START_MS)
    with pytest.raises(Conflict, match="over"):
        await vtn.dr_events.modify(an_event(priority=3))


async def test_a_resource_is_that_of_the_ven_that_named_it_as_a_source(opened_vtn):
    vtn = opened_vtn.vtn
    first, _ = await two_vens(vtn)
    point = MeteringPoint("meter", "usage", "Net", Unit("energy_real", "Wh"), resource="heater-7")
    await vtn.reports.register(first, [Specifier("usage", USAGE_METADATA, (point,))])
    await vtn.dr_events.create(an_event(targets=(Target("resource", "heater-7"),)), PROGRAM)
    assert await vtn.dr_events.publish("evt-1") == [first]
