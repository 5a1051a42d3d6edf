"""The stock OpenADRClient of openleadr, as it is, against our VTN in real time over HTTP."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

import pytest
from openleadr import OpenADRClient

from openadr.model import Target
from runtime.clock import SystemClock
from tests.builders import a_dr_event
from tests.vtn.faces.peer import facing
from tests.vtn.opened import PROGRAM, opened
from vtn.faces.openadr2 import PREFIX

METER_WH = 125


@pytest.fixture
async def vtn_and_url(vtn_url, tmp_path):
    async with (
        opened(vtn_url, SystemClock(), tmp_path, poll_interval_s=1, redeliver_s=2) as found,
        facing(found.vtn) as url,
    ):
        yield found.vtn, url


@pytest.fixture
async def stock(vtn_and_url):
    """A stock VEN with one energy meter; `events` is what it was told."""
    _, url = vtn_and_url
    client = OpenADRClient(ven_name="stock", vtn_url=url + PREFIX, allow_jitter=False)
    client.events = []

    async def on_event(event):
        client.events.append(event)
        return "optIn"

    client.add_handler("on_event", on_event)
    client.add_handler("on_update_event", on_event)
    client.add_report(
        callback=lambda: METER_WH,
        resource_id="stock-home",
        r_id="meter",
        measurement="ENERGY_REAL",
        unit="Wh",
        report_type="usage",
        reading_type="Net",
        sampling_rate=timedelta(minutes=15),
        report_duration=timedelta(days=1),
    )
    yield client
    await client.stop()


async def eventually(condition):
    async with asyncio.timeout(15):
        while not await condition():
            await asyncio.sleep(0.05)


def an_event(clock):
    start_ms = (clock.now_ms() // 1000 + 3600) * 1000
    return a_dr_event(
        "evt-1",
        program=f"urn:gridpact:program:{PROGRAM}",
        start_ms=start_ms,
        targets=(Target("group", "vn-1"),),
    )


@pytest.mark.slow
async def test_the_stock_client_registers_reports_polls_opts_in_and_sends_telemetry(vtn_and_url, stock, caplog):
    vtn, _ = vtn_and_url
    caplog.set_level(logging.WARNING, "openleadr")
    ven = await vtn.vens.add("stock", "F1", PROGRAM, virtual_node="vn-1")

    await stock.run()
    assert (stock.ven_id, stock.registration_id) == (ven.ven_id, (await vtn.vens.get(ven.ven_id)).registration_id)
    [request] = await vtn.reports.requests(ven.ven_id)
    assert request.status == "running", "the stock client confirmed with oadrCreatedReport"
    assert [each["report_request_id"] for each in stock.report_requests] == [request.report_request_id]

    await vtn.dr_events.create(an_event(vtn.clock), PROGRAM)
    await vtn.dr_events.publish("evt-1", [ven.ven_id])

    async def opted_in():
        return [each.state for each in await vtn.dr_events.deliveries("evt-1")] == ["opted_in"]

    await eventually(opted_in)
    assert [event["event_descriptor"]["event_id"] for event in stock.events] == ["evt-1"]

    await vtn.dr_events.cancel("evt-1")

    async def confirmed():
        [delivery] = await vtn.dr_events.deliveries("evt-1")
        return delivery.answered_ms is not None

    await eventually(confirmed)
    assert stock.events[-1]["event_descriptor"]["event_status"] == "cancelled"

    await stock.update_report(request.report_request_id)

    async def stored():
        history = await vtn.telemetry.history(ven.ven_id, 0, vtn.clock.now_ms() + 60_000)
        return list(history.values()) == [METER_WH]

    await eventually(stored)
    assert [record.message for record in caplog.records if record.name == "openleadr"] == []


@pytest.mark.slow
async def test_the_stock_client_without_enrolment_is_refused_and_says_so(stock, caplog):
    caplog.set_level(logging.WARNING, "openleadr")
    await stock.run()
    assert stock.registration_id is None
    assert any("452" in record.message for record in caplog.records)
