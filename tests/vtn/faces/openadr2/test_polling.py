"""What an empty poll costs."""

from __future__ import annotations

import asyncio

import sqlalchemy as sa

from openadr import v2
from tests.vtn.faces.openadr2.test_events import publish
from tests.vtn.opened import PROGRAM
from vtn.faces.openadr2.directory import Directory
from vtn.records.messages import queue
from vtn.services.registrations import RegistrationRequest
from vtn.services.reports import METADATA_MESSAGE


async def test_an_empty_poll_does_not_touch_the_database(opened_vtn, peer):
    await publish(opened_vtn.vtn, peer)  # notifications arrive in order: none of the registration is left after this
    await peer.answer(await peer.poll_for(v2.OadrDistributeEvent))
    opened_vtn.vtn.clock.advance(30_000)
    assert isinstance(await peer.poll(), v2.OadrResponse)
    statements: list[str] = []
    engine = opened_vtn.vtn.database.engine.sync_engine

    def note(connection, cursor, statement, *rest):
        statements.append(statement)

    sa.event.listen(engine, "before_cursor_execute", note)
    for _ in range(20):
        assert isinstance(await peer.poll(), v2.OadrResponse)
    sa.event.remove(engine, "before_cursor_execute", note)
    # the ledger outbox and push mode (who is not http_pull?) look for work of their own each second
    of_polls = [each for each in statements if "http_pull IS false" not in each]
    assert [each for each in of_polls if "messages" in each or ("FROM vens" in each and "ven_id =" in each)] == []


async def test_the_prepared_answer_is_the_rendered_one(peer):
    _, body = await peer.post("OadrPoll", v2.render(v2.OadrPoll(peer.ven_id)))
    assert body == v2.render(v2.OadrResponse(v2.EiResponse(request_id=""), peer.ven_id))


async def test_while_notifications_are_lost_polls_ask_the_database(opened_vtn, url, peer):
    """After the listening connection was cut, nothing is overlooked."""
    vtn = opened_vtn.vtn
    async with vtn.database.transaction() as connection:
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'dr-vtn-wakeups'"
        await connection.execute(sa.text(cut))
    await publish(vtn, peer)
    await peer.poll_for(v2.OadrDistributeEvent)


async def test_a_poll_that_was_read_before_is_still_checked_against_the_registration(opened_vtn, peer):
    """The same bytes are not parsed again; who may ask is judged each time."""
    assert (await peer.poll()).response.response_code == 200
    await opened_vtn.vtn.vens.remove(peer.ven_id)
    async with asyncio.timeout(5):
        while (answer := await peer.poll()).response.response_code == 200:
            await asyncio.sleep(0.01)
    assert answer.response.response_code == 452


async def test_a_message_that_is_never_acknowledged_holds_up_no_other(opened_vtn, peer):
    """A VEN that ignores report requests, and polls more seldom than these are repeated, still gets its events."""
    vtn = opened_vtn.vtn
    async with vtn.database.transaction() as connection:
        await queue(connection, [peer.ven_id], METADATA_MESSAGE, "METADATA", vtn.clock.now_ms())
    await peer.poll_for(v2.OadrCreateReport)
    vtn.clock.advance(60_000)
    await publish(vtn, peer)
    kinds = []
    for _ in range(4):
        kinds.append(type(await peer.poll_for((v2.OadrCreateReport, v2.OadrDistributeEvent))))
        vtn.clock.advance(60_000)
    assert set(kinds[:2]) == set(kinds[2:]) == {v2.OadrCreateReport, v2.OadrDistributeEvent}


async def test_whoever_pushes_is_not_woken_for_a_ven_that_is_known_to_poll(opened_vtn):
    vtn = opened_vtn.vtn
    directory = Directory(vtn.database, vtn.database_url, vtn.vens, vtn.clock)
    directory.wakeups.up = True
    polls, pushed = [(await vtn.vens.add(name, "F1", PROGRAM)).ven_id for name in ("polls", "pushed")]
    asked = RegistrationRequest(ven_id=pushed, ven_name=None, http_pull=False, transport_address="http://127.0.0.1:1")
    await vtn.registrations.register(asked)
    woken: list[str] = []
    for ven_id in (polls, pushed):
        directory.on_message = lambda ven_id=ven_id: woken.append(ven_id)
        directory._message_queued(ven_id)
        await directory.ven(ven_id)
        directory._message_queued(ven_id)
    assert woken == [polls, pushed, pushed]
