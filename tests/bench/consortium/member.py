"""`dr-ledger serve` for measurements: as it is, but with a clock that the load moves, a genesis that holds accounts,
and `/bench`, which tells the CPU by stage and where the main thread is found.

    python -m tests.bench.consortium.member --config replica.toml --clock FILE --accounts 1000 --groups 37
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import time
from collections import Counter
from pathlib import Path
from types import FrameType

from aiohttp import web

from contracts import rules
from contracts.core.state import Writes
from ledger.app import build
from ledger.config import LedgerSettings
from ledger.founding import load
from runtime import logs, service
from tests.bench.consortium.clock import SharedClock
from tests.bench.consortium.stages import Stages
from tests.bench.traffic import Traffic

_SAMPLE_S = 0.003
_DEEP = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--secrets-dir", type=Path)
    parser.add_argument("--clock", type=Path, required=True, help="file of the shared clock")
    parser.add_argument("--accounts", type=int, required=True, help="parties that hold money from the genesis on")
    parser.add_argument("--groups", type=int, required=True, help="virtual nodes that act")
    options = parser.parse_args()
    settings = LedgerSettings.load(config=options.config, secrets_dir=options.secrets_dir)
    logs.configure("dr-ledger", settings.log_json, settings.log_level)
    clock = SharedClock(options.clock)
    object.__setattr__(settings, "clock", lambda: clock)
    _populate(Traffic(accounts=options.accounts, epoch_ms=0, groups=options.groups))
    stages = Stages()
    stages.watch()
    app = build(settings, load(settings), own_process=True)
    app.router.add_get("/bench", lambda _: _spent(stages))
    app.router.add_get("/bench/samples", _samples)
    service.run(service.serve(app, settings.host, settings.port, settings.tls(), name="dr-ledger"))


def _populate(traffic: Traffic) -> None:
    original, population = rules.genesis, traffic.population()

    def genesis(founding: rules.Genesis) -> Writes:
        return {**original(founding), **population}

    rules.genesis = genesis


async def _spent(stages: Stages) -> web.Response:
    return web.json_response({"cpu_s": time.process_time(), "stages": stages.spent})


async def _samples(request: web.Request) -> web.Response:
    """GET /bench/samples?seconds=5: where the main thread is found each few ms of CPU time, innermost first; and by
    function how often it was anywhere on the stack."""
    stacks: Counter[str] = Counter()
    within: Counter[str] = Counter()

    def sample(_: int, frame: FrameType | None) -> None:
        names: list[str] = []
        while frame is not None and len(names) < _DEEP:
            code = frame.f_code
            names.append(f"{Path(code.co_filename).stem}.{code.co_name}")
            frame = frame.f_back
        stacks[" < ".join(names[:6])] += 1
        within.update(set(names))

    before = signal.signal(signal.SIGPROF, sample)
    signal.setitimer(signal.ITIMER_PROF, _SAMPLE_S, _SAMPLE_S)
    await asyncio.sleep(float(request.query.get("seconds", "5")))
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.signal(signal.SIGPROF, before)
    total = max(1, sum(stacks.values()))
    lines = [f"{100 * n / total:5.1f} % {where}" for where, n in stacks.most_common(45)]
    lines += ["", *(f"{100 * n / total:5.1f} % in {where}" for where, n in within.most_common(110))]
    return web.Response(text="\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
