"""What a consortium does while a member is late, a process is killed, or nobody asks anything."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from ledger.cluster.layout import Member
from tests.bench.consortium import report
from tests.bench.consortium.running import Consortium

_LOOK_S: Final = 0.02
_START_S: Final = 60.0
_KILL_AFTER_S: Final = 2.0


async def idle(consortium: Consortium, seconds: float) -> dict[str, Any]:
    """Percent of a core while nothing is sent: our processes, and the servers they use."""
    await consortium.level()
    before, started_s = await consortium.cpu(), time.monotonic()
    await asyncio.sleep(seconds)
    spent, took_s = (await consortium.cpu()).since(before).processes, time.monotonic() - started_s
    percent = {name: round(100 * each / took_s, 2) for name, each in spent.items()}
    ours = round(percent["proposer"] + percent["replicas"], 2)
    return {"idle_cpu_percent": ours, "idle_servers_percent": {name: percent[name] for name in ("postgres", "etcd")}}


async def catch_up(consortium: Consortium, seconds: float, transactions: int) -> dict[str, Any]:
    """Transactions a second that a replica executes which was away while the others went on for `seconds`, or with so
    many transactions."""
    proposer = await consortium.proposer()
    late = next(member for member in consortium.layout.members if member != proposer)
    await consortium.level()
    height = await consortium.height()
    await consortium.replicas[late.name].stop()
    others = [member for member in consortium.layout.members if member != late]
    missed = await consortium.send("--abreast", "8", to=others, seconds=seconds, transactions=transactions)
    await consortium.start_replica(late)
    started_s, first = await _answers(consortium, late)
    while (now := await consortium.status(late)) is None or now["height"] < height + missed.blocks:
        await asyncio.sleep(_LOOK_S)
    took_s = time.monotonic() - started_s
    await consortium.ready()
    left = (height + missed.blocks - first) / max(1, missed.blocks)
    rate = round(missed.transactions * left / max(took_s, _LOOK_S), 1)
    report.say(f"catch-up: {rate} tx/s; two of three meanwhile {missed.per_s} tx/s")
    return {"catch_up_tx_per_s": rate, "two_of_three_tx_per_s": missed.per_s}


async def kills(consortium: Consortium, rate: float, seconds: float) -> dict[str, Any]:
    """Longest time without an acknowledgement when etcd's leader, and when the proposer is killed under load (ms)."""
    leader = await consortium.etcd_leader()
    leader_gap = await _gap(consortium, leader, etcd=True, rate=rate, seconds=seconds)
    await consortium.ready()
    proposer = await consortium.proposer()
    proposer_gap = await _gap(consortium, proposer, etcd=False, rate=rate, seconds=seconds)
    report.say(f"longest gap: etcd leader killed {leader_gap:.0f} ms, proposer killed {proposer_gap:.0f} ms")
    return {"leader_kill_gap_ms": leader_gap, "proposer_kill_gap_ms": proposer_gap}


async def _gap(consortium: Consortium, member: Member, *, etcd: bool, rate: float, seconds: float) -> float:
    process = consortium.etcds[member.label] if etcd else consortium.replicas[member.name]
    consortium.supply.prepare(round(rate * seconds))
    sending = asyncio.create_task(
        consortium.load("--rate", str(rate), transactions=round(rate * seconds), seconds=seconds)
    )
    await asyncio.sleep(_KILL_AFTER_S)
    consortium.kill(process)
    page = await sending
    await consortium.ready()
    await consortium.level()
    return round(1000 * float(page["gap_s"]), 1)


async def _answers(consortium: Consortium, member: Member) -> tuple[float, int]:
    """When a replica that starts first said where it stands, and its height."""
    async with asyncio.timeout(_START_S):
        while True:
            said = await consortium.status(member)
            if said is not None:
                return time.monotonic(), int(said["height"])
            await asyncio.sleep(_LOOK_S)
