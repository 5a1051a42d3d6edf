"""Fixtures of the faces' tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.vtn.faces.peer import Peer, facing, registered
from tests.vtn.opened import Opened


@pytest.fixture
async def url(opened_vtn: Opened) -> AsyncIterator[str]:
    """The address of the VTN."""
    async with facing(opened_vtn.vtn) as found:
        yield found


@pytest.fixture
async def peer(opened_vtn: Opened, url: str) -> AsyncIterator[Peer]:
    """A registered VEN."""
    async with registered(opened_vtn.vtn, url) as found:
        yield found
