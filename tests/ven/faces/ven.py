"""The 2.0b side of a home on its own, as a test drives it: over a store, fast, without meter, contracts or owner."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client import CollectorRegistry

from runtime.clock import DomainClock
from tests.builders import START_MS
from tests.ven.homes import a_store
from ven.account.credentials import Credentials
from ven.account.identity import Identity
from ven.config import VenSettings
from ven.devices.dimmer import Dimmer
from ven.faces.openadr2.face import make_face
from ven.metrics import Metrics

SPEED = 600.0  # a poll of 60 s takes 0.1 s


class Ven:
    """`running` while its engine works; what it says goes to the VTN at `url`."""

    def __init__(
        self,
        folder: Path,
        url: str,
        session: aiohttp.ClientSession,
        *,
        ven_id: str | None = None,
        speed: float = SPEED,
        **settings: Any,
    ) -> None:
        self.store = a_store(folder)
        self.clock = DomainClock(DomainClock(0, 0, 1).wall_ms(), START_MS, speed)
        self.turns = 0
        self.clocks: list[tuple[int, int, int]] = []
        self.device = Dimmer("dimmer", 900)
        self.metrics = Metrics(CollectorRegistry())
        given: dict[str, Any] = {"data_dir": folder, "poll_s": 60, "backoff_max_s": 0.2, "request_timeout_s": 2.0}
        self.face = make_face(
            VenSettings(**(given | settings)),
            Identity(ven_name="H1", ven_id=ven_id, openadr2_url=url),
            self.store,
            Credentials(folder),
            self.device,
            clock=self.clock,
            session=session,
            metrics=self.metrics,
            changed=self._changed,
            clock_seen=lambda *seen: self.clocks.append(seen),
        )
        self.engine, self.registrar = self.face.engine, self.face.registrar

    def _changed(self, _events: bool) -> None:
        self.turns += 1

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.face.run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
