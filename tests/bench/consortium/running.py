"""A consortium for measurements: founded and run as `dr-ledger cluster up` does, with processes that may be killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import aiohttp
import psycopg
from sqlalchemy import make_url

from contracts.core.parties import Role
from ledger.cluster import order, preparation
from ledger.cluster.binaries import find_etcd
from ledger.cluster.layout import Layout, Member
from ledger.cluster.processes import Supervised
from runtime.postgres import postgres
from tests.bench.consortium import usage
from tests.bench.consortium.clock import SharedClock
from tests.bench.consortium.preparing import Supply
from tests.bench.history import lengthen
from tests.bench.traffic import AGGREGATOR, UTILITY, Traffic

EPOCH_MS: Final = 1_772_323_200_000
_GROUPS: Final = 74
"""Virtual nodes that act: the stages of an event lie 2,000 transactions apart, more than are ever under way."""
_LOOK_S: Final = 0.02
_PATIENCE_S: Final = 60.0
_READY_S: Final = 900.0
"""A genesis of a million accounts takes minutes."""


@dataclass
class Cpu:
    """CPU seconds by kind of process, and of one replica's process by stage; since the start of the consortium."""

    processes: dict[str, float]
    stages: dict[str, dict[str, float]]

    def since(self, before: Cpu) -> Cpu:
        """What was spent meanwhile."""
        return Cpu(
            {name: spent - before.processes.get(name, 0.0) for name, spent in self.processes.items()},
            {
                member: {stage: s - before.stages.get(member, {}).get(stage, 0.0) for stage, s in spent.items()}
                for member, spent in self.stages.items()
            },
        )


@dataclass
class Sent:
    """What one load did. applied_s: until all replicas had executed all of it."""

    load: dict[str, Any]
    applied_s: float
    blocks: int
    cpu: Cpu

    @property
    def transactions(self) -> int:
        return int(self.load["transactions"])

    @property
    def per_s(self) -> float:
        """Transactions a second that all replicas applied."""
        return round(self.transactions / self.applied_s, 1)

    def cpu_us_per_tx(self) -> dict[str, float]:
        """By process."""
        count = max(1, self.transactions)
        spent = {**self.cpu.processes, "load": self.load["cpu_s"]}
        return {name: round(each * 1e6 / count, 1) for name, each in spent.items()}

    def stages_us_per_tx(self) -> dict[str, dict[str, float]]:
        """By member and stage."""
        count = max(1, self.transactions)
        return {
            member: {stage: round(each * 1e6 / count, 1) for stage, each in spent.items()}
            for member, spent in self.cpu.stages.items()
        }


@dataclass
class Consortium:
    """Use `running`. supply: the traffic that is not sent yet; http: for questions."""

    layout: Layout
    traffic: Traffic
    clock_file: Path
    supply: Supply
    etcds: dict[str, Supervised] = field(default_factory=dict)
    replicas: dict[str, Supervised] = field(default_factory=dict)
    http: aiohttp.ClientSession | None = None

    @property
    def acknowledged_file(self) -> Path:
        """Where the loads write down what they were told."""
        return self.clock_file.with_name("acknowledged")

    @classmethod
    @contextlib.asynccontextmanager
    async def running(
        cls, folder: Path, members: int, *, accounts: int, batch: int, entries: int = 0
    ) -> AsyncIterator[Self]:
        """Founded in an empty folder, started and ready. batch: transactions of a request, at least. entries: of the
        log that a member alone begins with."""
        traffic = Traffic(accounts=accounts, epoch_ms=EPOCH_MS, groups=_GROUPS)
        names = [f"member.bench/{place + 1}" for place in range(members)]
        layout = Layout.plan(folder / "cluster", names, port=0)
        founders = preparation.Founders({Role.UTILITY: [UTILITY.public], Role.AGGREGATOR: [AGGREGATOR.public]})
        folder.mkdir(parents=True)
        self = cls(layout, traffic, folder / "clock", Supply(traffic, batch))
        SharedClock.create(self.clock_file, EPOCH_MS)
        try:
            await preparation.prepare(layout, founders, created_ms=EPOCH_MS - 1)
            if entries:
                clock = SharedClock(self.clock_file)
                await lengthen(layout.members[0], self.supply, clock, traffic.population(), entries)
            self.http = aiohttp.ClientSession()
            await self._start()
            yield self
        finally:
            for process in (*self.replicas.values(), *self.etcds.values()):
                await process.stop()
            if self.http is not None:
                await self.http.close()
            self.supply.close()

    async def start_replica(self, member: Member) -> None:
        """Its process; not waited for."""
        self.replicas[member.name] = replica = Supervised(
            f"replica-{member.label}", self._command(member), self.layout.run_dir,
            self.layout.logs_dir / f"replica-{member.label}.log",
        )  # fmt: skip
        await replica.start()

    async def ready(self) -> None:
        """Returns when all replicas are. Raises TimeoutError, RuntimeError with the end of a log."""
        async with asyncio.timeout(_READY_S):
            for member in self.layout.members:
                while await self._ask(member, "/readyz") is None:
                    if self.replicas[member.name].restarts > 2:
                        raise RuntimeError(self.replicas[member.name].last_words())
                    await asyncio.sleep(_LOOK_S)

    async def send(
        self, *arguments: str, transactions: int, seconds: float, to: Sequence[Member] = (), requests: int | None = None
    ) -> Sent:
        """Runs the load process and waits until all replicas have what it sent. At least so many transactions are
        prepared; `seconds` at most it sends, and `requests` at most."""
        self.supply.prepare(transactions)
        before, height = await self.cpu(), await self.height()
        page = await self.load(*arguments, transactions=transactions, seconds=seconds, to=to, requests=requests)
        await self.level()
        applied_s = time.monotonic() - page["started_s"]
        after = await self.cpu()
        return Sent(page, applied_s, await self.height() - height, after.since(before))

    async def load(
        self, *arguments: str, transactions: int, seconds: float, to: Sequence[Member] = (), requests: int | None = None
    ) -> dict[str, Any]:
        """The load process alone: what it says."""
        self.supply.prepare(transactions)
        path = self.clock_file.with_name("requests")
        self.supply.write(path, requests)
        addresses = [part for member in to or self.layout.members for part in ("--url", self.layout.api_url(member))]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bench.consortium.load", str(path), "--clock", str(self.clock_file),
            "--seconds", str(seconds), "--acknowledged", str(self.acknowledged_file), *addresses, *arguments,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        said, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError("the load ended with an error")
        page = dict(json.loads(said))
        self.supply.take(page["requests"])
        return page

    async def verified(self) -> dict[str, int]:
        """Every acknowledgement of every load held against the tables of every member: `acknowledged`, and `lost`:
        those that some member has not, or with another outcome or place."""
        told = {}
        if self.acknowledged_file.exists():
            for line in self.acknowledged_file.read_text(encoding="ascii").splitlines():
                name, code, height, index = line.split()
                told[name] = (code, int(height), int(index))
        await self.level()
        lost = set[str]()
        for member in self.layout.members:
            found = await self._executed(member)
            lost.update(name for name, outcome in told.items() if found.get(name) != outcome)
        return {"acknowledged": len(told), "lost": len(lost)}

    async def _executed(self, member: Member) -> dict[str, tuple[str, int, int]]:
        """What a member's tables say became of each transaction."""
        folder = preparation.settings_of(member).postgres_dir
        async with postgres(None, folder, "ledger", attach=True) as url:
            conninfo = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
            async with await psycopg.AsyncConnection.connect(conninfo) as connection:
                query = "SELECT id, code, height, log_index FROM transactions WHERE registered"
                rows = await (await connection.execute(query, binary=True)).fetchall()
        return {name: (code, height, index) for name, code, height, index in rows}

    async def level(self) -> None:
        """Returns when all replicas that run have the same height and nothing waits. Raises TimeoutError."""
        async with asyncio.timeout(_PATIENCE_S):
            while True:
                found = await self.statuses()
                if found and len({each["height"] for each in found}) == 1 and not any(each["queue"] for each in found):
                    return
                await asyncio.sleep(_LOOK_S)

    async def statuses(self) -> list[dict[str, Any]]:
        """Of the replicas that run."""
        living = [member for member in self.layout.members if self.replicas[member.name].pid is not None]
        answers = await asyncio.gather(*(self.status(member) for member in living))
        return [each for each in answers if each is not None]

    async def status(self, member: Member) -> dict[str, Any] | None:
        """What a replica says of itself, None without an answer."""
        return await self._ask(member, "/v1/channels/main/status")

    async def height(self) -> int:
        return max((int(each["height"]) for each in await self.statuses()), default=0)

    async def proposer(self) -> Member:
        """Who orders."""
        async with asyncio.timeout(_PATIENCE_S):
            while True:
                names = {each["proposer"] for each in await self.statuses()}
                for member in self.layout.members:
                    if names == {member.name}:
                        return member
                await asyncio.sleep(_LOOK_S)

    async def etcd_leader(self) -> Member:
        """Whose etcd leads."""
        async with asyncio.timeout(_PATIENCE_S):
            while True:
                for status in await self.statuses():
                    for member in self.layout.members:
                        if status["order"].get("leader") == member.label:
                            return member
                await asyncio.sleep(_LOOK_S)

    def kill(self, process: Supervised) -> None:
        """kill -9 of this one; it is started again, as `cluster up` does."""
        if process.pid is not None:
            os.kill(process.pid, signal.SIGKILL)

    async def cpu(self) -> Cpu:
        """proposer: the process of whoever proposes now; replicas: the others' processes; postgres, etcd: all."""
        proposer = (await self.proposer()).name
        spent = {"proposer": 0.0, "replicas": 0.0, "postgres": 0.0, "etcd": 0.0}
        stages = {}
        for member in self.layout.members:
            pid = self.replicas[member.name].pid
            if pid is None:
                continue
            own, database = usage.of_replica(pid)
            spent["proposer" if member.name == proposer else "replicas"] += own
            spent["postgres"] += database
            said = await self._ask(member, "/bench")
            if said is not None:
                rest = said["cpu_s"] - sum(said["stages"].values())
                role = "proposer" if member.name == proposer else member.label
                stages[role] = {**said["stages"], "rest": rest, "all": said["cpu_s"]}
        spent["etcd"] = sum(usage.of_tree(each.pid) for each in self.etcds.values() if each.pid is not None)
        return Cpu(spent, stages)

    async def _ask(self, member: Member, path: str) -> dict[str, Any] | None:
        assert self.http is not None
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
            async with self.http.get(self.layout.api_url(member) + path, timeout=aiohttp.ClientTimeout(2)) as answer:
                if answer.status == 200:
                    return dict(await answer.json())
        return None

    async def _start(self) -> None:
        if self.layout.orderer == "etcd":
            program = await asyncio.to_thread(find_etcd)
            found = await asyncio.to_thread(order.supervised, self.layout, program)
            self.etcds = {member.label: each for member, each in zip(self.layout.members, found, strict=True)}
            for process in found:
                await process.start()
            await order.wait_for_leader(self.layout, found)
        for member in self.layout.members:
            await self.start_replica(member)
        await self.ready()

    def _command(self, member: Member) -> list[str]:
        command = [sys.executable, "-m", "tests.bench.consortium.member", "--config", str(member.config)]
        if member.secrets_dir.exists():
            command += ["--secrets-dir", str(member.secrets_dir)]
        return [
            *command, "--clock", str(self.clock_file), "--accounts", str(self.traffic.accounts),
            "--groups", str(len(self.traffic.groups)),
        ]  # fmt: skip
