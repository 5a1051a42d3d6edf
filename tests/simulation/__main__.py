"""Simulate a consortium from seeds: replicas, order, stores and network in one process, with faults of every kind.

    python -m tests.simulation --seeds 2000            run seeds 0 to 1999 on all cores and print coverage
    python -m tests.simulation --seed 17 --trace       run one seed again and print what happens in it
    python -m tests.simulation --bug stale_lease       plant a bug and print how many seeds it takes to find it
    python -m tests.simulation --bugs                  do so with each of them

Exit status 1: an invariant was violated; 0: none was (with a planted bug the other way round).
"""

from __future__ import annotations

import argparse
import gc
import itertools
import multiprocessing
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator

from tests.simulation.bugs import BUGS
from tests.simulation.faults import KINDS
from tests.simulation.run import Report, run_seed

_SHOWN_MAX = 10
_MISFITS = ("TypeError(", "AttributeError(")
"""What a planted bug ends in that calls the program as it once was: nothing was found then."""


def main() -> int:
    options = _parser().parse_args()
    gc.disable()
    gc.freeze()
    if options.seed is not None:
        return _one(options)
    if options.bugs:
        return max([_hunt(options, bug) for bug in BUGS])
    seeds = range(options.start, options.start + options.seeds)
    started_s = time.monotonic()
    failed: list[Report] = []
    coverage: Counter[str] = Counter()
    totals: Counter[str] = Counter()
    for report in _reports(seeds, options):
        coverage += report.coverage
        totals += report.counts
        totals.update(
            seeds=1, blocks=report.height, steps=report.steps, virtual_s=int(report.virtual_s),
            acknowledged=report.acknowledged,
        )  # fmt: skip
        if report.violation:
            failed.append(report)
            if options.bug or len(failed) >= _SHOWN_MAX:
                break
    _print_summary(options, coverage, totals, failed, time.monotonic() - started_s)
    return int(bool(failed) != bool(options.bug))


def _hunt(options: argparse.Namespace, bug: str) -> int:
    options.bug = bug
    for seed in range(options.start, options.start + options.seeds):
        report = _run(seed, options)
        _collect()
        if report.violation:
            fits = not any(error in report.violation for error in _MISFITS)
            found = "" if fits else "DOES NOT FIT THE PROGRAM ANY MORE: "
            print(f"{bug:24} {seed - options.start + 1:4} seeds   {found}{report.violation[:160]}", flush=True)
            return int(not fits)
    print(f"{bug:24} NOT FOUND in {options.seeds} seeds: {BUGS[bug].meaning}", flush=True)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=1000, metavar="N", help="how many seeds (default 1000)")
    parser.add_argument("--start", type=int, default=0, metavar="S", help="the first of them (default 0)")
    parser.add_argument("--seed", type=int, metavar="X", help="run this one alone")
    parser.add_argument("--trace", action="store_true", help="with --seed: print every event")
    parser.add_argument("--bug", choices=sorted(BUGS), help="plant this bug; stop when it is found")
    parser.add_argument("--bugs", action="store_true", help="plant each bug in turn; stop when it is found")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="J", help="processes (default: cores)")
    parser.add_argument("--real-signatures", action="store_true", help="Ed25519 instead of a hash that costs nothing")
    return parser


def _one(options: argparse.Namespace) -> int:
    report = _run(options.seed, options)
    if report.cause is not None:
        traceback.print_exception(report.cause)
    if not options.trace:
        print("\n".join(report.events[-40:]))
    print(
        f"seed {report.seed}: {report.violation or 'no violation'}; {report.height} blocks, {report.steps} steps, "
        f"{report.virtual_s:.1f} s of virtual time, digest {report.digest}"
    )
    return int(bool(report.violation) != bool(options.bug))


def _run(seed: int, options: argparse.Namespace) -> Report:
    bug = BUGS[options.bug].plant if options.bug else None
    return run_seed(seed, trace=options.trace, bug=bug, cheap=not options.real_signatures)


def _reports(seeds: range, options: argparse.Namespace) -> Iterator[Report]:
    if options.jobs == 1 or len(seeds) < 4:
        for seed in seeds:
            yield _run(seed, options)
            _collect()
        return
    with multiprocessing.get_context("fork").Pool(options.jobs) as pool:
        yield from pool.imap(_Runner(options), seeds, chunksize=2)


class _Runner:
    """Picklable."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options

    def __call__(self, seed: int) -> Report:
        report = _run(seed, self._options)
        report.cause, report.events = None, []
        _collect()
        return report


_runs = itertools.count(1)


def _collect() -> None:
    """Garbage, now and then: after each seed it would take a fifth of the time."""
    if next(_runs) % 20 == 0:
        gc.collect()


def _print_summary(
    options: argparse.Namespace, coverage: Counter[str], totals: Counter[str], failed: list[Report], took_s: float
) -> None:
    seeds = totals.pop("seeds")
    print(f"{seeds} seeds from {options.start} in {took_s:.1f} s: {seeds / took_s:.1f} seeds a second")
    print("faults:  " + ", ".join(f"{kind} {coverage[kind]}" for kind in KINDS))
    print("run:     " + ", ".join(f"{name} {totals[name]}" for name in sorted(totals)))
    for report in failed:
        planted = f" --bug {options.bug}" if options.bug else ""
        print(f"seed {report.seed}: {report.violation}")
        print(f"         replay: python -m tests.simulation --seed {report.seed} --trace{planted}")
    if options.bug:
        found = f"found by the {seeds}. seed" if failed else f"NOT FOUND in {seeds} seeds"
        print(f"bug {options.bug} ({BUGS[options.bug].meaning}): {found}")
    elif not failed:
        print("no violation")


if __name__ == "__main__":
    sys.exit(main())
