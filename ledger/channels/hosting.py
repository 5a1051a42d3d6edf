"""Crossings of a process that hosts several channels: for each child that it holds together with its parent."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Final

from contracts.consortium import FoundingRecord
from contracts.consortium.membership import FOUNDING_KEY
from contracts.core.codec import read
from ledger.channels.anchors import Crossing, Side
from ledger.config import LedgerSettings
from runtime.clock import Clock
from runtime.keys import PrivateKey

_PATIENCE_S: Final = 10.0


@contextlib.asynccontextmanager
async def crossings(
    settings: LedgerSettings, replicas: Mapping[str, Side], clock: Clock
) -> AsyncIterator[list[Crossing]]:
    """Anchors and carries between the channels of this process while it is open. Without `crossing_key` in the settings
    there are none: another member, or nobody, brings what has to be brought. Raises KeyFileError."""
    made: list[Crossing] = []
    if settings.crossing_key is not None:
        key = PrivateKey.load(settings.crossing_key)
        for name, child in replicas.items():
            parent = await _parent(child)
            if parent is not None and parent in replicas:
                folder = settings.of_channel(name).data_dir
                folder.mkdir(parents=True, exist_ok=True)
                up, down = folder / "crossing-up.json", folder / "crossing-down.json"
                made.append(Crossing(child, replicas[parent], key, clock, up, downward=False))
                made.append(Crossing(replicas[parent], child, key, clock, down, downward=True))
    stopping = asyncio.Event()
    tasks = [asyncio.create_task(each.run(settings.crossing_interval_s, stopping)) for each in made]
    try:
        yield made
    finally:
        # A step ends by itself: cut off while it connects to PostgreSQL, it would leave a half-open connection behind.
        stopping.set()
        if tasks:
            await asyncio.wait(tasks, timeout=_PATIENCE_S)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _parent(replica: Side) -> str | None:
    body, _ = await replica.record(FoundingRecord.KIND, FOUNDING_KEY)
    return None if body is None else read(body, FoundingRecord).parent
