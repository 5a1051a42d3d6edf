"""What a consortium loses under faults, simulated and real: `make bench-faults`.

    python -m tests.bench.faults_bench [--seeds 1000] [--rounds 1] [--output var/bench/faults.json]

First seeds of the simulation (tests/simulation), then three members as real processes, with etcd and PostgreSQL, under
a load that writes down every acknowledgement: each kind of fault strikes once a round, a VTN is killed for good, and at
the end every acknowledged transaction is asked for at every member. Exit status 1 if anything was lost, diverged or
violated.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

from tests.simulation.real.run import strike_all
from tests.simulation.real.strikes import STRIKES


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1_000, help="seeds of the simulation")
    parser.add_argument("--start", type=int, default=0, help="the first of them")
    parser.add_argument("--rounds", type=int, default=1, help="how often each real fault strikes")
    parser.add_argument("--order", type=int, default=0, help="seed of the order in which they strike")
    parser.add_argument("--output", type=Path, default=Path("var/bench/faults.json"))
    options = parser.parse_args()
    result = {**simulated(options.start, options.seeds), **asyncio.run(struck(options.rounds, options.order))}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))
    return int(any(result[name] for name in ("violated", "lost", "diverged", "unproved")))


def simulated(start: int, seeds: int) -> dict[str, Any]:
    """Seeds without and with a violation."""
    began_s = time.monotonic()
    command = [sys.executable, "-m", "tests.simulation", "--start", str(start), "--seeds", str(seeds)]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    print(run.stdout, flush=True)
    rate = round(seeds / (time.monotonic() - began_s), 1)
    return {"seeds": seeds, "seeds_per_s": rate, "violated": run.returncode}


async def struck(rounds: int, order: int) -> dict[str, Any]:
    """Real processes under all strikes."""
    strikes = [strike for _ in range(rounds) for strike in STRIKES]
    Random(order).shuffle(strikes)
    with tempfile.TemporaryDirectory(prefix="gridpact-faults-") as folder:
        outcome = await strike_all(Path(folder), strikes, seed=order, with_vtn=True)
    for line in (*outcome.lost[:20], *outcome.diverged[:20], *outcome.unproved[:20]):
        print(line)
    return {
        "real_faults": sum(outcome.faults.values()),
        "faults": dict(sorted(outcome.faults.items())),
        "acknowledged": outcome.acknowledged,
        "retried": outcome.retried,
        "blocks": outcome.height,
        "lost": len(outcome.lost),
        "diverged": len(outcome.diverged),
        "unproved": len(outcome.unproved),
        "seconds": round(outcome.seconds, 1),
    }


if __name__ == "__main__":
    sys.exit(main())
