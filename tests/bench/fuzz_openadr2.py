"""A long run of hostile 2.0b bodies: at least a million against the parser, some thousands through the face.

    python -m tests.bench.fuzz_openadr2 [--inputs 1000000] [--face 20000] [--seed 1]

Each worker process writes its input down before it reads it, so that a crash leaves the input that caused it in
`var/bench/fuzz-crash-<seed>.bin`. Counts, memory and times go to `var/bench/fuzz.json`; the exit code is 1 if anything
but an answer came of any input.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import mmap
import multiprocessing
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp

from runtime.postgres import EmbeddedPostgres
from tests.fuzz.judging import judged
from tests.fuzz.mutation import corpus, mutated

_REPORT = Path("var/bench/fuzz.json")
_SLOT = 128 * 1024
_SLICE = 50_000
_WARM = 20_000
_VALIDATE_EVERY = 50


def main() -> None:
    """Run, write the report, and say by the exit code whether it is clean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="inputs against the parser")
    parser.add_argument("--face", type=int, default=20_000, help="inputs through the face")
    parser.add_argument("--seed", type=int, default=1, help="of all inputs")
    options = parser.parse_args()
    began = time.monotonic()
    report: dict[str, Any] = {"seed": options.seed, "parser": parser_run(options.inputs, options.seed)}
    if options.face:
        report["face"] = asyncio.run(face_run(options.face, options.seed))
    report["seconds"] = round(time.monotonic() - began, 1)
    _REPORT.parent.mkdir(parents=True, exist_ok=True)
    _REPORT.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2))
    bad = report["parser"]["crashes"] + report["parser"]["errors"] + report.get("face", {}).get("status_5xx", 0)
    sys.exit(1 if bad else 0)


def parser_run(inputs: int, seed: int) -> dict[str, Any]:
    """Slices in processes of their own, one after the other; one that dies is counted and the next goes on."""
    counts: Counter[str] = Counter()
    slowest_ms, cpu_s, growth_kb, crashes, errors = 0.0, 0.0, 0, 0, []
    times: list[float] = []
    with tempfile.TemporaryFile() as shared:
        shared.truncate(_SLOT)
        slot = mmap.mmap(shared.fileno(), _SLOT)
        # one long-lived worker shows growth of memory; it is replaced only after a crash
        done = 0
        while done < inputs:
            here, there = multiprocessing.Pipe(duplex=False)
            worker = multiprocessing.get_context("fork").Process(
                target=_work, args=(seed, done, inputs, slot, there), daemon=True
            )
            worker.start()
            there.close()
            try:
                while True:
                    part = here.recv()
                    counts.update(part["codes"])
                    times += part["sample_ms"]
                    errors += part["errors"]
                    slowest_ms = max(slowest_ms, part["slowest_ms"])
                    cpu_s, growth_kb, done = cpu_s + part["cpu_s"], part["growth_kb"], part["done"]
                    print(f"{done:>9} inputs, {slowest_ms:.1f} ms the slowest, {growth_kb} kB grown", file=sys.stderr)
            except EOFError:
                worker.join()
            if done < inputs:
                crashes += 1
                length = int.from_bytes(slot[:8], "big")
                (_REPORT.parent / f"fuzz-crash-{seed}-{crashes}.bin").write_bytes(slot[16 : 16 + length])
                done = int.from_bytes(slot[8:16], "big") + 1
    times.sort()
    return {
        "inputs": inputs,
        "codes": dict(sorted(counts.items())),
        "crashes": crashes,
        "errors": len(errors),
        "first_errors": errors[:5],
        "cpu_ms_per_input": round(1000 * cpu_s / inputs, 4),
        "p50_ms": round(times[len(times) // 2], 3),
        "p999_ms": round(times[int(len(times) * 0.999)], 3),
        "slowest_ms": round(slowest_ms, 1),
        "memory_growth_kb": growth_kb,
    }


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
