"""Blocks in the order of etcd's Raft: one transaction each, created once, fenced by the proposer's lease.

    if   proposer key was created at my fence       (fault rule 2)
    and  block/h does not exist, block/h-1 does     so there are no gaps, and nothing comes back below the line
    then put block/h
    else read what is in the way

An attempt that is not answered may have happened, so the same transaction goes to the next endpoint: it finds the block
(equal bytes: Committed; others: Conflict), or creates it, or finds another fence, after which no earlier attempt can
succeed any more.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any, Final

from ledger.errors import OrderingUnavailable
from ledger.ordering.etcd.admin import EtcdAdmin
from ledger.ordering.etcd.client import EtcdClient, Found, created_at, get, put
from ledger.ordering.etcd.errors import EtcdNoSpace, OrderBehind, Unanswered, no_space
from ledger.ordering.etcd.lease import Candidacy
from ledger.ordering.etcd.settings import EtcdSettings
from ledger.ordering.etcd.watching import Watching
from ledger.ordering.etcd.window import Keys, Window, line_of
from ledger.ordering.orderer import Committed, Conflict, Fenced, Ordered, Proposed, Unknown

_STATE_S: Final = 5.0
_SILENCE_S: Final = 0.5
"""After which a watch is asked whether it still is one, and after which again another endpoint is taken."""
_BYTES_PER_S: Final = 10_000_000
"""At least; a large block gets more time."""


@dataclass(slots=True)
class _Attempted:
    """A proposal with the fences it was sent under and not answered."""

    height: int
    data: bytes
    fences: set[int] = field(default_factory=set)


class EtcdOrderer:
    """Orders the blocks of one channel through an etcd cluster. `start` again after `stop` is allowed."""

    name = "etcd"

    def __init__(self, settings: EtcdSettings) -> None:
        self._settings = settings
        self._keys = keys = Keys.of(settings)
        self._client = client = EtcdClient(settings)
        self._admin = EtcdAdmin(client.connection)
        self._window = Window(client, keys)
        self._candidacy = Candidacy(client, keys.proposer, settings.member, settings.lease_s, _SILENCE_S)
        self._attempted = _Attempted(0, b"")
        self._origin: int | None = None
        self._state: dict[str, Any] = {}
        self._looking: asyncio.Task[None] | None = None

    @property
    def leads(self) -> bool:
        return bool(self._candidacy.fence)

    @property
    def proposer(self) -> str | None:
        return self._candidacy.proposer

    async def changed(self) -> None:
        await self._candidacy.changed()

    async def start(self, height: int, *, runs: bool = True) -> None:
        tip = await self._window.tip()
        if tip < height:
            raise OrderBehind(
                f"the order of channel {self._settings.channel} ends at block {tip}, this replica has block {height}: "
                f"correct the endpoints, or where etcd was lost for good, let the new one begin behind the highest "
                "final block: dr-ledger begin-order"
            )
        await self._candidacy.start(runs=runs)
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())

    async def stop(self) -> None:
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
        await self._candidacy.stop()
        await self._client.close()

    async def found(self, height: int) -> None:
        """Make the order of an etcd without this channel begin after `height`, before any orderer starts on it (fault
        rule 13: etcd was lost for good). Raises OrderTampered if it has another beginning, OrderingUnavailable."""
        await self._window.found(height)

    async def check(self) -> None:
        await self._client.read(get(self._keys.proposer))
        if "NOSPACE" in self._state.get("alarms", ()):
            alarms = await self._admin.alarms()
            self._state["alarms"] = [alarm.name for alarm in alarms]
            if "NOSPACE" in self._state["alarms"]:
                raise no_space("")

    async def propose(self, height: int, data: bytes) -> Proposed:
        attempted = self._attempted
        if (attempted.height, attempted.data) != (height, data):
            attempted = self._attempted = _Attempted(height, data)
        if not self._candidacy.fence and not attempted.fences:
            return Fenced(self.proposer)
        try:
            outcome = await self._client.connection.persist(lambda deadline_s: self._attempt(attempted, deadline_s))
        except OrderingUnavailable as error:
            if isinstance(error, EtcdNoSpace):
                self._state["alarms"] = ["NOSPACE"]
            if attempted.fences:
                return Unknown(str(error))
            raise
        if not isinstance(outcome, Unknown):
            self._attempted = _Attempted(0, b"")
        return outcome

    async def watch(self, from_height: int) -> AsyncGenerator[Ordered, None]:
        watching = Watching(self._client, self._keys, from_height, _SILENCE_S)
        async with contextlib.aclosing(watching.blocks()) as blocks:
            async for ordered in blocks:
                yield ordered

    async def tip(self) -> int:
        return await self._window.tip()

    async def first(self) -> int:
        return await self._window.first()

    async def trim(self, below: int) -> None:
        await self._window.trim(below)

    def state(self) -> dict[str, Any]:
        """proposer, lease (held by this replica), endpoint, cluster (id), leader and members (names), version,
        db_bytes, db_used_bytes, alarms (names): what is missing was not learnt yet."""
        connection = self._client.connection
        return {
            **self._state,
            "proposer": self.proposer,
            "lease": self.leads,
            "endpoint": connection.endpoint,
            "cluster": connection.cluster,
        }

    async def _attempt(self, attempted: _Attempted, deadline_s: float) -> Proposed:
        """One transaction, or one reading where this replica does not lead. Raises Unanswered."""
        height, keys, fence = attempted.height, self._keys, self._candidacy.fence
        in_the_way = [
            get(keys.block(height)), get(keys.block(height - 1), keys_only=True), get(keys.line), get(keys.proposer)
        ]  # fmt: skip
        conditions = [
            created_at(keys.proposer, fence),
            created_at(keys.block(height), 0),
            self._window.follows(height, self._origin),
        ]
        if not fence:  # nothing may be ordered: only what became of earlier attempts is asked
            answer = await self._client.read(*in_the_way)
            return self._judge(attempted, fence, answer.revision, answer.found)
        known = fence in attempted.fences
        attempted.fences.add(fence)  # before it is sent: whoever is cancelled meanwhile does not know either
        try:
            answer = await self._client.txn(
                conditions,
                [put(keys.block(height), attempted.data)],
                in_the_way,
                deadline_s + len(attempted.data) / _BYTES_PER_S,
            )
        except (Unanswered, OrderingUnavailable) as failure:
            if not known and not (isinstance(failure, Unanswered) and failure.sent):
                attempted.fences.discard(fence)
            raise
        if not known:
            attempted.fences.discard(fence)
        if answer.succeeded:
            return Committed(answer.revision)
        if self._origin != height and not answer.found[1].kvs and line_of(answer.found[2]) == height:
            self._origin = height  # nothing is kept: another condition says that it is the next
            return await self._attempt(attempted, deadline_s)
        return self._judge(attempted, fence, answer.revision, answer.found)

    def _judge(self, attempted: _Attempted, fence: int, revision: int, found: tuple[Found, ...]) -> Proposed:
        block, before, line, proposer = found
        holder = proposer.kvs[0] if proposer.kvs else None
        if block.kvs:
            kv = block.kvs[0]
            return Committed(kv.create_revision) if kv.value == attempted.data else Conflict()
        if attempted.height < line_of(line):
            return Conflict()
        self._candidacy.refused(revision, holder)
        held = holder.create_revision if holder is not None else 0
        if not fence or held != fence:
            if held not in attempted.fences:
                return Fenced(holder.value.decode(errors="replace") if holder is not None else None)
            return Unknown("an earlier attempt of this replica may still be ordered until its lease ends")
        if not before.kvs and attempted.height != line_of(line):
            raise OrderBehind(f"block {attempted.height} cannot follow: the order has no block {attempted.height - 1}")
        raise Unanswered(self._client.connection.endpoint, "the order changed meanwhile", sent=False, alive=True)

    async def _look(self) -> None:
        """Keep `state` and the alarms fresh."""
        while True:
            names: dict[int, str] = {}
            with contextlib.suppress(OrderingUnavailable):
                names = {member.id: member.name for member in await self._admin.members()}
                self._state["members"] = sorted(names.values())
            with contextlib.suppress(OrderingUnavailable):
                status = await self._admin.status()
                self._state |= {
                    "leader": names.get(status.leader),
                    "version": status.version,
                    "db_bytes": status.db_bytes,
                    "db_used_bytes": status.db_used_bytes,
                }
            with contextlib.suppress(OrderingUnavailable):
                self._state["alarms"] = sorted({alarm.name for alarm in await self._admin.alarms()})
            await asyncio.sleep(_STATE_S)
