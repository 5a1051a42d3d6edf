"""Our VTN pushes to our VEN: over mutual TLS with the certificates of the enrolment alone, and with signatures."""

from __future__ import annotations

import asyncio
import contextlib
import time

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from openadr.model import Target
from runtime.clock import ManualClock
from runtime.ports import free_ports
from tests.builders import a_dr_event
from tests.vtn.auth.devices import a_worker
from tests.vtn.auth.test_joining import Home, enrolment_port
from tests.vtn.opened import PROGRAM
from ven.config import VenSettings
from ven.devices.dimmer import Dimmer
from ven.faces.openadr2.face import make_face
from ven.home.store import Opt
from ven.metrics import Metrics


@pytest.fixture
def clock() -> ManualClock:
    """It stands at today: certificates are of this world. Nobody polls, then."""
    return ManualClock(time.time_ns() // 1_000_000)


async def until(condition) -> None:
    async with asyncio.timeout(60):
        while not await condition():
            await asyncio.sleep(0.02)


async def test_an_event_is_posted_answered_and_cancelled_signed_over_mutual_tls(secured, tmp_path, session, clock):
    (folder := tmp_path / "home").mkdir()
    async with a_worker(secured) as url, enrolment_port(secured) as enrolment_url:
        home = Home(secured, folder, url, enrolment_url, session)
        identity = await home.join()
        await secured.signing.require(identity.ven_id, True)
        settings = VenSettings(data_dir=folder, push_port=free_ports(1)[0], sign_messages=True)
        face = make_face(
            settings, identity, home.store, home.credentials, Dimmer("dimmer", 900),
            clock=clock, session=session, metrics=Metrics(CollectorRegistry()), changed=lambda events: None,
        )  # fmt: skip
        running = asyncio.create_task(face.run())
        try:
            async with asyncio.timeout(60):
                while not face.engine.reached:
                    await asyncio.sleep(0.02)
            ven = await secured.vens.get(identity.ven_id)
            assert (ven.http_pull, ven.transport_address) == (False, f"https://127.0.0.1:{settings.push_port}")
            now_ms = clock.now_ms() // 1000 * 1000
            event = msgspec.structs.replace(
                a_dr_event(),
                event_id="evt-1",
                program=f"urn:gridpact:program:{PROGRAM}",
                modification_number=0,
                start_ms=now_ms + 3_600_000,
                targets=(Target("ven", identity.ven_id),),
            )
            await secured.dr_events.create(event, PROGRAM)
            await secured.dr_events.publish("evt-1")

            async def state() -> str:
                [delivery] = await secured.dr_events.deliveries("evt-1")
                return delivery.state

            async def acknowledged() -> bool:
                return await state() == "acknowledged"

            await until(acknowledged)
            [stored] = home.store.events.all()
            assert stored.event.event_id == "evt-1"
            home.store.events.decide("evt-1", Opt.OUT)
            face.engine.nudge()

            async def opted() -> bool:
                return await state() == "opted_out"

            await until(opted)
            await secured.dr_events.cancel("evt-1")

            async def cancelled() -> bool:
                return home.store.events.all()[0].event.cancelled

            await until(cancelled)
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
