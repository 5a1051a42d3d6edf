"""VENs that poll as fast as they are answered, and what that costs the server."""

from __future__ import annotations

import asyncio
import os
import secrets
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from openadr.v2 import OadrPoll, render
from openadr.v2.document.signature import load_key, sign
from runtime.tls import client_context
from tests.bench.openadr2.servers import Fleet

_PATH = "/OpenADR2/Simple/2.0b/OadrPoll"
_OK = b"<ei:responseCode>200</ei:responseCode>"
_WARM = 2


@dataclass(frozen=True)
class Load:
    """So many polls in all, on so many connections."""

    polls: int
    connections: int
    signed: bool
    fresh: bool = False
    """Signed when it is sent: stock takes nothing that is older than five seconds."""


def measured(address: str, pid: int, fleet: Fleet, load: Load) -> dict[str, Any]:
    """Polls a second, CPU of the server a poll, and latency."""
    cores = os.cpu_count() or 1
    if cores > 1:
        os.sched_setaffinity(0, set(range(1, cores)))
    return asyncio.run(_measured(address, pid, fleet, load))


async def _measured(address: str, pid: int, fleet: Fleet, load: Load) -> dict[str, Any]:
    rounds = max(1, load.polls // load.connections)
    ven_ids = fleet.ven_ids[: load.connections]
    warm = {ven_id: _bodies(fleet, ven_id, load.signed, _WARM) for ven_id in ven_ids}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        contexts = {ven_id: _context(fleet, ven_id) if load.signed else True for ven_id in ven_ids}

        async def polls(ven_id: str, bodies: list[bytes]) -> list[float]:
            took = []
            for body in bodies:
                if load.signed and load.fresh:
                    [body] = _bodies(fleet, ven_id, True, 1)
                began_s = time.perf_counter()
                headers = {"Content-Type": "application/xml"}
                async with session.post(address + _PATH, data=body, ssl=contexts[ven_id], headers=headers) as answer:
                    text = await answer.read()
                took.append(time.perf_counter() - began_s)
                if answer.status != 200 or _OK not in text:
                    raise RuntimeError(f"{answer.status}: {text[-700:]!r}")
            return took

        await asyncio.gather(*(polls(ven_id, warm[ven_id]) for ven_id in ven_ids))
        signed = load.signed and not load.fresh
        bodies = {ven_id: _bodies(fleet, ven_id, signed, rounds) for ven_id in ven_ids}
        cpu_s, began_s = _cpu_s(pid), time.perf_counter()
        times = await asyncio.gather(*(polls(ven_id, bodies[ven_id]) for ven_id in ven_ids))
        seconds, cpu_s = time.perf_counter() - began_s, _cpu_s(pid) - cpu_s
    flat = sorted(each for part in times for each in part)
    return {
        "polls": len(flat),
        "polls_per_s": round(len(flat) / seconds, 1),
        "cpu_ms_per_poll": round(1000 * cpu_s / len(flat), 4),
        "polls_per_cpu_s": round(len(flat) / cpu_s, 1),
        "p50_ms": round(1000 * statistics.median(flat), 2),
        "p99_ms": round(1000 * flat[int(len(flat) * 0.99)], 2),
    }


def _bodies(fleet: Fleet, ven_id: str, signed: bool, count: int) -> list[bytes]:
    body = render(OadrPoll(ven_id))
    if not signed:
        return [body] * count
    files = fleet.files(ven_id)
    key, certificate = load_key(files.key.read_bytes()), files.chain.read_bytes()
    now_ms = time.time_ns() // 1_000_000
    return [sign(body, key, certificate, secrets.token_hex(12), now_ms) for _ in range(count)]


def _context(fleet: Fleet, ven_id: str) -> Any:
    return client_context(fleet.pki / "ca.pem", fleet.files(ven_id))


def _cpu_s(pid: int) -> float:
    """User and system time of a process alone, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
