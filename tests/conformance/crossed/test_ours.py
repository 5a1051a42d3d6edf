"""Our VTN and our VEN in real time, in push mode over mutual TLS with signatures: no independent stack here speaks
push. An event is created, changed and cancelled, and the VTN is restarted in between."""

from __future__ import annotations

import contextlib

import msgspec
import pytest

from runtime.clock import SystemClock
from runtime.ports import free_ports
from tests.conformance.crossed.home import our_ven
from tests.conformance.crossed.meeting import eventually, our_vtn, publish, standing
from tests.vtn.auth.devices import a_device

pytestmark = pytest.mark.slow


async def is_standing(vtn, expected):
    return await standing(vtn, "evt-1") == expected


@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
async def test_events_are_pushed_and_answered_through_a_restart_of_the_vtn(vtn_url, tmp_path, pki, kind):
    port, push_port = free_ports(2)
    (folder := tmp_path / "ven").mkdir()
    secure = {"pki_dir": pki.folder, "require_signatures": True, "poll_interval_s": 600}
    async with our_vtn(vtn_url, SystemClock(), tmp_path, port, **secure) as vtn:
        device = await a_device(vtn, tmp_path, "H1", rsa=kind == "rsa", registered=False)
        own = {
            "certificate": device.files.chain, "certificate_key": device.files.key, "server_ca": tmp_path / "ca.pem",
            "sign_messages": True, "push_port": push_port,
        }  # fmt: skip
        async with contextlib.AsyncExitStack() as keeping:
            url = f"https://localhost:{port}/OpenADR2/Simple/2.0b"
            agent = await keeping.enter_async_context(our_ven(url, folder, **own))
            await eventually(lambda: agent.engine.reached)
            await publish(vtn, device.ven_id, targets=())
            await eventually(lambda: is_standing(vtn, "opted_in 0"))
            ven = keeping.pop_all()
    async with ven, our_vtn(vtn_url, SystemClock(), tmp_path, port, **secure) as again:
        event = (await again.dr_events.get("evt-1")).event
        await again.dr_events.modify(msgspec.structs.replace(event, priority=3))
        await eventually(lambda: is_standing(again, "opted_in 1"))
        await again.dr_events.cancel("evt-1")
        await eventually(lambda: is_standing(again, "acknowledged 2"))
        assert agent.store.events.find("evt-1").cancelled
