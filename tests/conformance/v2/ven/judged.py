"""Our VEN as the judge sees it: the agent `dr-ven run` runs, on a clock that the test moves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client import CollectorRegistry

from runtime.clock import ManualClock
from tests.builders import START_MS
from tests.conformance.v2.ven.judging import PATIENCE_S, Heard, Judge, Reply
from ven.account.identity import Identity
from ven.agent import HomeAgent, Surroundings
from ven.config import VenSettings
from ven.devices.dimmer import Dimmer
from ven.home.owner import Owner, write_owner
from ven.home.store import Store
from ven.metrics import Metrics

HOUR_MS = 3_600_000
POLL_MS = 10_000
RESOURCE = "H1"
RATED_W = 900
"""SIMPLE level n takes n times 300 W off."""


class MovedClock(ManualClock):
    """Time that the test moves, and that whoever waits for looks at every few milliseconds."""

    def wall_seconds(self, domain_s: float) -> float:
        return 0.004


class Ven:
    """A home at the judge; `shed_w` is what its device does now. Built anew from its folder by `restart`."""

    def __init__(self, judge: Judge, folder: Path, *, now_ms: int = START_MS, **settings: Any) -> None:
        self.judge = judge
        self.clock = MovedClock(now_ms)
        judge.now = self.clock.now
        self.folder = folder
        self._settings = settings
        self._open = contextlib.AsyncExitStack()

    @property
    def shed_w(self) -> int:
        """Power the device leaves off at this moment."""
        return self._device.status(self.clock.now_ms()).shed_w

    @property
    def tried(self) -> int:
        """How often its VTN could not be reached."""
        return int(self._metrics.requests.labels(message="oadrQueryRegistration", result="unreachable")._value.get())

    @property
    def store(self) -> Store:
        """Its memory."""
        return self._store

    async def start(self) -> None:
        """Run it."""
        given: dict[str, Any] = {
            "openadr2_url": self.judge.url, "data_dir": self.folder, "require_contract": False, "device": "dimmer",
            "interval_s": 900, "reading_delay_s": 0, "history_days": 1, "backoff_max_s": 0.05, "request_timeout_s": 5.0,
        }  # fmt: skip
        settings = VenSettings(**{**given, **self._settings})
        self._store = Store(self.folder / "ven.sqlite")
        self._open.callback(self._store.close)
        self._device = Dimmer("dimmer", RATED_W)
        session = await self._open.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=settings.tls()))
        )
        identity = Identity(ven_name=RESOURCE, ven_id=None, openadr2_url=self.judge.url)
        self._metrics = Metrics(CollectorRegistry())
        around = Surroundings(self.clock, session, self._metrics)
        self.agent = HomeAgent(settings, self.folder, self._store, identity, self._device, around)
        task = asyncio.create_task(self.agent.run())
        self._open.push_async_callback(_stopped, task)

    async def stop(self) -> None:
        """End it."""
        await self._open.aclose()

    async def restart(self) -> None:
        """End it and begin again with what is on the disk."""
        await self.stop()
        await self.start()

    async def poll(self, *said: Reply) -> None:
        """Let it poll and hear these things, and poll again with nothing to hear: then all of it is digested."""
        self.judge.to_poll.extend(said)
        await self.until(lambda: not self.judge.to_poll, moving=True)
        for _ in range(2):
            count = len(self.judge.of("oadrPoll"))
            await self.until(lambda count=count: len(self.judge.of("oadrPoll")) > count, moving=True)

    async def hear(self, said: bytes, answer: str) -> Heard:
        """Let it hear this by poll; returns its answer, the next message of that name."""
        self.judge.to_poll.append(said)
        await self.until(lambda: not self.judge.to_poll, moving=True)
        return await self.judge.next(answer)

    async def until(self, condition: Callable[[], bool], *, moving: bool = False, step_ms: int = POLL_MS) -> None:
        """Wait for something, with `moving` while the time goes on, each time the VEN has polled."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                polls = len(self.judge.of("oadrPoll"))
                if moving:
                    self.clock.advance(step_ms)
                for _ in range(40):
                    await asyncio.sleep(0.005)
                    if condition() or not moving or len(self.judge.of("oadrPoll")) > polls:
                        break

    async def at(self, moment_ms: int) -> None:
        """Go to a moment and let the VEN see it, and hear nothing new."""
        if moment_ms > self.clock.now_ms():
            self.clock.advance(moment_ms - self.clock.now_ms())
        for _ in range(2):
            self.agent.wake()
            await asyncio.sleep(0.01)

    def owner(self, **choice: Any) -> None:
        """What the owner says with `dr-ven opt-out`, `opt-in` or `limits` while it runs."""
        with contextlib.closing(Store(self.folder / "ven.sqlite")) as beside:
            write_owner(beside.notes, Owner(**choice))


async def _stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@contextlib.asynccontextmanager
async def a_ven(judge: Judge, folder: Path, *, waits: bool = False, **given: Any) -> AsyncIterator[Ven]:
    """A VEN that runs and has polled; with `waits` it may be kept from that."""
    ven = Ven(judge, folder, **given)
    try:
        await ven.start()
        if not waits:
            await ven.until(lambda: ven.agent.engine.reached)
        yield ven
    finally:
        await ven.stop()
