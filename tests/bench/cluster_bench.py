"""What a consortium does with signed demand-response traffic, beside what the machine allows: `make bench-ledger`.

    python -m tests.bench.cluster_bench [--quick | --full] [--output var/bench/ledger.json]

Three replicas with a PostgreSQL each, three etcd, TLS between all of them, and the load as a process of its own, all on
this machine. The load moves the domain clock, so that readings are of the past. Signing is done beforehand. A rate is
that of all replicas: it ends when the last one has executed the last transaction. The steady rate is the highest tried
of an open loop at which 99 % of the requests are answered within 250 ms. --quick: a minute; --full: also five members
and a million accounts.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from ledger.log import merkle
from ledger.verify.merkle import leaf_hash
from tests.bench.consortium import limits, report
from tests.bench.consortium.faults import catch_up, idle, kills
from tests.bench.consortium.running import Consortium, Sent
from tests.bench.verify_bench import payment_times
from tests.ledger.log.lived import lived

_ABREAST = 12
_BATCH = 64
_WARM_TRANSACTIONS = 6_000
_ACCOUNTS = 2_000
_P99_MS = 250.0
"""What a rate must keep to be called steady."""
_OFFERED = 2_000.0
_DRAINED_S = 20.0
"""Nothing is offered that would take longer to work off: whoever asks gives up after a minute."""


@dataclass(frozen=True)
class Plan:
    """How much is measured. rate: transactions a second that the open loop offers first; window_s, tries: for each rate
    tried in search of the steady one, how long and how many; growth_s: seconds of each further consortium: of so many
    members; alone with so many accounts; alone with a log of so many entries; proofs: sizes of the logs that are proved
    in."""

    seconds: float
    rate: float
    window_s: float
    tries: int
    growth_s: float
    members: tuple[int, ...]
    accounts: tuple[int, ...]
    entries: tuple[int, ...]
    proofs: tuple[int, ...]


_LOGS = (10_000, 100_000, 1_000_000)
QUICK = Plan(6.0, _OFFERED, 5.0, 2, 0.0, (), (), (), _LOGS[:1])
USUAL = Plan(15.0, _OFFERED, 20.0, 5, 6.0, (1,), (10_000, 100_000), _LOGS[:2], _LOGS)
FULL = Plan(30.0, _OFFERED, 20.0, 6, 8.0, (1, 5), (1_000, 10_000, 100_000, 1_000_000), _LOGS, _LOGS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="about a minute, three members alone")
    parser.add_argument("--full", action="store_true", help="five members and a million accounts as well")
    parser.add_argument("--rate", type=float, help="transactions a second that are offered (2000)")
    parser.add_argument("--seconds", type=float, help="time of each load")
    parser.add_argument("--output", type=Path, default=Path("var/bench/ledger.json"))
    options = parser.parse_args()
    plan = QUICK if options.quick else FULL if options.full else USUAL
    given = {name: value for name in ("rate", "seconds") if (value := getattr(options, name)) is not None}
    plan = Plan(**{**vars(plan), **given})
    result = uvloop.run(bench(plan))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    report.show(result)
    if any(row["lost"] for row in (result, *result["growth"])):
        sys.exit("acknowledged transactions are missing")


async def bench(plan: Plan) -> dict[str, Any]:
    """All figures, as they are written to the output."""
    with tempfile.TemporaryDirectory(prefix="gridpact-bench-") as name:
        folder = Path(name)
        found = {"limits": await bare_limits(folder, min(3.0, plan.seconds / 3)), **await three(folder, plan)}
        growth = [await alone(folder / f"members-{count}", plan, members=count) for count in plan.members]
        growth += [await alone(folder / f"accounts-{count}", plan, accounts=count) for count in plan.accounts]
        growth += [await alone(folder / f"log-{count}", plan, entries=count) for count in plan.entries]
    return {**found, "growth": growth, **proofs(plan.proofs)}


async def bare_limits(folder: Path, seconds: float) -> dict[str, float]:
    return {
        "disturbed_by": round(limits.disturbed(), 2),
        "postgres_commits_per_s": round(await limits.commits_per_s(folder / "bare", seconds)),
        "verifies_per_s": round(limits.verifies_per_s(min(1.0, seconds))),
    }


async def three(folder: Path, plan: Plan) -> dict[str, Any]:
    """Three members: the highest rate, the steady one, a late replica, kills, and nothing to do."""
    seconds = plan.seconds
    async with Consortium.running(folder / "three", 3, accounts=_ACCOUNTS, batch=_BATCH) as consortium:
        idle_before = await idle(consortium, min(5.0, seconds))
        report.say(f"three members, idle at {idle_before['idle_cpu_percent']} % of a core")
        warm = await warmed(consortium)
        closed = await consortium.send(
            "--abreast", str(_ABREAST), seconds=seconds, transactions=round(1.7 * warm.per_s * seconds)
        )
        report.say(f"closed loop: {closed.per_s} tx/s on all three")
        offered = await offer(consortium, plan.rate, min(seconds, _DRAINED_S * closed.per_s / plan.rate))
        tried = await steadily(consortium, plan, offered, highest=1.1 * max(closed.per_s, offered.sent.per_s))
        steady = max((each for each in tried if each.fits), key=lambda each: each.rate, default=None)
        best = steady or min(tried, key=lambda each: each.rate)
        count, rate = round(best.rate * seconds), best.rate
        late = await catch_up(consortium, seconds / 2, count)
        killed = await kills(consortium, rate / 2, min(10.0, max(6.0, seconds / 2)))
        puts = await limits.puts_per_s(consortium.layout, min(3.0, seconds / 3))
        verified = await consortium.verified()
    return {
        "members": 3,
        "applied_tx_per_s": closed.per_s,
        "steady_tx_per_s": steady.sent.per_s if steady else 0.0,
        "p50_ms": best.sent.load["p50_ms"],
        "p99_ms": best.sent.load["p99_ms"],
        "offered_tx_per_s": offered.rate,
        "applied_of_offered_tx_per_s": offered.sent.per_s,
        "offered_p50_ms": offered.sent.load["p50_ms"],
        "offered_p99_ms": offered.sent.load["p99_ms"],
        "values_per_s": round(best.sent.load["values"] / best.sent.applied_s, 1),
        "etcd_puts_64k_per_s": round(puts),
        **verified,
        **idle_before,
        **late,
        **killed,
        "loads": [
            as_row("closed loop", closed),
            *(as_row(f"{each.rate:g}/s offered{', steady' * each.fits}", each.sent) for each in tried),
        ],
    }


@dataclass(frozen=True)
class Offered:
    """An open loop of `rate` transactions a second, and what came of it."""

    rate: float
    sent: Sent

    @property
    def fits(self) -> bool:
        return bool(self.sent.load["p99_ms"] < _P99_MS)


async def offer(consortium: Consortium, rate: float, seconds: float) -> Offered:
    """So many transactions a second, whatever becomes of them."""
    sent = await consortium.send("--rate", str(rate), seconds=seconds, transactions=round(rate * seconds))
    report.say(f"{rate:g}/s offered: {sent.per_s} tx/s, p99 {sent.load['p99_ms']} ms")
    return Offered(rate, sent)


async def steadily(consortium: Consortium, plan: Plan, first: Offered, *, highest: float) -> list[Offered]:
    """The first and further rates up to `highest`, each halfway between the highest that fitted and the lowest that did
    not."""
    low, high = (first.rate, max(highest, 1.2 * first.rate)) if first.fits else (0.0, min(highest, first.rate))
    tried = [first]
    for number in range(plan.tries):
        rate = float(round(low + (high - low) * (0.7 if not (low or number) else 0.5)))
        tried.append(await offer(consortium, rate, plan.window_s))
        low, high = (rate, high) if tried[-1].fits else (low, rate)
    return tried


async def alone(
    folder: Path, plan: Plan, *, members: int = 1, accounts: int = _ACCOUNTS, entries: int = 0
) -> dict[str, Any]:
    """A consortium of its own for one row of growth. entries: of the log it begins with (tests.bench.history)."""
    started_s = time.monotonic()
    async with Consortium.running(folder, members, accounts=accounts, batch=_BATCH, entries=entries) as consortium:
        ready_s = time.monotonic() - started_s
        warm = await warmed(consortium)
        sent = await consortium.send(
            "--abreast", str(_ABREAST), seconds=plan.growth_s, transactions=round(1.7 * warm.per_s * plan.growth_s)
        )
        verified = await consortium.verified()
    report.say(f"{members} members, {accounts} accounts, {entries} entries: {sent.per_s} tx/s")
    place = {"members": members, "accounts": accounts, "entries": entries, "ready_s": round(ready_s, 1)}
    return {**as_row("growth", sent), **place, **verified}


async def warmed(consortium: Consortium) -> Sent:
    """The first hours of the story have few kinds of transactions; they fill the caches."""
    requests = _WARM_TRANSACTIONS // _BATCH
    return await consortium.send(
        "--abreast", str(_ABREAST // 2), seconds=60.0, transactions=_WARM_TRANSACTIONS, requests=requests
    )


def as_row(name: str, sent: Sent) -> dict[str, Any]:
    """One load."""
    return {
        "load": name,
        "tx_per_s": sent.per_s,
        "transactions": sent.transactions,
        "blocks": sent.blocks,
        "p50_ms": sent.load["p50_ms"],
        "p99_ms": sent.load["p99_ms"],
        "codes": sent.load["codes"],
        "sent_again": sent.load["again"],
        "cpu_us_per_tx": sent.cpu_us_per_tx(),
        "stages_us_per_tx": sent.stages_us_per_tx(),
    }


def proofs(sizes: tuple[int, ...]) -> dict[str, Any]:
    """A payment's proof with three cosignatures, by the number of entries in the log: one real entry among hashes of
    numbers, since size and time follow from the count of leaves alone."""
    rows = []
    for size in sizes:
        hashes = [leaf_hash(b"%d" % number) for number in range(size)]
        hashes[size // 3] = leaf_hash(lived().entries[0])
        with contextlib.redirect_stdout(io.StringIO()):
            proof_bytes, verify_ms = payment_times(merkle.append(0, hashes, {}), 3)
        rows.append({"entries": size, "proof_bytes": proof_bytes, "verify_ms": round(verify_ms, 3)})
    return {"proof_bytes": rows[-1]["proof_bytes"], "verify_ms": rows[-1]["verify_ms"], "proofs": rows}


if __name__ == "__main__":
    main()
