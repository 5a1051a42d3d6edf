"""The order of etcd as the suite drives it, and for tests of etcd alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from ledger.ordering.etcd.client import EtcdClient, get
from ledger.ordering.etcd.errors import Unanswered
from ledger.ordering.etcd.orderer import EtcdOrderer
from ledger.ordering.etcd.settings import EtcdSettings
from ledger.ordering.etcd.window import Keys


class EtcdOrders:
    """`suite.Orders` on a channel of a real cluster; `close` stops all orderers."""

    def __init__(self, settings: EtcdSettings) -> None:
        self.settings = settings
        self.keys = Keys.of(settings)
        self.client = EtcdClient(settings)
        self._made: list[EtcdOrderer] = []

    def new(self, member: str, **changes: Any) -> EtcdOrderer:
        orderer = EtcdOrderer(replace(self.settings, member=member, **changes))
        self._made.append(orderer)
        return orderer

    async def depose(self, orderer: EtcdOrderer) -> None:
        """As if the process had slept through the end of its lease: it neither renews nor watches any more."""
        self.kill(orderer)
        holder = (await self.client.read(get(self.keys.proposer))).found[0].kvs[0]
        await self.client.revoke(holder.lease)

    def kill(self, orderer: EtcdOrderer) -> None:
        """As if the process had died; its lease lives on."""
        for task in orderer._candidacy._tasks:
            task.cancel()

    def lapse(self, orderer: EtcdOrderer) -> None:
        """As if no renewal had come through for the lease's TTL by the member's clock; etcd may still hold it."""
        self.kill(orderer)
        orderer._candidacy._valid_until = 0.0

    @contextmanager
    def unanswered(self, orderer: EtcdOrderer, *, arrives: bool) -> Iterator[None]:
        client: Any = orderer._client
        original, settings = client.txn, client.connection._settings

        async def txn(*arguments: Any, **named: Any) -> Any:
            if arrives:
                await original(*arguments, **named)
            raise Unanswered("http://nowhere:1", "no answer in time", sent=True, alive=True)

        client.txn, client.connection._settings = txn, replace(settings, patience_s=0.2)
        try:
            yield
        finally:
            del client.txn
            client.connection._settings = settings

    async def close(self) -> None:
        for orderer in self._made:
            await orderer.stop()
        await self.client.close()
