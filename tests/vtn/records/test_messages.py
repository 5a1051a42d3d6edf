"""The queue of a VEN: nothing is lost before it is acknowledged."""

from __future__ import annotations

import asyncio

from tests.vtn.opened import PROGRAM
from vtn.records.messages import acknowledge, mark_delivered, open_messages, queue, vens_with_open_messages
from vtn.records.wakeups import Wakeups


async def _a_ven(vtn):
    return (await vtn.vens.add("home-1", "F1", PROGRAM)).ven_id


async def test_a_message_stays_open_until_it_is_acknowledged(opened_vtn):
    vtn = opened_vtn.vtn
    ven_id = await _a_ven(vtn)
    async with vtn.database.transaction() as connection:
        await queue(connection, [ven_id], "event", "evt-1", 1000)
        [message] = await open_messages(connection, ven_id)
        await mark_delivered(connection, [message.sequence], 2000)
        [again] = await open_messages(connection, ven_id)
        assert (again.delivered_ms, again.deliveries) == (2000, 1)
        assert await acknowledge(connection, ven_id, "event", 3000, ["evt-1"]) == 1
        assert await open_messages(connection, ven_id) == []
        assert await acknowledge(connection, ven_id, "event", 3000, ["evt-1"]) == 0


async def test_the_same_matter_again_is_one_message_delivered_anew(opened_vtn):
    vtn = opened_vtn.vtn
    ven_id = await _a_ven(vtn)
    async with vtn.database.transaction() as connection:
        await queue(connection, [ven_id], "event", "evt-1", 1000)
        [message] = await open_messages(connection, ven_id)
        await mark_delivered(connection, [message.sequence], 2000)
        await acknowledge(connection, ven_id, "event", 2500)
        await queue(connection, [ven_id], "event", "evt-1", 3000, b'{"n":1}')
        [message] = await open_messages(connection, ven_id)
    assert (message.delivered_ms, message.queued_ms, message.payload) == (None, 3000, b'{"n":1}')
    async with vtn.database.reading() as connection:
        assert await vens_with_open_messages(connection) == [ven_id]


async def test_a_change_that_is_rolled_back_leaves_no_message_and_wakes_nobody(opened_vtn, vtn_url):
    vtn = opened_vtn.vtn
    ven_id = await _a_ven(vtn)
    heard: list[str] = []

    async def nothing() -> None:
        return

    wakeups = Wakeups(vtn_url, nothing)
    wakeups.on("message", heard.append)
    task = asyncio.create_task(wakeups.run())
    try:
        while not wakeups.up:
            await asyncio.sleep(0.01)
        try:
            async with vtn.database.transaction() as connection:
                await queue(connection, [ven_id], "event", "evt-1", 1000)
                raise RuntimeError
        except RuntimeError:
            pass
        async with vtn.database.transaction() as connection:
            assert await open_messages(connection, ven_id) == []
            await queue(connection, [ven_id], "event", "evt-2", 1000)
        async with asyncio.timeout(5):
            while not heard:
                await asyncio.sleep(0.01)
        assert heard == [ven_id]
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
