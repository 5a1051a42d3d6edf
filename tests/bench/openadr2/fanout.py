"""An event for every VEN: from its publication until the last of them has answered."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from openadr import v2
from runtime.clock import SystemClock
from tests.bench.openadr2.load import Connection, cpu_of, resident_kb
from tests.bench.openadr2.servers import Fleet, Ours
from tests.builders import a_dr_event
from tests.vtn.opened import PROGRAM, opened

_CONNECTIONS = 200
_EVENT = "fanout"
_DISTRIBUTED = b"oadrDistributeEvent"
_AGAIN_S = 0.05


async def fanned_out(server: Ours, fleet: Fleet) -> dict[str, Any]:
    """Seconds, CPU and what the database says in the end."""
    async with opened(server.url, SystemClock(), server.folder / "fanout", pki_dir=server.folder / "none") as found:
        return await _fanned_out(found.vtn, server, fleet)


async def _fanned_out(vtn: Any, server: Ours, fleet: Fleet) -> dict[str, Any]:
    connections = [
        await Connection.open(server.workers[number % len(server.workers)].address) for number in range(_CONNECTIONS)
    ]
    groups = [fleet.ven_ids[first::_CONNECTIONS] for first in range(_CONNECTIONS)]
    context = (await vtn.programs.get(PROGRAM)).market_context
    start_ms = SystemClock().now_ms() + 3_600_000
    event = a_dr_event(_EVENT, program=context, start_ms=start_ms, created_ms=start_ms - 3_600_000, targets=())
    await vtn.dr_events.create(event, PROGRAM)
    pids = [worker.pid for worker in server.workers]
    cpu_s, began_s = sum(map(cpu_of, pids)), time.perf_counter()
    told = await vtn.dr_events.publish(_EVENT)
    published_s = time.perf_counter() - began_s
    await asyncio.gather(*(_answered(one, group) for one, group in zip(connections, groups, strict=True)))
    seconds = time.perf_counter() - began_s
    deliveries = await vtn.dr_events.deliveries(_EVENT)
    assert len(told) == len(fleet.ven_ids)
    assert {each.state for each in deliveries} == {"opted_in"}
    for one in connections:
        one.close()
    return {
        "vens": len(deliveries),
        "seconds": round(seconds, 1),
        "published_s": round(published_s, 2),
        "cpu_ms_per_ven": round(1000 * (sum(map(cpu_of, pids)) - cpu_s) / len(deliveries), 2),
        "deliveries_per_ven": round(sum(each.deliveries for each in deliveries) / len(deliveries), 3),
        "resident_kb": max(map(resident_kb, pids)),
    }


async def _answered(connection: Connection, ven_ids: tuple[str, ...]) -> None:
    """Each VEN polls until it has the event, and opts in."""
    for ven_id in ven_ids:
        poll = v2.render(v2.OadrPoll(ven_id))
        while _DISTRIBUTED not in (answer := await connection.post("OadrPoll", poll)):
            await asyncio.sleep(_AGAIN_S)  # the notification is on its way
        distributed = v2.parse(answer.partition(b"\r\n\r\n")[2])
        assert isinstance(distributed, v2.OadrDistributeEvent)
        responses = tuple(
            v2.EventResponse(each.dr_event.event_id, each.dr_event.modification_number, "optIn", distributed.request_id)
            for each in distributed.events
        )
        created = v2.OadrCreatedEvent(ven_id, responses, v2.EiResponse(request_id=distributed.request_id))
        confirmed = await connection.post("EiEvent", v2.render(created))
        assert b"responseCode>200<" in confirmed, confirmed
