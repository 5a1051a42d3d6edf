"""Events as they come over the wire, and which answers the utility is owed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from openadr.errors import ResponseCode
from openadr.v2 import RefusedEvent
from runtime.clock import ManualClock
from tests.vtn.opened import Opened, opened
from tests.vtn.upstream.world import EVENT_MS, SETTINGS, an_event, listed
from vtn.upstream import records
from vtn.upstream.events import OPT_IN, OPT_OUT, EventDesk


class Book:
    """The desk, and what is stored."""

    def __init__(self, found: Opened) -> None:
        self.database = found.vtn.database
        self.desk = EventDesk(found.vtn.database, found.vtn.clock)

    async def event(self, event_id: str = "peak-1") -> records.UpstreamEvent | None:
        async with self.database.reading() as connection:
            return await records.find_event(connection, event_id)

    async def decide(self, opt: str, **values: object) -> None:
        async with self.database.transaction() as connection:
            await records.change_event(connection, "peak-1", state=records.TAKEN, opt_type=opt, **values)


@pytest.fixture
async def book(vtn_url: str, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Book]:
    async with opened(vtn_url, clock, tmp_path, **SETTINGS) as found:
        yield Book(found)


async def test_an_event_is_answered_when_it_is_decided_and_again_whenever_it_is_listed(book):
    await book.desk.receive(listed(an_event()))
    assert await book.desk.owed() == []
    await book.decide(OPT_IN)
    [answer] = await book.desk.owed()
    assert (answer.opt_type, answer.modification_number, answer.request_id) == (OPT_IN, 0, "request-1")  # rule 41
    await book.desk.answered(answer)
    assert await book.desk.owed() == []
    await book.desk.receive(listed(an_event(), request_id="request-2"))  # rule 12: also if nothing changed
    assert [each.request_id for each in await book.desk.owed()] == ["request-2"]
    assert (await book.event()).state == records.TAKEN


async def test_who_wants_no_answer_gets_none(book):
    await book.desk.receive(listed(an_event(response_required=False)))
    await book.decide(OPT_IN)
    assert await book.desk.owed() == []


async def test_a_change_is_decided_anew_and_an_answer_to_the_old_one_does_not_count_for_it(book):
    await book.desk.receive(listed(an_event()))
    await book.decide(OPT_IN)
    [answer] = await book.desk.owed()
    await book.desk.receive(listed(an_event(kw="6", modification_number=1), request_id="request-2"))
    await book.desk.answered(answer)
    found = await book.event()
    assert (found.state, found.opt_type, found.owed) == (records.RECEIVED, None, True)


async def test_an_older_modification_is_out_of_sequence_and_changes_nothing(book):
    await book.desk.receive(listed(an_event(modification_number=3)))
    [answer] = await book.desk.receive(listed(an_event(modification_number=2, kw="9")))
    assert (answer.response_code, answer.modification_number) == (450, 2)
    assert (await book.event()).modification_number == 3


async def test_a_change_that_cannot_be_read_is_opted_out_until_it_can(book):
    await book.desk.receive(listed(an_event()))
    refused = RefusedEvent("peak-1", 1, ResponseCode.SIGNAL_NOT_SUPPORTED, "a signal in units nobody knows")
    [answer] = await book.desk.receive(msgspec.structs.replace(listed(), refused=(refused,)))
    assert (answer.opt_type, answer.response_code) == (OPT_OUT, 460)
    assert (await book.event()).state == records.REFUSED
    assert await book.desk.owed() == [], "it was answered at once"
    await book.desk.receive(listed(an_event(modification_number=2)))
    assert (await book.event()).state == records.RECEIVED


async def test_an_event_over_is_not_cancelled_by_its_absence(book, clock):
    await book.desk.receive(listed(an_event()))
    await book.decide(OPT_IN)
    clock.advance(EVENT_MS - clock.now_ms() + 3_600_000)
    await book.desk.receive(listed())
    assert (await book.event()).state == records.TAKEN


@pytest.mark.parametrize("response_required", [True, False])
async def test_a_cancelled_event_nobody_knew_is_confirmed_where_that_is_asked_for(book, response_required):
    await book.desk.receive(listed(an_event(cancelled=True, response_required=response_required)))
    assert (await book.event() is not None) == response_required  # a VEN ignores it otherwise (rule 21)


async def test_the_start_is_drawn_once_within_its_window(book):
    await book.desk.receive(listed(an_event(start_after_s=600)))
    drawn = (await book.event()).offset_s
    assert 0 <= drawn <= 600
    await book.desk.receive(listed(an_event(start_after_s=600, kw="5", modification_number=1)))
    assert (await book.event()).offset_s == drawn
    await book.desk.receive(listed(an_event(modification_number=2)))
    assert (await book.event()).offset_s == 0
