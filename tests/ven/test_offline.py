"""Six hours alone around an event, with a kill in the middle of it: nothing is lost, and nothing is done twice."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter

import aiohttp
import pytest

from contracts.core.commands import DRCompletion, SettleDR
from contracts.core.facts import MeasurementsRecorded
from openadr.v2 import OadrUpdateReport, parse
from runtime.clock import write_clock
from tests.builders import START_MS
from tests.ledger.running import AGGREGATOR, AGGREGATOR_ID, a_running_ledger
from tests.ven.faces.scripted import (
    a_scripted_vtn,
    event,
    registered,
    registered_report,
    report_request,
    time_text,
)
from tests.ven.homes import STEP_MS
from tests.ven.lines import a_line
from tests.ven.test_home_on_a_ledger import World, the_event
from tests.ven.test_processes import DrVen, commands
from ven.devices.control import Kind
from ven.home.store import ContractState

pytestmark = pytest.mark.slow

SPEED = 1440.0
HOUR_MS = 3_600_000
LEAD_MS = 6 * HOUR_MS
"""From the start of the test to the event: time to be contracted in, on a machine that is busy."""

RUNNING = (Kind.REDUCE, 440)
"""100 Wh a quarter of an hour, and a margin of 10 %."""


@pytest.fixture
def ledger_database(new_database) -> str:
    return new_database("ledger")


@pytest.fixture
async def around(tmp_path, ledger_database):
    """World, the process of the home, and the two lines it depends on."""
    clock_file = tmp_path / "clock.json"
    clock = write_clock(clock_file, epoch_domain_ms=START_MS, speed=SPEED)
    (tmp_path / "ledger").mkdir()
    async with (
        a_running_ledger(ledger_database, tmp_path / "ledger", clock_file=clock_file) as url,
        a_scripted_vtn() as vtn,
        a_line(url) as ledger_line,
        a_line(vtn.url) as vtn_line,
        aiohttp.ClientSession() as session,
    ):
        world = World(tmp_path / "home", url, clock, vtn, session)
        world.event_ms = -(-(clock.now_ms() + LEAD_MS) // STEP_MS) * STEP_MS
        world.accept_lead_ms, world.settle_lag_ms = HOUR_MS // 2, 6 * HOUR_MS
        world.event = the_event(world.event_ms)
        vtn.script("oadrCreatePartyRegistration", *[registered(poll="PT10M")] * 9)
        request = report_request(start=time_text(world.event_ms - 12 * HOUR_MS))
        vtn.script("oadrRegisterReport", registered_report(request))
        vtn.events.append(event(start_ms=world.event_ms))
        await world.prepare(vtn_line.url, ledger_line.url)
        home = DrVen(
            world.folder,
            clock_file=str(clock_file),
            device="dimmer",
            rated_w="2000",
            history_days="25",
            backoff_max_s="0.5",
        )
        yield world, home, (ledger_line, vtn_line)
        if home.process is not None:
            await home.end(signal.SIGKILL)
        world.store.close()


async def test_six_hours_alone_around_an_event_lose_nothing_and_double_nothing(around):
    world, home, lines = around
    await home.start("run")
    await world.contract()
    await world.until(lambda: world.state() is ContractState.ACCEPTED)
    await world.until(lambda: world.last_opt() == "optIn")
    for line in lines:
        await line.cut()
    cut_ms = world.clock.now_ms()
    assert cut_ms < world.event_ms
    await world.clock.sleep_until(world.event_ms)
    await world.until(lambda: commands(world.folder)[-1:] == [RUNNING])
    await home.end(signal.SIGKILL)
    await asyncio.sleep(0.2)  # five minutes in which nobody looks at the device
    await home.start("run")
    await world.clock.sleep_until(max(cut_ms + 6 * HOUR_MS, world.event_ms + 2 * HOUR_MS))
    _, text = await home.say("status", "--json")
    alone = json.loads(text)
    assert (alone["contracts"][0]["state"], alone["paid_minor"]) == ("accepted", 0)
    assert alone["transactions_waiting"] > 0
    assert alone["report_intervals_owed"] > 0
    for line in lines:
        await line.mend()
    await world.until(lambda: (world.store.outbox.count(), world.store.reports.count_owed()) == (0, 0), 150)
    aggregator = world.client(AGGREGATOR, AGGREGATOR_ID)
    await world.clock.sleep_until(world.event_ms + world.settle_lag_ms + 60_000)
    await aggregator.submit(SettleDR(contract_id="sc1-1"))
    await aggregator.submit(DRCompletion(contract_id="sc1-1"))
    await world.until(lambda: len(world.store.proofs.kept()) == 2, 150)
    assert await home.end(signal.SIGTERM) == 0

    measured = world.store.meter.between(world.event_ms - 5 * HOUR_MS, world.event_ms + HOUR_MS)
    assert len(measured) == 24
    terms = world.store.contracts.all()[0].terms
    assert terms.baseline is not None
    window_ms = terms.baseline.adjustment_start_ms
    needed = [window_ms + n * STEP_MS for n in range(12)] + [world.event_ms + n * STEP_MS for n in range(4)]
    assert await recorded(world) == Counter({(start_ms, measured[start_ms]): 1 for start_ms in needed})
    check_payment(world, [measured[start_ms] for start_ms in needed[-4:]])
    check_reports(world)


async def recorded(world: World) -> Counter[tuple[int, int]]:
    """How often each interval is on the ledger, with which value."""
    found: Counter[tuple[int, int]] = Counter()
    for record in await world.client(AGGREGATOR, AGGREGATOR_ID).facts(party=world.wallet.party):
        if isinstance(record.fact, MeasurementsRecorded):
            for position, energy_wh in enumerate(record.fact.energy_wh):
                found[record.fact.start_ms + position * STEP_MS, energy_wh] += 1
    return found


def check_payment(world: World, readings_wh: list[int]) -> None:
    """By hand: 500 Wh without control, 100 owed and half of it tolerated, 100 minor units a kWh, a penalty of 50."""
    contract = world.store.contracts.find("sc2-1")
    assert contract is not None
    assert contract.outcome is not None
    delivered = [500 - reading for reading in readings_wh]
    assert sum(delivered) > 0  # the last plan ran
    energy = min(sum(delivered), 480) * 100_000 // 1_000_000
    penalty = -(-sum(max(0, 50 - each) for each in delivered) * 50_000 // 1_000_000)
    assert contract.missing == 0
    assert contract.outcome.delivered_wh == sum(delivered)
    assert contract.outcome.amount_minor == energy - penalty


def check_reports(world: World) -> None:
    """The VTN has each interval since the start of its request, each with the one value that the meter gave."""
    told: dict[int, set[int]] = {}
    for each in world.vtn.of("oadrUpdateReport"):
        message = parse(each.text.encode())
        assert isinstance(message, OadrUpdateReport)
        for report in message.reports:
            for interval in report.intervals:
                for payload in interval.payloads:
                    told.setdefault(interval.start_ms or 0, set()).add(int(payload.value))
    measured = world.store.meter.between(world.event_ms - 12 * HOUR_MS, world.clock.now_ms())
    last_ms = max(measured)
    assert {start_ms: {wh} for start_ms, wh in measured.items() if start_ms < last_ms - 4 * STEP_MS}.items() <= (
        told.items()
    )
    assert all(values == {measured[start_ms]} for start_ms, values in told.items())
