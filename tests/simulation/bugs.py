"""Mistakes one could make, each planted by name: the simulation is worth what it finds of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from unittest.mock import patch

import msgspec

from ledger.machine import Executed, Machine
from ledger.ordering.etcd.client import created_at, exists
from ledger.ordering.etcd.orderer import EtcdOrderer
from ledger.ordering.following import Following
from ledger.ordering.orderer import Conflict, Proposed, Unknown
from ledger.ordering.pool import Pool
from ledger.store.source import Taken
from tests.builders import START_MS
from tests.simulation.models.etcd import Link, Watch
from tests.simulation.models.orderer import MemoryOrderer
from tests.simulation.models.store import MemoryStore


@dataclass(frozen=True)
class Bug:
    """`plant` patches the program or a model for as long as its context is entered."""

    meaning: str
    plant: Callable[[], AbstractContextManager[None]]


BUGS: dict[str, Bug] = {}


def _bug(meaning: str) -> Callable[[Callable[[], Iterator[None]]], None]:
    def add(plant: Callable[[], Iterator[None]]) -> None:
        BUGS[plant.__name__] = Bug(meaning, contextlib.contextmanager(plant))

    return add


@_bug("answers leave before the block is committed")
def acknowledged_before_commit() -> Iterator[None]:
    original = MemoryStore._commit

    async def later(self: MemoryStore, executed: Executed, checkpoint: bytes) -> None:
        asyncio.get_running_loop().call_later(0.005, asyncio.ensure_future, original(self, executed, checkpoint))

    with patch.object(MemoryStore, "_commit", later):
        yield


@_bug("the records of a block are committed apart from its entries and tiles")
def torn_commit() -> Iterator[None]:
    original = MemoryStore._commit

    async def torn(self: MemoryStore, executed: Executed, checkpoint: bytes) -> None:
        disk = self.disk
        disk.commit_records(executed)
        await asyncio.sleep(0.002)
        with patch.object(disk, "commit_records", lambda executed: None):
            await original(self, executed, checkpoint)

    with patch.object(MemoryStore, "_commit", torn):
        yield


@_bug("what is put back into the queue loses a transaction")
def lost_on_put_back() -> Iterator[None]:
    original = Pool.put_back

    def losing(self: Pool, *args: Any, **given: Any) -> Any:
        for transaction_id in list(self._in_flight)[:1]:
            del self._in_flight[transaction_id]
        return original(self, *args, **given)

    with patch.object(Pool, "put_back", losing):
        yield


@_bug("a transaction that was executed before is executed again")
def double_post() -> Iterator[None]:
    original = Machine.execute

    def forgetful(self: Machine, block: Any, revision: int, transactions: Any, source: Any) -> Executed:
        with patch.object(source, "taken", lambda ids, nonces: Taken(frozenset(), frozenset())):
            return original(self, block, revision, transactions, source)

    with patch.object(Machine, "execute", forgetful):
        yield


@_bug("a proposer whose lease ran out still orders")
def stale_lease() -> Iterator[None]:
    def unfenced(key: bytes, revision: int) -> Any:
        return exists(key) if key.endswith(b"/proposer") else created_at(key, revision)

    with (
        patch.object(MemoryOrderer, "_fence_holds", lambda self, holder, held: True),
        patch("ledger.ordering.etcd.orderer.created_at", unfenced),
    ):
        yield


@_bug("an unknown outcome is taken for a failure")
def unknown_is_failure() -> Iterator[None]:
    def hasty(propose: Any) -> Any:
        async def hastily(self: Any, height: int, data: bytes) -> Proposed:
            outcome: Proposed = await propose(self, height, data)
            return Conflict() if isinstance(outcome, Unknown) else outcome

        return hastily

    with (
        patch.object(MemoryOrderer, "propose", hasty(MemoryOrderer.propose)),
        patch.object(EtcdOrderer, "propose", hasty(EtcdOrderer.propose)),
    ):
        yield


@_bug("a watch that is opened again begins one block too late")
def skipped_on_reconnect() -> Iterator[None]:
    original = Link.watch

    def late(self: Link, first: bytes, last: bytes, revision: int, server: int = 0) -> Watch:
        watch = original(self, first, last, revision, server)
        if not first.endswith(b"/proposer") and self.__dict__.setdefault("opened", 0):
            watch.place = min(watch.place + 1, len(self.etcd.history) + 1)
        self.__dict__["opened"] = 1
        return watch

    with patch.object(Link, "watch", late):
        yield


@_bug("what the proposer took to its grave is not forwarded again")
def never_forwarded_again() -> Iterator[None]:
    original = Pool.recall

    def forgetful(self: Pool, before_s: float | None = None, only: Any = None) -> int:
        return original(self, before_s, only) if only is not None else 0

    with patch.object(Pool, "recall", forgetful):
        yield


@_bug("a cosignature leaves before its block is committed")
def cosigned_before_commit() -> Iterator[None]:
    original = Following._note

    def hasty(self: Following, head: Any, *args: Any, **given: Any) -> bytes:
        note = original(self, head, *args, **given)
        for contact in self._committed.__self__.contacts.values():  # type: ignore[attr-defined]
            contact.put(head.size, note)
        return note

    with patch.object(Following, "_note", hasty):
        yield


@_bug("the members' own clocks decide on deadlines")
def local_clock() -> Iterator[None]:
    original = Machine._context

    def local(self: Machine, *args: Any, **given: Any) -> Any:
        now_ms = START_MS + int(asyncio.get_running_loop().time() * 1000 * 300)
        return msgspec.structs.replace(original(self, *args, **given), time_ms=now_ms)

    with patch.object(Machine, "_context", local):
        yield


@_bug("the order of transactions within a block depends on each process's hashes")
def hash_order() -> Iterator[None]:
    original = Machine.execute

    def reordered(self: Machine, block: Any, revision: int, transactions: Any, source: Any) -> Executed:
        salt = asyncio.get_running_loop().current().name.encode()  # type: ignore[attr-defined]
        salted = sorted(transactions, key=lambda parsed: sha256(salt + parsed.id.encode()).digest())
        return original(self, block, revision, salted, source)

    with patch.object(Machine, "execute", reordered):
        yield
