"""The promises of an order, kept by etcd and by the order of a single replica."""

from __future__ import annotations

import pytest

from ledger.ordering.etcd.settings import EtcdSettings
from ledger.ordering.local import LocalOrderer
from runtime.database import create_engine
from tests.ledger.ordering.etcd_orders import EtcdOrders
from tests.ledger.ordering.suite import OneMember, SeveralMembers


class LocalOrders:
    def __init__(self, engine) -> None:
        self.made: list[LocalOrderer] = []
        self._engine = engine

    def new(self, member: str) -> LocalOrderer:
        self.made.append(LocalOrderer(self._engine, "main", member))
        return self.made[-1]


class TestLocal(OneMember):
    @pytest.fixture
    async def orders(self, database_url):
        engine = create_engine(database_url)
        orders = LocalOrders(engine)
        yield orders
        for orderer in orders.made:
            await orderer.stop()
        await engine.dispose()


class TestEtcd(SeveralMembers):
    @pytest.fixture
    async def orders(self, etcd_servers, channel):
        orders = EtcdOrders(EtcdSettings(endpoints=etcd_servers.endpoints, channel=channel, member=""))
        yield orders
        await orders.close()
