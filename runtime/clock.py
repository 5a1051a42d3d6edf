"""One clock object per process, injected.

The domain clock (intervals, block time, deadlines, programme rules) may run at a factor, the same in every process
because epoch and speed are stored once in a file. The wall clock serves TLS, leases, retries and nonces.

    wall    ──┬────────────┬──────────▶   1 s
              │ epoch_wall │
    domain  ──┴────────────┴──────────▶   `speed` s
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import json
import math
import os
import tempfile
import time
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Protocol

from runtime.errors import ClockFileError

_RECHECK_S = 30.0  # a long sleep looks again this often, so that a wall clock that is set does not lengthen it


class Clock(Protocol):
    """Domain time in UTC milliseconds since 1970, beside the wall clock."""

    @property
    def speed(self) -> float:
        """Seconds of domain time in one second of wall time."""

    def now_ms(self) -> int:
        """Domain time."""

    def now(self) -> datetime:
        """Domain time, aware UTC."""

    def wall_ms(self) -> int:
        """Wall time."""

    def wall_seconds(self, domain_s: float) -> float:
        """How long `domain_s` seconds of domain time take."""

    async def sleep_until(self, domain_ms: int) -> None:
        """Return when `now_ms() >= domain_ms`."""

    async def sleep(self, domain_s: float) -> None:
        """Wait for `domain_s` seconds of domain time."""


class DomainClock:
    """Domain time running at `speed` from a pair of epochs; safe to rebuild after a restart."""

    def __init__(self, epoch_wall_ms: int, epoch_domain_ms: int, speed: float) -> None:
        if not (math.isfinite(speed) and speed > 0):
            raise ValueError(f"the speed of a clock is a number above 0, not {speed}")
        self.epoch_wall_ms = epoch_wall_ms
        self.epoch_domain_ms = epoch_domain_ms
        self.speed = speed

    def now_ms(self) -> int:
        return self.epoch_domain_ms + math.floor((self.wall_ms() - self.epoch_wall_ms) * self.speed)

    def now(self) -> datetime:
        return _to_datetime(self.now_ms())

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def wall_seconds(self, domain_s: float) -> float:
        return domain_s / self.speed

    async def sleep_until(self, domain_ms: int) -> None:
        while (left_ms := domain_ms - self.now_ms()) > 0:
            # one wall millisecond at least: the clock has that resolution, less would spin
            await asyncio.sleep(min(max(self.wall_seconds(left_ms / 1000), 0.001), _RECHECK_S))

    async def sleep(self, domain_s: float) -> None:
        await self.sleep_until(self.now_ms() + math.ceil(domain_s * 1000))


class SystemClock(DomainClock):
    """Domain time is wall time."""

    def __init__(self) -> None:
        super().__init__(epoch_wall_ms=0, epoch_domain_ms=0, speed=1.0)


class ManualClock:
    """A clock for tests: time moves only by `advance`, which wakes the sleepers that are due in order of their time."""

    def __init__(self, start_ms: int) -> None:
        self.speed = 1.0
        self._now_ms = start_ms
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = count()

    def now_ms(self) -> int:
        return self._now_ms

    def now(self) -> datetime:
        return _to_datetime(self._now_ms)

    def wall_ms(self) -> int:
        return self._now_ms

    def wall_seconds(self, domain_s: float) -> float:
        return domain_s / self.speed

    async def sleep_until(self, domain_ms: int) -> None:
        if domain_ms > self._now_ms:
            woken = asyncio.get_running_loop().create_future()
            heapq.heappush(self._sleepers, (domain_ms, next(self._order), woken))
            await woken

    async def sleep(self, domain_s: float) -> None:
        await self.sleep_until(self._now_ms + math.ceil(domain_s * 1000))

    def advance(self, ms: int) -> None:
        """Move time on by `ms` milliseconds; the woken tasks run at the caller's next await."""
        if ms < 0:
            raise ValueError("time does not run backwards")
        self._now_ms += ms
        while self._sleepers and self._sleepers[0][0] <= self._now_ms:
            _, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)


def clock_from_file(path: Path | None) -> Clock:
    """The clock a file describes, or the system's for None. Raises ClockFileError."""
    if path is None:
        return SystemClock()
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return DomainClock(int(values["epoch_wall_ms"]), int(values["epoch_domain_ms"]), float(values["speed"]))
    except FileNotFoundError:
        raise ClockFileError(f"there is no clock file {path}") from None
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise ClockFileError(
            f"{path} is not a clock file (JSON with epoch_wall_ms, epoch_domain_ms and speed): {error!r}"
        ) from error


def write_clock(path: Path, *, epoch_domain_ms: int, speed: float, epoch_wall_ms: int | None = None) -> Clock:
    """Store epoch and speed once and return the clock of the file: a later call keeps what is there.

    `epoch_wall_ms` None means now. A restart therefore continues the same timeline.
    """
    if epoch_wall_ms is None:
        epoch_wall_ms = SystemClock().wall_ms()
    DomainClock(epoch_wall_ms, epoch_domain_ms, speed)
    path.parent.mkdir(parents=True, exist_ok=True)
    values = {"epoch_wall_ms": epoch_wall_ms, "epoch_domain_ms": epoch_domain_ms, "speed": speed}
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".clock-", encoding="utf-8") as file:
        json.dump(values, file)
        file.flush()
        with contextlib.suppress(FileExistsError):
            os.link(file.name, path)  # appears complete or not at all, and never replaces a file
    return clock_from_file(path)


async def happened(event: asyncio.Event, wait_s: float) -> bool:
    """Wait for an event, at most `wait_s` of wall time: whether it is set.

    `asyncio.wait_for` would do the same, but before Python 3.12 it loses a cancellation that comes in the moment in
    which the event is set: a service told to stop then went on for ever."""
    try:
        async with asyncio.timeout(wait_s):
            await event.wait()
    except TimeoutError:
        return event.is_set()
    return True


def _to_datetime(ms: int) -> datetime:
    seconds, rest = divmod(ms, 1000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest * 1000)
