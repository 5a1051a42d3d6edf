"""Two real processes on one database; one is killed while events are on their way, and no VEN is left out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
from pathlib import Path

import aiohttp
import pytest

from openadr import v2
from runtime.clock import SystemClock
from runtime.keys import PrivateKey
from tests.builders import a_dr_event
from tests.vtn.opened import PROGRAM, opened
from vtn.faces.openadr2 import PREFIX
from vtn.services.registrations import RegistrationRequest

VENS = 12
_READY = " ready at "


@contextlib.asynccontextmanager
async def a_process(url: str, folder: Path):
    """A worker as it is shipped, and its address."""
    settings = {
        "DATABASE_URL": url, "DATA_DIR": str(folder), "PKI_DIR": str(folder / "none"), "PORT": "0",
        "AGGREGATOR": "false", "REDELIVER_S": "1",
    }  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GRIDPACT_")}
    environment |= {f"GRIDPACT_VTN_{name}": value for name, value in settings.items()}
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("dr-vtn"), "serve", env=environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        async with asyncio.timeout(120):
            line = (await process.stdout.readline()).decode()
        assert _READY in line, line
        yield process, line.rpartition(_READY)[2].strip()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


class Device:
    """A VEN that asks whichever worker answers, and keeps what it was told."""

    def __init__(self, session: aiohttp.ClientSession, addresses: list[str], ven_id: str) -> None:
        self.ven_id = ven_id
        self.told: list[tuple[tuple[str, int], ...]] = []
        self._session = session
        self._addresses = addresses
        self._chance = random.Random(ven_id)

    async def send(self, service: str, message: v2.Message):
        while True:
            url = self._chance.choice(self._addresses) + f"{PREFIX}/{service}"
            try:
                async with self._session.post(url, data=v2.render(message)) as response:
                    return v2.parse(await response.read())
            except (aiohttp.ClientError, OSError):  # that worker is gone: the next one
                await asyncio.sleep(0.02)

    async def live(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            answer = await self.send("OadrPoll", v2.OadrPoll(self.ven_id))
            if isinstance(answer, v2.OadrDistributeEvent):
                events = tuple((e.dr_event.event_id, e.dr_event.modification_number) for e in answer.events)
                self.told.append(events)
                responses = tuple(v2.EventResponse(*event, "optIn", answer.request_id) for event in events)
                response = v2.EiResponse(request_id=answer.request_id)
                confirmed = await self.send("EiEvent", v2.OadrCreatedEvent(self.ven_id, responses, response))
                assert confirmed.response.response_code in (200, 450)  # 450: it was modified meanwhile
            await asyncio.sleep(0.05)


async def until_answered(vtn, event_id: str, number: int, count: int) -> None:
    """Return when so many VENs have answered this modification."""
    async with asyncio.timeout(120):
        while True:
            found = await vtn.dr_events.deliveries(event_id)
            if sum(each.answered_ms is not None and each.modification_number == number for each in found) >= count:
                return
            await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_a_worker_that_is_killed_takes_nothing_with_it(vtn_url, tmp_path):
    async with opened(vtn_url, SystemClock(), tmp_path, pki_dir=tmp_path / "none") as found:
        vtn = found.vtn
        PrivateKey.create(tmp_path / "aggregator.key")
        ven_ids = [(await vtn.vens.add(f"home-{number}", "F1", PROGRAM)).ven_id for number in range(VENS)]
        for ven_id in ven_ids:
            await vtn.registrations.register(RegistrationRequest(ven_id=ven_id, ven_name=None))
        context = (await vtn.programs.get(PROGRAM)).market_context
        now_ms = SystemClock().now_ms()
        event = a_dr_event("called", program=context, start_ms=now_ms + 3_600_000, created_ms=now_ms, targets=())
        async with (
            a_process(vtn_url, tmp_path) as (first, first_url),
            a_process(vtn_url, tmp_path) as (_, second_url),
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(10)) as session,
        ):
            stop = asyncio.Event()
            devices = [Device(session, [first_url, second_url], ven_id) for ven_id in ven_ids]
            living = asyncio.gather(*(device.live(stop) for device in devices))
            await vtn.dr_events.create(event, PROGRAM)
            await vtn.dr_events.publish("called")
            await until_answered(vtn, "called", 0, 3)
            first.kill()
            await vtn.dr_events.modify(a_dr_event(
                "called", program=context, start_ms=now_ms + 3_600_000, duration_s=7200, targets=(),
                created_ms=now_ms, signals=lasting(7200),
            ))  # fmt: skip
            await until_answered(vtn, "called", 1, VENS)
            told = [len(device.told) for device in devices]
            await asyncio.sleep(1.5)  # longer than the redelivery time: what is answered is not sent again
            stop.set()
            await living
        assert [len(device.told) for device in devices] == told
        for device in devices:
            assert device.told[-1] == (("called", 1),)
            numbers = [events[0][1] for events in device.told]
            assert numbers == sorted(numbers)
            assert all(len(events) == 1 for events in device.told)
        deliveries = await vtn.dr_events.deliveries("called")
        assert {(each.state, each.modification_number) for each in deliveries} == {("opted_in", 1)}


def lasting(duration_s: int):
    """The one signal of an event of this length."""
    from openadr.model import SignalInterval
    from tests.builders import a_signal

    return (a_signal(intervals=(SignalInterval(duration_s, "1"),)),)
