"""The Orderer of one member over the model of etcd: lease-held proposer, create-if-absent blocks, watch, window."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from random import Random
from typing import Any, TypeVar

from ledger.errors import OrderingUnavailable, OrderTampered, OrderTrimmed
from ledger.ordering.orderer import Committed, Conflict, Fenced, Ordered, Proposed, Unknown
from tests.simulation.models.etcd import SERVERS, Compacted, KeyValue, Link, NoAnswer, Refused, WatchBroken

T = TypeVar("T")

LEASE_S = 3.0
DEADLINE_S = 0.25
_RETRY_S = 0.1


class MemoryOrderer:
    """ledger.ordering.orderer.Orderer; the model lives as long as the run, this object as long as its process."""

    name = "memory"

    def __init__(self, link: Link, random: Random, channel: str, member: str, lease_s: float = LEASE_S) -> None:
        self._link = link
        self._random = random
        self._member = member
        self._lease_s = lease_s
        prefix = f"/gridpact/{channel}"
        self._blocks = f"{prefix}/block/".encode()
        self._proposer_key = f"{prefix}/proposer".encode()
        self._trimmed_key = f"{prefix}/trimmed".encode()
        self._lease: int | None = None
        self._held_revision = 0
        self._proposer: str | None = None
        self._attempted: tuple[int, bytes, set[int]] = (0, b"", set())
        self._changes: list[asyncio.Future[None]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._running: asyncio.Task[None] | None = None

    @property
    def leads(self) -> bool:
        return self._held_revision > 0

    @property
    def proposer(self) -> str | None:
        return self._proposer

    async def changed(self) -> None:
        woken = asyncio.get_running_loop().create_future()
        self._changes.append(woken)
        await woken

    async def start(self, height: int, *, runs: bool = True) -> None:
        tip = await self.tip()
        if tip < height:
            raise OrderingUnavailable(f"the order ends at block {tip}, below our {height}: it is another one")
        if not self._tasks:
            self._heard(await self._call(self._end_former))
            self._tasks = [asyncio.create_task(self._see_proposer())]
        if runs and self._running is None:
            self._running = asyncio.create_task(self._campaign())
        elif not runs and self._running is not None:
            await self._give_up(self._running)

    async def stop(self) -> None:
        tasks, self._tasks = self._tasks, []
        await self._give_up(*tasks, *([self._running] if self._running is not None else []))

    async def _give_up(self, *tasks: asyncio.Task[None]) -> None:
        self._running = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        lease, self._lease = self._lease, None
        self._set(None if self._proposer == self._member else self._proposer, 0)  # who else does, still does
        if lease is not None:
            etcd = self._link.etcd
            with contextlib.suppress(OrderingUnavailable):  # it runs out
                await self._call(lambda: etcd.revoke(lease))

    async def check(self) -> None:
        await self.tip()

    async def propose(self, height: int, data: bytes) -> Proposed:
        if self._attempted[:2] != (height, data):
            self._attempted = (height, data, set())
        fences, held = self._attempted[2], self._held_revision
        if not held and not fences:
            return Fenced(self._proposer)
        try:
            outcome: Proposed = await self._link.call(
                lambda: self._create(height, data, held, fences), DEADLINE_S, self._server()
            )
        except NoAnswer:
            if held:
                fences.add(held)
            return Unknown("the order does not answer in time")
        except Refused as error:
            if fences:
                return Unknown(str(error))
            raise OrderingUnavailable(str(error)) from None
        return outcome

    def _create(self, height: int, data: bytes, held: int, fences: set[int]) -> Proposed:
        """At the servers, as one."""
        etcd, key = self._link.etcd, self._key(height)
        existing, holder = etcd.get(key), etcd.get(self._proposer_key)
        if existing is not None:
            return Committed(existing.create_revision) if existing.value == data else Conflict()
        if height < self._trimmed():
            return Conflict()
        if not self._fence_holds(holder, held):
            if holder is not None and holder.create_revision in fences:
                return Unknown("an earlier attempt may still be ordered")
            return Fenced(None if holder is None else holder.value.decode())
        if height != self._trimmed() and etcd.get(self._key(height - 1)) is None:
            raise Refused(f"block {height} cannot follow: there is no block {height - 1}")
        return Committed(etcd.put(key, data).create_revision)

    async def watch(self, from_height: int) -> AsyncIterator[Ordered]:
        height = from_height
        etcd = self._link.etcd
        while True:
            try:
                found, trimmed, revision = await self._call(
                    lambda: (etcd.range(self._key(height), self._end), self._trimmed(), etcd.revision)  # noqa: B023
                )
            except OrderingUnavailable:
                await asyncio.sleep(_RETRY_S)
                continue
            if trimmed > height:
                raise OrderTrimmed(trimmed)
            for each in found:
                yield self._judged(each, height)
                height += 1
            overlap = self._random.choice((0, 0, 1, 3))  # a reconnect may hear again what it heard before
            watch = self._link.watch(self._blocks, self._end, revision + 1 - overlap, self._server())
            try:
                while True:
                    for event in await watch.next():
                        ordered = self._event(event, height)
                        if ordered is not None:
                            yield ordered
                            height += 1
            except (WatchBroken, Compacted):
                await asyncio.sleep(_RETRY_S * self._random.random())
            finally:
                watch.close()

    async def tip(self) -> int:
        etcd = self._link.etcd
        return await self._call(
            lambda: max(
                [self._height(each) for each in etcd.range(self._blocks, self._end)], default=self._trimmed() - 1
            )
        )

    async def first(self) -> int:
        etcd = self._link.etcd
        return await self._call(
            lambda: min([self._height(each) for each in etcd.range(self._blocks, self._end)], default=self._trimmed())
        )

    async def trim(self, below: int) -> None:
        etcd = self._link.etcd

        def cut() -> None:
            blocks = etcd.range(self._blocks, self._end)
            line = min(below, self._height(blocks[-1])) if blocks else 0
            if line > self._trimmed():
                etcd.put(self._trimmed_key, str(line).encode())
                etcd.delete(self._blocks, self._key(line))
                etcd.compact(etcd.revision)

        await self._call(cut)

    def state(self) -> dict[str, Any]:
        etcd = self._link.etcd
        return {
            "endpoint": "memory", "leader": "memory" if etcd.leads else None, "members": 3, "db_bytes": 0,
            "alarms": [], "proposer": self._proposer, "lease": self.leads,
        }  # fmt: skip

    # ---- the proposer's lease

    async def _campaign(self) -> None:
        etcd = self._link.etcd
        while True:
            try:
                lease = self._lease = await self._call(lambda: etcd.grant(self._lease_s))
                while self._lease == lease:
                    if not await self._call(lambda: etcd.keep_alive(lease)):  # noqa: B023
                        self._lease = None
                        self._set(self._proposer, 0)
                    elif not self.leads and (held := await self._call(lambda: self._take(lease))):  # noqa: B023
                        self._set(self._member, held)
                    # where it holds the lease it renews it, where not it looks whether the key is free
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(self._lease_s / 3):
                            await self.changed()
            except OrderingUnavailable:
                await asyncio.sleep(_RETRY_S)

    def _end_former(self) -> KeyValue | None:
        """A lease that an earlier process of this member left is of no use to anybody."""
        holder = self._link.etcd.get(self._proposer_key)
        if holder is not None and holder.value == self._member.encode():
            self._link.etcd.revoke(holder.lease)
            return None
        return holder

    def _take(self, lease: int) -> int:
        etcd = self._link.etcd
        holder = etcd.get(self._proposer_key)
        if holder is None and lease in etcd.leases:
            return etcd.put(self._proposer_key, self._member.encode(), lease).create_revision
        return holder.create_revision if holder is not None and holder.lease == lease else 0

    def _fence_holds(self, holder: KeyValue | None, held_revision: int) -> bool:
        return holder is not None and holder.create_revision == held_revision

    async def _see_proposer(self) -> None:
        etcd = self._link.etcd
        while True:
            try:
                holder = await self._call(lambda: (etcd.get(self._proposer_key), etcd.revision))
                self._heard(holder[0])
                watch = self._link.watch(self._proposer_key, self._proposer_key + b"\0", holder[1] + 1, self._server())
                try:
                    while True:
                        self._heard((await watch.next())[-1])
                finally:
                    watch.close()
            except (OrderingUnavailable, WatchBroken, Compacted):
                await asyncio.sleep(_RETRY_S)

    def _heard(self, holder: KeyValue | None) -> None:
        if self._held_revision and holder is not None and holder.mod_revision < self._held_revision:
            return  # news from before our own
        if holder is None or holder.deleted:
            self._set(None, 0)
        else:
            mine = holder.lease == self._lease and self._lease is not None
            self._set(holder.value.decode(), holder.create_revision if mine else 0)

    def _set(self, proposer: str | None, held_revision: int) -> None:
        if (proposer, held_revision) == (self._proposer, self._held_revision):
            return
        self._proposer, self._held_revision = proposer, held_revision
        woken, self._changes = self._changes, []
        for each in woken:
            if not each.done():
                each.set_result(None)

    def _server(self) -> int:
        """One that runs; finding it is what the ledger's own client is for."""
        return next((server for server in range(SERVERS) if server not in self._link.etcd.down), 0)

    # ---- keys

    @property
    def _end(self) -> bytes:
        return self._blocks + b"~"

    def _key(self, height: int) -> bytes:
        return self._blocks + b"%016d" % height

    def _height(self, found: KeyValue) -> int:
        return int(found.key.rpartition(b"/")[2])

    def _trimmed(self) -> int:
        found = self._link.etcd.get(self._trimmed_key)
        return 1 if found is None else int(found.value)

    def _judged(self, found: KeyValue, height: int) -> Ordered:
        if self._height(found) != height:
            raise OrderTampered(f"block {height} is not in the order, block {self._height(found)} is")
        if found.create_revision != found.mod_revision:
            raise OrderTampered(f"block {height} was overwritten in the order")
        return Ordered(height, found.value, found.create_revision)

    def _event(self, event: KeyValue, height: int) -> Ordered | None:
        at = self._height(event)
        if event.deleted:
            if at >= self._trimmed():
                raise OrderTampered(f"block {at} was deleted from the order")
            return None
        if event.create_revision != event.mod_revision:
            raise OrderTampered(f"block {at} was overwritten in the order")
        return None if at < height else self._judged(event, height)

    async def _call(self, operation: Callable[[], T]) -> T:
        try:
            return await self._link.call(operation, DEADLINE_S, self._server())
        except (NoAnswer, Refused):
            raise OrderingUnavailable("the order does not answer: no majority, or no way to it") from None
