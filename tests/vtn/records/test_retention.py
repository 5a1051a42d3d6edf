"""What is done is removed after its time, and nothing that somebody still waits for."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from tests.builders import START_MS, a_dr_event
from tests.vtn.opened import PROGRAM
from vtn.records import retention
from vtn.records.messages import acknowledge, queue
from vtn.records.retention import Retention
from vtn.records.tables import event_deliveries, messages

DAY_MS = 86_400_000


async def count(vtn, table):
    async with vtn.database.reading() as connection:
        return await connection.scalar(select(func.count()).select_from(table))


@pytest.fixture
async def keeping(opened_vtn):
    return Retention(opened_vtn.vtn.database, opened_vtn.vtn.clock, days=30)


async def test_closed_messages_are_removed_in_small_batches_and_open_ones_are_kept(
    opened_vtn, keeping, clock, monkeypatch
):
    monkeypatch.setattr(retention, "_ROWS", 3)
    vtn = opened_vtn.vtn
    vens = [(await vtn.vens.add(f"home-{number}", "F1", PROGRAM)).ven_id for number in range(8)]
    async with vtn.database.transaction() as connection:
        await queue(connection, vens, "kind", "matter", clock.now_ms())
        for ven_id in vens[:-1]:
            assert await acknowledge(connection, ven_id, "kind", clock.now_ms()) == 1
    clock.advance(29 * DAY_MS)
    assert await keeping.remove_old() == 0
    clock.advance(2 * DAY_MS)
    assert await keeping.remove_old() == 7
    async with vtn.database.reading() as connection:
        assert list(await connection.scalars(select(messages.c.ven_id))) == vens[-1:]


async def test_a_message_that_was_queued_anew_is_kept(opened_vtn, keeping, clock):
    vtn = opened_vtn.vtn
    ven_id = (await vtn.vens.add("home", "F1", PROGRAM)).ven_id
    async with vtn.database.transaction() as connection:
        await queue(connection, [ven_id], "kind", "matter", clock.now_ms())
        await acknowledge(connection, ven_id, "kind", clock.now_ms())
    clock.advance(31 * DAY_MS)
    async with vtn.database.transaction() as connection:
        await queue(connection, [ven_id], "kind", "matter", clock.now_ms())
    assert await keeping.remove_old() == 0


async def test_deliveries_go_when_the_event_is_long_over_and_was_answered(opened_vtn, keeping, clock):
    vtn = opened_vtn.vtn
    answers, silent = [(await vtn.vens.add(name, "F1", PROGRAM)).ven_id for name in ("answers", "silent")]
    context = (await vtn.programs.get(PROGRAM)).market_context
    for event_id, start_ms in (("over", START_MS), ("to come", START_MS + 60 * DAY_MS)):
        await vtn.dr_events.create(a_dr_event(event_id, program=context, start_ms=start_ms), PROGRAM)
        await vtn.dr_events.publish(event_id, [answers, silent])
        await vtn.dr_events.record_opt(answers, event_id, 0, "optIn")
    clock.advance(32 * DAY_MS)
    assert await keeping.remove_old() == 3  # two messages, one delivery
    assert [each.ven_id for each in await vtn.dr_events.deliveries("over")] == [silent]
    assert len(await vtn.dr_events.deliveries("to come")) == 2
    assert await count(vtn, event_deliveries) == 3
    assert [each.event_id for each in await vtn.dr_events.list()] == ["over", "to come"]
