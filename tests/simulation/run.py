"""One seed: found, send, strike, heal, end every contract, compare everything."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from unittest.mock import patch

import structlog

from contracts.core.codec import read
from contracts.demand_response.contract import ContractRecord
from contracts.tokens import Account
from tests.simulation import workload
from tests.simulation.cluster import Cluster, Shape
from tests.simulation.faults import Saboteur, draw
from tests.simulation.judge import Judge, Violation
from tests.simulation.models.cheap import cheap_signatures, remembered
from tests.simulation.models.loop import Loop, Process, Stuck
from tests.simulation.models.wire import wired

FAULTS_S = 6.0
END_S = 120.0
CONVERGE_S = 40.0


@dataclass
class Report:
    """What became of one seed; `violation` "" if nothing is wrong."""

    seed: int
    violation: str = ""
    digest: str = ""
    height: int = 0
    steps: int = 0
    virtual_s: float = 0.0
    acknowledged: int = 0
    coverage: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    events: list[str] = field(default_factory=list)
    cause: BaseException | None = None


def run_seed(
    seed: int, *, trace: bool = False, bug: Callable[[], AbstractContextManager[None]] | None = None, cheap: bool = True
) -> Report:
    """Runs a seed, with a planted bug or without. Raises nothing that the program under test does wrong."""
    random = Random(seed)
    loop = Loop(Random(random.random()), shuffle=random.random() < 0.5)  # type: ignore[abstract]
    judge = Judge(loop, trace=trace)
    report = Report(seed)
    nothing = contextlib.nullcontext
    with (
        _folder() as folder,
        _quiet(trace),
        (cheap_signatures if cheap else nothing)(),
        remembered(),
        (bug or nothing)(),
    ):
        shape = Shape(
            members=random.choice((3, 3, 3, 4)), speed=random.choice((600.0, 1200.0)), client=random.random() < 0.25,
            trims=random.random() < 0.5, changes=random.random() < 0.2,
        )  # fmt: skip
        cluster = Cluster(loop, Random(random.random()), folder, judge, shape)
        kinds = draw(random)
        saboteur = Saboteur(cluster, Random(random.random()), kinds, pace_s=random.choice((0.15, 0.4, 1.0)))
        judge.note(f"seed {seed}: {shape}, faults: {' '.join(kinds) or 'none'}")
        try:
            with wired(cluster.links), patch("ledger.replication.trimming._STEP", 2):
                loop.run(_live(cluster, saboteur, random), until_s=END_S)
        except (Violation, Stuck) as error:
            report.violation, report.cause = f"{type(error).__name__}: {error}", error
    report.digest, report.steps, report.virtual_s = judge.digest, loop.steps, loop.time()
    report.height, report.acknowledged = max(judge.canon, default=0), len(judge.acknowledged)
    report.coverage, report.counts, report.events = saboteur.coverage, judge.counts, judge.events
    return report


async def _live(cluster: Cluster, saboteur: Saboteur, random: Random) -> None:
    loop = cluster.loop
    for member in cluster.members:
        cluster.start(member)
    watch = loop.spawn(loop.environment, _look(cluster))
    striking = loop.spawn(loop.environment, saboteur.strike_until(FAULTS_S))
    homes = random.randrange(1, workload.HOMES_MAX + 1)
    jobs = []
    for number in range(random.choice((1, 2, 3))):
        name = f"client-{number}"
        cluster.network.host(name)
        client = workload.Client(name, cluster, Random(random.random()))
        jobs.append(loop.spawn(Process(name), _client(client, number, homes, random.choice((3, 8, 15)))))
    if random.random() < 0.5:
        cluster.network.host("client-hasty")
        hasty = workload.Client("client-hasty", cluster, Random(random.random()))
        jobs.append(loop.spawn(Process("client-hasty"), workload.entrust(hasty, 500_000, FAULTS_S)))
    if cluster.shape.changes:
        cluster.network.host("client-change")
        founder = workload.Client("client-change", cluster, Random(random.random()))
        jobs.append(loop.spawn(Process("client-change"), workload.change_members(founder, FAULTS_S)))
    for job in jobs:
        await job
    await striking
    saboteur.heal()
    cluster.judge.note("healed")
    closer = workload.Client("client-0", cluster, Random(random.random()))
    await workload.close(closer)
    await _until(cluster, "not everything is ordered", cluster.judge.forgotten)
    await closer.until_ms(max(canon.time_ms for canon in cluster.judge.canon.values()))
    await closer.settle(workload.transfer(999_999))  # a block that nobody's clock is behind of: it must become final
    await _until(cluster, "not all have arrived", lambda: _behind(cluster))
    watch.cancel()
    compare(cluster)


async def _client(client: workload.Client, number: int, homes: int, payments: int) -> None:
    if number == 0:
        await workload.found(client, homes)
        await workload.Story(client, number, homes).tell()
    await workload.pay(client, number * 1_000, payments, FAULTS_S)


async def _look(cluster: Cluster) -> None:
    while True:
        cluster.judge.look()
        await asyncio.sleep(0.1)


async def _until(cluster: Cluster, what: str, left: Callable[[], list[str]]) -> None:
    """Returns when nothing is left. Raises Violation if that takes too long without any fault."""
    until_s = cluster.loop.time() + CONVERGE_S
    while still := left():
        if cluster.loop.time() > until_s:
            raise Violation(f"{what} {CONVERGE_S} s after the last fault: {', '.join(still)}")
        await asyncio.sleep(0.1)


def _behind(cluster: Cluster) -> list[str]:
    """Members that have not the newest block, or not as final."""
    height = max(cluster.judge.canon)
    size = cluster.judge.canon[height].size
    behind = []
    for member in cluster.present():
        final = member.replica.final_size if member.replica is not None else 0
        if member.disk.height < height or final < size:
            behind.append(f"{member.name} at {member.disk.height} of {height}, final {final} of {size}")
    return behind


def compare(cluster: Cluster) -> None:
    """Everything acknowledged is everywhere, the same; nothing is left in escrow. Raises Violation."""
    first = cluster.newest()
    for member in cluster.present():
        disk = member.disk
        for transaction_id, result in cluster.judge.acknowledged.items():
            row = disk.results.get(transaction_id)
            if result.status == "committed" and row is None:
                raise Violation(f"{transaction_id[:16]} was acknowledged and is lost at {member.name}")
            if row is not None and (row.height, row.log_index, row.code) != (result.height, result.index, result.code):
                raise Violation(f"{transaction_id[:16]} was acknowledged otherwise than {member.name} has it")
        for name in ("entries", "results", "facts", "bodies", "tiles", "blocks"):
            if getattr(disk, name) != getattr(first, name):
                raise Violation(f"{name} of {member.name} differ from those of others")
        if disk.source.rows != first.source.rows:
            raise Violation(f"records of {member.name} differ from those of others")
    for member in cluster.members:  # whoever has left has the beginning
        if member.disk.entries != first.entries[: len(member.disk.entries)]:
            raise Violation(f"the log of {member.name}, which has left, is no part of the others'")
    for (kind, key), body in first.source.rows.items():
        if kind == "contract" and read(body, ContractRecord).status not in workload.ENDED:
            raise Violation(f"contract {key} never ended")
        if kind == "account" and key.startswith(("need/", "contract/")):
            account = read(body, Account)
            if account.credits_posted != account.debits_posted or account.debits_pending or account.credits_pending:
                raise Violation(f"money is left in escrow: {key} {account}")


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    shared = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(prefix="gridpact-", dir=shared if shared.is_dir() else None))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _quiet(trace: bool) -> Iterator[None]:
    """No log lines but the trace's, and no collection of garbage at moments of its own choice."""
    before = structlog.get_config()
    if not trace:
        structlog.configure(processors=[_drop], cache_logger_on_first_use=False)
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
        structlog.configure(**before)


def _drop(*_: object) -> dict[str, object]:
    raise structlog.DropEvent
