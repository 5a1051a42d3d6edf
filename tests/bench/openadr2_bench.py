"""Polls a second of this VTN and of stock openleadr 0.5.36, in one run on one machine, one process on one core each.

    python -m tests.bench.openadr2_bench [--seconds 10] [--vens 10000]

Cases: plain HTTP (polls whose bytes were seen before, and polls of which no two are alike, so that each is parsed and
validated); mutual TLS; mutual TLS with every message and every answer signed, RSA-2048 and P-256. Stock and ours take
turns, three times, because machines have other work: the medians count. Then one event to all VENs until each has
answered, with one worker and with two. The VENs are on the other cores, and so is the database, as far as there are
any. Writes `var/bench/openadr2.json`, keeping what other measurements wrote there.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.bench.openadr2.fanout import fanned_out
from tests.bench.openadr2.load import Load, measured, off_the_server, resident_kb, run
from tests.bench.openadr2.servers import Fleet, ours, stock
from vtn.auth.pki import Pki

REPORT = Path("var/bench/openadr2.json")
_CONNECTIONS = 100
_TURNS = 3
_STOCK_SHARE = {"signed": 20, "unsigned": 3}
"""Stock gets this part of the polls, because it is so much slower."""
_EXPECTED_PER_S = {"unsigned": 6000, "mtls": 3000, "p256": 900, "rsa": 800}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="about how long each case takes")
    parser.add_argument("--vens", type=int, default=10_000, help="VENs that are registered")
    parser.add_argument("--only", default="", help="cases by their beginning: unsigned, mtls, p256, rsa, fanout")
    options = parser.parse_args()
    off_the_server()
    with tempfile.TemporaryDirectory(prefix="openadr2-") as name:
        report = run(_cases(Path(name), options.vens, options.seconds, options.only))
    earlier = json.loads(REPORT.read_text()) if REPORT.exists() else {}
    report["cases"] = earlier.get("cases", {}) | report["cases"]
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps(earlier | report | _figures(report["cases"]), indent=2) + "\n", encoding="utf-8")
    print(json.dumps(_figures(report["cases"]), indent=2))


async def _cases(folder: Path, vens: int, seconds: float, only: str) -> dict[str, Any]:
    pki = Pki.create(folder / "pki", ["127.0.0.1", "localhost"], "Bench")
    cases: dict[str, Any] = {}
    for kind in ("unsigned", "mtls", "p256", "rsa"):
        if not kind.startswith(only):
            continue
        certificates = "p256" if kind == "mtls" else kind
        fleet = Fleet.create(
            folder / kind, pki, vens, certificates, certified=_CONNECTIONS, signs=kind in ("p256", "rsa")
        )
        cases |= await _turns(kind, fleet, seconds)
    if "fanout".startswith(only):
        for workers in (1, 2):
            fleet = Fleet.create(folder / f"fanout-{workers}", pki, vens, "unsigned")
            async with ours(fleet, [core % (os.cpu_count() or 1) for core in range(workers)]) as server:
                cases[f"fanout_{workers}"] = await fanned_out(server, fleet)
            print(f"fanout_{workers}: {cases[f'fanout_{workers}']}", flush=True)
    load_average = [round(each, 1) for each in os.getloadavg()]
    return {"measured_at": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "load_average": load_average, "cases": cases}


async def _turns(kind: str, fleet: Fleet, seconds: float) -> dict[str, Any]:
    """Stock and ours in turns, then ours with two workers."""
    signed = fleet.signs
    mine = Load(int(_EXPECTED_PER_S[kind] * seconds / _TURNS), _CONNECTIONS, signed=signed)
    theirs = replace(mine, polls=mine.polls // _STOCK_SHARE["signed" if signed else "unsigned"])
    if signed:  # few connections: it takes no message that waited for five seconds
        theirs = replace(theirs, connections=2, fresh=True)
    results: dict[str, list[dict[str, Any]]] = {}
    memory: dict[str, Any] = {}
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(ours(fleet))
        # stock answers 500 to what comes over mutual TLS without a signature
        other = None if kind == "mtls" else await stack.enter_async_context(stock(fleet))
        worker = server.workers[0]
        if kind == "unsigned":
            memory = {"memory": await _memory(worker, fleet)}
        for _ in range(_TURNS):
            if other is not None:
                results.setdefault(f"stock_{kind}", []).append(await measured(other, fleet, theirs))
            results.setdefault(f"ours_{kind}", []).append(await measured(worker, fleet, mine))
            if kind == "unsigned":
                distinct = replace(mine, distinct=True, polls=mine.polls // 2)
                results.setdefault("ours_unsigned_distinct", []).append(await measured(worker, fleet, distinct))
    async with ours(fleet, [core % (os.cpu_count() or 1) for core in range(2)]) as server:
        if kind == "unsigned":  # what is measured is not the first poll of each VEN
            for worker in server.workers:
                await measured(worker, fleet, Load(len(fleet.ven_ids), _CONNECTIONS))
        half = replace(mine, polls=mine.polls // 2, connections=mine.connections // 2)
        both = await asyncio.gather(*(measured(worker, fleet, half) for worker in server.workers))
        results[f"ours_{kind}_2_workers"] = [_together(both)]
    found = {name: _median(each) for name, each in results.items()}
    for name, case in found.items():
        print(f"{name}: {case}", flush=True)
    return found | memory


async def _memory(worker: Any, fleet: Fleet) -> dict[str, Any]:
    """What a worker needs more when it has met all VENs than when it had met a hundred."""
    few = replace(fleet, ven_ids=fleet.ven_ids[:_CONNECTIONS])
    await measured(worker, few, Load(50 * _CONNECTIONS, _CONNECTIONS))
    before_kb = resident_kb(worker.pid)
    await measured(worker, fleet, Load(len(fleet.ven_ids), _CONNECTIONS))
    after_kb = resident_kb(worker.pid)
    return {"before_kb": before_kb, "after_kb": after_kb, "vens": len(fleet.ven_ids) - _CONNECTIONS}


def _median(results: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: statistics.median(each[name] for each in results) for name in results[0]}


def _together(results: list[dict[str, Any]]) -> dict[str, Any]:
    total = {name: sum(each[name] for each in results) for name in ("polls", "polls_per_s")}
    slowest = {name: max(each[name] for each in results) for name in ("p50_ms", "p99_ms")}
    return total | {"cpu_ms_per_poll": round(statistics.mean(each["cpu_ms_per_poll"] for each in results), 4)} | slowest


def _figures(cases: dict[str, Any]) -> dict[str, Any]:
    """The figures by which this is judged, as far as their cases were measured."""
    found: dict[str, Any] = {}

    def compared(prefix: str, ours_name: str, stock_name: str) -> None:
        if ours_name in cases and stock_name in cases:
            one, other = cases[ours_name], cases[stock_name]
            found[f"{prefix}_polls_per_s"] = one["polls_per_s"]
            found[f"{prefix}_ratio_to_openleadr"] = round(one["polls_per_s"] / other["polls_per_s"], 2)
            found[f"{prefix}_cpu_ratio"] = round(other["cpu_ms_per_poll"] / one["cpu_ms_per_poll"], 2)

    # what counts as unsigned is the dearer case: each poll parsed and validated by the schema
    compared("unsigned", "ours_unsigned_distinct", "stock_unsigned")
    compared("unsigned_template", "ours_unsigned", "stock_unsigned")
    compared("signed", "ours_rsa", "stock_rsa")
    compared("signed_p256", "ours_p256", "stock_p256")
    if "ours_mtls" in cases:
        found["mtls_polls_per_s"] = cases["ours_mtls"]["polls_per_s"]
    if "fanout_1" in cases:
        found["fanout_10k_s"] = cases["fanout_1"]["seconds"]
        found["fanout_10k_2_workers_s"] = cases["fanout_2"]["seconds"]
    if "memory" in cases:
        memory = cases["memory"]
        found["memory_per_ven_kb"] = round((memory["after_kb"] - memory["before_kb"]) / memory["vens"], 2)
    return found


if __name__ == "__main__":
    main()
