"""Members of one ledger in one process: each with a database, a folder and an orderer of its own; peers are called
directly, over whatever ways a test leaves open."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.core.codec import digest
from contracts.core.parties import Role
from ledger.cluster.proposal import Proposal
from ledger.cluster.servers import EtcdServers
from ledger.config import LedgerSettings
from ledger.errors import OrderingUnavailable, PeerUnavailable
from ledger.founding import (
    Founded,
    consortium,
    contracts_root,
    create_member,
    found_consortium,
    join,
    read_member,
)
from ledger.ordering.etcd.orderer import EtcdOrderer
from ledger.ordering.etcd.settings import EtcdSettings
from ledger.ordering.pool import TransactionResult
from ledger.replica import Replica
from ledger.replication.peers import BlockReceipts, GivenBlock, GivenChange, PeerStatus, Reception
from ledger.store.postgres import PostgresStore
from runtime.clock import Clock
from runtime.database import create_engine
from tests.builders import START_MS, a_clock
from tests.ledger.replicas import execute, sealed, transfers
from tests.ledger.running import AGGREGATOR, AGGREGATOR_ID, AUDITOR, UTILITY, an_enrolment

ORIGIN = "ledger.example/main"
_PREFIXES = count(1)


def name_of(number: int) -> str:
    return f"member.example/{number}"


class Ways:
    """Which members run, and which cannot be reached. wrap: what stands in for a member's reception."""

    def __init__(self) -> None:
        self.running: dict[str, Reception] = {}
        self.cut: set[str] = set()
        self.wrap: dict[str, Callable[[Reception], Reception]] = {}

    def reception(self, source: str, target: str) -> Reception:
        found = self.running.get(target)
        if found is None or {source, target} & self.cut:
            raise PeerUnavailable(f"member {target} does not answer")
        return self.wrap[target](found) if target in self.wrap else found


class DirectPeers:
    """ledger.replication.peers.Peers without a network: errors of a member arrive as those of a peer."""

    def __init__(self, ways: Ways, member: str, names: Sequence[str]) -> None:
        self._ways = ways
        self._member = member
        self.names = [name for name in names if name != member]

    def use(self, addresses: Mapping[str, str]) -> None:
        self.names = sorted(addresses)

    async def forward(self, member: str, contents: Sequence[bytes]) -> int:
        try:
            return await self._ways.reception(self._member, member).take_transactions(contents)
        except OrderingUnavailable as error:
            raise PeerUnavailable(str(error)) from error

    async def cosign(self, member: str, notes: Sequence[bytes]) -> None:
        await self._ways.reception(self._member, member).take_cosignatures(notes)

    async def blocks(self, member: str, from_height: int, limit: int, size: int) -> list[GivenBlock]:
        return await self._ways.reception(self._member, member).give_blocks(from_height, limit, size)

    async def changes(self, member: str, from_height: int) -> list[GivenChange]:
        return await self._ways.reception(self._member, member).give_changes(from_height)

    async def receipts(self, member: str, height: int) -> BlockReceipts | None:
        return await self._ways.reception(self._member, member).give_receipts(height)

    async def status(self, member: str) -> PeerStatus:
        return self._ways.reception(self._member, member).peer_status()

    async def close(self) -> None:
        return None


class Member:
    """One member, running or not. Its folder, keys and database outlive its process."""

    def __init__(self, founded: Founded, settings: LedgerSettings, url: str, etcd: EtcdSettings, ways: Ways) -> None:
        self.name = founded.member
        self.founded = founded
        self.settings = settings
        self.url = url
        self.clock: Clock = a_clock()
        self._etcd = etcd
        self._ways = ways
        self.replica: Replica
        self.orderer: EtcdOrderer
        self.engine: AsyncEngine

    def etcd_of(self, member: str) -> EtcdSettings:
        """The same order for another member."""
        return replace(self._etcd, member=member)

    async def start(self) -> None:
        """Returns when it runs; it may be behind."""
        names = [each.name for each in self.founded.genesis.members]
        self.engine = create_engine(self.url)
        self.orderer = EtcdOrderer(self._etcd)
        peers = DirectPeers(self._ways, self.name, names)
        store = PostgresStore(self.engine, self.founded.genesis.channel)
        self.replica = Replica(store, self.founded, self.settings, self.clock, self.orderer, peers)
        await self.replica.__aenter__()
        self._ways.running[self.name] = self.replica

    async def stop(self) -> None:
        """A clean end."""
        if self._ways.running.pop(self.name, None) is not None:
            await self.replica.__aexit__(None, None, None)
            await self.engine.dispose()

    async def kill(self) -> None:
        """As if the process had died: nothing is said to anybody, its lease lives on."""
        self._ways.running.pop(self.name, None)
        tasks = [*self.replica._tasks, *self.orderer._candidacy._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.orderer._client.close()
        await self.replica._store.close()
        await self.engine.dispose()

    async def submit(self, *contents: bytes) -> list[TransactionResult]:
        return await self.replica.submit(contents)

    async def sql(self, statement: str, **values: Any) -> Sequence[Any]:
        return await execute(self.engine, statement, **values)

    async def serving(self) -> None:
        """Returns when it takes transactions."""
        await until(lambda: self.replica.status()["state"] == "serving" and self.orderer.proposer is not None)

    async def final(self, height: int, seconds: float = 60.0) -> None:
        """Returns when the block is final here."""
        await until(lambda: self.replica.final_height >= height, seconds)


class Consortium:
    """All members, by number from 1 on."""

    def __init__(self, members: dict[int, Member], ways: Ways) -> None:
        self.members = members
        self.ways = ways

    def __getitem__(self, number: int) -> Member:
        return self.members[number]

    @property
    def running(self) -> list[Member]:
        return [member for member in self.members.values() if member.name in self.ways.running]

    @property
    def proposer(self) -> Member:
        """Who leads; where nobody does for a moment (a busy machine lets a lease lapse), one that will hand over."""
        return next((member for member in self.running if member.orderer.leads), self.running[0])

    async def start(self, *numbers: int) -> None:
        await asyncio.gather(*(self.members[number].start() for number in numbers or self.members))
        await asyncio.gather(*(self.members[number].serving() for number in numbers or self.members))

    async def agreed(self, seconds: float = 60.0) -> int:
        """Returns the height when all that run have the same tree and it is final everywhere."""

        def same() -> bool:
            heads = {(each.replica.head.height, each.replica.head.root) for each in self.running}
            return len(heads) == 1 and all(each.replica.final_height == each.replica.height for each in self.running)

        await until(same, seconds)
        return self.running[0].replica.height


@contextlib.asynccontextmanager
async def a_consortium(
    urls: Sequence[str], folder: Path, servers: EtcdServers, **settings: Any
) -> AsyncIterator[Consortium]:
    """A member for each database, founded and joined by all; nobody runs yet. Whoever runs at the end is stopped."""
    prefix, ways = f"/test-{next(_PREFIXES)}", Ways()
    settings = {"answer_timeout_s": 30.0} | settings  # a busy machine is no finding
    of = {number: LedgerSettings(data_dir=folder / str(number), **settings) for number in range(1, len(urls) + 1)}
    founders = [
        create_member(each, name=name_of(number), peer_url=f"http://127.0.0.1:{9000 + number}", origin=ORIGIN)
        for number, each in of.items()
    ]
    parties = [an_enrolment(Role.UTILITY, UTILITY), an_enrolment(Role.AGGREGATOR, AGGREGATOR)]
    genesis, policy = consortium(
        founders, parties=[*parties, an_enrolment(Role.AUDITOR, AUDITOR)], channel="main", origin=ORIGIN,
        contracts_root=contracts_root(), created_ms=START_MS,
    )  # fmt: skip
    common = LedgerSettings(data_dir=folder / "founders")
    found_consortium(common, genesis, policy)
    members = {}
    for number, each in of.items():
        founded = join(each, genesis=common.genesis_file, policy=common.policy_file, members=common.members_file)
        etcd = EtcdSettings(
            endpoints=servers.endpoints, channel="main", member=founded.member, prefix=prefix, lease_s=1
        )
        members[number] = Member(founded, each, urls[number - 1], etcd, ways)
    made = Consortium(members, ways)
    try:
        yield made
    finally:
        await asyncio.gather(*(member.stop() for member in made.running))


def joining(members: Consortium, number: int, url: str, folder: Path, **settings: Any) -> Member:
    """One more member, with keys of its own, that took the founders' files; it runs once it is started."""
    first, own = members[1], LedgerSettings(data_dir=folder, **settings)
    create_member(own, name=name_of(number), peer_url=f"http://127.0.0.1:{9000 + number}", origin=ORIGIN)
    founded = join(own, genesis=first.settings.genesis_file, policy=first.settings.policy_file)
    return Member(founded, own, url, first.etcd_of(founded.member), members.ways)


def change(
    members: Consortium, what: str, subject: Member, signers: Sequence[Member], *, height: int | None = None
) -> bytes:
    """The transaction that adds or removes a member, approved by these; a new one signs by itself."""
    adds = what == "add"
    proposal = Proposal(
        ledger=digest(members[1].founded.genesis), channel="main", change="add" if adds else "remove",
        name=subject.name, member=read_member(subject.settings.member_file) if adds else None,
        effective_height=(members.running[0].replica.height if height is None else height) + 11,
    )  # fmt: skip
    signing = [*signers, subject] if adds else signers
    return sealed(AGGREGATOR_ID, proposal.command([proposal.approve(e.name, e.founded.cosigner_key) for e in signing]))


async def changed(members: Consortium, what: str, subject: Member, signers: Sequence[Member], first: int) -> None:
    """Returns when the change holds and all that run are final behind it. first: number of transfers not used yet."""
    here = [each for each in members.running if each is not subject or what == "add"]
    (result,) = await here[0].submit(change(members, what, subject, signers))
    assert result.code == "ok"
    for number in range(first, first + 12):
        (result,) = await here[0].submit(*transfers(1, first=number))
        assert result.code == "ok"
    names = {each.name for each in here} | set(here[0].replica.status()["members"])
    wanted = names | {subject.name} if what == "add" else names - {subject.name}
    await until(lambda: all({*each.replica.status()["members"]} == wanted for each in here))
    (result,) = await here[0].submit(*transfers(1, first=first + 12))
    await asyncio.gather(*(each.final(result.height or 0) for each in here))


async def until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    """Returns when it is true; fails after so long."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.01)
