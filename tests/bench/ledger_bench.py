"""What one replica does a second, beside what PostgreSQL and the signature library allow on the same machine.

    python -m tests.bench.ledger_bench [--seconds 5] [--output var/bench/ledger.json]

Limits measured in the same run: one-row transactions of a bare PostgreSQL connection (no replica commits faster, one
transaction a block), and Ed25519 verifications a second of one core (each transaction needs one). The database waits
for the disk, as in production. CPU by stage is that of the replica's process; PostgreSQL's own comes beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import make_url

from contracts.core import commands as c
from contracts.core.codec import encode
from contracts.core.envelope import seal
from ledger.app import local_replica
from ledger.config import LedgerSettings
from ledger.machine import Machine
from ledger.ordering.ingress import Ingress
from ledger.ordering.signatures import Verdicts
from ledger.replica import Replica
from ledger.store import postgres as store
from runtime.clock import SystemClock
from runtime.database import create_engine, upgrade
from runtime.keys import verify
from runtime.postgres import EmbeddedPostgres
from tests.ledger.running import AGGREGATOR, AGGREGATOR_ID, UTILITY, UTILITY_ID, founded

YEAR_MS = 365 * 86_400_000


@dataclass(frozen=True)
class Figure:
    """One load. Latencies in ms from submission to answer; a submission holds `batch` transactions."""

    load: str
    clients: int
    batch: int
    transactions: int
    blocks: int
    tx_per_s: float
    commits_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us_per_tx: dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="time of each load")
    parser.add_argument("--output", type=Path, default=Path("var/bench/ledger.json"))
    options = parser.parse_args()
    result = asyncio.run(bench(options.seconds))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    show(result)


async def bench(seconds: float) -> dict[str, Any]:
    """Limits and loads, as they are written to the output."""
    with tempfile.TemporaryDirectory(prefix="gridpact-bench-") as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres")
        await server.start()
        try:
            url = await server.ensure_database("ledger")
            await upgrade(url, "ledger")
            limits = {"postgres_commits_per_s": round(bare_commits(url, seconds)), "verifies_per_s": verifies(seconds)}
            figures = await loads(url, Path(folder), seconds)
        finally:
            await server.stop()
    return {"limits": limits, "loads": [asdict(figure) for figure in figures]}


def bare_commits(url: str, seconds: float) -> float:
    """Commits a second of one-row transactions on one connection."""
    conninfo = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(conninfo) as connection:
        connection.execute("CREATE TABLE bare (n bigint PRIMARY KEY, body bytea)")
        connection.commit()
        count, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            connection.execute("INSERT INTO bare VALUES (%s, %b)", (count, bytes(1024)))
            connection.commit()
            count += 1
        took = time.perf_counter() - started
        connection.execute("DROP TABLE bare")
        connection.commit()
    return count / took


def verifies(seconds: float) -> int:
    """Ed25519 verifications a second of one core, by CPU time."""
    message = bytes(350)
    signature = UTILITY.sign(message)
    count, started, wall = 0, time.process_time(), time.perf_counter()
    while time.perf_counter() - wall < min(seconds, 2.0):
        assert verify(UTILITY.public, message, signature)
        count += 1
    return round(count / (time.process_time() - started))


async def loads(url: str, folder: Path, seconds: float) -> list[Figure]:
    settings = LedgerSettings(data_dir=folder / "ledger")
    engine = create_engine(url)
    stages = Stages()
    try:
        async with local_replica(engine, founded(settings), settings, SystemClock()) as replica:
            issue = a_transaction(
                UTILITY_ID, UTILITY.sign, c.Issue(to=AGGREGATOR_ID, amount_minor=10**12, reference="")
            )
            (issued,) = await replica.submit([issue])
            assert issued.code == "ok", issued
            with stages:
                return [
                    await load(replica, stages, name, clients, batch, seconds)
                    for name, clients, batch in (
                        ("one after the other", 1, 1),
                        ("single, 64 clients", 64, 1),
                        ("batches of 20, 8 clients", 8, 20),
                        ("batches of 256, 4 clients", 4, 256),
                    )
                ]
    finally:
        await engine.dispose()


async def load(replica: Replica, stages: Stages, name: str, clients: int, batch: int, seconds: float) -> Figure:
    """Closed loop: each client sends its next submission when the last is answered. Signing is done beforehand."""
    expected = int(seconds * (400 if clients * batch == 1 else 2_500) / clients / batch) + 1
    prepared = [[transfers(batch) for _ in range(expected)] for _ in range(clients)]
    latencies: list[float] = []
    height = replica.head.height
    stages.reset()
    cpu, started = time.process_time(), time.perf_counter()

    async def client(submissions: list[list[bytes]]) -> None:
        for submission in submissions:
            sent = time.perf_counter()
            results = await replica.submit(submission)
            latencies.append(time.perf_counter() - sent)
            assert all(result.code == "ok" for result in results), results[0]
            if sent - started > seconds:
                return

    await asyncio.gather(*map(client, prepared))
    took, cpu = time.perf_counter() - started, time.process_time() - cpu
    count, blocks = len(latencies) * batch, replica.head.height - height
    by_stage = {stage: round(spent * 1e6 / count, 1) for stage, spent in stages.spent.items()}
    by_stage["other"] = round(cpu * 1e6 / count - sum(by_stage.values()), 1)
    cuts = statistics.quantiles(latencies, n=100) if len(latencies) > 1 else latencies * 99
    return Figure(
        load=name,
        clients=clients,
        batch=batch,
        transactions=count,
        blocks=blocks,
        tx_per_s=round(count / took, 1),
        commits_per_s=round(blocks / took, 1),
        p50_ms=round(cuts[49] * 1000, 2),
        p99_ms=round(cuts[98] * 1000, 2),
        cpu_us_per_tx={**by_stage, "all": round(cpu * 1e6 / count, 1)},
    )


class Stages:
    """CPU seconds of the replica's stages, measured around the calls (threads of the verifier included)."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self._undo: list[Callable[[], None]] = []

    def reset(self) -> None:
        self.spent = {"verify": 0.0, "ingress": 0.0, "execute": 0.0, "store": 0.0}

    def __enter__(self) -> Stages:
        self.reset()
        self._wrap(Verdicts, "verify", "verify")
        self._wrap(Verdicts, "ahead", "verify")
        self._wrap(Ingress, "_form", "ingress")
        self._wrap(Machine, "execute", "execute")
        self._wrap(store, "block_statements", "store")
        self._wrap_async(store, "_send", "store")
        return self

    def __exit__(self, *_: object) -> None:
        for undo in self._undo:
            undo()

    def _wrap(self, owner: Any, name: str, stage: str) -> None:
        original = getattr(owner, name)

        def timed(*args: Any, **given: Any) -> Any:
            before, nested = time.thread_time(), dict(self.spent)
            try:
                return original(*args, **given)
            finally:
                inside = sum(self.spent.values()) - sum(nested.values())
                self.spent[stage] += max(0.0, time.thread_time() - before - inside)

        setattr(owner, name, timed)
        self._undo.append(lambda: setattr(owner, name, original))

    def _wrap_async(self, owner: Any, name: str, stage: str) -> None:
        original: Callable[..., Awaitable[Any]] = getattr(owner, name)

        async def timed(*args: Any, **given: Any) -> Any:
            coroutine = original(*args, **given).__await__()
            return await _Timed(coroutine, self.spent, stage)

        setattr(owner, name, timed)
        self._undo.append(lambda: setattr(owner, name, original))


class _Timed:
    """An awaitable whose steps are timed, without the time in which others run."""

    def __init__(self, steps: Any, spent: dict[str, float], stage: str) -> None:
        self._steps, self._spent, self._stage = steps, spent, stage

    def __await__(self) -> Any:
        value = None
        while True:
            before = time.thread_time()
            try:
                waiting = self._steps.send(value)
            except StopIteration as done:
                return done.value
            finally:
                self._spent[self._stage] += time.thread_time() - before
            value = yield waiting


def a_transaction(sender: str, sign: Callable[[bytes], bytes], command: c.Command, number: int = 0) -> bytes:
    made = seal(
        command,
        channel="main",
        contract=c.CONTRACT_OF[type(command)],
        sender=sender,
        nonce=f"bench-{number}",
        not_after_ms=SystemClock().now_ms() + YEAR_MS,
        salt=number.to_bytes(32, "big"),
        sign=sign,
    )
    return encode(made)


_numbers = iter(range(1, 10**9))


def transfers(count: int) -> list[bytes]:
    command = c.Transfer(to=UTILITY_ID, amount_minor=1, reference="bench")
    return [a_transaction(AGGREGATOR_ID, AGGREGATOR.sign, command, next(_numbers)) for _ in range(count)]


def show(result: dict[str, Any]) -> None:
    limits = result["limits"]
    out = sys.stdout.write
    out(f"bare PostgreSQL  {limits['postgres_commits_per_s']:>8} commits/s (one row each, one connection)\n")
    out(f"Ed25519          {limits['verifies_per_s']:>8} verifies/s of a core\n\n")
    out(f"{'load':<28}{'tx/s':>9}{'commits/s':>11}{'p50 ms':>9}{'p99 ms':>9}   CPU us/tx\n")
    for row in result["loads"]:
        cpu = "  ".join(f"{stage} {spent:g}" for stage, spent in row["cpu_us_per_tx"].items())
        out(f"{row['load']:<28}{row['tx_per_s']:>9g}{row['commits_per_s']:>11g}")
        out(f"{row['p50_ms']:>9g}{row['p99_ms']:>9g}   {cpu}\n")
    out(f"\npeak memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB\n")


if __name__ == "__main__":
    main()
