"""Fixtures of the ledger's tests: a real etcd cluster of three, one for each pytest worker."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import count

import pytest

from ledger.cluster.servers import EtcdServers

_CHANNELS = count(1)


@pytest.fixture(scope="session")
def etcd_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServers]:
    """Three members that keep running; a test that stops one starts it again."""
    servers = EtcdServers.on_loopback(tmp_path_factory.mktemp("etcd"))
    try:
        asyncio.run(servers.start())
        yield servers
    finally:
        servers.kill_all()


@pytest.fixture
def channel() -> str:
    """A channel no other test uses."""
    return f"channel-{next(_CHANNELS)}"
