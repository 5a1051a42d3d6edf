"""etcd as its clients see it: one history of revisions, transactions, leases, watches, compaction; and what goes wrong.

    Etcd    the cluster: what Raft committed. Without a majority nothing is applied, leases do not run out, and requests
            that came meanwhile may be applied when it is back, long after their sender gave up.
    Link    one member's way to it: delays, lost requests, lost answers, a cut; watches that break and are slow.

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

DEADLINE_S = 0.25


class NoAnswer(Exception):
    """The request may have been applied, may yet be, or never."""


class WatchBroken(Exception):
    """The stream ended; what came after its last event must be asked for again."""


class Compacted(Exception):
    """The revision asked for is gone."""


@dataclass(frozen=True, slots=True)
class KeyValue:
    """A key as it stands, or (`value` None) the event of its end."""

    key: str
    value: bytes | None
    create_revision: int
    mod_revision: int
    lease: int = 0


@dataclass(slots=True)
class Lease:
    """Keys live as long as it is kept alive."""

    ttl_s: float
    expires_s: float


class Etcd:
    """The replicated state machine, with one majority, or none at the moment."""

    def __init__(self, loop: Loop, random: Random) -> None:
        self._loop = loop
        self._random = random
        self.keys: dict[str, KeyValue] = {}
        self.history: list[KeyValue] = []
        self.revision = 1
        self.compacted = 0
        self.leases: dict[int, Lease] = {}
        self.majority = True
        self.grown: list[Callable[[], None]] = []
        self.on_put: Callable[[KeyValue, KeyValue | None], None] = lambda new, old: None
        self._waiting: deque[Callable[[], None]] = deque()
        self._lease_ids = 100

    # ---- faults

    def lose_majority(self) -> None:
        """Or the leader, if `regain` comes soon."""
        self.majority = False

    def regain(self) -> None:
        """A leader again: it starts all leases anew, and some of what waited is applied."""
        self.majority = True
        for lease in self.leases.values():
            lease.expires_s = self._loop.time() + lease.ttl_s
        waiting, self._waiting = self._waiting, deque()
        for request in waiting:
            if self._random.random() < 0.5:
                request()

    def receive(self, request: Callable[[], None]) -> None:
        """A request that has arrived."""
        if self.majority:
            request()
        else:
            self._waiting.append(request)

    # ---- what clients ask

    def get(self, key: str) -> KeyValue | None:
        return self.keys.get(key)

    def range(self, first: str, last: str) -> list[KeyValue]:
        """Keys with first <= key < last, in order."""
        return [self.keys[key] for key in sorted(self.keys) if first <= key < last]

    def put(self, key: str, value: bytes, lease: int = 0) -> KeyValue:
        if lease and lease not in self.leases:
            raise KeyError("no such lease")
        old = self.keys.get(key)
        self.revision += 1
        new = KeyValue(key, value, old.create_revision if old else self.revision, self.revision, lease)
        self.keys[key] = new
        self.on_put(new, old)
        self._record(new)
        return new

    def delete(self, first: str, last: str) -> int:
        """Ends the keys of a range as one; their number."""
        gone = self.range(first, last)
        if gone:
            self.revision += 1
        for old in gone:
            del self.keys[old.key]
            self._record(KeyValue(old.key, None, old.create_revision, self.revision))
        return len(gone)

    def compact(self, revision: int) -> None:
        """Forget the events up to `revision`."""
        self.compacted = max(self.compacted, revision)

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

    def revoke(self, lease_id: int) -> None:
        """Ends a lease with its keys."""
        if self.leases.pop(lease_id, None) is not None:
            for key in sorted(key for key, found in self.keys.items() if found.lease == lease_id):
                self.delete(key, key + "\0")

    def events(self, after_index: int, first: str, last: str) -> tuple[int, list[KeyValue]]:
        """Events of a range behind a place in the history, and the new place."""
        return len(self.history), [event for event in self.history[after_index:] if first <= event.key < last]

    def place(self, revision: int) -> int:
        """The place in the history from which `revision` and later ones are. Raises Compacted."""
        if revision <= self.compacted:
            raise Compacted(revision)
        at = len(self.history)
        while at and self.history[at - 1].mod_revision >= revision:
            at -= 1
        return at

    def _record(self, event: KeyValue) -> None:
        self.history.append(event)
        for wake in list(self.grown):
            wake()

    def _expire(self, lease_id: int) -> None:
        lease = self.leases.get(lease_id)
        if lease is None:
            return
        left_s = lease.expires_s - self._loop.time()
        if left_s <= 0 and self.majority:
            self.revoke(lease_id)
        else:
            self._loop.in_environment(self._expire, lease_id, delay_s=max(left_s, 0.1))


class Link:
    """One process's connections to the cluster."""

    def __init__(self, loop: Loop, random: Random, etcd: Etcd) -> None:
        self._loop = loop
        self._random = random
        self.etcd = etcd
        self.cut = False
        self.loss = 0.0
        self.slow_s = 0.002
        self._watches: list[Watch] = []

    async def call(self, operation: Callable[[], T], deadline_s: float = DEADLINE_S) -> T:
        """What the cluster answers. Raises NoAnswer, and what the operation raises."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if not self._lost():
            self._loop.in_environment(self._arrive, operation, answer, delay_s=self._delay())
        try:
            async with asyncio.timeout(deadline_s):
                return await answer  # type: ignore[no-any-return]
        except TimeoutError:
            raise NoAnswer from None

    def watch(self, first: str, last: str, revision: int) -> Watch:
        """Events of a range from a revision on."""
        watch = Watch(self, first, last, revision)
        self._watches.append(watch)
        return watch

    def break_watches(self) -> None:
        """Every stream ends, as when a connection or an etcd member is lost."""
        for watch in self._watches:
            watch.end(WatchBroken())
        self._watches.clear()

    def _lost(self) -> bool:
        return self.cut or self._random.random() < self.loss

    def _delay(self) -> float:
        return self.slow_s * (0.2 + 2 * self._random.random() ** 3)

    def _arrive(self, operation: Callable[[], Any], answer: asyncio.Future[Any]) -> None:
        def apply() -> None:
            try:
                result: Any = (operation(), None)
            except Exception as error:
                result = (None, error)
            if not self._lost():
                self._loop.in_environment(self._answer, answer, result, delay_s=self._delay())

        self.etcd.receive(apply)

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

    def __init__(self, link: Link, first: str, last: str, revision: int) -> None:
        self._link = link
        self._range = (first, last)
        self._arrived: deque[Sequence[KeyValue]] = deque()
        self._error: Exception | None = None
        self._woken: asyncio.Event = asyncio.Event()
        self._under_way = False
        self._place = 0
        try:
            self._place = link.etcd.place(revision)
        except Compacted as error:
            self._error = error
        link.etcd.grown.append(self._grown)
        self._grown()

    async def next(self) -> Sequence[KeyValue]:
        """The next events. Raises WatchBroken, Compacted."""
        while not self._arrived:
            if self._error is not None:
                raise self._error
            self._woken.clear()
            await self._woken.wait()
        return self._arrived.popleft()

    def end(self, error: Exception) -> None:
        """No more comes."""
        self._error = self._error or error
        self.close()
        self._woken.set()

    def close(self) -> None:
        """Ask for nothing any more."""
        if self._grown in self._link.etcd.grown:
            self._link.etcd.grown.remove(self._grown)

    def _grown(self) -> None:
        if not self._under_way and self._error is None:
            self._under_way = True
            self._link._loop.in_environment(self._deliver, delay_s=self._link._delay())

    def _deliver(self) -> None:
        self._under_way = False
        if self._error is not None:
            return
        if self._link._lost():
            self.end(WatchBroken())
            return
        self._place, events = self._link.etcd.events(self._place, *self._range)
        if events:
            self._arrived.append(events)
            self._woken.set()
