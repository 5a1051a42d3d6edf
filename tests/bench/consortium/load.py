"""Whoever sends the traffic: a process of its own, over HTTP, to all replicas in turn.

    python -m tests.bench.consortium.load requests.bin --clock FILE --url URL ... (--abreast 8 | --rate 2000)

Closed loop (`--abreast`): so many requests are always under way. Open loop (`--rate`): requests leave when they are
due, whatever happened to those before, and latency counts from then. A request that gets no outcome is sent again, to
the next replica: whatever was executed has its first result. Prints what happened as JSON, and writes down afterwards
what was acknowledged (`--acknowledged`), a line a transaction: id, code, height, leaf.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import pickle
import re
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import uvloop

from tests.bench.consortium.clock import SharedClock
from tests.bench.consortium.preparing import Request

_TIMEOUT_S: Final = 12.0
_AGAIN_S: Final = 0.03
_GIVE_UP_S: Final = 60.0
_CODE: Final = re.compile(rb'"code":"([a-z_]+)"')
_LENGTH: Final = re.compile(rb"content-length: *([0-9]+)", re.IGNORECASE)


@dataclass
class Happened:
    """Times in seconds of the monotonic clock, which all processes share."""

    codes: Counter[str] = field(default_factory=Counter)
    acknowledged_s: list[float] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)
    transactions: int = 0
    values: int = 0
    again: int = 0
    started_s: float = 0.0
    before_s: float = 0.0
    answers: list[bytes] = field(default_factory=list)

    def acknowledged(self) -> str:
        """A line for each outcome that was told."""
        results = [result for answer in self.answers for result in msgspec.json.decode(answer)["results"]]
        return "".join(f"{each['id']} {each['code']} {each['height']} {each['index']}\n" for each in results)

    def as_page(self) -> dict[str, Any]:
        at = [self.started_s, *sorted(self.acknowledged_s)]
        gaps = [(later - earlier, earlier) for earlier, later in pairwise(at)]
        gap_s, gap_at_s = max(gaps, default=(0.0, 0.0))
        latencies = sorted(self.latencies_s)
        return {
            "transactions": self.transactions, "values": self.values, "requests": len(latencies), "again": self.again,
            "codes": dict(self.codes), "started_s": self.started_s, "ended_s": at[-1], "gap_s": gap_s,
            "gap_at_s": gap_at_s, "p50_ms": _cut(latencies, 0.50), "p99_ms": _cut(latencies, 0.99),
            "max_ms": _cut(latencies, 1.0), "cpu_s": time.process_time() - self.before_s,
        }  # fmt: skip


class Sender:
    """Sends requests; connections are kept."""

    def __init__(self, urls: list[str], requests: list[Request], clock: SharedClock) -> None:
        self.requests = requests
        self.happened = Happened()
        self._clock = clock
        self._addresses = [(parts.hostname or "", parts.port or 80) for parts in map(urlsplit, urls)]
        self._free: dict[int, list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]] = {}
        self._done = [asyncio.Event() for _ in requests]

    async def closed(self, abreast: int, seconds: float) -> None:
        """So many at once, until time or requests are over."""
        happened, places = self.happened, iter(range(len(self.requests)))
        happened.started_s = time.monotonic()

        async def one_after_the_other() -> None:
            for place in places:
                if time.monotonic() - happened.started_s > seconds:
                    return
                await self._send(place, None)

        await asyncio.gather(*(one_after_the_other() for _ in range(abreast)))

    async def paced(self, rate: float, seconds: float) -> None:
        """So many transactions a second."""
        self.happened.started_s = due_s = time.monotonic()
        end_s, under_way = due_s + seconds, set[asyncio.Task[None]]()
        for place, request in enumerate(self.requests):
            if due_s >= end_s:
                break
            if (wait_s := due_s - time.monotonic()) > 0:
                await asyncio.sleep(wait_s)
            under_way.add(task := asyncio.create_task(self._send(place, due_s)))
            task.add_done_callback(under_way.discard)
            due_s += request.transactions / rate
        await asyncio.gather(*under_way)

    async def _send(self, place: int, due_s: float | None) -> None:
        """due_s None: latency counts from when it can be sent."""
        request, happened = self.requests[place], self.happened
        for earlier in request.after:
            await self._done[earlier].wait()
        due_s = time.monotonic() if due_s is None else due_s
        self._clock.move(request.clock_ms)
        to, give_up_s = place % len(self._addresses), time.monotonic() + _GIVE_UP_S
        while True:
            answer = await self._post(to, request.body)
            if answer is not None:
                break
            if time.monotonic() > give_up_s:
                raise TimeoutError(f"request {place} gets no outcome")
            happened.again += 1
            to = (to + 1) % len(self._addresses)
            await asyncio.sleep(_AGAIN_S)
        now_s = time.monotonic()
        happened.acknowledged_s.append(now_s)
        happened.latencies_s.append(now_s - due_s)
        happened.transactions += request.transactions
        happened.values += request.values
        fine = answer.count(b'"code":"ok"')
        happened.codes["ok"] += fine
        if fine < request.transactions:
            happened.codes.update(code.decode() for code in _CODE.findall(answer) if code != b"ok")
        happened.answers.append(answer)
        self._done[place].set()

    async def _post(self, to: int, body: bytes) -> bytes | None:
        """The answer with all outcomes, None where one is not known."""
        free = self._free.setdefault(to, [])
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                reader, writer = free.pop() if free else await asyncio.open_connection(*self._addresses[to])
                try:
                    writer.write(_head(len(body)) + body)
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = _LENGTH.search(head)
                    answer = await reader.readexactly(int(length[1]) if length else 0)
                except BaseException:
                    writer.close()
                    raise
                free.append((reader, writer))
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return None
        return answer if head.startswith(b"HTTP/1.1 200") else None


def _head(length: int) -> bytes:
    return (
        b"POST /v1/channels/main/transactions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % length
    )


def _cut(values: list[float], part: float) -> float:
    """In ms."""
    return round(1000 * values[min(len(values) - 1, int(part * len(values)))], 2) if values else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("requests", type=Path)
    parser.add_argument("--clock", type=Path, required=True)
    parser.add_argument("--url", action="append", required=True)
    parser.add_argument("--abreast", type=int, default=8)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--acknowledged", type=Path, help="file to which acknowledgements are added")
    options = parser.parse_args()
    chosen: list[Request] = pickle.loads(options.requests.read_bytes())

    async def work() -> Happened:
        sender = Sender(options.url, chosen, SharedClock(options.clock))
        sender.happened.before_s = time.process_time()  # reading what was signed is no part of sending it
        if options.rate:
            await sender.paced(options.rate, options.seconds)
        else:
            await sender.closed(options.abreast, options.seconds)
        return sender.happened

    happened = uvloop.run(work())
    json.dump(happened.as_page(), sys.stdout)
    if options.acknowledged:
        with options.acknowledged.open("a", encoding="ascii") as file:
            file.write(happened.acknowledged())


if __name__ == "__main__":
    main()
