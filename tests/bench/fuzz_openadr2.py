"""A long run of hostile 2.0b bodies: at least a million against the parser, some thousands through the face.

    python -m tests.bench.fuzz_openadr2 [--inputs 1000000] [--face 20000] [--processes 2] [--seed 1]

Each worker process writes its input down before it reads it, so that a crash leaves the input that caused it in
`var/bench/fuzz-crash-<seed>.bin`. Counts, memory and times go to `var/bench/fuzz.json`; the exit code is 1 if anything
but an answer came of any input.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import mmap
import multiprocessing
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from runtime.postgres import EmbeddedPostgres
from tests.fuzz.judging import judged
from tests.fuzz.mutation import corpus, mutated

_REPORT = Path("var/bench/fuzz.json")
_SLOT = 128 * 1024
_SLICE = 20_000
_WARM = 10_000
_VALIDATE_EVERY = 50


def main() -> None:
    """Run, write the report, and say by the exit code whether it is clean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="inputs against the parser")
    parser.add_argument("--face", type=int, default=20_000, help="inputs through the face")
    parser.add_argument("--processes", type=int, default=2, help="that share the inputs of the parser")
    parser.add_argument("--seed", type=int, default=1, help="of all inputs")
    options = parser.parse_args()
    began = time.monotonic()
    report: dict[str, Any] = {"seed": options.seed}
    report["parser"] = parser_run(options.inputs, options.seed, options.processes)
    if options.face:
        report["face"] = asyncio.run(face_run(options.face, options.seed))
    report["seconds"] = round(time.monotonic() - began, 1)
    _REPORT.parent.mkdir(parents=True, exist_ok=True)
    _REPORT.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2))
    bad = report["parser"]["crashes"] + report["parser"]["errors"] + report.get("face", {}).get("status_5xx", 0)
    sys.exit(1 if bad else 0)


def parser_run(inputs: int, seed: int, processes: int) -> dict[str, Any]:
    """All inputs, in as many processes as asked for."""
    edges = [inputs * number // processes for number in range(processes + 1)]
    with ThreadPoolExecutor(processes) as pool:
        parts = list(pool.map(lambda edge: _range(seed, *edge), itertools.pairwise(edges)))
    times = sorted(itertools.chain.from_iterable(part.times_ms for part in parts))
    errors = list(itertools.chain.from_iterable(part.errors for part in parts))
    return {
        "inputs": inputs,
        "codes": dict(sorted(sum((part.codes for part in parts), Counter()).items())),
        "crashes": sum(part.crashes for part in parts),
        "errors": len(errors),
        "first_errors": errors[:5],
        "cpu_ms_per_input": round(1000 * sum(part.cpu_s for part in parts) / inputs, 4),
        "p50_ms": round(times[len(times) // 2], 3),
        "p999_ms": round(times[int(len(times) * 0.999)], 3),
        "slowest_ms": round(max(part.slowest_ms for part in parts), 1),
        "memory_growth_kb": max(part.growth_kb for part in parts),
    }


@dataclass
class _Part:
    """What came of a range of inputs."""

    codes: Counter[str] = field(default_factory=Counter)
    times_ms: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    crashes: int = 0
    cpu_s: float = 0.0
    slowest_ms: float = 0.0
    growth_kb: int = 0


def _range(seed: int, first: int, last: int) -> _Part:
    """One worker after the other: one that dies is counted, and the next goes on behind its last input."""
    found = _Part()
    with tempfile.TemporaryFile() as shared:
        shared.truncate(_SLOT)
        slot = mmap.mmap(shared.fileno(), _SLOT)
        done = first
        while done < last:
            here, there = multiprocessing.Pipe(duplex=False)
            worker = multiprocessing.get_context("fork").Process(
                target=_work, args=(seed, done, last, slot, there), daemon=True
            )
            worker.start()
            there.close()
            try:
                while True:
                    part = here.recv()
                    found.codes.update(part["codes"])
                    found.times_ms += part["sample_ms"]
                    found.errors += part["errors"]
                    found.slowest_ms = max(found.slowest_ms, part["slowest_ms"])
                    found.cpu_s += part["cpu_s"]
                    found.growth_kb, done = part["growth_kb"], part["done"]
                    print(f"{done:>9}: {found.slowest_ms:.1f} ms the slowest, {found.growth_kb} kB", file=sys.stderr)
            except EOFError:
                worker.join()
            if done < last:
                found.crashes += 1
                length, done = int.from_bytes(slot[:8], "big"), int.from_bytes(slot[8:16], "big") + 1
                _REPORT.parent.mkdir(parents=True, exist_ok=True)
                (_REPORT.parent / f"fuzz-crash-{seed}-{done - 1}.bin").write_bytes(slot[16 : 16 + length])
    return found


def _work(seed: int, first: int, last: int, slot: mmap.mmap, pipe: Any) -> None:
    bodies = corpus()
    warm_kb = 0
    for start in range(first, last, _SLICE):
        stop = min(start + _SLICE, last)
        part: dict[str, Any] = {"codes": Counter(), "sample_ms": [], "errors": [], "slowest_ms": 0.0, "done": stop}
        began_s = time.process_time()
        for number in range(start, stop):
            chance = random.Random(f"{seed}-{number}")
            body = mutated(bodies, chance)
            slot[:16] = len(body).to_bytes(8, "big") + number.to_bytes(8, "big")
            slot[16 : 16 + len(body)] = body
            before_s = time.process_time()
            try:
                code = str(judged(body, lenient=chance.random() < 0.5, validate=number % _VALIDATE_EVERY == 0))
            except Exception as error:
                code = "error"
                part["errors"].append(f"input {number}: {error!r}"[:300])
            took_ms = 1000 * (time.process_time() - before_s)
            part["codes"][code] += 1
            part["slowest_ms"] = max(part["slowest_ms"], took_ms)
            if number % 100 == 0:
                part["sample_ms"].append(took_ms)
            if number == first + _WARM:
                warm_kb = _resident_kb()
        part["cpu_s"] = time.process_time() - began_s
        part["growth_kb"] = _resident_kb() - warm_kb if warm_kb else 0
        pipe.send(part)
    pipe.close()


def _resident_kb() -> int:
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1])


async def face_run(inputs: int, seed: int) -> dict[str, Any]:
    """The same inputs over HTTP to every service of a VTN with a database, four connections at a time."""
    from runtime.database import upgrade
    from tests.builders import a_clock
    from tests.vtn.faces.peer import facing
    from tests.vtn.opened import PROGRAM, opened
    from vtn.faces.openadr2.face import PREFIX, SERVICES

    bodies = corpus()
    numbers = iter(range(inputs))
    statuses: Counter[int] = Counter()
    slowest_s = 0.0
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres", options={"fsync": "off"})
        await server.start()
        try:
            url = server.url("postgres")
            await upgrade(url, "vtn")
            async with opened(url, a_clock(), Path(folder)) as found, facing(found.vtn) as address:
                for name in ("00123", "ven-1"):
                    await found.vtn.vens.add(name, "F1", PROGRAM)

                async def client(session: aiohttp.ClientSession) -> None:
                    nonlocal slowest_s
                    for number in numbers:
                        chance = random.Random(f"{seed}-face-{number}")
                        service = chance.choice(SERVICES)
                        began_s = time.monotonic()
                        async with session.post(f"{address}{PREFIX}/{service}", data=mutated(bodies, chance)) as answer:
                            await answer.read()
                        statuses[answer.status] += 1
                        slowest_s = max(slowest_s, time.monotonic() - began_s)

                began_kb = _resident_kb()
                async with aiohttp.ClientSession() as session:
                    await asyncio.gather(*(client(session) for _ in range(4)))
                growth_kb = _resident_kb() - began_kb
        finally:
            await server.stop()
    return {
        "inputs": inputs,
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
        "status_5xx": sum(count for status, count in statuses.items() if status >= 500),
        "slowest_ms": round(1000 * slowest_s, 1),
        "memory_growth_kb": growth_kb,
    }


if __name__ == "__main__":
    main()
