"""What goes up to the utility: sums of five homes at least, each until it is there, also after an outage."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
import pytest

from openadr.client.link import Link
from openadr.client.registration import Registrar, Registration
from openadr.v2 import OadrCancelReport, OadrCreateReport, OadrPoll, ReportRequest, SpecifierPayload
from runtime.clock import ManualClock
from tests.builders import START_MS
from tests.vtn.aggregator.test_cycle import a_request
from tests.vtn.faces.peer import facing
from tests.vtn.opened import PROGRAM, Opened, opened
from tests.vtn.upstream.world import SETTINGS, add_homes, an_event, report
from vtn.faces.openadr2 import PREFIX
from vtn.upstream import records
from vtn.upstream.reports import requests
from vtn.upstream.reports.desk import ReportDesk
from vtn.upstream.reports.points import DELIVERED, Points, delivered, showable, usage
from vtn.upstream.reports.sums import Sum
from vtn.upstream.session import Shelf

QUARTER_MS = 900_000


def a_sum(node: str | None, homes: int, energy_wh: int = 1_000) -> Sum:
    return Sum(node, START_MS, energy_wh, homes, START_MS)


# ---- who may be seen


@pytest.mark.parametrize(
    ("members", "shown"),
    [
        ({"vn-1": 5}, Points(("vn-1",), True)),
        ({"vn-1": 4}, Points((), False)),
        ({"vn-1": 3, "vn-2": 3}, Points((), True)),
        ({"vn-1": 5, "vn-2": 4}, Points(("vn-1",), False)),
        ({"vn-1": 5, None: 5}, Points(("vn-1",), True)),
        ({}, Points((), False)),
    ],
)
def test_no_sum_and_no_difference_of_sums_shows_fewer_than_five_homes(members, shown: Points):
    assert showable(members) == shown


def test_an_interval_in_which_the_rest_is_few_homes_hides_the_sum_of_all():
    points, members = Points(("vn-1",), True), {"vn-1": 6, "vn-2": 6}
    found = usage(points, members, [a_sum("vn-1", 6), a_sum("vn-2", 4)], 900)
    assert [each.r_id for each in found] == ["vn-1"]
    found = usage(points, members, [a_sum("vn-1", 6), a_sum("vn-2", 5)], 900)
    assert [(each.r_id, each.value_wh, each.quality) for each in found] == [
        ("portfolio", 2_000, "estimated"), ("vn-1", 1_000, "ok"),
    ]  # fmt: skip


def test_a_virtual_node_of_which_few_homes_reported_is_not_shown():
    found = usage(Points(("vn-1",), False), {"vn-1": 6}, [a_sum("vn-1", 4)], 900)
    assert found == []


# ---- to a real VTN


class Pair:
    """The aggregator's reports and the utility that gets them."""

    def __init__(self, aggregator: Opened, utility: Opened, desk: ReportDesk, link: Link, us: Registration) -> None:
        self.aggregator, self.utility, self.desk, self.link, self.us = aggregator, utility, desk, link, us

    async def seen(self, r_id: str) -> dict[int, int]:
        """What the utility has of a point."""
        return await self.utility.vtn.telemetry.history(self.us.ven_id, 0, 2**50, r_id=r_id)

    async def asked(self) -> None:
        """The utility's requests reach us with polls."""
        while isinstance(message := await self.link.ask(OadrPoll(self.us.ven_id)), OadrCreateReport):
            await self.desk.create(message, self.us)

    async def running(self) -> dict[str, requests.RunningReport]:
        """What is still asked for, by specifier."""
        async with self.aggregator.vtn.database.reading() as connection:
            return {each.report_specifier_id: each for each in await requests.running(connection)}


@pytest.fixture
async def pair(urls: tuple[str, str], clock: ManualClock, tmp_path: Path) -> AsyncIterator[Pair]:
    async with contextlib.AsyncExitStack() as stack:
        utility = await stack.enter_async_context(opened(urls[0], clock, tmp_path / "utility", redeliver_s=0))
        aggregator = await stack.enter_async_context(opened(urls[1], clock, tmp_path / "aggregator", **SETTINGS))
        await utility.vtn.vens.add("aggregator-1", "F1", PROGRAM)
        url = await stack.enter_async_context(facing(utility.vtn))
        http = await stack.enter_async_context(aiohttp.ClientSession())
        link = Link(url + PREFIX, http, timeout_s=10)
        us = await Registrar(link, Shelf(), ven_name="aggregator-1", ven_id=None).register()
        desk = ReportDesk(link, aggregator.vtn, (await aggregator.vtn.programs.list())[0])
        yield Pair(aggregator, utility, desk, link, us)


async def test_readings_of_homes_go_up_as_sums_and_are_asked_for_at_the_registration(pair, clock):
    homes = await add_homes(pair.aggregator.vtn, 6)
    await report(pair.aggregator.vtn, homes, START_MS - 2 * QUARTER_MS, 200)
    await pair.desk.announce(pair.us)
    assert (await pair.running()).keys() == {"usage", "status"}
    await pair.desk.send(pair.us)
    assert await pair.seen("vn-F1") == await pair.seen("portfolio") == {START_MS - 2 * QUARTER_MS: 1_200}


async def test_nothing_is_announced_of_four_homes_and_a_fifth_changes_that(pair):
    await add_homes(pair.aggregator.vtn, 4)
    await pair.desk.announce(pair.us)
    assert await pair.utility.vtn.reports.requests(pair.us.ven_id) == []
    await add_homes(pair.aggregator.vtn, 1, node="vn-F2", area="F2")
    await pair.desk.announce(pair.us)
    assert (await pair.running())["usage"].r_ids == ("portfolio",), "not the virtual nodes of four and one"


async def test_what_the_utility_missed_and_what_homes_report_late_is_sent_later(pair, clock):
    homes = await add_homes(pair.aggregator.vtn, 5)
    await pair.desk.announce(pair.us)
    await pair.desk.send(pair.us)
    away = ReportDesk(
        Link("http://127.0.0.1:9", pair.link._session, timeout_s=1), pair.aggregator.vtn, pair.desk._program
    )
    for number in range(1, 4):  # three quarters of an hour without the utility; in the second a home is silent
        clock.advance(QUARTER_MS)
        await report(pair.aggregator.vtn, homes if number != 2 else homes[:4], clock.now_ms() - QUARTER_MS, 100)
        await away.send(pair.us)
    clock.advance(QUARTER_MS)
    await pair.desk.send(pair.us)
    assert await pair.seen("vn-F1") == {START_MS: 500, START_MS + 2 * QUARTER_MS: 500}
    await report(pair.aggregator.vtn, homes[4:], START_MS + QUARTER_MS, 100)  # it was offline, and comes back
    clock.advance(QUARTER_MS)
    await pair.desk.send(pair.us)
    assert await pair.seen("vn-F1") == {START_MS + n * QUARTER_MS: 500 for n in range(3)}


async def test_what_settled_needs_delivered_is_history_once_it_is_known(pair, clock):
    await add_homes(pair.aggregator.vtn, 5)
    await pair.desk.announce(pair.us)
    need = a_need(START_MS - 4 * QUARTER_MS, (700, 800))
    async with pair.aggregator.vtn.database.transaction() as connection:
        await records.put_event(connection, an_upstream_event())
        await records.put_need(connection, need)
    clock.advance(QUARTER_MS)
    ask = {"granularity_s": 900, "report_back_s": 0, "start_ms": START_MS - 8 * QUARTER_MS, "duration_s": 7_200}
    await pair.utility.vtn.reports.ask(pair.us.ven_id, "history", **ask)
    await pair.asked()
    assert await pair.seen(DELIVERED) == {}
    await pair.desk.send(pair.us)
    assert await pair.seen(DELIVERED) == {START_MS - 4 * QUARTER_MS: 700, START_MS - 3 * QUARTER_MS: 800}
    assert "history" not in await pair.running(), "rule 324: one report was asked for"


async def test_an_unknown_point_or_report_is_refused_with_its_code(pair):
    await add_homes(pair.aggregator.vtn, 5)
    await pair.desk.announce(pair.us)
    request = ReportRequest("r-1", "usage", 900, 900, (SpecifierPayload("vn-F9", "Summed"),))
    response = await pair.desk._begin([request], "q-1")
    assert (response.response_code, response.request_id) == (452, "q-1")
    response = await pair.desk._begin([msgspec.structs.replace(request, report_specifier_id="billing")], "q-2")
    assert response.response_code == 461


async def test_a_cancelled_report_ends_and_a_forgotten_one_is_announced_again(pair, clock):
    homes = await add_homes(pair.aggregator.vtn, 5)
    await pair.desk.announce(pair.us)
    usage_id = (await pair.running())["usage"].report_request_id
    await pair.desk.cancel(OadrCancelReport("q", (usage_id,)), pair.us)
    assert (await pair.running()).keys() == {"status"}
    foreign = ReportRequest("r-unknown", "usage", 900, 900, (SpecifierPayload("vn-F1", "Summed"),), START_MS)
    await pair.desk._begin([foreign], "q-1")
    clock.advance(QUARTER_MS)
    await report(pair.aggregator.vtn, homes, START_MS, 100)
    clock.advance(QUARTER_MS)
    await pair.desk.send(pair.us)  # 452: the utility never asked for r-unknown
    assert usage_id in {each.report_request_id for each in (await pair.running()).values()}


async def test_the_status_says_whether_homes_report(pair, clock):
    homes = await add_homes(pair.aggregator.vtn, 5)
    await pair.desk.announce(pair.us)
    clock.advance(QUARTER_MS)
    await report(pair.aggregator.vtn, homes, START_MS, 100)
    await pair.desk.send(pair.us)
    states = await pair.utility.vtn.collected.states(pair.us.ven_id)
    assert {(each.r_id, each.online) for each in states} == {("portfolio", True), ("vn-F1", True)}


def a_need(start_ms: int, delivered_wh: tuple[int, ...]) -> records.UpstreamNeed:
    request = a_request("up-1", start_ms=start_ms, target_wh=(1_000,) * len(delivered_wh))
    return records.UpstreamNeed(
        need_id="up-1", event_id="peak-1", modification_number=0, request=request, state=records.CLOSED,
        withdraw_ms=None, delivered_wh=delivered_wh, requested_ms=START_MS, settled_ms=START_MS,
    )  # fmt: skip


def an_upstream_event() -> records.UpstreamEvent:
    return records.UpstreamEvent(
        event_id="peak-1", modification_number=0, event=an_event(), digest="", state=records.TAKEN, offset_s=0,
        free_ms=None, proposal=None, note="", opt_type="optIn", opt_code=200, request_id="r", owed=False,
        received_ms=START_MS, changed_ms=START_MS,
    )  # fmt: skip


def test_two_needs_in_one_interval_delivered_their_sum_and_an_old_one_is_not_told_again():
    first, second = a_need(START_MS, (700, 800)), a_need(START_MS, (100,))
    found = delivered([first, second], START_MS, START_MS + 2 * QUARTER_MS, 0)
    assert [(each.start_ms, each.value_wh) for each in found] == [(START_MS, 800), (START_MS + QUARTER_MS, 800)]
    assert delivered([first], START_MS, START_MS + 2 * QUARTER_MS, START_MS) == []
