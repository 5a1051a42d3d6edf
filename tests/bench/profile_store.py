"""CPU of one replica and of its PostgreSQL for each transaction, with blocks committed for good.

    python -m tests.bench.profile_store [--accounts 1000] [--events 60] [--block 128] [--profile]

As tests.bench.profile_machine, but records are read from and written to a real database: `client` is this process, by
part (`execute` with its queries, `store` the statements), `server` all processes of PostgreSQL. `load` at the end is a
start of the replica on what was written: all records read and checked. `--statements` adds what a
PostgreSQL that has pg_stat_statements says of each statement: microseconds a transaction, planning apart.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import pstats
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts import rules
from contracts.core.state import Writes
from ledger.genesis import _state
from ledger.machine import Executed
from ledger.store.postgres import PostgresStore
from ledger.store.source import Source
from ledger.store.store import Founding
from runtime.database import create_engine, upgrade
from runtime.postgres import EmbeddedPostgres
from tests.bench.profile_machine import Run
from tests.bench.traffic import Traffic, blocks
from tests.builders import START_MS

_TICK_S = 0.01
_WATCHED = {"shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.track_planning": "on"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=1000)
    parser.add_argument("--events", type=int, default=60)
    parser.add_argument("--block", type=int, default=128)
    parser.add_argument("--groups", type=int, default=37)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--profile", action="store_true", help="print cProfile of this process as well")
    parser.add_argument("--statements", type=Path, metavar="BINARIES", help="programs of a PostgreSQL with that module")
    options = parser.parse_args()
    traffic = Traffic(accounts=options.accounts, epoch_ms=START_MS, groups=options.groups, batch=options.batch)
    prepared = list(blocks(traffic.stages(options.events), options.block))
    genesis = rules.Genesis(
        channel="main", origin="bench/main", created_ms=START_MS, contracts_root="0" * 64, parties=traffic.founders()
    )
    state = {**rules.genesis(genesis), **traffic.population()}
    result = asyncio.run(measure(state, prepared, profile=options.profile, statements=options.statements))
    sys.stdout.write(json.dumps(result, indent=2) + "\n")


async def measure(
    state: Writes, prepared: Sequence[tuple[int, list[bytes]]], *, profile: bool, statements: Path | None
) -> dict[str, Any]:
    """Microseconds of CPU a transaction."""
    count = sum(len(contents) for _, contents in prepared)
    with tempfile.TemporaryDirectory(prefix="gridpact-profile-") as folder:
        options = _WATCHED if statements else {}
        server = EmbeddedPostgres(Path(folder) / "postgres", binaries=statements, options=options)
        await server.start()
        engine = None
        try:
            url = await server.ensure_database("ledger")
            await upgrade(url, "ledger")
            engine = create_engine(url)
            if statements:
                async with engine.begin() as connection:
                    await connection.execute(text("CREATE EXTENSION pg_stat_statements"))
            store = PostgresStore(engine, "main")
            await store.create(Founding(genesis=b"g", policy=b"p", records=state, checkpoint=b"n"))
            run = Run(state)
            profiler = cProfile.Profile()
            before, server_before, wall = time.process_time(), _server_s(), time.perf_counter()
            beside = 0.0
            for time_ms, contents in prepared:
                started = time.process_time()
                data = run.ordered(time_ms, contents)
                beside += time.process_time() - started
                if profile:
                    profiler.enable()
                await commit(run, store, data)
                profiler.disable()
            watched = await _statements(engine, count) if statements else {}
            own = time.process_time() - before - beside
            spent = {"client": own, "server": _server_s() - server_before, "wall": time.perf_counter() - wall}
            if profile:
                pstats.Stats(profiler).sort_stats("tottime").print_stats(45)
            started, cpu = time.perf_counter(), time.process_time()
            await _state(store)
            load = {"wall_s": time.perf_counter() - started, "cpu_s": time.process_time() - cpu}
            await store.close()
        finally:
            if engine is not None:
                await engine.dispose()
            await server.stop()
    return {
        "transactions": count,
        "blocks": len(prepared),
        "us_per_tx": {name: round(seconds * 1e6 / count, 1) for name, seconds in spent.items()},
        "by_part": {name: round(seconds * 1e6 / count, 1) for name, seconds in run.spent.items()},
        "statements": watched,
        "load": {name: round(seconds, 2) for name, seconds in load.items()},
    }


async def _statements(engine: AsyncEngine, count: int) -> dict[str, str]:
    """Microseconds a transaction by statement: execution + planning, calls."""
    query = text("SELECT query, total_exec_time, total_plan_time, calls, wal_bytes FROM pg_stat_statements")
    async with engine.connect() as connection:
        found = (await connection.execute(query)).all()
    spent, shown = Counter[str](), {}
    for said, executed_ms, planned_ms, calls, wal in found:
        name = " ".join(said.split())[:60]
        spent[name] = executed_ms + planned_ms
        shown[name] = (
            f"{executed_ms * 1e3 / count:.1f} + {planned_ms * 1e3 / count:.1f} us, {calls} calls, {wal // count} B"
        )
    return {name: shown[name] for name, _ in spent.most_common(20)}


async def commit(run: Run, store: PostgresStore, data: bytes) -> None:
    """What a replica does with an ordered block."""
    block, transactions = run.read(data)

    def work(source: Source) -> tuple[Executed, bytes]:
        with run.stage("execute"):
            return run.machine.execute(block, block.header.height, transactions, source), b"note"

    executed = await store.apply(work)
    with run.stage("accept"):
        run.machine.accept(executed)


def _server_s() -> float:
    """CPU seconds of all processes of PostgreSQL that this process started."""
    mine, seconds = str(Path("/proc/self").resolve().name), 0.0
    parents: dict[str, tuple[str, str, float]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        pid, name = text.split(" (", 1)[0], text[text.index("(") + 1 : text.rindex(")")]
        rest = text[text.rindex(")") + 2 :].split()
        parents[pid] = (name, rest[1], (int(rest[11]) + int(rest[12]) + int(rest[13]) + int(rest[14])) * _TICK_S)
    for pid, (name, _, spent) in parents.items():
        above = pid
        while above in parents and above != mine:
            above = parents[above][1]
        if above == mine and pid != mine and "postgres" in name:
            seconds += spent
    return seconds


if __name__ == "__main__":
    main()
