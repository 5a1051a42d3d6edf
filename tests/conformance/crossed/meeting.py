"""What the crossed runs share: waiting in real time, our VTN at one address through a restart, openleadr's client."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from aiohttp.test_utils import TestServer
from openleadr import OpenADRClient

from openadr.model import Target
from runtime.clock import Clock
from tests.builders import a_dr_event
from tests.vtn.faces.peer import heard
from tests.vtn.opened import PROGRAM, opened
from vtn.app import build_app
from vtn.context import Vtn
from vtn.faces.openadr2 import PREFIX

METER_WH = 125
PATIENCE_S = 60


async def eventually(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = condition()
            if await found if inspect.isawaitable(found) else found:
                return
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def our_vtn(database: str, clock: Clock, folder: Path, port: int, **settings: Any) -> AsyncIterator[Vtn]:
    """Our VTN at a port; the same database again is the same VTN after a restart."""
    settings = {"poll_interval_s": 1, "redeliver_s": 1, **settings}
    async with opened(database, clock, folder, **settings) as found:
        tls = found.vtn.settings.tls()
        app = build_app(found.vtn, tls=tls)
        server = TestServer(app, scheme="https" if tls else "http", port=port)
        await server.start_server(ssl=tls)
        try:
            await heard(app)
            yield found.vtn
        finally:
            await server.close()


class Stock:
    """openleadr's client as a VEN with a meter; `events` is what it was told, `opt` what it answers."""

    def __init__(self, name: str, address: str, **given: Any) -> None:
        self.events: list[Any] = []
        self.opt = "optIn"
        self.client = OpenADRClient(
            ven_name=name, vtn_url=address + PREFIX, allow_jitter=False, show_fingerprint=False, **given
        )
        self.client.add_handler("on_event", self._told)
        self.client.add_handler("on_update_event", self._told)
        self.client.add_report(
            callback=lambda: METER_WH,
            resource_id=f"{name}-meter",
            r_id="meter",
            measurement="ENERGY_REAL",
            unit="Wh",
            report_type="usage",
            reading_type="Net",
            sampling_rate=timedelta(minutes=15),
            report_duration=timedelta(days=1),
        )

    async def _told(self, event: Any) -> str:
        self.events.append(event)
        return self.opt

    @property
    def heard(self) -> list[tuple[int, str]]:
        """(modificationNumber, eventStatus) of what it was told."""
        told = [each["event_descriptor"] for each in self.events]
        return [(each["modification_number"], each["event_status"]) for each in told]

    async def send_report(self, vtn: Vtn, ven_id: str) -> None:
        """Its meter's value for the request of our VTN."""
        [request] = await vtn.reports.requests(ven_id)
        await self.client.update_report(request.report_request_id)

    async def stop(self) -> None:
        """End it; its scheduler complains about loops that it closed."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            await self.client.stop()


async def publish(vtn: Vtn, ven_id: str, event_id: str = "evt-1", **given: Any) -> None:
    """An event in an hour for one VEN."""
    start_ms = (vtn.clock.now_ms() // 1000 + 3600) * 1000
    defaults: dict[str, Any] = {
        "program": f"urn:gridpact:program:{PROGRAM}", "start_ms": start_ms, "targets": (Target("group", "vn-1"),),
    }  # fmt: skip
    await vtn.dr_events.create(a_dr_event(event_id, **{**defaults, **given}), PROGRAM)
    await vtn.dr_events.publish(event_id, [ven_id])


async def standing(vtn: Vtn, event_id: str = "evt-1") -> str:
    """State and modification number of the one delivery of an event."""
    [found] = await vtn.dr_events.deliveries(event_id)
    return f"{found.state} {found.modification_number}" if found.answered_ms is not None else "open"
