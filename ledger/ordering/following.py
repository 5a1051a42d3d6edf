"""The order, executed: each block is checked, executed, committed in one transaction of the store, and answered.

    watch(h + 1) ─▶ check ─▶ execute ─▶ [held against a quorum's tree] ─▶ commit with our note ─▶ publish ─▶ answers
       │ OrderTrimmed
       └─▶ catch_up: blocks of other members, each against a tree that a quorum cosigned, then the order again

A block that does not fit halts the replica for good (Diverged). The store's absence only delays: afterwards the height
is loaded again, so that a commit whose answer was lost is recognised by its height.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence, Set
from contextlib import aclosing, suppress
from typing import Final, NamedTuple

from contracts.consortium import Roster
from ledger import genesis
from ledger.errors import Diverged, OrderingUnavailable, OrderTrimmed, StoreUnavailable
from ledger.founding import Founded
from ledger.log.checkpoint import checkpoint_text
from ledger.machine import BlockRefused, Executed, Head, Machine, fact_json
from ledger.marker import Marker, may_sign
from ledger.ordering.block import Block, BlockInvalid, parse_block
from ledger.ordering.orderer import Ordered, Orderer
from ledger.ordering.pool import Pool, TransactionResult
from ledger.ordering.progress import Progress
from ledger.ordering.proposing import BACKOFF_S
from ledger.ordering.signatures import CheckpointSigner, Verdicts
from ledger.replication.offload import Offload
from ledger.serving import first_result
from ledger.store.source import Source
from ledger.store.state import StateTampered
from ledger.store.store import FinalRow, Store
from runtime.clock import Clock
from runtime.logs import get_logger

_log = get_logger("ledger.following")

AHEAD_MAX_MS: Final = 5_000
_IN_THREAD_MIN: Final = 512
"""Signatures that may hold the loop for too long (25 ms). For fewer a thread costs more than it gives: it waits for the
interpreter's lock after each one."""

Against = Callable[[Head], None]
"""Raises BlockRefused where a block leads to another tree than it should."""


class Uncosigned(NamedTuple):
    """The first block that was too far ahead of this clock; what follows it is as well, until the clock gets there."""

    height: int
    proposer: str
    ahead_s: float


class Following:
    """The executing half of one replica.

    committed: told of each committed head with this member's note, before anybody is answered, and of the final
    checkpoint that was kept with it, as `final_due` asked for. catch_up: takes blocks from peers up to a height that
    the order still has, and applies them by `apply`. renamed: told of the members of
    the next block, and of names that the state has them under, whenever either may have changed."""

    def __init__(
        self,
        *,
        progress: Progress,
        founded: Founded,
        pool: Pool,
        store: Store,
        orderer: Orderer,
        signer: CheckpointSigner,
        marker: Marker,
        verdicts: Verdicts,
        clock: Clock,
        offload: Offload,
        committed: Callable[[Head, bytes, FinalRow | None], Awaitable[None]],
        final_due: Callable[[], FinalRow | None],
        catch_up: Callable[[int], Awaitable[None]],
        renamed: Callable[[Roster, Collection[str]], None],
    ) -> None:
        self._progress = progress
        self._founded = founded
        self._pool = pool
        self._store = store
        self._orderer = orderer
        self._signer = signer
        self._marker = marker
        self._verdicts = verdicts
        self._clock = clock
        self._offload = offload
        self._committed = committed
        self._final_due = final_due
        self._catch_up = catch_up
        self._renamed = renamed
        self.uncosigned: Uncosigned | None = None
        self.machine: Machine

    async def load(self) -> genesis.Loaded:
        """The newest committed height, verified. Raises GenesisInvalid, Diverged, StoreUnavailable."""
        loaded = await genesis.load(self._store, self._founded)
        self.machine = Machine(
            channel=self._progress.channel,
            members=genesis.members(self._founded.policy),
            contracts_root=self._founded.genesis.contracts_root,
            head=loaded.head,
            cache=loaded.cache,
            verdicts=self._verdicts,
            roster=loaded.roster,
        )
        self._progress.publish(loaded.head)
        self._renamed(loaded.roster, loaded.named)
        return loaded

    async def require_own_order(self) -> None:
        """The block of our height is the one executed here, where the order still keeps it (fault rule 13): who went on
        from another one would stop all others by its first proposal. Raises OrderingUnavailable, OrderTampered."""
        head = self._progress.head
        try:
            rows = await self._store.ordered(head.height, 1, head.size)
        except StoreUnavailable as error:
            raise OrderingUnavailable(str(error)) from error
        if not rows:
            return  # nothing but the genesis is here
        with suppress(OrderTrimmed):
            async with aclosing(self._orderer.watch(head.height)) as kept:  # type: ignore[type-var]  # a generator
                ordered = await anext(aiter(kept))
            if (ordered.revision, _header(ordered)) != (rows[0].order_revision, rows[0].header):
                raise OrderingUnavailable(
                    f"block {head.height} of the order is another one than this replica executed{_proposer(ordered)}: "
                    "it is not the order of this ledger. Correct the endpoints, or where etcd was lost for good, let "
                    "the new one begin behind the highest final block: dr-ledger begin-order"
                )

    async def run(self) -> None:
        """For ever. Raises Diverged, OrderTampered."""
        while True:
            try:
                async for ordered in self._orderer.watch(self._progress.head.height + 1):
                    await self.apply(ordered)
            except OrderTrimmed as trimmed:
                _log.info("the order begins later", height=self._progress.head.height, first=trimmed.first)
                await self._catch_up(trimmed.first - 1)

    async def apply(self, ordered: Ordered, against: Against | None = None) -> None:
        """Execute and commit one block. Raises Diverged; with `against`, BlockRefused, and nothing was committed."""
        for failures in range(1_000_000):
            try:
                block = parse_block(ordered.data)
                self.machine.check(block)
                executed, note, final = await self._commit(block, ordered.revision, against)
                break
            except (BlockInvalid, BlockRefused, StateTampered) as error:
                if against is not None and not isinstance(error, StateTampered):
                    raise BlockRefused(f"block {ordered.height}: {error}") from error
                raise Diverged(f"block {ordered.height}: {error}{_proposer(ordered)}") from error
            except StoreUnavailable as error:
                await self._await_store(error, failures)
                if self._progress.head.height >= ordered.height:  # the commit had come through after all
                    await self._answer_from_store(list(self._pool.in_flight()))
                    self._pool.put_back(block.contents)
                    return
        self.machine.accept(executed)
        if executed.roster is not None:
            named = [key for (kind, key), body in executed.writes.items() if kind == "member" and body is not None]
            self._renamed(executed.roster, named)
        await self._committed(executed.head, note, final)
        self._progress.require_sound()  # what the others signed may have told that this block differs
        self._progress.publish(executed.head)
        await self._answer(executed)

    async def _commit(
        self, block: Block, revision: int, against: Against | None
    ) -> tuple[Executed, bytes, FinalRow | None]:
        transactions = self.machine.read(block, self._pool.by_content())
        if len(transactions) >= _IN_THREAD_MIN:
            await self._offload(self._verdicts.ahead, self.machine.signatures(transactions))
        notes: list[bytes] = []

        def work(source: Source) -> tuple[Executed, bytes]:
            executed = self.machine.execute(block, revision, transactions, source)
            if against is not None:
                against(executed.head)
            notes.append(self._note(executed.head, block.header.proposer))
            if against is None and executed.roster is None:  # who proposes next is the same: it may do so meanwhile
                self._progress.foresee(executed.head)
            return executed, notes[-1]

        final = self._final_due()
        executed = await self._store.apply(work, final)
        return executed, notes[-1], final

    def _note(self, head: Head, proposer: str) -> bytes:
        """Our checkpoint. A tree below the largest we ever signed is not signed at all; one that is ahead of our clock
        is signed as the log's but not vouched for. Raises Diverged where the log passes that size with another tree."""
        if self._progress.head.size < self._marker.size <= head.size and not self._is_marked(head):
            raise Diverged(
                f"block {head.height}: this member signed another tree of {self._marker.size} leaves before. A backup "
                "was restored and the blocks after it are lost, or the order is another one; going on would contradict "
                "what was signed"
            )
        if not may_sign(self._marker, head.size, head.root):
            return checkpoint_text(self._signer.origin, head.size, head.root).encode()
        ahead_ms = head.time_ms - self._clock.now_ms()
        vouched = ahead_ms <= AHEAD_MAX_MS * max(self._clock.speed, 1.0)
        if vouched:
            self.uncosigned = None
        elif self.uncosigned is None:
            self.uncosigned = Uncosigned(head.height, proposer, ahead_ms / 1000)
            _log.error("a block is too far ahead of this clock and not cosigned", **self.uncosigned._asdict())
        return self._signer.note(head.size, head.root, self._clock.wall_ms() // 1000, cosigned=vouched)

    def _is_marked(self, head: Head) -> bool:
        marked = self._marker.root
        return not marked or (head.size, head.root) == (self._marker.size, marked)

    async def _answer(self, executed: Executed) -> None:
        """First results to those who asked; what a block held without effect is answered with its first result, or, if
        it has none, as refused. Only the very bytes that were ordered: a forger's have the same id."""
        height, left = executed.head.height, []
        for row in executed.transactions:
            if row.registered and self._pool.awaits(row.parsed.id):
                status = "committed" if row.code == "ok" else "refused"
                facts = [fact_json(fact.fact) for fact in row.facts]
                self._pool.resolve(TransactionResult(row.parsed.id, status, row.code, height, row.log_index, facts))
            elif not row.registered and self._pool.holds(row.parsed):
                left.append(row)
        if left:
            known = await self._answer_from_store([row.parsed.id for row in left])
            for row in (row for row in left if row.parsed.id not in known):
                self._pool.resolve(TransactionResult(row.parsed.id, "refused", row.code, height, row.log_index))

    async def _answer_from_store(self, ids: Sequence[str]) -> Set[str]:
        """Those that have a first result are answered with it."""
        while True:
            try:
                known = await self._store.results(ids)
                break
            except StoreUnavailable as error:
                await self._await_store(error)
        for result in known.values():
            self._pool.resolve(first_result(result))
        return known.keys()

    async def _await_store(self, error: BaseException, failures: int = 0) -> None:
        """Returns when the store answers again and the height was loaded from it; the later, the more often it did so
        and took the block no more for that (a full disk is read as always)."""
        for attempt in range(failures, 1_000_000):
            self._progress.unavailable = str(error)
            _log.warning("waiting for the store", height=self._progress.head.height, error=str(error))
            await asyncio.sleep(BACKOFF_S[min(attempt, len(BACKOFF_S) - 1)])
            try:
                if self._orderer.name == "local":
                    await self._orderer.check()  # its lock is in the same store: nobody else may write meanwhile
                loaded = await self.load()
            except (StoreUnavailable, OrderingUnavailable) as again:
                error = again
                continue
            self._progress.unavailable = None
            await self._committed(loaded.head, loaded.checkpoint, loaded.final)
            return


def _header(ordered: Ordered) -> bytes:
    """As it was signed, empty where these are no block's bytes."""
    try:
        return parse_block(ordered.data).header_bytes
    except BlockInvalid:
        return b""


def _proposer(ordered: Ordered) -> str:
    """Who is to blame, as far as the block says."""
    try:
        return f" (proposed by {parse_block(ordered.data).header.proposer})"
    except BlockInvalid:
        return ""
