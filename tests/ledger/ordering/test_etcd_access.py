"""Who may use the order: certificates, users and their rights; and an etcd that is full, or the wrong one."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from ledger.cluster.certificates import Authority, Pair, local_names
from ledger.cluster.servers import EtcdServers, EtcdTls
from ledger.errors import OrderingUnavailable
from ledger.ordering.etcd.admin import EtcdAdmin
from ledger.ordering.etcd.client import EtcdClient, put
from ledger.ordering.etcd.errors import EtcdNoSpace, EtcdRefused, EtcdUnreachable, WrongCluster
from ledger.ordering.etcd.orderer import EtcdOrderer
from ledger.ordering.etcd.settings import EtcdSettings
from ledger.ordering.orderer import Committed
from tests.ledger.ordering.etcd_orders import EtcdOrders
from tests.ledger.ordering.suite import blocks, data, started


def pair(authority: Authority, folder, subject: str) -> Pair:
    return authority.issue(Pair(folder / f"{subject}.pem", folder / f"{subject}.key"), subject, local_names())


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    """A cluster with certificates on both sides and users `root` and `one`, and settings of user `one`."""
    folder = tmp_path_factory.mktemp("secured")
    authority = Authority.create(folder / "ca")
    tls = [EtcdTls(authority.ca, *pair(authority, folder, str(name))) for name in (1, 2, 3)]
    servers = EtcdServers.on_loopback(folder / "etcd", tls=tls)
    replica = pair(authority, folder, "replica")
    settings = EtcdSettings(
        endpoints=servers.endpoints, channel="main", member="a.example/1", ca=authority.ca, certificate=replica.chain,
        certificate_key=replica.key, user="one", password="of one",
    )  # fmt: skip

    async def prepare() -> None:
        await servers.start()
        client = EtcdClient(replace(settings, user=None))
        admin = EtcdAdmin(client.connection)
        await admin.add_root("of root")
        await admin.add_user("one", "of one", [b"/gridpact/main/"])
        await admin.enable_users()
        await client.close()

    try:
        asyncio.run(prepare())
        yield servers, settings
    finally:
        servers.kill_all()


async def test_a_member_orders_with_certificate_and_password(secured):
    orders = EtcdOrders(secured[1])
    orderer = await started(orders)
    assert isinstance(await orderer.propose(1, data(1)), Committed)
    assert [each.data for each in await blocks(orderer, 1, 1)] == [data(1)]
    await orderer.trim(1)
    await orders.close()


async def test_a_token_that_etcd_forgot_is_renewed_unnoticed(secured):
    orders = EtcdOrders(replace(secured[1], member="b.example/2"))
    orderer = await started(orders)
    tip = await orderer.tip()
    orderer._client.connection._token = "forged.17"  # as after a restart of etcd, or 5 minutes of silence
    assert isinstance(await orderer.propose(tip + 1, data(tip + 1)), Committed)
    orderer._client.connection._token = "forged.18"
    assert len(await blocks(orderer, tip + 1, tip + 1)) == 1
    await orders.close()


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"password": "of another"}, EtcdRefused, "does not know this user and password"),
        ({"user": "nobody"}, EtcdRefused, "does not know this user and password"),
        ({"channel": "other"}, EtcdRefused, "may not use the keys of the channel"),
        ({"certificate": None, "certificate_key": None}, EtcdUnreachable, "check that ca, certificate and key"),
        ({"ca": None}, EtcdUnreachable, "check that ca, certificate and key"),
    ],
)
async def test_who_may_not_use_the_order_is_told_why(secured, changes, error, words):
    orderer = EtcdOrderer(replace(secured[1], **changes))
    with pytest.raises(error, match=words):
        await orderer.start(0)
    await orderer.stop()


async def test_a_certificate_file_that_is_missing_is_named(secured, tmp_path):
    orderer = EtcdOrderer(replace(secured[1], certificate=tmp_path / "none.pem"))
    with pytest.raises(EtcdRefused, match=r"none\.pem"):
        await orderer.check()


async def test_plain_http_gets_nothing_from_a_secured_etcd(secured):
    endpoints = [endpoint.replace("https", "http") for endpoint in secured[0].endpoints]
    orderer = EtcdOrderer(replace(secured[1], endpoints=endpoints, ca=None, certificate=None, certificate_key=None))
    with pytest.raises(OrderingUnavailable):
        await orderer.start(0)
    await orderer.stop()


@pytest.mark.parametrize("endpoints", [[], ["127.0.0.1:2379"], ["ftp://127.0.0.1:2379"], ["https://127.0.0.1"]])
async def test_an_endpoint_that_is_none_is_named(endpoints):
    with pytest.raises(EtcdRefused, match="endpoint"):
        await EtcdOrderer(EtcdSettings(endpoints=endpoints, channel="main", member="a.example/1")).check()


async def test_another_cluster_is_refused(etcd_servers, secured, channel):
    theirs = EtcdSettings(endpoints=etcd_servers.endpoints, channel=channel, member="a.example/1", cluster="abc123")
    orderer = EtcdOrderer(theirs)
    with pytest.raises(WrongCluster, match="joined abc123: correct the endpoints"):
        await orderer.start(0)
    await orderer.stop()


async def test_a_full_etcd_is_explained_and_orders_again_once_there_is_space(tmp_path, channel):
    servers = EtcdServers.on_loopback(tmp_path, 1, quota_bytes=2_000_000)
    await servers.start()
    settings = EtcdSettings(endpoints=servers.endpoints, channel=channel, member="a.example/1")
    orders = EtcdOrders(settings)
    try:
        orderer = await started(orders)
        await orderer.propose(1, data(1))
        revision = await _fill(orders)
        begun = time.monotonic()
        with pytest.raises(EtcdNoSpace, match=r"quota.*Trim the order"):
            await orderer.propose(2, data(2))
        with pytest.raises(EtcdNoSpace):
            await orderer.check()
        assert time.monotonic() - begun < 1
        assert orderer.leads, "a lease is renewed all the same"
        assert await orderer.tip() == 1
        admin = EtcdAdmin(orders.client.connection)
        await orders.client.compact(revision)
        await admin.defragment()
        for alarm in await admin.alarms():
            await admin.disarm(alarm)
        await orderer.check()
        assert isinstance(await orderer.propose(2, data(2)), Committed)
    finally:
        await orders.close()
        servers.kill_all()


async def _fill(orders: EtcdOrders) -> int:
    revision = 0
    for _ in range(40):
        try:
            revision = (await orders.client.txn([], [put(b"/elsewhere", bytes(200_000))], deadline_s=2)).revision
        except EtcdNoSpace:
            return revision
        await asyncio.sleep(0.02)
    raise AssertionError("the quota was not enforced")


async def test_state_says_what_an_operator_asks(etcd_servers, channel):
    orders = EtcdOrders(EtcdSettings(endpoints=etcd_servers.endpoints, channel=channel, member=""))
    orderer = await started(orders, "a.example/1")
    async with asyncio.timeout(3):
        while "alarms" not in orderer.state():
            await asyncio.sleep(0.02)
    state = orderer.state()
    assert (state["proposer"], state["lease"], state["alarms"]) == ("a.example/1", True, [])
    assert state["members"] == ["1", "2", "3"]
    assert state["leader"] == await etcd_servers.leader()
    assert state["endpoint"] in etcd_servers.endpoints
    assert state["db_bytes"] > 0
    assert int(state["cluster"], 16)
    await orders.close()
