"""An open VTN whose clock stands thirty days after the beginning, so that there is room for history."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runtime.clock import ManualClock
from tests.vtn.aggregator.groups.feeders import NOW_MS, Feeders, feeders


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW_MS)


@pytest.fixture
async def world(vtn_url: str, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Feeders]:
    async with feeders(vtn_url, clock, tmp_path, virtual_node_float_minor=1_000) as found:
        yield found
