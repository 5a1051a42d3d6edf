"""Fixtures: authorities made once, a VTN that uses them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from runtime.clock import ManualClock
from tests.vtn.auth.devices import a_secured_vtn, a_worker
from tests.vtn.opened import Opened
from vtn.auth.pki import Pki
from vtn.context import Vtn


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """Authorities; RSA keys take a while."""
    return Pki.create(tmp_path_factory.mktemp("authorities") / "pki", ["127.0.0.1", "localhost"], "Test")


@pytest.fixture
async def secured(vtn_url: str, clock: ManualClock, tmp_path: Path, pki: Pki) -> AsyncIterator[Vtn]:
    """A VTN with TLS."""
    async with a_secured_vtn(vtn_url, clock, tmp_path, pki) as vtn:
        yield vtn


@pytest.fixture
async def plain(vtn_url: str, clock: ManualClock, tmp_path: Path, pki: Pki) -> AsyncIterator[Vtn]:
    """A VTN behind a proxy at 127.0.0.1, with authorities."""
    proxy = {"trusted_proxies": ("127.0.0.1",), "proxy_header": "X-Client-Cert"}
    async with a_secured_vtn(vtn_url, clock, tmp_path, pki, **proxy) as vtn:
        yield vtn


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A client."""
    async with aiohttp.ClientSession() as found:
        yield found


@pytest.fixture
async def url(opened_vtn: Opened) -> AsyncIterator[str]:
    """A VTN without TLS, on loopback."""
    async with a_worker(opened_vtn.vtn) as found:
        yield found
