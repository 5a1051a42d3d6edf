"""Requests between processes: late, lost, twice, out of order, cut off; their answers too.

A handler runs in the process that is asked and dies with it; the request and its answer travel in the environment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import Random
from typing import Any, TypeVar

from ledger.errors import NotProposer, PeerUnavailable, QueueFull, ReplicaError
from ledger.replication.peers import BlockReceipts, GivenBlock, GivenChange, PeerStatus, Reception
from tests.simulation.models.loop import Loop, Process

T = TypeVar("T")

_TIMEOUT_S = 1.0


class Unreachable(Exception):
    """No answer: refused, lost, or not in time. Whether the request arrived is not known."""


class Host:
    """A process that answers, under a name that outlives it. `serving` None: the port is closed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.process: Process | None = None
        self.serving: Any = None


class Network:
    """All ways between hosts; `cut` holds the names of those that cannot reach each other, both ways or one."""

    def __init__(self, loop: Loop, random: Random) -> None:
        self._loop = loop
        self._random = random
        self.hosts: dict[str, Host] = {}
        self.cut: set[tuple[str, str]] = set()
        self.loss = 0.0
        self.duplicates = 0.0
        self.slow_s = 0.002
        self.sent: Callable[[str, str, Any], None] = lambda source, target, what: None

    def host(self, name: str) -> Host:
        return self.hosts.setdefault(name, Host(name))

    def separate(self, one: Sequence[str], other: Sequence[str]) -> None:
        """A partition."""
        self.cut |= {pair for a in one for b in other for pair in ((a, b), (b, a))}

    async def ask(
        self, source: str, target: str, question: Callable[[Any], Awaitable[T]], timeout_s: float = _TIMEOUT_S
    ) -> T:
        """What the target's handler returns or raises. Raises Unreachable."""
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        times = 2 if self._random.random() < self.duplicates else 1
        for _ in range(times):
            if not self._lost(source, target):
                self._loop.in_environment(self._arrive, source, target, question, answer, delay_s=self._delay())
        try:
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError:
            raise Unreachable(f"{target} does not answer {source}") from None

    def _arrive(self, source: str, target: str, question: Callable[[Any], Awaitable[T]], answer: Any) -> None:
        host = self.hosts[target]
        process, serving = host.process, host.serving
        if process is None or serving is None or not process.alive:
            self._reply(source, target, answer, None, Unreachable(f"{target} refuses the connection"))
            return

        async def handle() -> None:
            try:
                result, error = await question(serving), None
            except Exception as raised:
                result, error = None, raised
            self._reply(source, target, answer, result, error)

        self._loop.spawn(process, handle())

    def _reply(self, source: str, target: str, answer: Any, result: Any, error: Exception | None) -> None:
        def deliver() -> None:
            if answer.done():
                return
            if error is None:
                answer.set_result(result)
            else:
                answer.set_exception(error)

        if not self._lost(target, source):
            self._loop.in_environment(deliver, delay_s=self._delay())

    def _lost(self, source: str, target: str) -> bool:
        return (source, target) in self.cut or self._random.random() < self.loss

    def _delay(self) -> float:
        return self.slow_s * (0.1 + 3 * self._random.random() ** 4)


class MemoryPeers:
    """ledger.replication.peers.Peers"""

    def __init__(self, network: Network, member: str, names: Sequence[str]) -> None:
        self._network = network
        self._member = member
        self._names = [name for name in names if name != member]

    @property
    def names(self) -> Sequence[str]:
        return self._names

    def use(self, addresses: Mapping[str, str]) -> None:
        self._names = sorted(addresses)

    async def forward(self, member: str, contents: Sequence[bytes]) -> int:
        contents = list(contents)
        return await self._ask(member, lambda peer: peer.take_transactions(contents))

    async def cosign(self, member: str, notes: Sequence[bytes]) -> None:
        notes = list(notes)
        self._network.sent(self._member, member, notes)
        await self._ask(member, lambda peer: peer.take_cosignatures(notes))

    async def blocks(self, member: str, from_height: int, limit: int, size: int) -> list[GivenBlock]:
        return await self._ask(member, lambda peer: peer.give_blocks(from_height, limit, size))

    async def changes(self, member: str, from_height: int) -> list[GivenChange]:
        return await self._ask(member, lambda peer: peer.give_changes(from_height))

    async def receipts(self, member: str, height: int) -> BlockReceipts | None:
        return await self._ask(member, lambda peer: peer.give_receipts(height))

    async def status(self, member: str) -> PeerStatus:
        async def status(peer: Reception) -> PeerStatus:
            return peer.peer_status()

        return await self._ask(member, status)

    async def close(self) -> None:
        return None

    async def _ask(self, member: str, question: Callable[[Any], Awaitable[T]]) -> T:
        try:
            return await self._network.ask(self._member, member, question)
        except (NotProposer, QueueFull):
            raise
        except (Unreachable, ReplicaError) as error:  # over the wire any other trouble of a member is a 5xx
            raise PeerUnavailable(str(error)) from None
