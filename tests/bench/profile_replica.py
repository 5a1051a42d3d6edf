"""CPU of a whole replica alone, from the submission to the answer, with the local order and a real PostgreSQL.

    python -m tests.bench.profile_replica [--accounts 1000] [--events 60] [--clients 4] [--sample]

The traffic of tests.bench.traffic is submitted stage by stage in batches of 64, the clock going ahead as it asks. What
this has more than tests.bench.profile_store: ingress checks, pool, proposing, answers, checkpoints. `--sample` prints
where the time went, by function.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

import uvloop

from contracts import rules
from contracts.core.state import Writes
from ledger.config import LedgerSettings
from runtime.database import upgrade
from runtime.postgres import EmbeddedPostgres
from tests.bench.traffic import Stage, Traffic
from tests.builders import START_MS, a_clock
from tests.ledger.replicas import Ledger, a_replica

_SUBMITTED = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=1000)
    parser.add_argument("--events", type=int, default=60)
    parser.add_argument("--groups", type=int, default=37)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--sample", action="store_true")
    options = parser.parse_args()
    traffic = Traffic(accounts=options.accounts, epoch_ms=START_MS + 1000, groups=options.groups, batch=options.batch)
    stages = list(traffic.stages(options.events))
    sampler = Sampler() if options.sample else None
    result = uvloop.run(measure(traffic.population(), stages, options.clients, sampler))
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    if sampler is not None:
        sampler.show(result["us_per_tx"])


async def measure(population: Writes, stages: Sequence[Stage], clients: int, sampler: Sampler | None) -> dict[str, Any]:
    """Microseconds of CPU a transaction."""
    count = sum(len(stage.transactions) for stage in stages)
    founded_state = rules.genesis
    with tempfile.TemporaryDirectory(prefix="gridpact-profile-") as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres")
        await server.start()
        try:
            url = await server.ensure_database("ledger")
            await upgrade(url, "ledger")
            clock = a_clock(START_MS)
            with mock.patch.object(rules, "genesis", lambda founding: {**founded_state(founding), **population}):
                async with a_replica(url, Path(folder) / "ledger", clock, **_settings()) as ledger:
                    height = ledger.replica.head.height
                    before, wall = time.process_time(), time.perf_counter()
                    if sampler is not None:
                        sampler.start()
                    await drive(ledger, stages, clients)
                    if sampler is not None:
                        sampler.stop()
                    spent, wall = time.process_time() - before, time.perf_counter() - wall
                    blocks = ledger.replica.head.height - height
        finally:
            await server.stop()
    return {
        "transactions": count, "blocks": blocks, "us_per_tx": round(spent * 1e6 / count, 1),
        "tx_per_s": round(count / wall),
    }  # fmt: skip


async def drive(ledger: Ledger, stages: Sequence[Stage], clients: int) -> None:
    """Every stage when the clock allows it; batches of one stage by several clients at once."""
    codes: Counter[str] = Counter()
    gate = asyncio.Semaphore(clients)

    async def submit(batch: tuple[bytes, ...]) -> None:
        async with gate:
            results = await ledger.replica.submit(batch)
        codes.update(result.code for result in results)

    waiting: dict[int, list[tuple[bytes, ...]]] = {}
    for stage in stages:
        if stage.event in waiting or len(waiting) >= clients:  # a stage builds on the one before of its event
            await asyncio.gather(*(submit(batch) for batches in waiting.values() for batch in batches))
            waiting = {}
        behind = max(0, stage.due_ms - ledger.clock.now_ms())
        if behind:
            ledger.clock.advance(behind)  # type: ignore[attr-defined]
        parts = range(0, len(stage.transactions), _SUBMITTED)
        waiting[stage.event] = [stage.transactions[at : at + _SUBMITTED] for at in parts]
    await asyncio.gather(*(submit(batch) for batches in waiting.values() for batch in batches))
    assert set(codes) == {"ok"}, codes


def _settings() -> dict[str, Any]:
    return {name: 384 * 1024 for name in ("block_bytes_max",) if name in LedgerSettings.model_fields}


class Sampler:
    """Where the CPU goes: the stack at every few milliseconds of CPU time."""

    def __init__(self) -> None:
        self.own: Counter[str] = Counter()
        self.whole: Counter[str] = Counter()
        self.count = 0

    def start(self) -> None:
        signal.signal(signal.SIGPROF, self._take)
        signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)

    def stop(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)

    def show(self, us: float) -> None:
        """The functions that cost most, by themselves and with what they call."""
        for title, counts in (("by itself", self.own), ("with what it calls", self.whole)):
            sys.stdout.write(f"\n{title}\n")
            for name, samples in counts.most_common(50):
                sys.stdout.write(f"{samples / self.count * us:9.1f} us  {name}\n")

    def _take(self, _: int, frame: FrameType | None) -> None:
        self.count += 1
        seen: dict[str, None] = {}
        while frame is not None:
            code = frame.f_code
            name = f"{'/'.join(Path(code.co_filename).parts[-3:])} {code.co_name}"
            if not seen:
                self.own[name] += 1
            seen[name] = None
            frame = frame.f_back
        self.whole.update(list(seen))


if __name__ == "__main__":
    main()
