"""Which member may propose: whoever created the proposer key, for as long as its lease lives.

    free ── create (bound to a lease) ──▶ held: keep-alive every third of the TTL ── TTL without renewal ──▶ lost
      ▲                                     │ stop: revoke                                                   │
      └──────── key deleted ────────────────┴────────────────────────────────────────────────────────────────┘

Every started member runs: it watches the key and creates it when it is gone. The fence is the revision at which the key
was created; a block is ordered only while the key has it, so a proposer that overslept its lease cannot order one,
whatever its clock says. That a proposer believes itself to lead at most until its TTL has passed by its own clock
(counted from before the renewal was sent) only spares it vain attempts.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from ledger.errors import OrderingUnavailable
from ledger.ordering.etcd.client import EtcdClient, KeyValue, created_at, get, put
from ledger.ordering.etcd.errors import Compacted, LeaseGone, Unanswered
from runtime.logs import get_logger

_log = get_logger("ledger.ordering.etcd")
_RETRY_S: Final = 0.1
_REFUSED_RETRY_S: Final = 1.0
_RENEW_PARTS: Final = 3


class Candidacy:
    """One member's running for the proposer key `key`, from `start` to `stop`."""

    def __init__(self, client: EtcdClient, key: bytes, member: str, lease_s: int, silence_s: float) -> None:
        self._client = client
        self._key = key
        self._member = member
        self._lease_s = lease_s
        self._silence_s = silence_s
        self._lease = 0
        self._fence = 0
        self._ttl_s = lease_s
        self._valid_until = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._holder: KeyValue | None = None
        self._seen = 0
        self._event = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._running: asyncio.Task[None] | None = None

    @property
    def started(self) -> bool:
        return bool(self._tasks)

    @property
    def fence(self) -> int:
        """Revision at which this member created the key; 0 while it does not lead."""
        if self._loop is None or self._loop.time() >= self._valid_until:
            return 0
        return self._fence

    @property
    def proposer(self) -> str | None:
        """Who holds the key, as last seen."""
        if self._fence:
            return self._member if self.fence else None
        return self._holder.value.decode(errors="replace") if self._holder is not None else None

    async def changed(self) -> None:
        """Returns at the next change of `fence` or `proposer`."""
        await self._event.wait()

    async def start(self, *, runs: bool = True) -> None:
        """Begin to run, or (`runs` False) give that up and watch who holds the key. A lease that an earlier process
        of this member left is ended first."""
        if not self._tasks:
            self._loop = asyncio.get_running_loop()
            await self._end_former()
            self._tasks = [asyncio.create_task(self._observe())]
        if runs and self._running is None:
            self._running = asyncio.create_task(self._run())
            self._tasks.append(self._running)
        elif not runs and self._running is not None:
            await self._end(self._running)

    async def stop(self) -> None:
        """Give the key back if it is held."""
        tasks, self._tasks = self._tasks, []
        await self._end(*tasks)

    async def _end(self, *tasks: asyncio.Task[None]) -> None:
        """Ends these tasks, and gives the key back."""
        self._running = None
        self._tasks = [task for task in self._tasks if task not in tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        lease = self._lease
        self._lose("stopped")
        if lease:
            with contextlib.suppress(OrderingUnavailable):  # it ends by itself
                await self._client.revoke(lease)

    def refused(self, revision: int, holder: KeyValue | None) -> None:
        """A proposal met another holder of the key, or none, at `revision`."""
        self._see(revision, holder)

    async def _end_former(self) -> None:
        answer = await self._client.read(get(self._key))
        holder = answer.found[0].kvs[0] if answer.found[0].kvs else None
        if holder is not None and holder.value == self._member.encode() and holder.lease:
            await self._client.revoke(holder.lease)
            holder = None
        self._see(answer.revision, holder)

    async def _observe(self) -> None:
        """Know who holds the key, for as long as this runs."""
        revision = self._seen + 1
        while True:
            try:
                if not revision:
                    answer = await self._client.read(get(self._key))
                    self._see(answer.revision, answer.found[0].kvs[0] if answer.found[0].kvs else None)
                    revision = answer.revision + 1
                async with contextlib.aclosing(
                    self._client.watch(self._key, b"", revision, self._silence_s)
                ) as batches:
                    async for batch in batches:
                        last = batch.changes[-1]
                        self._see(batch.revision, None if last.deleted else last.kv)
                        revision = batch.revision + 1
            except Unanswered:
                await asyncio.sleep(_RETRY_S)
            except Compacted:
                revision = 0
            except OrderingUnavailable as error:
                _log.debug("the proposer cannot be watched", error=str(error))
                await asyncio.sleep(_RETRY_S)

    async def _run(self) -> None:
        while True:
            while self._holder is not None:
                await self.changed()
            try:
                if await self._campaign():
                    await self._hold()
            except Unanswered:
                await asyncio.sleep(_RETRY_S)
            except LeaseGone:
                self._lease = 0
            except OrderingUnavailable as error:
                _log.warning("cannot run for proposer", member=self._member, error=str(error))
                await asyncio.sleep(_REFUSED_RETRY_S)

    async def _campaign(self) -> bool:
        """Try to create the key: was it this member? An attempt without an answer is repeated with the same lease, by
        which its success is known again."""
        now = asyncio.get_running_loop().time
        if not self._lease or now() >= self._valid_until:
            asked_at = now()
            self._lease, self._ttl_s = await self._client.grant(self._lease_s)
            self._valid_until = asked_at + self._ttl_s
        answer = await self._client.txn(
            [created_at(self._key, 0)], [put(self._key, self._member.encode(), self._lease)], [get(self._key)]
        )
        created = answer.revision
        if not answer.succeeded:
            kv = answer.found[0].kvs[0]
            created = kv.create_revision
            if kv.lease != self._lease:
                lease, self._lease = self._lease, 0
                self._see(answer.revision, kv)
                await self._client.revoke(lease)
                return False
        self._fence, self._seen = created, max(self._seen, answer.revision)
        _log.info("this replica proposes", member=self._member, fence=created)
        self._notify()
        return True

    async def _hold(self) -> None:
        """Renew the lease until it is lost. While nobody answers it lapses, and leadership with it; it comes back if
        the key has been there all the time, since nobody else can have proposed then."""
        loop = asyncio.get_running_loop()
        while self._fence:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._ttl_s / _RENEW_PARTS):
                    await self.changed()
            lapsed = False
            while self._fence:
                asked_at = loop.time()
                if asked_at >= self._valid_until and not lapsed:
                    lapsed = True
                    _log.warning("the lease could not be renewed in time", member=self._member)
                    self._notify()
                try:
                    self._valid_until = asked_at + await self._client.keep_alive(self._lease)
                except LeaseGone:
                    self._lose("the lease is gone")
                except (Unanswered, OrderingUnavailable):
                    await asyncio.sleep(_RETRY_S / 2)
                else:
                    if lapsed:
                        self._notify()
                    break

    def _see(self, revision: int, holder: KeyValue | None) -> None:
        """Take note of the key as of `revision`, unless something newer is known."""
        if revision < self._seen:
            return
        self._seen = revision
        before = self._holder.create_revision if self._holder is not None else 0
        self._holder = holder
        if self._fence and (holder is None or holder.create_revision != self._fence):
            self._lose("the key has another holder" if holder is not None else "the key was deleted")
        elif before != (holder.create_revision if holder is not None else 0):
            self._notify()

    def _lose(self, reason: str) -> None:
        if self._fence:
            _log.warning("this replica proposes no more", member=self._member, reason=reason)
        self._fence, self._lease = 0, 0
        self._notify()

    def _notify(self) -> None:
        event, self._event = self._event, asyncio.Event()
        event.set()
