"""A domain clock that whoever sends the traffic moves, shared by processes through eight bytes of a file."""

from __future__ import annotations

import asyncio
import mmap
import struct
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

_FORM: Final = struct.Struct("<Q")
_LOOK_S: Final = 0.1


class SharedClock:
    """runtime.clock.Clock; domain time stands still between two calls of `move`, in whatever process. `speed` is what
    the traffic makes it at most: some hours of demand response in seconds."""

    speed = 2_000.0

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._time = mmap.mmap(file.fileno(), _FORM.size)

    @classmethod
    def create(cls, path: Path, start_ms: int) -> SharedClock:
        """A clock in a new file."""
        path.write_bytes(_FORM.pack(start_ms))
        return cls(path)

    def move(self, to_ms: int) -> None:
        """Domain time is at least this from now on."""
        if to_ms > self.now_ms():
            _FORM.pack_into(self._time, 0, to_ms)

    def now_ms(self) -> int:
        return int(_FORM.unpack_from(self._time)[0])

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.now_ms() / 1000, UTC)

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def wall_seconds(self, domain_s: float) -> float:
        return domain_s / self.speed

    async def sleep_until(self, domain_ms: int) -> None:
        while self.now_ms() < domain_ms:
            await asyncio.sleep(_LOOK_S)

    async def sleep(self, domain_s: float) -> None:
        await self.sleep_until(self.now_ms() + round(domain_s * 1000))
