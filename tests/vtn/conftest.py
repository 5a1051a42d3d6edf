"""Fixtures of the VTN's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from runtime.clock import ManualClock
from tests.builders import a_clock
from tests.vtn.opened import Opened, opened


@pytest.fixture
def vtn_url(new_database: Callable[..., str]) -> str:
    """A database with the tables of the VTN."""
    return new_database("vtn")


@pytest.fixture
def clock() -> ManualClock:
    """A clock the test moves."""
    return a_clock()


@pytest.fixture
async def opened_vtn(vtn_url: str, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Opened]:
    """An open VTN with one program."""
    async with opened(vtn_url, clock, tmp_path) as found:
        yield found
