"""A scripted VTN and a VEN for each test of the 2.0b face."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.ven.faces.scripted import ScriptedVtn, a_scripted_vtn
from tests.ven.faces.ven import Ven


@pytest.fixture
async def vtn() -> AsyncIterator[ScriptedVtn]:
    async with a_scripted_vtn() as vtn:
        yield vtn


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def ven(tmp_path: Path, vtn: ScriptedVtn, session: aiohttp.ClientSession) -> Ven:
    return Ven(tmp_path, vtn.url, session)
