"""The aggregator as a process, killed and started again, at a utility that is another VTN; and at openleadr's."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from contracts.core.commands import Issue
from contracts.demand_response.needs import NeedRecord
from ledger.app import build
from ledger.config import LedgerSettings
from runtime.clock import Clock, write_clock
from runtime.keys import create_key_file
from runtime.ports import free_ports
from tests.builders import START_MS
from tests.ledger.running import UTILITY_ID, a_client, founded
from tests.vtn.faces.peer import facing
from tests.vtn.opened import PROGRAM, Opened, opened
from tests.vtn.upstream.world import HOUR_MS, add_homes, an_event, report
from vtn.faces.openadr2 import PREFIX
from vtn.upstream import overview, records

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[4]
SPEED = 120.0
EVENT_MS = START_MS + 24 * HOUR_MS
QUARTER_MS = 900_000


class DrVtn:
    """`dr-vtn serve` as a process that may be killed."""

    def __init__(self, folder: Path, **settings: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GRIDPACT_", "DATABASE_"))}
        given = {f"GRIDPACT_VTN_{name.upper()}": value for name, value in settings.items()}
        self.environment = {**kept, **given, "GRIDPACT_VTN_DATA_DIR": str(folder), "PYTHONPATH": str(ROOT)}
        self.url = f"http://127.0.0.1:{settings['port']}"
        self._log = folder / "serve.log"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Returns when it is ready."""
        with self._log.open("a") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", "from vtn.cli import main; main()", "serve",
                env=self.environment, stdout=asyncio.subprocess.PIPE, stderr=log,
            )  # fmt: skip
        assert self._process.stdout is not None
        async with asyncio.timeout(120):
            line = await self._process.stdout.readline()
        assert line.startswith(b"dr-vtn ready"), self._log.read_text()[-3_000:]

    async def end(self, number: signal.Signals) -> None:
        """Ends it, if it runs."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            await process.wait()


@contextlib.asynccontextmanager
async def a_ledger(database_url: str, folder: Path, port: int) -> AsyncIterator[None]:
    """A replica at this port until the block ends; in the same folder and database it is the same ledger."""
    settings = LedgerSettings(database_url=database_url, data_dir=folder, clock_file=folder.parent / "clock.json")
    runner = web.AppRunner(build(settings, founded(settings)), access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield
    finally:
        await runner.cleanup()


async def until(condition: Callable[[], Awaitable[Any]], seconds: float = 120.0) -> Any:
    """Waits for something to be true; what it is."""
    async with asyncio.timeout(seconds):
        while not (found := await condition()):
            await asyncio.sleep(0.05)
    return found


def the_keys(folder: Path) -> None:
    """Keys of the aggregator and of the utility's account, as the founders of the tests' ledger have them."""
    for name, number in (("aggregator.key", 102), ("utility.key", 101)):
        create_key_file(folder / name, f"ed25519:{number.to_bytes(32, 'big').hex()}\n".encode())


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    """Two hours of domain time a minute, the same for everybody."""
    return write_clock(tmp_path / "clock.json", epoch_domain_ms=START_MS, speed=SPEED)


@pytest.fixture
def ledger_url(new_database: Callable[..., str]) -> str:
    """A database of the ledger."""
    return new_database("ledger")


async def test_a_need_reaches_the_ledger_once_through_kills_and_the_utility_hears_of_it(
    urls: tuple[str, str], ledger_url: str, clock: Clock, tmp_path: Path
) -> None:
    ledger_port, vtn_port = free_ports(2)
    (tmp_path / "aggregator").mkdir()
    the_keys(tmp_path / "aggregator")
    ledger = f"http://127.0.0.1:{ledger_port}"
    async with contextlib.AsyncExitStack() as stack:
        utility = await stack.enter_async_context(opened(urls[0], clock, tmp_path / "utility", redeliver_s=30))
        books = await stack.enter_async_context(opened(urls[1], clock, tmp_path / "books", **at("http://127.0.0.1:9")))
        us = (await utility.vtn.vens.add("aggregator-1", "F1", PROGRAM)).ven_id
        homes = await add_homes(books.vtn, 5)
        url = await stack.enter_async_context(facing(utility.vtn))
        async with a_ledger(ledger_url, tmp_path / "ledger", ledger_port), a_client(ledger) as client:
            await client.submit(Issue(to=UTILITY_ID, amount_minor=100_000, reference="budget"))
        settings = at(url + PREFIX, upstream_key=tmp_path / "aggregator" / "utility.key", upstream_report_delay_s=0)
        settings |= {
            "database_url": urls[1], "port": vtn_port, "ledger_url": ledger, "virtual_node_homes_min": 5,
            "clock_file": tmp_path / "clock.json",
        }  # fmt: skip
        aggregator = DrVtn(tmp_path / "aggregator", **{name: str(each) for name, each in settings.items()})
        try:
            await aggregator.start()

            # an event while the ledger is away: taken in, nothing promised; then the aggregator is killed
            program = await utility.vtn.programs.get(PROGRAM)
            event = an_event(start_ms=EVENT_MS, program=program.market_context, targets=())
            await utility.vtn.dr_events.create(event, PROGRAM)
            await utility.vtn.dr_events.publish("peak-1", [us])
            await until(lambda: state_of(books, records.REQUESTED))
            await aggregator.end(signal.SIGKILL)
            [delivery] = await utility.vtn.dr_events.deliveries("peak-1")
            assert delivery.answered_ms is None

            # both come back: one need, and optIn because of it
            await stack.enter_async_context(a_ledger(ledger_url, tmp_path / "ledger", ledger_port))
            client = await stack.enter_async_context(a_client(ledger))
            await aggregator.start()
            await until(lambda: delivered_as(utility, "opted_in"))
            needs = await client.records(NeedRecord)
            assert [need.request.target_wh for _, need in needs] == [(1_000,) * 4]
            assert needs[0][1].request.start_ms == EVENT_MS

            # readings of the homes go up as sums
            quarter_ms = clock.now_ms() // QUARTER_MS * QUARTER_MS - QUARTER_MS
            await report(books.vtn, homes, quarter_ms, 250)
            await until(lambda: reported(utility, us, "vn-F1", quarter_ms, 1_250))
            assert await reported(utility, us, "portfolio", quarter_ms, 1_250)
            await until(lambda: says_online(utility, us, books, homes))

            # it says itself how it stands
            async with aiohttp.ClientSession() as http:
                ready = await (await http.get(f"{aggregator.url}/readyz")).json()
                assert ready["dependencies"]["upstream"] == {"ready": True}
                metrics = await (await http.get(f"{aggregator.url}/metrics")).text()
                assert "gridpact_vtn_upstream_leads 1.0" in metrics

            # the utility cancels: confirmed, and its money comes back
            await utility.vtn.dr_events.cancel("peak-1")
            await until(lambda: confirmed(utility))
            await until(lambda: is_closed(client, needs[0][0]))
            await until(lambda: noted_as_closed(books))
        finally:
            await aggregator.end(signal.SIGTERM)


def at(url: str, **given: Any) -> dict[str, Any]:
    """Settings of the link."""
    return given | {
        "upstream_url": url,
        "upstream_ven_name": "aggregator-1",
        "upstream_key": given.get("upstream_key", "utility.key"),
        "upstream_automatic_w_max": 10_000,
    }


async def state_of(books: Opened, state: str) -> bool:
    return [each.state for each in await overview.events(books.vtn)] == [state]


async def delivered_as(utility: Opened, state: str) -> bool:
    return [each.state for each in await utility.vtn.dr_events.deliveries("peak-1")] == [state]


async def confirmed(utility: Opened) -> bool:
    [delivery] = await utility.vtn.dr_events.deliveries("peak-1")
    return delivery.modification_number == 1 and delivery.answered_ms is not None


async def reported(utility: Opened, us: str, r_id: str, start_ms: int, energy_wh: int) -> bool:
    found = await utility.vtn.telemetry.history(us, start_ms, start_ms + 1, r_id=r_id)
    return found == {start_ms: energy_wh}


async def says_online(utility: Opened, us: str, books: Opened, homes: list[str]) -> bool:
    """Homes go on reporting, however long it takes until the next status is due."""
    await report(books.vtn, homes, books.vtn.clock.now_ms() // QUARTER_MS * QUARTER_MS - QUARTER_MS, 250)
    return {each.r_id for each in await utility.vtn.collected.states(us) if each.online} == {"portfolio", "vn-F1"}


async def noted_as_closed(books: Opened) -> bool:
    return [each.state for each in (await overview.events(books.vtn))[0].needs] == [records.CLOSED]


async def is_closed(client: Any, need_id: str) -> bool:
    found = await client.record(NeedRecord, need_id)
    return found is not None and found.closed
