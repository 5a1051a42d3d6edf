"""etcd as its clients see it: one history of revisions, leases, watches, compaction; and what goes wrong with it.

    Etcd    the cluster: what Raft committed, and its servers. Without a leader nothing is applied, leases do not run
            out, and requests that came meanwhile may be applied later, long after their sender gave up.
    Link    one process's way to the servers: delays, lost requests, lost answers, a cut; watches that break.

All of it runs in the environment: a client's death stops neither its requests under way nor its lease.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

from tests.simulation.models.loop import Loop

T = TypeVar("T")

SERVERS = 3


class NoAnswer(Exception):
    """The request may have been applied, may yet be, or never."""


class Refused(Exception):
    """The request was certainly not applied; the text is etcd's."""


class WatchBroken(Exception):
    """The stream ended; what came after its last event must be asked for again."""


class Compacted(Exception):
    """The revision asked for is gone."""

    def __init__(self, revision: int) -> None:
        super().__init__(f"compacted up to {revision}")
        self.revision = revision


@dataclass(frozen=True, slots=True)
class KeyValue:
    """A key as it stands, or (`deleted`) the event of its end."""

    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    version: int = 1
    lease: int = 0
    deleted: bool = False


@dataclass(slots=True)
class Lease:
    """Keys live as long as it is kept alive."""

    ttl_s: float
    expires_s: float


class Etcd:
    """The replicated state machine and its three servers."""

    def __init__(self, loop: Loop, random: Random) -> None:
        self._loop = loop
        self._random = random
        self.keys: dict[bytes, KeyValue] = {}
        self.history: list[KeyValue] = []
        self.revision = 1
        self.compacted = 0
        self.leases: dict[int, Lease] = {}
        self.leads = True
        self.down: set[int] = set()
        self.grown: list[Callable[[KeyValue], None]] = []
        self.on_put: Callable[[KeyValue, KeyValue | None], None] = lambda new, old: None
        self._waiting: deque[Callable[[], None]] = deque()
        self._lease_ids = 100

    # ---- faults

    def lose_leader(self) -> None:
        """Until `elect`: because its server is gone, or a majority of them."""
        self.leads = False

    def elect(self) -> None:
        """A leader again: it starts all leases anew, and some of what waited is applied."""
        if self.leads:
            return
        self.leads = True
        for lease in self.leases.values():
            lease.expires_s = self._loop.time() + lease.ttl_s
        waiting, self._waiting = self._waiting, deque()
        for request in waiting:
            if self._random.random() < 0.5:
                request()

    def receive(self, request: Callable[[], None]) -> None:
        """A request that has arrived. Raises Refused by a server that knows there is no leader."""
        if self.leads:
            request()
        elif self._random.random() < 0.5:
            raise Refused("etcdserver: no leader")
        else:
            self._waiting.append(request)

    # ---- what clients ask

    def get(self, key: bytes) -> KeyValue | None:
        return self.keys.get(key)

    def range(self, first: bytes, last: bytes) -> list[KeyValue]:
        """Keys with first <= key < last, in order."""
        return [self.keys[key] for key in sorted(self.keys) if first <= key < last]

    def put(self, key: bytes, value: bytes, lease: int = 0, *, revision: int | None = None) -> KeyValue:
        """Raises Refused for a lease that is gone."""
        if lease and lease not in self.leases:
            raise Refused("etcdserver: requested lease not found")
        old = self.keys.get(key)
        revision = revision or self.next_revision()
        new = KeyValue(
            key, value, old.create_revision if old else revision, revision, old.version + 1 if old else 1, lease
        )
        self.keys[key] = new
        self.on_put(new, old)
        self._record(new)
        return new

    def delete(self, first: bytes, last: bytes, *, revision: int | None = None) -> int:
        """Ends the keys of a range as one; their number."""
        gone = self.range(first, last)
        if gone:
            revision = revision or self.next_revision()
            for old in gone:
                del self.keys[old.key]
                self._record(KeyValue(old.key, b"", 0, revision, 0, 0, deleted=True))
        return len(gone)

    def next_revision(self) -> int:
        self.revision += 1
        return self.revision

    def compact(self, revision: int) -> None:
        """Forget the events up to `revision`. Raises Compacted."""
        if revision <= self.compacted:
            raise Compacted(self.compacted)
        self.compacted = revision

    def grant(self, ttl_s: float) -> int:
        """A lease's id."""
        self._lease_ids += 1
        self.leases[self._lease_ids] = Lease(ttl_s, self._loop.time() + ttl_s)
        self._loop.in_environment(self._expire, self._lease_ids, delay_s=ttl_s)
        return self._lease_ids

    def keep_alive(self, lease_id: int) -> bool:
        """False: it has run out."""
        lease = self.leases.get(lease_id)
        if lease is None:
            return False
        lease.expires_s = self._loop.time() + lease.ttl_s
        return True

    def revoke(self, lease_id: int) -> bool:
        """Ends a lease with its keys; False if it had ended."""
        if self.leases.pop(lease_id, None) is None:
            return False
        for key in sorted(key for key, found in self.keys.items() if found.lease == lease_id):
            self.delete(key, key + b"\0")
        return True

    def events(self, after_index: int, first: bytes, last: bytes) -> tuple[int, list[KeyValue]]:
        """Events of a range behind a place in the history, and the new place."""
        return len(self.history), [event for event in self.history[after_index:] if first <= event.key < last]

    def place(self, revision: int) -> int:
        """The place in the history from which `revision` and later ones are. Raises Compacted."""
        if revision <= self.compacted:
            raise Compacted(self.compacted)
        at = len(self.history)
        while at and self.history[at - 1].mod_revision >= revision:
            at -= 1
        return at

    def _record(self, event: KeyValue) -> None:
        self.history.append(event)
        for wake in list(self.grown):
            wake(event)

    def _expire(self, lease_id: int) -> None:
        lease = self.leases.get(lease_id)
        if lease is None:
            return
        left_s = lease.expires_s - self._loop.time()
        if left_s <= 0 and self.leads:
            self.revoke(lease_id)
        else:
            self._loop.in_environment(self._expire, lease_id, delay_s=max(left_s, 0.1))


class Link:
    """One process's connections to the servers."""

    def __init__(self, loop: Loop, random: Random, etcd: Etcd) -> None:
        self.loop = loop
        self._random = random
        self.etcd = etcd
        self.cut = False
        self.loss = 0.0
        self.slow_s = 0.002
        self._watches: list[Watch] = []

    def reaches(self, server: int) -> bool:
        """Does a server answer at all?"""
        return not self.cut and server not in self.etcd.down

    async def call(
        self, operation: Callable[[], T], deadline_s: float, server: int = 0, *, by_leader: bool = True
    ) -> T:
        """What the cluster answers. Raises NoAnswer, Refused, and what the operation raises."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if not self._lost(server):
            self.loop.in_environment(self._arrive, operation, answer, server, by_leader, delay_s=self.delay())
        try:
            async with asyncio.timeout(deadline_s):
                return await answer  # type: ignore[no-any-return]
        except TimeoutError:
            raise NoAnswer from None

    def watch(self, first: bytes, last: bytes, revision: int, server: int = 0) -> Watch:
        """Events of a range from a revision on."""
        watch = Watch(self, first, last, revision, server)
        self._watches.append(watch)
        return watch

    def break_watches(self, server: int | None = None) -> None:
        """Every stream ends, or every one from one server, as when a connection or the server is lost."""
        broken = [watch for watch in self._watches if server is None or watch.server == server]
        for watch in broken:
            watch.end(WatchBroken("the connection was lost"))
        self._watches = [watch for watch in self._watches if watch not in broken]

    def _lost(self, server: int) -> bool:
        return not self.reaches(server) or self._random.random() < self.loss

    def delay(self) -> float:
        return self.slow_s * (0.2 + 2 * self._random.random() ** 3)

    def _arrive(self, operation: Callable[[], Any], answer: Any, server: int, by_leader: bool) -> None:
        def apply() -> None:
            try:
                result: Any = (operation(), None)
            except Exception as error:
                result = (None, error)
            reply(result)

        def reply(result: Any) -> None:
            if not self._lost(server):
                self.loop.in_environment(self._answer, answer, result, delay_s=self.delay())

        if not by_leader:
            apply()
            return
        try:
            self.etcd.receive(apply)
        except Refused as error:
            reply((None, error))

    def _answer(self, answer: asyncio.Future[Any], result: tuple[Any, Exception | None]) -> None:
        if answer.done() or self.cut:
            return
        value, error = result
        if error is None:
            answer.set_result(value)
        else:
            answer.set_exception(error)


class Watch:
    """A stream of events, in order, each a while after it happened."""

    def __init__(self, link: Link, first: bytes, last: bytes, revision: int, server: int) -> None:
        self._link = link
        self._range = (first, last)
        self.server = server
        self._arrived: deque[Sequence[KeyValue]] = deque()
        self._error: Exception | None = None
        self._woken: asyncio.Event = asyncio.Event()
        self._under_way = False
        self.place = 0
        try:
            self.place = link.etcd.place(revision)
        except Compacted as error:
            self._error = error
        link.etcd.grown.append(self._grown)
        self._fetch()

    async def next(self) -> Sequence[KeyValue]:
        """The next events, none where there were none when it was asked. Raises WatchBroken, Compacted."""
        while not self._arrived:
            if self._error is not None:
                raise self._error
            self._woken.clear()
            await self._woken.wait()
        return self._arrived.popleft()

    def ask(self) -> None:
        """Have the server say that it is there."""
        if not self._link._lost(self.server):
            self._link.loop.in_environment(self._arrive, (), delay_s=2 * self._link.delay())

    def end(self, error: Exception) -> None:
        """No more comes."""
        self._error = self._error or error
        self.close()
        self._woken.set()

    def close(self) -> None:
        """Ask for nothing any more."""
        if self._grown in self._link.etcd.grown:
            self._link.etcd.grown.remove(self._grown)

    def _grown(self, event: KeyValue) -> None:
        if self._range[0] <= event.key < self._range[1]:
            self._fetch()

    def _fetch(self) -> None:
        if not self._under_way and self._error is None:
            self._under_way = True
            self._link.loop.in_environment(self._deliver, delay_s=self._link.delay())

    def _deliver(self) -> None:
        self._under_way = False
        if self._error is not None:
            return
        if self._link._lost(self.server):
            self.end(WatchBroken("the connection was lost"))
            return
        self.place, events = self._link.etcd.events(self.place, *self._range)
        if events:
            self._arrive(events)

    def _arrive(self, events: Sequence[KeyValue]) -> None:
        if self._error is None:
            self._arrived.append(events)
            self._woken.set()
