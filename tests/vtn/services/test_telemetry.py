"""Reports and telemetry: asked once, stored once, read back by meter."""

from __future__ import annotations

import pytest

from openadr.model import Reading, Unit
from tests.builders import START_MS
from tests.vtn.opened import PROGRAM
from vtn.errors import InvalidInput, NotFound
from vtn.records.messages import open_messages
from vtn.services.reports import USAGE_METADATA, MeteringPoint, Specifier
from vtn.services.telemetry import Completeness, Stored

STEP_MS = 900_000
METER = MeteringPoint("meter", "usage", "Net", Unit("energy_real", "Wh"), 900, 900)
PANEL = MeteringPoint("panel", "usage", "Direct Read", Unit("energy_real", "Wh"))
POWER = MeteringPoint("power", "usage", "Direct Read", Unit("power_real", "W"))


@pytest.fixture
async def ven_id(opened_vtn):
    return (await opened_vtn.vtn.vens.add("home-1", "F1", PROGRAM)).ven_id


def usage(*points, specifier_id="spec-1"):
    return Specifier(specifier_id, USAGE_METADATA, points)


def readings(count, first_ms, value_wh=100, r_id="meter", quality="ok"):
    return [Reading(r_id, first_ms + n * STEP_MS, 900, value_wh + n, quality) for n in range(count)]


async def test_registering_asks_for_real_energy_and_history(opened_vtn, ven_id):
    reports = opened_vtn.vtn.reports
    [request] = await reports.register(
        ven_id, [usage(POWER, PANEL, METER), Specifier("status", "METADATA_TELEMETRY_STATUS", ())]
    )
    assert request.payloads == (("panel", "Direct Read"), ("meter", "Net"))
    assert (request.granularity_s, request.report_back_s) == (900, 900)
    assert request.start_ms == START_MS - 15 * 86_400_000
    assert (await opened_vtn.vtn.vens.get(ven_id)).meter_r_id == "meter"


@pytest.mark.parametrize(("slowest_s", "fastest_s", "asked_s"), [(0, 0, 900), (60, 60, 60), (3600, 1800, 1800)])
async def test_the_interval_asked_for_is_one_the_ven_can_deliver(opened_vtn, ven_id, slowest_s, fastest_s, asked_s):
    point = MeteringPoint("meter", "usage", "Net", Unit("energy_real", "Wh"), fastest_s, slowest_s)
    [request] = await opened_vtn.vtn.reports.register(ven_id, [usage(point)])
    assert (request.granularity_s, request.report_back_s) == (asked_s, max(asked_s, 900))


async def test_registering_again_asks_for_the_same_and_for_no_more_history(opened_vtn, ven_id, clock):
    reports = opened_vtn.vtn.reports
    first = await reports.register(ven_id, [usage(METER)])
    await reports.confirm(ven_id, [first[0].report_request_id])
    clock.advance(86_400_000)
    again = await reports.register(ven_id, [usage(METER)])
    assert [each.report_request_id for each in again] == [each.report_request_id for each in first]
    assert again[0].start_ms == first[0].start_ms


async def test_a_request_stays_queued_until_the_ven_confirms_it(opened_vtn, ven_id):
    vtn = opened_vtn.vtn
    [request] = await vtn.reports.register(ven_id, [usage(METER)])
    async with vtn.database.reading() as connection:
        [message] = await open_messages(connection, ven_id)
    assert (message.kind, message.key) == ("create_report", request.report_request_id)
    await vtn.reports.confirm(ven_id, [request.report_request_id])
    async with vtn.database.reading() as connection:
        assert await open_messages(connection, ven_id) == []
    [running] = await vtn.reports.requests(ven_id)
    assert running.status == "running"


async def test_a_specifier_that_is_gone_ends_its_request(opened_vtn, ven_id):
    reports = opened_vtn.vtn.reports
    [old] = await reports.register(ven_id, [usage(METER)])
    [new] = await reports.register(ven_id, [usage(METER, specifier_id="spec-2")])
    assert [each.report_request_id for each in await reports.requests(ven_id)] == [new.report_request_id]
    with pytest.raises(NotFound):
        await reports.request(ven_id, old.report_request_id)


async def test_readings_are_stored_once_and_the_last_value_counts(opened_vtn, ven_id):
    vtn = opened_vtn.vtn
    await vtn.reports.register(ven_id, [usage(METER)])
    first_ms = START_MS - 4 * STEP_MS
    assert await vtn.telemetry.store(ven_id, readings(4, first_ms)) == Stored(4, 0, 0)
    assert await vtn.telemetry.store(ven_id, readings(4, first_ms)) == Stored(0, 0, 4)
    assert await vtn.telemetry.store(ven_id, readings(1, first_ms, value_wh=7)) == Stored(0, 1, 0)
    assert await vtn.telemetry.store(ven_id, readings(1, first_ms, value_wh=7)) == Stored(0, 0, 1)
    expected = {first_ms: 7} | {first_ms + n * STEP_MS: 100 + n for n in (1, 2, 3)}
    assert await vtn.telemetry.history(ven_id, first_ms, START_MS) == expected
    assert list(await vtn.telemetry.history(ven_id, first_ms + STEP_MS, START_MS - STEP_MS)) == [
        first_ms + STEP_MS,
        first_ms + 2 * STEP_MS,
    ]


async def test_history_is_that_of_the_meter_without_missing_values(opened_vtn, ven_id):
    vtn = opened_vtn.vtn
    other = (await vtn.vens.add("home-2", "F1", PROGRAM)).ven_id
    await vtn.reports.register(ven_id, [usage(METER, PANEL)])
    first_ms = START_MS - 4 * STEP_MS
    await vtn.telemetry.store(ven_id, readings(2, first_ms))
    await vtn.telemetry.store(ven_id, readings(2, first_ms, value_wh=-50, r_id="panel"))
    await vtn.telemetry.store(ven_id, readings(1, first_ms + 2 * STEP_MS, quality="missing"))
    found = await vtn.telemetry.histories([ven_id, other], first_ms, START_MS)
    assert found == {ven_id: {first_ms: 100, first_ms + STEP_MS: 101}, other: {}}
    assert await vtn.telemetry.history(ven_id, first_ms, START_MS, r_id="panel") == {
        first_ms: -50,
        first_ms + STEP_MS: -49,
    }
    assert await vtn.telemetry.completeness(ven_id, first_ms, START_MS, 900) == Completeness(4, 2)


async def test_a_reading_of_the_future_is_refused_with_its_whole_report(opened_vtn, ven_id):
    vtn = opened_vtn.vtn
    await vtn.reports.register(ven_id, [usage(METER)])
    with pytest.raises(InvalidInput):
        await vtn.telemetry.store(ven_id, readings(3, START_MS - STEP_MS))
    assert await vtn.telemetry.history(ven_id, 0, 2 * START_MS) == {}


async def test_a_month_of_readings_fits_in_one_report(opened_vtn, ven_id):
    vtn = opened_vtn.vtn
    await vtn.reports.register(ven_id, [usage(METER)])
    count = 45 * 96
    stored = await vtn.telemetry.store(ven_id, readings(count, START_MS - count * STEP_MS))
    assert stored == Stored(count, 0, 0)
