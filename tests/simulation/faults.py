"""What goes wrong in a run, and when: each seed draws some kinds of fault and strikes with them until it stops.

Every fault heals by itself after a while. `KINDS` is the whole list; `coverage` counts what struck.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

from ledger.ordering.ingress import Judged
from ledger.ordering.transactions import parse
from tests.simulation.cluster import PROPOSER, Cluster, Member
from tests.simulation.models.etcd import SERVERS
from tests.simulation.models.loop import Process


class Saboteur:
    """Strikes a cluster."""

    def __init__(self, cluster: Cluster, random: Random, kinds: list[str], pace_s: float) -> None:
        self.cluster = cluster
        self.random = random
        self.kinds = kinds
        self.pace_s = pace_s
        self.coverage: Counter[str] = Counter()
        self._doomed: dict[str, int] = {}
        self._healing: dict[int, Callable[[], None]] = {}
        self._strikes: Iterator[int] = iter(range(1_000_000))
        cluster.loop.before_step = self._step

    async def strike_until(self, end_s: float) -> None:
        """One fault after the other, several at a time."""
        loop = self.cluster.loop
        while self.kinds and loop.time() < end_s:
            await asyncio.sleep(self.random.expovariate(1 / self.pace_s))
            if loop.time() < end_s:
                kind = self.random.choice(self.kinds)
                if KINDS[kind](self):
                    self.coverage[kind] += 1
                    self.cluster.judge.note(f"fault {kind}")

    def heal(self) -> None:
        """Everything works from now on; who is down is started."""
        for repair in list(self._healing.values()):
            repair()
        self._healing.clear()
        self._doomed.clear()
        cluster = self.cluster
        cluster.etcd.elect()
        cluster.etcd.down.clear()
        cluster.network.cut.clear()
        for member in cluster.members:
            member.wanted = True
            member.clock.skew_ms = 0
            member.faults.at_commit = lambda stage: None
            cluster.start(member)

    # ---- what faults are made of

    def _member(self) -> Member | None:
        up = [member for member in self.cluster.members if member.up]
        return self.random.choice(up) if up else None

    def _for(self, seconds: float, repair: Callable[[], None]) -> None:
        """Repairs after a while, or at `heal`."""
        number = next(self._strikes)

        def once() -> None:
            self._healing.pop(number, lambda: None)()

        self._healing[number] = repair
        self.cluster.loop.in_environment(once, delay_s=seconds)

    def _between(self, least_s: float, most_s: float) -> float:
        """Mostly short."""
        return least_s + (most_s - least_s) * self.random.random() ** 2

    def _step(self, process: Process) -> None:
        left = self._doomed.get(process.name)
        if left is None:
            return
        if left > 0:
            self._doomed[process.name] = left - 1
            return
        del self._doomed[process.name]
        for member in self.cluster.members:
            if member.process is process:
                self._kill(member, "at a step")

    def _kill(self, member: Member, why: str) -> None:
        self.cluster.kill(member, why)
        self.cluster.restart_later(member, self._between(0.02, 4.0))

    # ---- processes

    def crash(self) -> bool:
        """kill -9 at one of its next steps, whatever it does there."""
        member = self._member()
        return member is not None and self._doom(member)

    def crash_proposer(self) -> bool:
        member = self.cluster.leader()
        return member is not None and self._doom(member)

    def crash_all(self) -> bool:
        """Power failure."""
        for member in self.cluster.members:
            if member.up:
                self._kill(member, "with all others")
        return True

    def crash_commit(self) -> bool:
        """kill -9 right before or right after the next commit reaches the disk."""
        member = self._member()
        if member is None:
            return False
        wanted = self.random.choice(("before", "after"))

        def at_commit(stage: str) -> None:
            if stage == wanted:
                member.faults.at_commit = lambda stage: None
                self._kill(member, f"{stage} a commit")

        member.faults.at_commit = at_commit
        return True

    def stop(self) -> bool:
        member = self._member()
        if member is None:
            return False
        self.cluster.stop(member)
        self.cluster.restart_later(member, self._between(0.3, 2.0))
        return True

    def pause(self) -> bool:
        """SIGSTOP, often of the proposer and longer than its lease."""
        member = self.cluster.leader() if self.random.random() < 0.6 else self._member()
        if member is None or member.process is None:
            return False
        process = member.process
        self.cluster.loop.pause(process)
        self._for(self._between(0.2, 6.0), lambda: self.cluster.loop.resume(process))
        return True

    def pause_proposer(self) -> bool:
        """SIGSTOP of the proposer until its lease has run out and another one proposes."""
        member = self.cluster.leader()
        if member is None or member.process is None or member.process.paused:
            return False
        process = member.process
        self.cluster.rushed(member)
        self.cluster.loop.pause(process)
        self._for(3.0 + 1.5 * self.random.random(), lambda: self.cluster.loop.resume(process))
        return True

    def absence(self) -> bool:
        """Down for so long that the order's window may have moved on."""
        member = self._member()
        if member is None:
            return False
        self.cluster.kill(member, "for long")
        self.cluster.restart_later(member, 5.0 + 3.0 * self.random.random())
        return True

    def restore(self) -> bool:
        """The database is replaced by an older backup of it."""
        member = self._member()
        if member is None or (self.cluster.shape.trims and self.coverage["restore"]):
            return False  # what nobody has any more cannot come back
        if not self.cluster.restore(member):
            self.cluster.back_up(member)
            return False
        self.cluster.restart_later(member, self._between(0.05, 1.0))
        return True

    def _doom(self, member: Member) -> bool:
        if member.process is None:
            return False
        self._doomed[member.process.name] = self.random.choice((0, 3, 20, 100, 400, 1500)) * self.random.randrange(1, 5)
        return True

    def careless(self) -> bool:
        """A member that, while it proposes, orders whatever it is given: forgeries and what was executed before."""
        member = self._member()
        if member is None or member.replica is None:
            return False
        replica: Any = member.replica

        async def nothing_known(ids: list[str]) -> frozenset[str]:
            return frozenset()

        async def accept(contents: Sequence[bytes], now_ms: int) -> list[Judged]:
            return [Judged(parse(content)) for content in contents]

        replica._proposing._answer_known = nothing_known
        replica._ingress.judge = accept
        old = [content for content in self.cluster.judge.executed if self.random.random() < 0.2]
        parsed = [parse(content) for content in old[:10]]
        replica._pool.add(each for each in parsed if replica._orderer.leads)

        def reform() -> None:
            replica._proposing.__dict__.pop("_answer_known", None)
            replica._ingress.__dict__.pop("judge", None)

        self._for(self._between(0.5, 3.0), reform)
        return True

    # ---- clocks

    def skew(self) -> bool:
        """A clock off within what the others accept."""
        return self._skew(3_000)

    def skew_beyond(self) -> bool:
        """A clock off so far that the others cosign nothing of it."""
        return self._skew(20_000)

    def _skew(self, most_ms: int) -> bool:
        clock = self.random.choice(self.cluster.members).clock
        clock.skew_ms = self.random.randrange(-most_ms, most_ms)
        self._for(self._between(0.5, 5.0), lambda: setattr(clock, "skew_ms", 0))
        return True

    # ---- the order

    def server_loss(self) -> bool:
        """kill -9 of one of the order's servers; if it led, a new leader within a second."""
        etcd = self.cluster.etcd
        if etcd.down:
            return False
        server = self.random.randrange(SERVERS)
        etcd.down.add(server)
        for member in self.cluster.members:
            member.link.break_watches(server)
        if server == 0:
            etcd.lose_leader()
            self._for(self._between(0.3, 1.2), etcd.elect)
        self._for(self._between(0.3, 5.0), lambda: etcd.down.discard(server))
        return True

    def leader_loss(self) -> bool:
        """A new leader within a second; streams break."""
        self.cluster.etcd.lose_leader()
        for member in self.cluster.members:
            if self.random.random() < 0.5:
                member.link.break_watches()
        self._for(self._between(0.1, 1.2), self.cluster.etcd.elect)
        return True

    def lease_loss(self) -> bool:
        """The proposer's lease ends before it knows, as when its renewals came too late."""
        leader = self.cluster.leader()
        holder = self.cluster.etcd.get(PROPOSER)
        if leader is None or holder is None:
            return False
        self.cluster.rushed(leader)
        leader.link.break_watches()
        return self.cluster.etcd.revoke(holder.lease)

    def majority_loss(self) -> bool:
        self.cluster.etcd.lose_leader()
        self._for(self._between(1.0, 6.0), self.cluster.etcd.elect)
        return True

    def order_cut(self) -> bool:
        """One member reaches the order no more, often the proposer."""
        member = self.cluster.leader() if self.random.random() < 0.5 else self._member()
        if member is None:
            return False
        link = member.link
        link.cut = True
        link.break_watches()
        self._for(self._between(0.2, 5.0), lambda: setattr(link, "cut", False))
        return True

    def order_loss(self) -> bool:
        """Requests and answers get lost: outcomes are unknown."""
        for member in self.cluster.members:
            member.link.loss = self._between(0.05, 0.5)
            self._for(self._between(0.5, 3.0), lambda link=member.link: setattr(link, "loss", 0.0))  # type: ignore[misc]
        return True

    def order_slow(self) -> bool:
        """Answers take longer than their deadline."""
        link = self.random.choice(self.cluster.members).link
        link.slow_s = self._between(0.05, 0.4)
        self._for(self._between(0.3, 2.0), lambda: setattr(link, "slow_s", 0.002))
        return True

    def watch_break(self) -> bool:
        self.random.choice(self.cluster.members).link.break_watches()
        return True

    # ---- stores

    def store_down(self) -> bool:
        faults = self.random.choice(self.cluster.members).faults
        faults.down = True
        self._for(self._between(0.05, 3.0), lambda: setattr(faults, "down", False))
        return True

    def store_unknown(self) -> bool:
        """Commits whose answer is lost."""
        faults = self.random.choice(self.cluster.members).faults
        faults.unknown_commit = self._between(0.2, 0.9)
        self._for(self._between(0.3, 2.0), lambda: setattr(faults, "unknown_commit", 0.0))
        return True

    def store_slow(self) -> bool:
        faults = self.random.choice(self.cluster.members).faults
        faults.slow_s = self._between(0.02, 0.4)
        self._for(self._between(0.3, 3.0), lambda: setattr(faults, "slow_s", 0.001))
        return True

    # ---- the network between members and clients

    def partition(self) -> bool:
        """Two sides that do not hear each other; the order may be on both."""
        names = sorted(self.cluster.network.hosts)
        self.random.shuffle(names)
        at = self.random.randrange(1, len(names))
        before = set(self.cluster.network.cut)
        self.cluster.network.separate(names[:at], names[at:])
        new = self.cluster.network.cut - before
        self._for(self._between(0.3, 5.0), lambda: self.cluster.network.cut.difference_update(new))
        return True

    def net_loss(self) -> bool:
        self.cluster.network.loss = self._between(0.05, 0.5)
        self._for(self._between(0.5, 3.0), lambda: setattr(self.cluster.network, "loss", 0.0))
        return True

    def net_duplicates(self) -> bool:
        self.cluster.network.duplicates = self._between(0.2, 0.9)
        self._for(self._between(0.5, 3.0), lambda: setattr(self.cluster.network, "duplicates", 0.0))
        return True

    def net_slow(self) -> bool:
        """Messages overtake each other."""
        self.cluster.network.slow_s = self._between(0.05, 0.6)
        self._for(self._between(0.3, 3.0), lambda: setattr(self.cluster.network, "slow_s", 0.002))
        return True


KINDS: dict[str, Callable[[Saboteur], bool]] = {
    "crash": Saboteur.crash,
    "crash_proposer": Saboteur.crash_proposer,
    "crash_all": Saboteur.crash_all,
    "crash_commit": Saboteur.crash_commit,
    "stop": Saboteur.stop,
    "pause": Saboteur.pause,
    "pause_proposer": Saboteur.pause_proposer,
    "absence": Saboteur.absence,
    "restore": Saboteur.restore,
    "careless": Saboteur.careless,
    "skew": Saboteur.skew,
    "skew_beyond": Saboteur.skew_beyond,
    "server_loss": Saboteur.server_loss,
    "leader_loss": Saboteur.leader_loss,
    "lease_loss": Saboteur.lease_loss,
    "majority_loss": Saboteur.majority_loss,
    "order_cut": Saboteur.order_cut,
    "order_loss": Saboteur.order_loss,
    "order_slow": Saboteur.order_slow,
    "watch_break": Saboteur.watch_break,
    "store_down": Saboteur.store_down,
    "store_unknown": Saboteur.store_unknown,
    "store_slow": Saboteur.store_slow,
    "partition": Saboteur.partition,
    "net_loss": Saboteur.net_loss,
    "net_duplicates": Saboteur.net_duplicates,
    "net_slow": Saboteur.net_slow,
}


def draw(random: Random) -> list[str]:
    """Some kinds, as each seed has its own: few at once find what all together hide. Sometimes none."""
    share = random.choice((0.0, 0.1, 0.2, 0.3, 0.5))
    return [kind for kind in KINDS if random.random() < share]
