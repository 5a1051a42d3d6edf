"""VENs that send as fast as they are answered, and what that costs the server.

The client is as light as it can be (bytes made before the clock starts, no HTTP library): it shares the machine with
the server, and a heavy one would measure itself.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import ssl
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import cycle, islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from openadr.v2 import OadrPoll, render
from openadr.v2.document.signature import load_key, sign
from runtime.tls import client_context
from tests.bench.openadr2.servers import Fleet, Worker

_PATH = "/OpenADR2/Simple/2.0b/"
_OK = b"responseCode>200<"
_WARM = 10
_BLANKS = 32
"""Random bits that make an unsigned poll a new one, in blanks and tabs behind it."""


@dataclass(frozen=True)
class Load:
    """So many polls in all, on so many connections."""

    polls: int
    connections: int
    signed: bool = False
    fresh: bool = False
    """Signed when it is sent: stock takes nothing that is older than five seconds."""
    distinct: bool = False
    """No two polls are the same bytes."""


def off_the_server() -> None:
    """This process leaves the server's core alone."""
    cores = os.cpu_count() or 1
    if cores > 1:
        os.sched_setaffinity(0, set(range(1, cores)))


def run(main: Any) -> Any:
    """On uvloop, where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


async def measured(worker: Worker, fleet: Fleet, load: Load) -> dict[str, Any]:
    """Polls a second, CPU of the server a poll, and latency; each VEN polls in turn."""
    rounds = max(1, load.polls // load.connections)
    places = [fleet.ven_ids[first :: load.connections] for first in range(load.connections)]
    if fleet.tls:  # a connection is one VEN's
        places = [place[:1] for place in places]
    connections = [await Connection.open(worker.address, tls_context(fleet, place[0])) for place in places]

    async def polls(connection: Connection, bodies: Iterable[bytes]) -> list[float]:
        took = []
        for body in bodies:
            began_s = time.perf_counter()
            answer = await connection.post("OadrPoll", body)
            took.append(time.perf_counter() - began_s)
            if _OK not in answer:
                raise RuntimeError(f"{answer[-700:]!r}")
        return took

    async def all_poll(bodies: list[Iterable[bytes]]) -> list[list[float]]:
        return await asyncio.gather(*map(polls, connections, bodies))

    await all_poll([list(_bodies(fleet, place, load, _WARM)) for place in places])
    bodies: list[Iterable[bytes]] = [_bodies(fleet, place, load, rounds) for place in places]
    if not load.fresh:
        bodies = [list(each) for each in bodies]
    cpu_s, began_s = cpu_of(worker.pid), time.perf_counter()
    times = await all_poll(bodies)
    seconds, cpu_s = time.perf_counter() - began_s, cpu_of(worker.pid) - cpu_s
    for one in connections:
        one.close()
    flat = sorted(each for part in times for each in part)
    return {
        "polls": len(flat),
        "polls_per_s": round(len(flat) / seconds, 1),
        "cpu_ms_per_poll": round(1000 * cpu_s / len(flat), 4),
        "p50_ms": round(1000 * statistics.median(flat), 2),
        "p99_ms": round(1000 * flat[int(len(flat) * 0.99)], 2),
    }


class Connection(asyncio.Protocol):
    """One kept connection: a request, its answer, the next request."""

    def __init__(self) -> None:
        self._transport: Any = None
        self._host = ""
        self._got = b""
        self._want = 0
        self._answer: asyncio.Future[bytes] | None = None

    @classmethod
    async def open(cls, address: str, tls: ssl.SSLContext | None = None) -> Connection:
        """Connect."""
        parts = urlsplit(address)
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(cls, parts.hostname or "", parts.port or 0, ssl=tls)
        made._host = parts.netloc
        return made

    async def post(self, service: str, body: bytes) -> bytes:
        """The whole answer, head and body. Raises ConnectionError, RuntimeError for a status that is not 200."""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(
            b"POST %b%b HTTP/1.1\r\nHost: %b\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n%b"
            % (_PATH.encode(), service.encode(), self._host.encode(), len(body), body)
        )
        answer = await self._answer
        if not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(repr(answer[:300]))
        return answer

    def close(self) -> None:
        self._transport.close()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._got += data
        if not self._want:
            head = self._got.find(b"\r\n\r\n")
            if head < 0:
                return
            _, _, length = self._got[:head].lower().partition(b"content-length:")
            self._want = head + 4 + int(length.partition(b"\r\n")[0])
        if len(self._got) >= self._want and self._answer is not None:
            answer, self._got, self._want = self._got[: self._want], self._got[self._want :], 0
            self._answer.set_result(answer)

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionError("the server closed the connection"))


def _bodies(fleet: Fleet, ven_ids: Sequence[str], load: Load, count: int) -> Iterator[bytes]:
    for ven_id in islice(cycle(ven_ids), count):
        body = _poll(ven_id)
        if load.signed:
            files = fleet.files(ven_id)
            key, certificate = load_key(files.key.read_bytes()), files.chain.read_bytes()
            yield sign(body, key, certificate, secrets.token_hex(12), time.time_ns() // 1_000_000)
        else:
            yield body + _blanks() if load.distinct else body


@cache
def _poll(ven_id: str) -> bytes:
    return render(OadrPoll(ven_id))


def _blanks() -> bytes:
    number = secrets.randbits(_BLANKS)
    return bytes(b" \t"[number >> place & 1] for place in range(_BLANKS))


def tls_context(fleet: Fleet, ven_id: str) -> ssl.SSLContext | None:
    """What a VEN connects with."""
    return client_context(fleet.pki / "ca.pem", fleet.files(ven_id)) if fleet.tls else None


def resident_kb(pid: int) -> int:
    """Memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def cpu_of(pid: int) -> float:
    """User and system time of a process alone, without its children, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
