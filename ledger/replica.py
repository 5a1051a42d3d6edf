"""One replica: order, execute, commit, answer.

    submit ─▶ ingress checks ─▶ pool ─▶ proposer ─▶ orderer ─▶ follower ─▶ machine ─▶ store (one transaction)
       ▲                                 one block in flight       │                      │ committed
       └──────────────────────── results, first ones for ids known already ◀──────────────┘

Nothing is answered before the commit. A block that does not fit, or a table that was edited, halts the replica for
good (Diverged): it never skips and never repairs. PostgreSQL's absence only delays: writes are refused meanwhile
(OrderingUnavailable), and afterwards the replica loads its height again and goes on with the block at hand.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Self

import msgspec

from ledger import genesis
from ledger.config import LedgerSettings
from ledger.errors import Diverged, OrderingUnavailable, StoreUnavailable
from ledger.founding import Founded
from ledger.machine import BlockRefused, Executed, Machine, fact_json
from ledger.ordering.block import TRANSACTIONS_MAX, Block, BlockInvalid, make_block, parse_block, render_block
from ledger.ordering.ingress import MAY_HAVE_RESULT, Ingress, Judged
from ledger.ordering.orderer import Conflict, Fenced, Ordered, Orderer, Unknown
from ledger.ordering.pool import Pool, TransactionResult
from ledger.ordering.signatures import CheckpointSigner, Verdicts
from ledger.replication.offload import Offload, in_thread
from ledger.replication.peers import NoPeers, Peers
from ledger.serving import Serving, first_result
from ledger.store.source import Source
from ledger.store.state import StateTampered
from ledger.store.store import RefusalRow, ResultRow, Store
from runtime.clock import Clock
from runtime.logs import get_logger

_log = get_logger("ledger.replica")

REFUSALS_KEPT: Final = 1_000
_REFUSALS_EVERY_S: Final = 0.5
_BACKOFF_S: Final = (0.05, 0.2, 0.5, 1.0, 2.0)
_STALLED_S: Final = 1.0
_AHEAD_MAX_MS: Final = 5_000
_IN_THREAD_MIN: Final = 16


class Replica(Serving):
    """Use it as an asynchronous context: entering founds an empty database or loads and verifies the one there is.

    Entering raises GenesisInvalid, Diverged, OrderingUnavailable (another replica runs on this database).
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
    ) -> None:
        channel = founded.genesis.channel
        super().__init__(store, founded)
        self._settings = settings
        self._clock = clock
        self._orderer = orderer
        self._peers = peers or NoPeers()
        self._offload = offload
        self._signer = CheckpointSigner(founded.genesis.origin, founded.log_key, founded.member, founded.cosigner_key)
        self._verdicts = Verdicts()
        self._pool = Pool(settings.queue_max)
        self._ingress = Ingress(channel, self._verdicts, self._party, offload)
        self._tasks: list[asyncio.Task[None]] = []
        self._refused: list[RefusalRow] = []
        self._unavailable: str | None = None
        self._applied = asyncio.Event()
        self._block_s = 0.0

    async def __aenter__(self) -> Self:
        await self._orderer.check()  # the lock first: nobody else moves the height that is loaded now
        try:
            marker = self._settings.data_dir / genesis.MARKER
            if await self._store.is_empty():
                await genesis.create(self._store, self._founded, self._signer, self._clock.wall_ms() // 1000, marker)
            await self._load()
            genesis.mark(marker, msgspec.json.encode(self._founded.genesis, order="sorted"))
            await self._orderer.start(self.head.height)
        except BaseException:
            await self._store.close()
            await self._orderer.stop()
            raise
        jobs = (self._follow, self._propose, self._keep_refusals)
        self._tasks = [asyncio.create_task(self._guard(job)) for job in jobs]
        _log.info("replica serves", channel=self.channel, height=self.head.height, size=self.head.size)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._pool.close()
        await self._orderer.stop()
        with contextlib.suppress(StoreUnavailable):
            await self._flush_refusals()
        await self._store.close()

    async def submit(self, transactions: Sequence[bytes]) -> list[TransactionResult]:
        """One result each, in order: after this replica's own commit, or "unknown" after `answer_timeout_s`.

        Raises QueueFull, OrderingUnavailable, Diverged; whatever is sent raises nothing."""
        self._require_sound()
        if self._unavailable is not None:
            raise OrderingUnavailable(self._unavailable)
        try:
            judged = await self._ingress.judge(transactions, self._clock.now_ms())
            refused = await self._refusals_of(judged)
        except StoreUnavailable as error:
            raise OrderingUnavailable(str(error)) from error
        accepted = [each.parsed for each in judged if each.parsed is not None and not each.code]
        self._require_sound()
        answers = dict(zip(accepted, self._pool.add(accepted), strict=True)) if accepted else {}
        if answers:
            await asyncio.wait(answers.values(), timeout=self._settings.answer_timeout_s)
        results = []
        for position, each in enumerate(judged):
            answer = answers.get(each.parsed) if each.parsed is not None else None
            if answer is None:
                results.append(refused[position])
            elif answer.done():
                results.append(answer.result())
            else:
                results.append(TransactionResult(each.parsed.id if each.parsed else None, "unknown", "unknown"))
        return results

    async def refusals(self, limit: int) -> list[dict[str, Any]]:
        """Transactions refused before they were ordered, newest first; at most 1,000 are kept."""
        await self._flush_refusals()
        return await self._store.refusals(limit)

    def status(self) -> dict[str, Any]:
        """height, size, time_ms, members, orderer, proposer, queue, state (serving, waiting or diverged)."""
        state = "diverged" if self._fault else "waiting" if self._unavailable else "serving"
        head = self.head
        return {
            "channel": self.channel,
            "height": head.height,
            "size": head.size,
            "time_ms": head.time_ms,
            "members": sorted(genesis.members(self._founded.policy)),
            "orderer": self._orderer.name,
            "proposer": self._founded.member,
            "queue": len(self._pool),
            "next_due_ms": head.next_due_ms,
            "state": state,
        }

    async def check_orderer(self) -> None:
        """Return if writes are possible now, else raise OrderingUnavailable."""
        if self._unavailable is not None:
            raise OrderingUnavailable(self._unavailable)
        await self._orderer.check()

    async def check_log(self) -> None:
        """Return unless the replica halted. Raises Diverged."""
        self._require_sound()

    # ---- loading

    async def _load(self) -> None:
        loaded = await genesis.load(self._store, self._founded)
        self._machine = Machine(
            channel=self.channel,
            members=genesis.members(self._founded.policy),
            contracts_root=self._founded.genesis.contracts_root,
            head=loaded.head,
            cache=loaded.cache,
            verdicts=self._verdicts,
        )
        self._publish(loaded.head, loaded.checkpoint)

    async def _guard(self, job: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await job()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            fault = error if isinstance(error, Diverged) else Diverged(f"the replica halted: {error!r}")
            _log.error("replica halted", channel=self.channel, height=self.head.height, error=str(fault))
            self._fault = fault
            self._pool.close(fault)
            self._applied.set()
            self._wake()

    # ---- order

    async def _propose(self) -> None:
        """One block at a time: what arrives while a block is under way makes the next."""
        count = 0
        while True:
            await self._work()
            wait_s = min(self._settings.block_ms / 1000, self._block_s) if count > 1 else 0.0
            await self._pool.gather(count, wait_s)
            taken = self._pool.take(self._settings.block_bytes_max, TRANSACTIONS_MAX)
            count = len(taken)
            try:
                old = await self._store.known([ticket.parsed.id for ticket in taken]) if taken else frozenset()
                known = await self._store.results(list(old))
            except StoreUnavailable as error:
                await self._await_store(error)
                self._pool.put_back()
                continue
            for result in known.values():
                self._pool.resolve(first_result(result))
            contents = [ticket.parsed.content for ticket in taken if ticket.parsed.id not in known]
            if contents or self._is_due():
                await self._order(contents)

    async def _work(self) -> None:
        """Returns when transactions wait or a deadline is due; an idle ledger makes no blocks."""
        while not self._pool.arrived.is_set() and not self._is_due():
            due_ms = self.head.next_due_ms
            waits = [asyncio.create_task(self._pool.arrived.wait())]
            if due_ms is not None:
                waits.append(asyncio.create_task(self._clock.sleep_until(due_ms)))  # type: ignore[arg-type]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in waits:
                    task.cancel()

    def _is_due(self) -> bool:
        due_ms = self.head.next_due_ms
        return due_ms is not None and self._clock.now_ms() >= due_ms

    async def _order(self, contents: list[bytes]) -> None:
        head = self.head
        block = make_block(
            channel=self.channel,
            height=head.height + 1,
            previous=head.previous,
            time_ms=max(self._clock.now_ms(), head.time_ms + 1),
            proposer=self._founded.member,
            contents=contents,
            sign=self._signer.sign_block,
        )
        loop = asyncio.get_running_loop()
        data, started = render_block(block), loop.time()
        for attempt in range(1_000_000):
            try:
                outcome = await self._orderer.propose(block.header.height, data)
            except OrderingUnavailable as error:
                self._unavailable = str(error)
                outcome = Unknown(str(error))
            if not isinstance(outcome, Unknown):
                break
            await asyncio.sleep(_BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)])
        self._unavailable = None
        while self.head.height < block.header.height and not isinstance(outcome, Fenced):
            self._applied.clear()
            await self._applied.wait()
            self._require_sound()
        if isinstance(outcome, Conflict | Fenced):
            self._pool.put_back()
        self._block_s = loop.time() - started
        if not contents and self.head.next_due_ms == head.next_due_ms:
            _log.warning("a due deadline made no progress", height=self.head.height, due_ms=head.next_due_ms)
            await asyncio.sleep(_STALLED_S)

    # ---- execute, commit, answer

    async def _follow(self) -> None:
        async for ordered in self._orderer.watch(self.head.height + 1):
            await self._apply(ordered)

    async def _apply(self, ordered: Ordered) -> None:
        while True:
            try:
                block = parse_block(ordered.data)
                self._machine.check(block)
                executed, note = await self._commit(block, ordered.revision)
                break
            except (BlockInvalid, BlockRefused, StateTampered) as error:
                raise Diverged(f"block {ordered.height}: {error}") from error
            except StoreUnavailable as error:
                await self._await_store(error)
                if self.head.height >= ordered.height:  # the commit had come through after all
                    await self._answer_from_store()
                    self._applied.set()
                    return
        self._machine.accept(executed)
        self._publish(executed.head, note)
        for row in executed.transactions:
            facts = [fact_json(fact.fact) for fact in row.facts]
            status = "committed" if row.code == "ok" else "refused"
            if row.registered:
                self._pool.resolve(
                    TransactionResult(row.parsed.id, status, row.code, executed.head.height, row.log_index, facts)
                )
        if self._pool.in_flight():
            await self._answer_from_store(last=executed)
        self._applied.set()

    async def _commit(self, block: Block, revision: int) -> tuple[Executed, bytes]:
        transactions = self._machine.read(block, self._pool.by_content())
        triples = self._machine.signatures(transactions)
        if len(triples) >= _IN_THREAD_MIN:
            await self._offload(self._verdicts.ahead, triples)
        notes: list[bytes] = []

        def work(source: Source) -> tuple[Executed, bytes]:
            executed = self._machine.execute(block, revision, transactions, source)
            ahead_ms = executed.head.time_ms - self._clock.now_ms()
            vouched = ahead_ms <= _AHEAD_MAX_MS * max(self._clock.speed, 1.0)
            time_s = self._clock.wall_ms() // 1000
            notes.append(self._signer.note(executed.head.size, executed.head.root, time_s, cosigned=vouched))
            return executed, notes[-1]

        return await self._store.apply(work), notes[-1]

    async def _answer_from_store(self, last: Executed | None = None) -> None:
        """Results of what is in flight and was executed earlier, by this replica or another. What a block refused
        without taking its id (its sender was revoked or its time was over meanwhile) is answered with that code."""
        known = await self._store.results(list(self._pool.in_flight()))
        for result in known.values():
            self._pool.resolve(first_result(result))
        if last is not None:
            for row in last.transactions:
                self._pool.resolve(
                    TransactionResult(row.parsed.id, "refused", row.code, last.head.height, row.log_index)
                )
        else:
            self._pool.put_back()

    async def _await_store(self, error: BaseException) -> None:
        """Returns when PostgreSQL answers again and the height was loaded from it."""
        for attempt in range(1_000_000):
            self._unavailable = str(error)
            _log.warning("waiting for postgres", height=self.head.height, error=str(error))
            await asyncio.sleep(_BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)])
            try:
                await self._orderer.check()
                await self._load()
            except (StoreUnavailable, OrderingUnavailable) as again:
                error = again
                continue
            self._unavailable = None
            return

    # ---- refusals before the order

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
            self._refused.append(each.refusal(self._clock.wall_ms()))
        del self._refused[:-REFUSALS_KEPT]
        return results

    async def _keep_refusals(self) -> None:
        while True:
            await asyncio.sleep(_REFUSALS_EVERY_S)
            with contextlib.suppress(StoreUnavailable):
                await self._flush_refusals()

    async def _flush_refusals(self) -> None:
        rows, self._refused = self._refused, []
        if rows:
            try:
                await self._store.add_refusals(rows, REFUSALS_KEPT)
            except StoreUnavailable:
                self._refused = [*rows, *self._refused][-REFUSALS_KEPT:]
                raise

    async def _party(self, party: str) -> bytes | None:
        known, body = self._machine.cache.peek("party", party)
        return body if known else (await self._store.record("party", party))[0]
