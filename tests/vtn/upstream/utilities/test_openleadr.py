"""The aggregator at somebody else's VTN: openleadr's own server, which lives on the wall clock."""

from __future__ import annotations

import asyncio
import contextlib
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from contracts.core.parties import Role
from contracts.demand_response.needs import NeedRecord
from runtime.clock import ManualClock, SystemClock
from runtime.keys import create_key_file
from runtime.ports import free_ports
from tests.vtn.opened import AGGREGATOR_KEY, UTILITY_KEY, opened
from tests.vtn.upstream.world import SETTINGS, WholeLedger, add_homes, fund_utility, report
from vtn.upstream import service, session
from vtn.upstream.service import Upstream

pytestmark = pytest.mark.slow

QUARTER_MS = 900_000


class OpenLeadrVtn:
    """OpenADRServer with the handlers a VTN needs; keeps what it is told."""

    def __init__(self, port: int) -> None:
        from openleadr import OpenADRServer

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.server = OpenADRServer(
                vtn_id="their-vtn",
                http_port=port,
                http_host="127.0.0.1",
                requested_poll_freq=timedelta(seconds=10),
                show_server_cert_domain=False,
            )
        self.opts: list[str] = []
        self.offered: list[str] = []
        self.values: list[float] = []
        self.server.add_handler("on_create_party_registration", self._register)
        self.server.add_handler("on_register_report", self._register_report)

    async def _register(self, registration_info: dict[str, Any]) -> tuple[str, str]:
        assert registration_info["ven_name"] == "aggregator-1"
        return "their-ven", "their-registration"

    async def _register_report(
        self, ven_id: str, resource_id: str, measurement: str, unit: str | None, scale: str | None,
        min_sampling_interval: timedelta, max_sampling_interval: timedelta,
    ) -> Any:  # fmt: skip
        self.offered.append(f"{resource_id} {measurement}")
        wanted = (resource_id, measurement) == ("vn-F1", "RealEnergy")
        return (self._report, min_sampling_interval) if wanted else None

    async def _report(self, data: list[tuple[datetime, float]]) -> None:
        self.values += [value for _, value in data]

    async def _event_response(self, ven_id: str, event_id: str, opt_type: str) -> None:
        self.opts.append(opt_type)

    def add_event(self, start: datetime) -> str:
        """Two levels of half an hour each."""
        half = timedelta(minutes=30)
        intervals = [
            {"dtstart": start, "duration": half, "signal_payload": 1},
            {"dtstart": start + half, "duration": half, "signal_payload": 2},
        ]
        return str(
            self.server.add_event(
                ven_id="their-ven", signal_name="SIMPLE", signal_type="level", intervals=intervals,
                callback=self._event_response,
            )
        )  # fmt: skip


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.05)


@pytest.mark.filterwarnings("ignore")
async def test_events_of_an_openleadr_vtn_become_needs_and_it_gets_reports(
    vtn_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_LOOK_S", 0.1)
    monkeypatch.setattr(service, "_TURN_S", 0.1)
    [port] = free_ports(1)
    utility = OpenLeadrVtn(port)
    serving = asyncio.create_task(utility.server.run_async())
    start_ms = SystemClock().now_ms() // QUARTER_MS * QUARTER_MS
    clock = ManualClock(start_ms)
    ledger = WholeLedger(clock, (Role.AGGREGATOR, AGGREGATOR_KEY), (Role.UTILITY, UTILITY_KEY))
    fund_utility(ledger, 100_000)
    create_key_file(tmp_path / "utility.key", f"ed25519:{UTILITY_KEY._seed.hex()}\n".encode())
    url = f"http://127.0.0.1:{port}/OpenADR2/Simple/2.0b"
    settings = SETTINGS | {
        "upstream_url": url, "upstream_key": tmp_path / "utility.key", "upstream_report_delay_s": 0,
    }  # fmt: skip
    async with opened(vtn_url, clock, tmp_path, ledger, **settings) as aggregator:
        homes = await add_homes(aggregator.vtn, 5)
        upstream = Upstream(aggregator.vtn, CollectorRegistry())
        running = asyncio.create_task(upstream.run(aggregator.vtn))
        try:
            points = {f"{name} {what}" for name in ("portfolio", "vn-F1") for what in ("RealEnergy", "Status")}
            await until(lambda: set(utility.offered) == points)

            utility.add_event(datetime.fromtimestamp(start_ms / 1000, UTC) + timedelta(hours=6))
            clock.advance(10_000)
            await until(lambda: utility.opts == ["optIn"])
            [(_, data)] = ledger.scan(NeedRecord.KIND, "", "~", 10)
            assert b'"target_wh":[250,250,500,500]' in data

            clock.advance(QUARTER_MS - 10_000)
            await report(aggregator.vtn, homes, start_ms, 120)
            clock.advance(QUARTER_MS)
            await until(lambda: utility.values == [600.0])
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
            await utility.server.stop()
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serving
