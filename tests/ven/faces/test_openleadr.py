"""A home without contract at somebody else's VTN: openleadr's own server, in real time."""

from __future__ import annotations

import asyncio
import contextlib
import warnings
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from runtime.clock import SystemClock
from runtime.ports import free_ports
from tests.ven.homes import a_store
from ven.account.identity import Identity
from ven.agent import HomeAgent, Surroundings
from ven.config import VenSettings
from ven.devices.base import Mode
from ven.devices.dimmer import Dimmer
from ven.metrics import Metrics

pytestmark = pytest.mark.slow


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
                requested_poll_freq=timedelta(seconds=1),
                show_server_cert_domain=False,
            )
        self.opts: list[str] = []
        self.values: list[float] = []
        self.server.add_handler("on_create_party_registration", self._register)
        self.server.add_handler("on_register_report", self._register_report)

    async def _register(self, registration_info):
        assert registration_info["ven_name"] == "H1"
        return "their-ven", "their-registration"

    async def _register_report(
        self, ven_id, resource_id, measurement, unit, scale, min_sampling_interval, max_sampling_interval
    ):
        assert (resource_id, unit) == ("H1", "Wh")
        return self._report, min_sampling_interval

    async def _report(self, data) -> None:
        self.values += [value for _, value in data]

    async def _event_response(self, ven_id, event_id, opt_type) -> None:
        self.opts.append(opt_type)

    def add_event(self, start: datetime, duration: timedelta) -> None:
        self.server.add_event(
            ven_id="their-ven",
            signal_name="SIMPLE",
            signal_type="level",
            intervals=[{"dtstart": start, "duration": duration, "signal_payload": 2}],
            callback=self._event_response,
        )


@pytest.mark.filterwarnings("ignore")
async def test_it_registers_opts_in_acts_reports_and_restores_at_an_openleadr_vtn(tmp_path):
    port = free_ports(1)[0]
    vtn = OpenLeadrVtn(port)
    serving = asyncio.create_task(vtn.server.run_async())
    settings = VenSettings(
        openadr2_url=f"http://127.0.0.1:{port}/OpenADR2/Simple/2.0b",
        require_contract=False,
        interval_s=60,
        reading_delay_s=0,
        history_days=0,
        device="dimmer",
    )
    device = Dimmer("dimmer", 900)
    store = a_store(tmp_path)
    identity = Identity(ven_name="H1", ven_id=None, openadr2_url=str(settings.openadr2_url))
    async with aiohttp.ClientSession() as session:
        around = Surroundings(SystemClock(), session, Metrics(CollectorRegistry()))
        agent = HomeAgent(settings, tmp_path, store, identity, device, around)
        running = asyncio.create_task(agent.run())
        try:
            await until(lambda: agent.engine.reached)
            start = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=4)
            vtn.add_event(start, timedelta(seconds=4))
            await until(lambda: vtn.opts == ["optIn"])
            await until(lambda: now_status(device).mode is Mode.SHEDDING)
            assert datetime.now(UTC) >= start
            assert now_status(device).shed_w == 600  # level 2 takes two thirds
            await until(lambda: now_status(device).mode is Mode.NORMAL)
            assert timedelta(seconds=3.9) <= datetime.now(UTC) - start < timedelta(seconds=5)
            await until(lambda: vtn.values, 75)
            assert 10 <= vtn.values[0] <= 15  # 900 W for a minute, a part of it shed
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
            store.close()
            await vtn.server.stop()
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serving


def now_status(device: Dimmer):
    return device.status(SystemClock().now_ms())


async def until(condition, seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.05)
