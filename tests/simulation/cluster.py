"""The members of one ledger in one loop: what each keeps over a crash, starting, killing, stopping, restoring."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from contracts.consortium import membership
from contracts.core import commands as c
from contracts.core.parties import Role
from ledger.config import LedgerSettings
from ledger.errors import OrderingUnavailable, PeerUnavailable, StoreUnavailable
from ledger.founding import Founded, consortium, contracts_root
from ledger.founding.keys import own_member
from ledger.ordering.etcd.orderer import EtcdOrderer
from ledger.ordering.etcd.settings import EtcdSettings
from ledger.ordering.orderer import Orderer
from ledger.replica import Replica
from ledger.replication.offload import inline
from runtime.clock import DomainClock
from runtime.keys import PrivateKey
from tests.builders import START_MS, a_key
from tests.ledger.running import AGGREGATOR, AUDITOR, UTILITY, an_enrolment
from tests.simulation.judge import Judge
from tests.simulation.models.etcd import Etcd, Link
from tests.simulation.models.loop import Loop, Process
from tests.simulation.models.network import MemoryPeers, Network
from tests.simulation.models.orderer import MemoryOrderer
from tests.simulation.models.store import Disk, Faults, MemoryStore
from tests.simulation.models.wire import endpoints_of

CHANNEL = "main"
ORIGIN = f"ledger.example/{CHANNEL}"
PROPOSER = f"/gridpact/{CHANNEL}/proposer".encode()
ANSWER_TIMEOUT_S = 0.6

_RESTART_S = 0.3


class SimulatedClock(DomainClock):
    """A member's clock: the loop's time, off by `skew_ms` of wall time."""

    def __init__(self, loop: Loop, speed: float) -> None:
        super().__init__(epoch_wall_ms=START_MS, epoch_domain_ms=START_MS, speed=speed)
        self._loop = loop
        self.skew_ms = 0

    def wall_ms(self) -> int:
        return START_MS + int(self._loop.time() * 1000) + self.skew_ms


class Member:
    """One member of the consortium, running or not."""

    def __init__(self, number: int, founded: Founded, settings: LedgerSettings, clock: SimulatedClock, link: Link):
        self.number = number
        self.name = founded.member
        self.founded = founded
        self.settings = settings
        self.clock = clock
        self.link = link
        self.disk = Disk()
        self.backup: Disk | None = None
        self.faults = Faults(Random(0))
        self.process: Process | None = None
        self.replica: Replica | None = None
        self.stopping: asyncio.Event | None = None
        self.wanted = True

    @property
    def up(self) -> bool:
        return self.process is not None and self.process.alive


@dataclass(frozen=True)
class Shape:
    """What a seed's consortium is. client: members order by the ledger's own client of etcd, else by the model's.
    trims: the order's window is so small that who was away must take blocks from the others. changes: one more member
    joins while the ledger runs, and a founder leaves."""

    members: int = 3
    speed: float = 300.0
    client: bool = False
    trims: bool = False
    changes: bool = False


class Cluster:
    """All members with their order, their network and one judge."""

    def __init__(self, loop: Loop, random: Random, folder: Path, judge: Judge, shape: Shape) -> None:
        self.loop = loop
        self.random = random
        self.judge = judge
        self.shape = shape
        self.etcd = Etcd(loop, Random(random.random()))
        self.network = Network(loop, Random(random.random()))
        self.clock = SimulatedClock(loop, shape.speed)
        self.members: list[Member] = []
        self.links: dict[int, Link] = {}
        self.rushed: Callable[[Member], None] = lambda leader: None
        self._folder = folder
        self._incarnations = itertools.count(1)
        for number in range(shape.members):
            self.admit(number)
        judge.follow(self)

    def leader(self) -> Member | None:
        """Who holds the lease, if it runs."""
        holder = self.etcd.get(PROPOSER)
        name = None if holder is None else holder.value.decode()
        return next((member for member in self.members if member.name == name and member.up), None)

    def admit(self, number: int) -> Member:
        """One more member; it does not run yet."""
        clock = SimulatedClock(self.loop, self.shape.speed)
        link = self.links[number] = Link(self.loop, Random(self.random.random()), self.etcd)
        founded = founding(number, self.shape.members)
        member = Member(number, founded, settings_of(self._folder / str(number), self.shape), clock, link)
        member.faults.random = Random(self.random.random())
        self.members.append(member)
        self.network.host(member.name)
        return member

    def newest(self) -> Disk:
        """The rows of whoever has most."""
        return max((member.disk for member in self.members), key=lambda disk: disk.height)

    def present(self) -> list[Member]:
        """Who is a member at the next height."""
        disk = self.newest()
        names = [each.name for each in membership.members(RowsReader(disk), disk.height + 1)]
        return [member for member in self.members if member.name in names]

    # ---- life and death

    def start(self, member: Member) -> None:
        """Start its process, unless it runs."""
        if member.up or not member.wanted:
            return
        process = member.process = Process(f"{member.name.rpartition('/')[2]}.{next(self._incarnations)}")
        member.stopping = asyncio.Event()
        host = self.network.host(member.name)
        host.process, host.serving = process, None
        self.judge.note(f"start {member.name}")
        self.loop.spawn(process, self._serve(member, process, member.stopping))

    def kill(self, member: Member, why: str = "") -> None:
        """kill -9."""
        process, member.process, member.replica = member.process, None, None
        host = self.network.host(member.name)
        host.process = host.serving = None
        if process is not None and process.alive:
            self.judge.note(f"kill {member.name} {why}")
            self.loop.kill(process)

    def restart_later(self, member: Member, delay_s: float) -> None:
        """As a supervisor does."""
        self.loop.in_environment(self.start, member, delay_s=delay_s)

    def stop(self, member: Member) -> None:
        """SIGTERM: it gives up its lease and says good-bye to its store."""
        if member.stopping is not None and member.up:
            self.judge.note(f"stop {member.name}")
            member.stopping.set()

    def back_up(self, member: Member) -> None:
        """Copy its committed rows."""
        member.backup = member.disk.copy()

    def restore(self, member: Member) -> bool:
        """Kill it, and put the rows of the last backup in place of its own; False where there is none."""
        if member.backup is None:
            return False
        self.kill(member, "to restore its backup")
        member.disk = member.backup.copy()
        self.judge.restored(member)
        return True

    async def _serve(self, member: Member, process: Process, stopping: asyncio.Event) -> None:
        host = self.network.host(member.name)
        while not stopping.is_set():
            store = MemoryStore(member.disk, member.faults, self._committed(member))
            orderer = self._orderer(member)
            peers = MemoryPeers(self.network, member.name, [each.name for each in member.founded.genesis.members])
            replica = Replica(store, member.founded, member.settings, member.clock, orderer, peers, inline)
            try:
                async with replica:
                    member.replica = host.serving = replica
                    await stopping.wait()
                    member.replica = host.serving = None
            except (StoreUnavailable, OrderingUnavailable, PeerUnavailable) as error:
                self.judge.note(f"{member.name} did not start: {error}")
                await asyncio.sleep(_RESTART_S)
            except Exception as error:
                self.judge.broken(f"{member.name} cannot start: {error!r}", error)
                return
        member.process = host.process = None
        self.restart_later(member, _RESTART_S)  # however long it took to end
        self.loop.kill(process)

    def _orderer(self, member: Member) -> Orderer:
        if not self.shape.client:
            return MemoryOrderer(member.link, Random(self.random.random()), CHANNEL, member.name)
        return EtcdOrderer(EtcdSettings(endpoints=endpoints_of(member.number), channel=CHANNEL, member=member.name))

    def _committed(self, member: Member) -> Any:
        return lambda executed, note: self.judge.committed(member, executed, note)


class RowsReader:
    """contracts.core.state.Reader over committed rows."""

    def __init__(self, disk: Disk) -> None:
        self._source = disk.source

    def get(self, kind: str, key: str) -> bytes | None:
        return self._source.rows.get((kind, key))

    def scan(self, kind: str, first: str, last: str, limit: int) -> list[tuple[str, bytes]]:
        return self._source.scan(kind, first, last, limit)


@cache
def founding(number: int, founders: int) -> Founded:
    """What the member with this number, a founder or not, holds of a consortium of so many founders."""
    parties = [an_enrolment(Role.UTILITY, UTILITY), an_enrolment(Role.AGGREGATOR, AGGREGATOR)]
    genesis, policy = consortium(
        [own_member(*_named(each)) for each in range(founders)],
        parties=[*parties, an_enrolment(Role.AUDITOR, AUDITOR)], channel=CHANNEL, origin=ORIGIN,
        contracts_root=contracts_root(), created_ms=START_MS,
    )  # fmt: skip
    name, _, _, log, cosigner = _named(number)
    return Founded(genesis, log, cosigner, name, policy)


def described(number: int) -> c.Member:
    """The member as others list it."""
    return own_member(*_named(number))


def _named(number: int) -> tuple[str, str, str, PrivateKey, PrivateKey]:
    keys = a_key(1000 + number), a_key(2000 + number)
    return (f"member.example/{number + 1}", f"http://127.0.0.1:{9001 + number}", ORIGIN, *keys)


@cache
def _defaults() -> LedgerSettings:
    return LedgerSettings.model_validate({"answer_timeout_s": ANSWER_TIMEOUT_S, "block_ms": 20})


def settings_of(folder: Path, shape: Shape) -> LedgerSettings:
    """Settings of a member with its own folder."""
    folder.mkdir(parents=True, exist_ok=True)
    window = {"order_margin_blocks": 1, "order_window_blocks": 3} if shape.trims else {}
    return _defaults().model_copy(update={"data_dir": folder, **window})
