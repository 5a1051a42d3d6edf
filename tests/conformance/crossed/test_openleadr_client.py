"""Our VTN and openleadr's OpenADRClient, in real time: pull, unsigned and over mutual TLS with signatures. It
registers, reports, opts, hears of an event created, changed and cancelled, and goes on when the VTN is restarted."""

from __future__ import annotations

import contextlib
import logging

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from openadr.v2 import fingerprint
from runtime.clock import SystemClock
from runtime.ports import free_ports
from runtime.tls.certificates import read_chain
from tests.conformance.crossed.meeting import METER_WH, Stock, eventually, our_vtn, publish, standing
from tests.vtn.auth.devices import a_device
from tests.vtn.opened import PROGRAM

pytestmark = pytest.mark.slow


async def meets(vtn, stock, ven_id):
    """Registration, reports, and an event through all that can happen to it."""
    await stock.client.run()
    assert (stock.client.ven_id, stock.client.registration_id) == (ven_id, (await vtn.vens.get(ven_id)).registration_id)

    async def running():
        return [each.status for each in await vtn.reports.requests(ven_id)] == ["running"]

    await eventually(running)
    await publish(vtn, ven_id)
    await eventually(lambda: is_standing(vtn, "opted_in 0"))
    await changed(vtn, priority=3)
    await eventually(lambda: is_standing(vtn, "opted_in 1"))
    await vtn.dr_events.cancel("evt-1")
    await eventually(lambda: is_standing(vtn, "acknowledged 2"))
    assert stock.heard[0] == (0, "far")
    assert stock.heard[-1] == (2, "cancelled")
    await stock.send_report(vtn, ven_id)

    async def stored():
        history = await vtn.telemetry.history(ven_id, 0, vtn.clock.now_ms() + 60_000)
        return list(history.values()) == [METER_WH]

    await eventually(stored)


async def is_standing(vtn, expected, event_id="evt-1"):
    return await standing(vtn, event_id) == expected


async def changed(vtn, **changes):
    event = (await vtn.dr_events.get("evt-1")).event
    await vtn.dr_events.modify(msgspec.structs.replace(event, **changes))


async def test_it_goes_through_everything_unsigned_and_through_a_restart_of_the_vtn(vtn_url, tmp_path, caplog):
    caplog.set_level(logging.WARNING, "openleadr")
    [port] = free_ports(1)
    async with contextlib.AsyncExitStack() as open_things:
        async with our_vtn(vtn_url, SystemClock(), tmp_path, port) as vtn:
            ven_id = (await vtn.vens.add("stock", "F1", PROGRAM, virtual_node="vn-1")).ven_id
            stock = Stock("stock", f"http://127.0.0.1:{port}")
            open_things.push_async_callback(stock.stop)
            await meets(vtn, stock, ven_id)
            registration = stock.client.registration_id
            stock.opt = "optOut"
            await publish(vtn, ven_id, "evt-2")
            await eventually(lambda: is_standing(vtn, "opted_out 0", "evt-2"))
        assert [record.message for record in caplog.records if record.name == "openleadr"] == []
        async with our_vtn(vtn_url, SystemClock(), tmp_path, port) as again:
            await publish(again, ven_id, "evt-3")
            await eventually(lambda: is_standing(again, "opted_out 0", "evt-3"))
            assert await standing(again, "evt-2") == "opted_out 0"
            assert (await again.vens.get(ven_id)).registration_id == registration == stock.client.registration_id
            await stock.send_report(again, ven_id)


@pytest.mark.parametrize("rsa", [False, True], ids=["ecdsa", "rsa"])
async def test_it_goes_through_everything_signed_over_mutual_tls(vtn_url, tmp_path, pki, rsa, caplog):
    caplog.set_level(logging.WARNING, "openleadr")
    [port] = free_ports(1)
    kind = "rsa" if rsa else "ecdsa"
    signed = {"pki_dir": pki.folder, "require_signatures": True}
    async with our_vtn(vtn_url, SystemClock(), tmp_path, port, **signed) as vtn:
        device = await a_device(vtn, tmp_path, "stock", rsa=rsa, registered=False)
        [server] = [each for each in pki.servers() if kind in each.chain.name]
        stock = Stock(
            "stock",
            f"https://localhost:{port}",
            cert=str(device.files.chain),
            key=str(device.files.key),
            ca_file=str(tmp_path / "ca.pem"),
            vtn_fingerprint=fingerprint(read_chain(server.chain)[0].public_bytes(Encoding.DER)),
        )
        try:
            await meets(vtn, stock, device.ven_id)
        finally:
            await stock.stop()
    assert [record.message for record in caplog.records if record.name == "openleadr"] == []
