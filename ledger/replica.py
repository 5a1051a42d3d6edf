"""One replica of a consortium: forward or order, execute, commit, cosign, answer.

    submit ─▶ ingress ─▶ pool ─▶ proposing ─▶ orderer ─▶ following ─▶ machine ─▶ store (one transaction)
       ▲                           │ not the proposer: forwarded        │ committed, with our note
       ├──── first results ◀───────┼────────────────────────────────────┤
       └──── final ◀── attestations ◀── exchange ◀──▶ peers ────────────┘ the notes of all members

Nothing is answered before the commit of this replica. A block that does not fit, a table that was edited, or a quorum
that signed another tree halts the replica for good (Diverged): it never skips and never repairs. PostgreSQL's absence
only delays; without a majority of the order's cluster, writes are refused and reads go on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from typing import Any, Final, Self

from contracts.consortium import Roster
from contracts.core.codec import digest
from ledger import genesis
from ledger.config import LedgerSettings
from ledger.errors import Diverged, OrderingUnavailable, PeerUnavailable, StoreUnavailable
from ledger.founding import Founded
from ledger.marker import FileMarker, Marker, require_unmarked
from ledger.ordering.following import AHEAD_MAX_MS, Following
from ledger.ordering.ingress import MAY_HAVE_RESULT, Ingress, Judged
from ledger.ordering.orderer import Orderer
from ledger.ordering.pool import Pool, TransactionResult
from ledger.ordering.progress import Progress
from ledger.ordering.proposing import BACKOFF_S, Proposing
from ledger.ordering.signatures import CheckpointSigner, Verdicts
from ledger.replication.alarm import Alarms, in_folder
from ledger.replication.attestation import Attestations, FinalCheckpoint
from ledger.replication.exchange import Exchange
from ledger.replication.forwarding import Forwarding
from ledger.replication.membership.rosters import Rosters, has_left
from ledger.replication.membership.standing import Standing
from ledger.replication.network.reception import ReplicaReception
from ledger.replication.offload import Offload, in_thread
from ledger.replication.peers import NoPeers, Peers
from ledger.replication.transfer import Transfer
from ledger.replication.trimming import Trimming
from ledger.serving import Serving, first_result
from ledger.store.refusals import Refusals
from ledger.store.store import ResultRow, Store
from ledger.verify.policy import parse_policy
from runtime.clock import Clock
from runtime.logs import get_logger

_log = get_logger("ledger.replica")

_CONFIRMED_S: Final = 0.7

Job = Callable[[], Coroutine[Any, Any, None]]


class Replica(Serving, ReplicaReception):
    """Use it as an asynchronous context: entering founds an empty database or loads and verifies the one there is.

    peers: the other members (none: this one is alone). offload: where work for another thread goes. marker: the largest
    tree ever signed (a file in the data folder). known_members: names that peers may have, also of those who become
    members later. Entering raises GenesisInvalid, Diverged, StoreUnavailable, OrderingUnavailable (another replica runs
    on this database, or the order is not ours).
    """

    def __init__(
        self,
        store: Store,
        founded: Founded,
        settings: LedgerSettings,
        clock: Clock,
        orderer: Orderer,
        peers: Peers | None = None,
        offload: Offload = in_thread,
        marker: Marker | None = None,
    ) -> None:
        channel, origin, policy = founded.genesis.channel, founded.genesis.origin, parse_policy(founded.policy)
        progress = Progress(channel)
        self.peers: Peers = peers or NoPeers()
        self._alarms = Alarms(
            progress=progress, store=store, peers=self.peers, origin=origin, policy=policy, halt=self._halt,
            keep=in_folder(settings.data_dir / "evidence"),
        )  # fmt: skip
        attestations = Attestations(origin, founded.member, policy, self._alarms.contradicted)
        Serving.__init__(
            self, store, founded, progress, attestations, machine=lambda: self._following.machine, halt=self._halt,
            patience_s=settings.answer_timeout_s,
        )  # fmt: skip
        self._settings = settings
        self._clock = clock
        self._orderer = orderer
        self._marker = marker or FileMarker(settings.data_dir / "signed", digest(founded.genesis))
        self._signer = CheckpointSigner(origin, founded.log_key, founded.member, founded.cosigner_key)
        verdicts = Verdicts()
        self._pool = Pool(settings.queue_max)
        settled = None if orderer.name == "local" else self.current
        self._ingress = Ingress(channel, verdicts, self._party, offload, settled)
        self._refusals = Refusals(store)
        self._exchange = Exchange(
            attestations, self.peers, self._marker, store, offload, origin, progress.wake, lambda: len(self._pool) > 0
        )  # fmt: skip
        self._forwarding = Forwarding(self._pool, orderer, self.peers)
        self._rosters = Rosters(founded, progress, self.peers, attestations, self._alarms, self._exchange)
        self._transfer = Transfer(
            progress, self.peers, attestations, store, self._rosters,
            founded.member, settings.known_peers(),
        )  # fmt: skip
        self._standing = Standing(
            progress=progress, orderer=orderer, peers=self.peers, clock=clock, patiently=self._patiently,
            limit_ms=AHEAD_MAX_MS * max(clock.speed, 1.0), is_member=lambda: founded.member in self.members(),
        )  # fmt: skip
        self._trimming = Trimming(orderer, attestations, settings.order_margin_blocks, settings.order_window_blocks)
        self._proposing = Proposing(
            progress=progress, pool=self._pool, store=store, orderer=orderer, forwarding=self._forwarding,
            signer=self._signer, clock=clock, settings=settings,
            may_propose=self._may_propose,
        )  # fmt: skip
        self._following = Following(
            progress=progress, founded=founded, pool=self._pool, store=store, orderer=orderer, signer=self._signer,
            marker=self._marker, verdicts=verdicts, clock=clock, offload=offload,
            committed=self._exchange.committed, final_due=self._exchange.due, catch_up=self._catch_up,
            renamed=self._use_members,
        )  # fmt: skip
        ReplicaReception.__init__(
            self, member=founded.member, progress=progress, pool=self._pool, ingress=self._ingress, orderer=orderer,
            store=store, clock=clock, attestations=attestations, exchange=self._exchange, refused=self._note_refusal,
        )  # fmt: skip
        self.known_members = self._rosters.known
        self._ordering: list[asyncio.Task[None]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._leaving: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if not self.peers.names:
            await self._orderer.check()  # the lock first: nobody else moves the height that is loaded now
        try:
            if await self._store.is_empty():
                time_s = self._clock.wall_ms() // 1000
                alone = not self.peers.names
                await genesis.create(self._store, self._founded, self._signer, time_s, self._marker, alone=alone)
            loaded = await self._following.load()
            require_unmarked(self._marker, loaded.head.size, loaded.head.root)
            if (final := loaded.final) is not None:
                self._exchange.restore(FinalCheckpoint(final.size, final.height, final.note))
            await self._exchange.committed(loaded.head, loaded.checkpoint)
            await self._start()
        except BaseException:
            await self._orderer.stop()
            await self._store.close()
            await self.peers.close()
            raise
        _log.info("replica serves", channel=self.channel, height=self.head.height, size=self.head.size)
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [*self._tasks, *([self._leaving] if self._leaving is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._pool.close()
        await self._orderer.stop()
        with contextlib.suppress(StoreUnavailable):
            await self._refusals.flush()
        await self.peers.close()
        await self._store.close()

    async def submit(self, transactions: Sequence[bytes]) -> list[TransactionResult]:
        """One result each, in order: after this replica's own commit, or "unknown" after `answer_timeout_s`.

        Raises QueueFull, OrderingUnavailable (CatchingUp), Diverged, and then nothing was taken; whatever is sent
        raises nothing."""
        self._progress.require_writable()
        try:
            judged = await self._ingress.judge(transactions, self.head.time_ms)
            refused = await self._refusals_of(judged)
        except StoreUnavailable as error:
            raise OrderingUnavailable(str(error)) from error
        accepted = [each.parsed for each in judged if each.parsed is not None and not each.code]
        if accepted:
            await self._proposing.confirm(_CONFIRMED_S)
        self._progress.require_writable()
        self._standing.require_somebody()
        answers = dict(zip(accepted, self._pool.add(accepted), strict=True)) if accepted else {}
        if answers:
            await self._answered(list(answers.values()))
            self._withdraw([parsed.id for parsed, answer in answers.items() if not answer.done()], len(answers))
        results = []
        for position, each in enumerate(judged):
            answer = answers.get(each.parsed) if each.parsed is not None else None
            if answer is None:
                results.append(refused[position])
            elif answer.done() and not answer.cancelled():
                results.append(answer.result())
            else:
                key, why = each.parsed.id if each.parsed else None, self._standing.why_unknown()
                results.append(TransactionResult(key, "unknown", "unknown", detail=why))
        return results

    async def current(self) -> None:
        """Returns when everything is executed here that was ordered, by whomever, before the call: a read after it is
        linearizable. Raises OrderingUnavailable without a majority of the order, or where it takes too long."""
        self._require_sound()
        try:
            async with asyncio.timeout(self._settings.answer_timeout_s):
                tip = await self._orderer.tip()
                await self._progress.reached(tip)
        except TimeoutError:
            raise OrderingUnavailable("this replica is too far behind the order: read another one") from None

    async def tip(self) -> int:
        """The highest height that was ordered, by whomever. Raises OrderingUnavailable."""
        return await self._orderer.tip()

    async def refusals(self, limit: int) -> list[dict[str, Any]]:
        """Transactions refused before they were ordered, newest first; at most 1,000 are kept."""
        return await self._refusals.newest(limit)

    def status(self) -> dict[str, Any]:
        """height, size, time_ms, final_height, final_size, members, replicas (one row a member: name, height, size, lag
        in blocks, reachable), orderer, order, proposer, queue, alarms, withheld (why no signature leaves), and the
        state: serving, waiting, catching-up, retired or diverged."""
        progress, head, late = self._progress, self.head, self._following.uncosigned
        state = "waiting" if progress.unavailable else "serving" if progress.target is None else "catching-up"
        state = "retired" if progress.retired else state
        return {
            "channel": self.channel,
            "member": self._founded.member,
            "height": head.height,
            "size": head.size,
            "time_ms": head.time_ms,
            "final_height": self.final_height,
            "final_size": self.final_size,
            "members": self.members(),
            "replicas": self._exchange.rows(self._founded.member, head, self._orderer.proposer),
            "orderer": self._orderer.name,
            "order": self._orderer.state(),
            "proposer": self._orderer.proposer,
            "queue": len(self._pool),
            "forwarded": self._forwarding.sent,
            "next_due_ms": head.next_due_ms,
            "alarms": self._alarms.as_rows(),
            "held_back": self._standing.held or None,
            "uncosigned": late and late._asdict(),
            "withheld": self._exchange.withheld,
            "state": "diverged" if progress.fault else state,
        }

    async def check_orderer(self) -> None:
        """Return if writes are possible now, else raise OrderingUnavailable."""
        if self._progress.unavailable is not None:
            raise OrderingUnavailable(self._progress.unavailable)
        await self._orderer.check()

    async def check_log(self) -> None:
        """Return unless the replica halted or is behind the order it found. Raises Diverged, CatchingUp."""
        self._progress.require_current()

    async def check_quorum(self) -> None:
        """Return if so many members answer that checkpoints become final, else raise PeerUnavailable."""
        answering = {self._founded.member, *self._exchange.answering()}
        if not self._attestations.could_be_quorum(answering):
            away = ", ".join(sorted(set(self.members()) - answering))
            raise PeerUnavailable(f"nothing becomes final: no answer from {away}")

    def members(self) -> list[str]:
        """Names of those who order and cosign."""
        return self._attestations.members()

    # ---- running

    async def _start(self) -> None:
        ordering: list[Job] = [self._follow, self._proposing.run, self._proposing.watch]
        if self._orderer.name == "local":
            await self._orderer.start(self.head.height)
            self._progress.aim(self.head.height)
        else:
            ordering += [self._standing.run, self._forwarding.watch, self._trimming.run]
        self._ordering = [asyncio.create_task(self._guard(job)) for job in ordering]
        if await has_left(self._store, self._founded.member, self.head.height):
            self._progress.aim(self.head.height)  # what comes after is not for this one
            self._leaving = asyncio.create_task(self._retire(self.head.height))
        others = [self._refusals.run, *self._exchange.jobs(), self._alarms.run]
        self._tasks = [*self._ordering, *(asyncio.create_task(self._guard(job)) for job in others)]

    async def _follow(self) -> None:
        """The order may be away when a replica starts: reads are served all the same."""
        if self._progress.target is not None:
            await self._patiently(self._find_tip)
        await self._following.run()

    async def _find_tip(self) -> None:
        tip = await self._orderer.tip()
        if tip < self.head.height:
            await self._orderer.start(self.head.height)  # says why an order that ends below us is not ours
        await self._following.require_own_order()
        self._progress.aim(tip)
        self._progress.wake()

    async def _patiently(self, step: Callable[[], Awaitable[None]]) -> None:
        for attempt in range(1_000_000):
            try:
                await step()
                self._progress.unavailable = None
                return
            except OrderingUnavailable as error:
                self._progress.unavailable = str(error)
                _log.warning("waiting for the order", channel=self.channel, error=str(error))
                await asyncio.sleep(BACKOFF_S[min(attempt, len(BACKOFF_S) - 1)])

    def _use_members(self, named: Roster, known: Collection[str]) -> None:
        """Who orders and cosigns from the next block on, by the state."""
        changed = self._rosters.follow(named, known, self._transfer.further)
        if changed is None:
            return
        self._policy = changed.policy
        for visit in changed.visits if self._tasks else ():
            self._tasks.insert(0, asyncio.create_task(self._guard(visit)))
        if changed.leaves and self._tasks and self._leaving is None:
            self._leaving = asyncio.create_task(self._retire(self._progress.head.height + 1))

    async def _retire(self, height: int) -> None:
        """A former member executes and cosigns its last block, and then follows the order no more."""
        await self._progress.reached(height)
        self._progress.retired = "this member is none any more: its replica shows what it has, and takes nothing new"
        for task in self._ordering:
            task.cancel()
        self._pool.close()
        await self._orderer.stop()

    async def _may_propose(self) -> bool:
        return self._founded.member in self._following.machine.members and await self._standing.steady()

    async def _catch_up(self, height: int) -> None:
        self._progress.aim(max(height, self._progress.target or 0))
        await self._transfer.catch_up(height, self._following.apply)

    async def _guard(self, job: Job) -> None:
        try:
            await job()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            _log.debug("a job ended", exc_info=True)
            self._halt(error if isinstance(error, Diverged) else Diverged(f"the replica halted: {error!r}"))

    def _halt(self, fault: Diverged) -> None:
        """For good: nothing is ordered, executed or signed any more, and everybody who waits is told."""
        _log.error("replica halted", channel=self.channel, height=self.head.height, error=str(fault))
        self._progress.halt(fault)
        self._exchange.halted = True
        self._pool.close(self._progress.fault)
        if self._orderer.name != "local" and self._leaving is None:
            self._leaving = asyncio.create_task(self._orderer.stop())  # another member proposes
        for task in self._tasks[:-1]:  # the last one looks for the cause
            if task is not asyncio.current_task():
                task.cancel()

    # ---- answering

    async def _answered(self, answers: list[asyncio.Future[TransactionResult]]) -> None:
        """Returns when all are, when nothing can be ordered any more, or after `answer_timeout_s`."""
        waits: list[asyncio.Task[Any]] = [
            asyncio.create_task(asyncio.wait(answers)),
            asyncio.create_task(self._progress.stopped.wait()),
        ]
        try:
            await asyncio.wait(waits, timeout=self._settings.answer_timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()

    def _withdraw(self, pending: list[str], asked: int) -> None:
        """Where nothing can be ordered, what nobody was told of is refused instead of left in a queue."""
        reason = self._progress.unavailable
        if reason is not None and pending and len(self._pool.withdraw(pending)) == asked:
            raise OrderingUnavailable(reason)

    async def _refusals_of(self, judged: Sequence[Judged]) -> dict[int, TransactionResult]:
        """By position; an authentic transaction that was executed in its time gets its first result instead."""
        refused = {position: each for position, each in enumerate(judged) if each.code}
        late = [each.parsed.id for each in refused.values() if each.parsed is not None and each.code in MAY_HAVE_RESULT]
        known: dict[str, ResultRow] = await self._store.results(late)
        results = {}
        for position, each in refused.items():
            first = known.get(each.parsed.id) if each.parsed is not None and each.code in MAY_HAVE_RESULT else None
            if first is not None:
                results[position] = first_result(first)
                continue
            results[position] = TransactionResult(each.parsed.id if each.parsed else None, "refused", each.code)
            self._note_refusal(each)
        return results

    def _note_refusal(self, judged: Judged) -> None:
        self._refusals.add(judged.refusal(self._clock.wall_ms()))

    async def _party(self, party: str) -> bytes | None:
        known, body = self._following.machine.cache.peek("party", party)
        return body if known else (await self._store.record("party", party))[0]
