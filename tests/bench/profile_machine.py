"""CPU of one replica for each transaction, by stage and by command, without network and database.

    python -m tests.bench.profile_machine [--accounts 1000] [--events 60] [--block 128] [--profile STAGE]

Real signed traffic (tests.bench.traffic) goes through what a replica does with an ordered block, on records in memory:

    frame ─▶ parse ─▶ verify ─▶ execute ─▶ store (statements and their parameters) ─▶ accept

`digest` is over all entries, facts and records: it changes when a byte of any format or the meaning of a rule does.
Times are CPU seconds of the thread, scaled by a loop that is measured beside every block: on a machine that others use
CPU time grows too, by what they take from caches and shared cores. Inner stages of `execute` and the commands come from
a second run, because watching costs too. `ingress` is what only the replica pays that took the transaction from its
sender.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import json
import pstats
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from psycopg._queries import PostgresQuery
from psycopg.adapt import Transformer

from contracts import rules
from contracts.core.codec import encode
from contracts.core.state import Writes
from ledger import machine as machine_module
from ledger.log import merkle
from ledger.machine import Executed, Head, Machine
from ledger.ordering.block import Block, make_block, parse_block, render_block
from ledger.ordering.ingress import Ingress
from ledger.ordering.signatures import Verdicts
from ledger.ordering.transactions import Parsed
from ledger.store.memory import MemorySource
from ledger.store.state import CheckedTree, StateCache
from ledger.store.writing import Statement, block_statements
from ledger.verify.merkle import EMPTY_ROOT
from tests.bench.traffic import Traffic, blocks
from tests.builders import START_MS, a_key

STAGES = ("frame", "parse", "verify", "execute", "store", "accept")
_REFERENCE_S = 0.0019
_MEMBER, _KEY = "member.example/1", a_key(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=1000, help="parties that hold money")
    parser.add_argument("--events", type=int, default=60, help="demand-response events, 481 transactions each")
    parser.add_argument("--block", type=int, default=128, help="transactions a block")
    parser.add_argument("--groups", type=int, default=37, help="virtual nodes that act")
    parser.add_argument("--batch", type=int, default=1, help="readings a home sends at once (1, 2 or 4)")
    parser.add_argument("--profile", choices=STAGES, help="print cProfile of this stage instead")
    parser.add_argument("--output", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    traffic = Traffic(accounts=options.accounts, epoch_ms=START_MS, groups=options.groups, batch=options.batch)
    prepared = list(blocks(traffic.stages(options.events), options.block))
    genesis = rules.Genesis(
        channel="main", origin="bench/main", created_ms=START_MS, contracts_root="0" * 64, parties=traffic.founders()
    )
    state = {**rules.genesis(genesis), **traffic.population()}
    if options.profile:
        _profile(Run(state), prepared, options.profile)
        return
    result = measure(state, prepared)
    show(result)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


class Run:
    """A machine on records in memory with the CPU it spent by stage."""

    def __init__(self, state: Writes) -> None:
        self.source = MemorySource()
        self.spent = dict.fromkeys(STAGES, 0.0)
        self.codes: Counter[str] = Counter()
        self.written = 0
        self.references: list[float] = []
        self._seen = sha256()
        cache = StateCache(CheckedTree())
        plan = cache.plan(state, self.source)
        self.source.write(state, plan.buckets)
        cache.tree.apply(plan)
        cache.fill_buckets(plan.buckets)
        gc.collect()
        gc.freeze()  # the records of this process's own stand-in for a database are not what is measured
        self.machine = Machine(
            channel="main",
            members={_MEMBER: _KEY.public},
            contracts_root="0" * 64,
            head=Head(0, START_MS - 1, bytes(32), 0, EMPTY_ROOT, {}, None),
            cache=cache,
            verdicts=Verdicts(),
        )

    def ordered(self, time_ms: int, contents: Sequence[bytes]) -> bytes:
        """The bytes of the next block, made by the proposer."""
        head = self.machine.head
        block = make_block(
            channel="main", height=head.height + 1, previous=head.previous, time_ms=max(time_ms, head.time_ms + 1),
            proposer=_MEMBER, contents=contents, sign=_KEY.sign,
        )  # fmt: skip
        return render_block(block)

    def read(self, data: bytes) -> tuple[Block, list[Parsed]]:
        """What a replica does with an ordered block before it executes it."""
        with self.stage("frame"):
            block = parse_block(data)
            self.machine.check(block)
        with self.stage("parse"):
            transactions = self.machine.read(block)
        with self.stage("verify"):
            for triple in self.machine.signatures(transactions):
                self.machine.verdicts.verify(*triple)
        return block, transactions

    def apply(self, data: bytes) -> Executed:
        """All that a replica does with an ordered block."""
        block, transactions = self.read(data)
        with self.stage("execute"):
            executed = self.machine.execute(block, block.header.height, transactions, self.source)
        with self.stage("store"):
            dump(block_statements("main", executed, b"note"))
        with self.stage("accept"):
            self.machine.accept(executed)
        self.source.accept(executed)
        self.references.append(_reference_s())
        self.written += len(executed.writes)
        self.codes.update(row.code for row in executed.transactions)
        for part in (*executed.entries, *(row.body for row in executed.facts)):
            self._seen.update(part)
        return executed

    def scale(self) -> float:
        """Microseconds of the quiet machine for a CPU second of this run."""
        return 1e6 * _REFERENCE_S / (sum(self.references) / len(self.references))

    def digest(self) -> str:
        """Over entries, facts, and the state's root."""
        return sha256(self._seen.digest() + self.machine.cache.tree.root).hexdigest()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        before = time.thread_time()
        try:
            yield
        finally:
            self.spent[name] += time.thread_time() - before


def _reference_s() -> float:
    """CPU seconds of a loop of hashing, encoding and dictionaries, which costs `_REFERENCE_S` where nobody disturbs."""
    before = time.thread_time()
    seen: dict[bytes, bytes] = {}
    for number in range(400):
        body = encode({"a": number, "b": "text" * 8, "c": [number] * 8})
        seen[sha256(body).digest()] = body
    return time.thread_time() - before


def dump(statements: Sequence[Statement]) -> None:
    """What psycopg does with the parameters before they are sent."""
    for query, values in statements:
        PostgresQuery(Transformer()).convert(query, values)


def measure(state: Writes, prepared: Sequence[tuple[int, list[bytes]]]) -> dict[str, Any]:
    """Microseconds of CPU a transaction."""
    count = sum(len(contents) for _, contents in prepared)
    run = Run(state)
    gc.collect()
    for time_ms, contents in prepared:
        run.apply(run.ordered(time_ms, contents))
    stages = {name: spent * run.scale() / count for name, spent in run.spent.items()}
    watched = Run(state)
    inner, commands = _watch(watched, prepared, count)
    assert watched.digest() == run.digest()
    return {
        "transactions": count,
        "blocks": len(prepared),
        "codes": dict(run.codes),
        "writes_per_tx": round(run.written / count, 2),
        "us_per_tx": {name: round(spent, 1) for name, spent in stages.items()},
        "all": round(sum(stages.values()), 1),
        "ingress": round(_ingress(run, prepared) * run.scale() / count, 1),
        "disturbed": round(1e6 / run.scale(), 2),
        "inside_execute": inner,
        "by_command": commands,
        "digest": run.digest(),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def _watch(
    run: Run, prepared: Sequence[tuple[int, list[bytes]]], count: int
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    spent: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    undo = [
        _timed(rules, "apply", lambda reader, item, context: f"contract {_command(item)}", spent, calls),
        _timed(StateCache, "plan_leaves", lambda *_: "plan", spent, calls),
        _timed(StateCache, "load", lambda *_: "load", spent, calls),
        _timed(merkle, "append", lambda *_: "append", spent, calls),
        _timed(machine_module.Machine, "_transaction", lambda *_: "transactions", spent, calls),
    ]
    for time_ms, contents in prepared:
        run.apply(run.ordered(time_ms, contents))
    for each in undo:
        each()
    contracts = sum(value for name, value in spent.items() if name.startswith("contract "))
    parts = {
        "contracts": contracts,
        "receipts, facts, entries": spent["transactions"] - contracts,
        **{name: spent[name] for name in ("load", "plan", "append")},
    }
    scale = run.scale()
    inner = {name: round(value * scale / count, 1) for name, value in parts.items()}
    commands = {
        name.removeprefix("contract "): {"calls": calls[name], "us": round(spent[name] * scale / calls[name], 1)}
        for name in sorted(spent)
        if name.startswith("contract ")
    }
    return inner, commands


def _timed(
    owner: Any, name: str, label: Callable[..., str], spent: Counter[str], calls: Counter[str]
) -> Callable[[], None]:
    original = getattr(owner, name)

    def watched(*given: Any, **named: Any) -> Any:
        what = label(*given, **named)
        before = time.thread_time()
        try:
            return original(*given, **named)
        finally:
            spent[what] += time.thread_time() - before
            calls[what] += 1

    setattr(owner, name, watched)
    return lambda: setattr(owner, name, original)


def _command(item: Any) -> str:
    return "Tick" if isinstance(item, rules.Tick) else str(item.header.command)


def _ingress(run: Run, prepared: Sequence[tuple[int, list[bytes]]]) -> float:
    """CPU seconds of the checks before ordering, with cold verdicts."""

    async def find(party: str) -> bytes | None:
        return run.source.rows.get(("party", party))

    async def judge() -> float:
        before = time.process_time()
        for _, contents in prepared:
            await Ingress("main", Verdicts(), find).judge(contents, START_MS)
        return time.process_time() - before

    return asyncio.run(judge())


def _profile(run: Run, prepared: Sequence[tuple[int, list[bytes]]], stage: str) -> None:
    profiler = cProfile.Profile()
    original = run.stage

    @contextmanager
    def profiled(name: str) -> Iterator[None]:
        with original(name):
            if name == stage:
                profiler.enable()
            try:
                yield
            finally:
                profiler.disable()

    run.stage = profiled  # type: ignore[method-assign]
    for time_ms, contents in prepared:
        run.apply(run.ordered(time_ms, contents))
    pstats.Stats(profiler).sort_stats("tottime").print_stats(45)


def show(result: dict[str, Any]) -> None:
    out = sys.stdout.write
    out(f"{result['transactions']} transactions in {result['blocks']} blocks, {result['writes_per_tx']} records ")
    out(f"written by each; {result['codes']}\n")
    for name, spent in result["us_per_tx"].items():
        out(f"{name:<28}{spent:>9.1f} us\n")
    for name, spent in result["inside_execute"].items():
        out(f"    {name:<24}{spent:>9.1f} us\n")
    out(f"{'all':<28}{result['all']:>9.1f} us     ingress {result['ingress']:g} us more\n")
    for name, row in result["by_command"].items():
        out(f"    {name:<24}{row['us']:>9.1f} us  x {row['calls']}\n")
    out(f"machine disturbed by a factor of {result['disturbed']}\n")
    out(f"digest {result['digest']}   peak {result['peak_mb']} MB\n")


if __name__ == "__main__":
    main()
