"""Traffic as it is sent: signed beforehand, in requests that keep what depends on each other in order.

A request holds whole stages. Stages of one event depend on each other, so each request names those that must be
answered before it is sent; they lie hundreds of transactions apart, which leaves room for many requests at once.
"""

from __future__ import annotations

import pickle
import re
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from tests.bench.traffic import HOUR_MS, Stage, Traffic

_EVENT_TRANSACTIONS: Final = 481
_READINGS: Final = re.compile(rb'energy_wh\\*":\[([0-9,]+)\]')
_LATER_MS: Final = {"contract": HOUR_MS, "accept": 2 * HOUR_MS, "settle": 2 * HOUR_MS // 3}
"""So much later than they may a stage is sent, so that the one before it has long been executed."""


@dataclass(slots=True)
class Request:
    """clock_ms: domain time at which all of it may be sent; after: places of the requests it depends on."""

    clock_ms: int
    after: tuple[int, ...]
    transactions: int
    values: int
    body: bytes


class Supply:
    """What is still to be sent. An event's stages are hours apart, so there are always stages left for later."""

    def __init__(self, traffic: Traffic, batch: int, workers: int = 2) -> None:
        self._traffic = traffic
        self._batch = batch
        self._pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
        self._events = 0
        self._later: list[Stage] = []
        self._held: list[Stage] = []
        self._made = 0
        self._latest: dict[int, int] = {}
        self.taken = 0
        self.ready: deque[Request] = deque()

    def close(self) -> None:
        """End the processes that sign."""
        self._pool.shutdown()

    def prepare(self, transactions: int) -> None:
        """Have at least so many signed."""
        left = transactions - sum(each.transactions for each in self.ready)
        while left > 0:
            numbers = range(self._events, self._events + max(8, left // _EVENT_TRANSACTIONS))
            self._events = numbers.stop
            for stages in self._pool.map(self._traffic.event, numbers, chunksize=8):
                self._later += stages
            left -= self._release(self._traffic.epoch_ms + self._events * self._traffic.spacing_ms)

    def take(self, requests: int) -> None:
        """The first ones were sent."""
        for _ in range(requests):
            self.ready.popleft()
        self.taken += requests

    def write(self, path: Path, requests: int | None) -> None:
        """At most so many for the load process, which numbers them from 0."""
        found = list(islice(self.ready, requests))
        for each in found:
            each.after = tuple(place - self.taken for place in each.after if place >= self.taken)
        path.write_bytes(pickle.dumps(found))
        for each in found:
            each.after = tuple(place + self.taken for place in each.after)

    def _release(self, until_ms: int) -> int:
        """Requests of all stages that come before any event not yet made; how many transactions."""
        due = sorted((stage for stage in self._later if _sent_ms(stage) < until_ms), key=_sent_ms)
        self._later = [stage for stage in self._later if _sent_ms(stage) >= until_ms]
        released = 0
        for stage in due:
            self._held.append(stage)
            if sum(len(each.transactions) for each in self._held) >= self._batch:
                self.ready.append(request := self._request())
                released += request.transactions
        return released

    def _request(self) -> Request:
        held, self._held = self._held, []
        after = {self._latest[each.event] for each in held if each.event in self._latest}
        for each in held:
            self._latest[each.event] = self._made
        self._made += 1
        contents = [content for each in held for content in each.transactions]
        return Request(
            clock_ms=max(map(_sent_ms, held)),
            after=tuple(sorted(after)),
            transactions=len(contents),
            values=sum(map(_values, contents)),
            body=b'{"transactions":[' + b",".join(contents) + b"]}",
        )


def _sent_ms(stage: Stage) -> int:
    return stage.due_ms + _LATER_MS.get(stage.name, 0)


def _values(content: bytes) -> int:
    """Measurement values in a transaction."""
    found = _READINGS.search(content)
    return found[1].count(b",") + 1 if found else 0
