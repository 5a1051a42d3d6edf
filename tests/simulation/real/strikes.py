"""Real faults, one after the other: each strikes, lasts, and is taken back."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from random import Random

from ledger.cluster.layout import Member
from tests.simulation.real.consortium import Consortium

Strike = Callable[[Consortium, Random], Awaitable[bool]]


async def kill_replica(consortium: Consortium, random: Random) -> bool:
    """kill -9 of a member's replica, whoever it is."""
    return consortium.send(signal.SIGKILL, consortium.replica(random.choice(consortium.members)))


async def kill_proposer(consortium: Consortium, random: Random) -> bool:
    """kill -9 of the replica that orders."""
    member = await consortium.proposer()
    return member is not None and consortium.send(signal.SIGKILL, consortium.replica(member))


async def kill_all_replicas(consortium: Consortium, random: Random) -> bool:
    """As a power failure does."""
    struck = [consortium.send(signal.SIGKILL, consortium.replica(member)) for member in consortium.members]
    return all(struck)


async def kill_postgres(consortium: Consortium, random: Random) -> bool:
    """kill -9 of a member's PostgreSQL."""
    return consortium.send(signal.SIGKILL, consortium.postgres(random.choice(consortium.members)))


async def kill_etcd_leader(consortium: Consortium, random: Random) -> bool:
    """kill -9 of the etcd that leads."""
    member = await consortium.etcd_leader()
    return member is not None and consortium.send(signal.SIGKILL, consortium.etcd(member))


async def kill_etcd_follower(consortium: Consortium, random: Random) -> bool:
    """kill -9 of another etcd."""
    leader = await consortium.etcd_leader()
    others = [member for member in consortium.members if member is not leader]
    return consortium.send(signal.SIGKILL, consortium.etcd(random.choice(others)))


async def stop_proposer(consortium: Consortium, random: Random) -> bool:
    """SIGSTOP of the replica that orders until its lease is gone, then SIGCONT: it wakes up believing to lead."""
    member = await consortium.proposer()
    return member is not None and await _stopped(consortium, [consortium.replica(member)], 4.0)


async def stop_replica(consortium: Consortium, random: Random) -> bool:
    """SIGSTOP of a replica for a while."""
    return await _stopped(consortium, [consortium.replica(random.choice(consortium.members))], 1.5)


async def stop_etcd_leader(consortium: Consortium, random: Random) -> bool:
    """SIGSTOP of the etcd that leads: its connections stay open and silent."""
    member = await consortium.etcd_leader()
    return member is not None and await _stopped(consortium, [consortium.etcd(member)], 2.5)


async def stop_etcd_majority(consortium: Consortium, random: Random) -> bool:
    """SIGSTOP of two of three etcds: nothing can be ordered."""
    members = random.sample(consortium.members, 2)
    return await _stopped(consortium, [consortium.etcd(member) for member in members], 3.0)


async def cut_from_order(consortium: Consortium, random: Random) -> bool:
    """A member, the proposer if there is one, reaches no etcd."""
    member = await consortium.proposer() or random.choice(consortium.members)
    return await _cut(consortium, member, order=True, peers=False)


async def cut_from_peers(consortium: Consortium, random: Random) -> bool:
    """Nobody reaches a member."""
    return await _cut(consortium, random.choice(consortium.members), order=False, peers=True)


async def cut_off(consortium: Consortium, random: Random) -> bool:
    """A member reaches no etcd, and nobody reaches it."""
    return await _cut(consortium, random.choice(consortium.members), order=True, peers=True)


STRIKES: tuple[Strike, ...] = (
    kill_replica, kill_proposer, kill_all_replicas, kill_postgres, kill_etcd_leader, kill_etcd_follower, stop_proposer,
    stop_replica, stop_etcd_leader, stop_etcd_majority, cut_from_order, cut_from_peers, cut_off,
)  # fmt: skip


async def _stopped(consortium: Consortium, pids: list[int | None], seconds: float) -> bool:
    struck = [pid for pid in pids if consortium.send(signal.SIGSTOP, pid)]
    try:
        await asyncio.sleep(seconds)
    finally:
        for pid in struck:
            consortium.send(signal.SIGCONT, pid)
    return bool(struck)


async def _cut(consortium: Consortium, member: Member, *, order: bool, peers: bool) -> bool:
    ways = [*consortium.order_ways[member.name]] if order else []
    ways += [consortium.peer_ways[member.name]] if peers else []
    for way in ways:
        way.cut()
    try:
        await asyncio.sleep(4.0)
    finally:
        for way in ways:
            way.heal()
    return True
