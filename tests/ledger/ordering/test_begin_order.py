"""etcd was lost for good: the order of an old ledger begins anew behind its last final block, and nowhere else."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from ledger.cluster.servers import EtcdServers
from ledger.ordering.etcd.orderer import EtcdOrderer
from ledger.ordering.etcd.settings import EtcdSettings
from tests.ledger.interface.commands import output, refusal
from tests.ledger.replicas import a_replica, an_issue, transfers


@pytest.fixture
def url(new_database: Any) -> str:
    return str(new_database("ledger"))


async def test_a_new_order_begins_behind_the_last_final_block(
    url: str, tmp_path: Path, etcd_servers: EtcdServers
) -> None:
    async with a_replica(url, tmp_path) as ledger:
        await ledger.run(an_issue())
        await ledger.run(*transfers(3))
        while ledger.replica.final_height < ledger.replica.head.height:
            await asyncio.sleep(0.01)
        height = ledger.replica.head.height
    environment = {
        "DR_LEDGER_DATA_DIR": str(tmp_path),
        "DATABASE_URL": url,
        "DR_LEDGER_ETCD_ENDPOINTS": ",".join(etcd_servers.endpoints),
    }
    ask = lambda at: ["begin-order", "--height", at]  # noqa: E731
    assert "its last final one" in await asyncio.to_thread(refusal, 7, *ask(height + 1), **environment)
    for _ in range(2):  # doing so again is no error
        begun = await asyncio.to_thread(output, *ask(height), **environment)
        assert begun == {"channel": "main", "begins_after": height}
    orderer = EtcdOrderer(EtcdSettings(endpoints=etcd_servers.endpoints, channel="main", member="member.example/1"))
    try:
        assert (await orderer.tip(), await orderer.first()) == (height, height + 1)
    finally:
        await orderer.stop()


def test_a_member_that_orders_by_itself_needs_no_other_order(tmp_path: Path) -> None:
    assert refusal(7, "begin-order", "--height", 1, "--data-dir", tmp_path)
