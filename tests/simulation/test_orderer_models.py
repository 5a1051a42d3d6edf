"""The models of the order keep the promises of an order, as etcd does: the same suite, in virtual time."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import pytest

from ledger.ordering.etcd.errors import Unanswered
from ledger.ordering.etcd.orderer import EtcdOrderer
from ledger.ordering.etcd.settings import EtcdSettings
from tests.ledger.ordering.suite import SeveralMembers
from tests.simulation.models.etcd import Etcd, Link, NoAnswer
from tests.simulation.models.loop import Loop
from tests.simulation.models.orderer import MemoryOrderer
from tests.simulation.models.wire import endpoints_of, wired

CHANNEL = "main"
PROPOSER = f"/gridpact/{CHANNEL}/proposer".encode()


class MemoryOrders:
    """`suite.Orders` of one etcd made of memory."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.etcd = Etcd(loop, Random(1))
        self.links: dict[int, Link] = {}

    def new(self, member: str) -> Any:
        return MemoryOrderer(self._link(), Random(2), CHANNEL, member)

    async def depose(self, orderer: Any) -> None:
        for task in orderer._tasks:
            task.cancel()
        self.etcd.revoke(self.etcd.keys[PROPOSER].lease)

    @contextmanager
    def unanswered(self, orderer: Any, *, arrives: bool) -> Iterator[None]:
        link: Any = orderer._link

        async def call(operation: Callable[[], Any], deadline_s: float, server: int) -> Any:
            if arrives:
                operation()
            raise NoAnswer

        link.call = call
        yield
        del link.call

    def _link(self) -> Link:
        return self.links.setdefault(len(self.links), Link(self.loop, Random(3), self.etcd))


class WiredOrders(MemoryOrders):
    """The ledger's own client of etcd on servers made of memory."""

    def new(self, member: str) -> Any:
        number = len(self.links)
        self._link()
        return EtcdOrderer(EtcdSettings(endpoints=endpoints_of(number), channel=CHANNEL, member=member))

    async def depose(self, orderer: Any) -> None:
        for task in orderer._candidacy._tasks:
            task.cancel()
        self.etcd.revoke(self.etcd.keys[PROPOSER].lease)

    @contextmanager
    def unanswered(self, orderer: Any, *, arrives: bool) -> Iterator[None]:
        client: Any = orderer._client
        original = client.txn

        async def txn(*arguments: Any, **named: Any) -> Any:
            if arrives:
                await original(*arguments, **named)
            raise Unanswered("http://nowhere:1", "no answer in time", sent=True, alive=True)

        client.txn = txn
        yield
        del client.txn


def _in_virtual_time(test: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(test)
    def run(self: Any, orders: MemoryOrders, **given: Any) -> None:
        with wired(orders.links):
            orders.loop.run(test(self, orders, **given), until_s=600.0)

    run.__signature__ = inspect.signature(test)  # type: ignore[attr-defined]
    del run.__wrapped__  # type: ignore[attr-defined]  # it is a coroutine function, this one is not
    return run


class _Suite:
    """Every test of the suite, as a plain function."""


for _name, _test in inspect.getmembers(SeveralMembers, inspect.iscoroutinefunction):
    setattr(_Suite, _name, _in_virtual_time(_test))


class TestModel(_Suite):
    @pytest.fixture(params=range(3))
    def orders(self, request) -> MemoryOrders:
        return MemoryOrders(Loop(Random(request.param)))


class TestClientOnModel(_Suite):
    @pytest.fixture(params=range(3))
    def orders(self, request) -> MemoryOrders:
        return WiredOrders(Loop(Random(request.param)))


def test_the_suite_was_found():
    assert len([name for name in dir(_Suite) if name.startswith("test_")]) > 20
    assert not any(asyncio.iscoroutinefunction(getattr(_Suite, name)) for name in dir(_Suite))
