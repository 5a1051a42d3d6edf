"""The audit: executes everything again from the genesis, in memory, and compares it with every stored row.

    genesis ─▶ block 1 ─▶ ... ─▶ block h           for each block, in this order: its header and proposer, its
               compare    compare compare          transactions against what was ordered, its execution, every row it
                                     │             wrote, its tiles, its signed checkpoint
                                     └─▶ records, final checkpoint, counts of rows

    re-executed ──────────▶│ hash-verified ────────▶      nothing can be executed from the first block on of which a
                           └ the first erased body        body was erased: there chain, signatures, leaves, receipts
                                                          and roots are checked, and the records against the last root

It raises for the first block that does not fit, naming the transaction and what differs, and changes nothing. It runs
beside a serving replica, on one snapshot. The refusals table is the operator's notebook and not part of the ledger.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.audit.differences import LedgerDiffers
from ledger.audit.finality import Finality
from ledger.audit.hashes import Hashes
from ledger.audit.replay import Replay
from ledger.founding import Founded
from ledger.store import tables
from ledger.store.history import History

__all__ = ["Audited", "LedgerDiffers", "audit", "audit_history"]


@dataclass(frozen=True, slots=True)
class Audited:
    """What was found equal. `checkpoint`: the newest signed one; `transactions` is `re_executed` (their results came
    out again) plus `hash_verified` (only hashes and signatures could be checked); `erased`: bodies that are gone, each
    with its row in `erasures`."""

    channel: str
    height: int
    transactions: int
    re_executed: int
    hash_verified: int
    erased: int
    size: int
    records: int
    state_root: str
    checkpoint: str
    final_size: int
    seconds: float


async def audit(engine: AsyncEngine, founded: Founded, *, execute: bool = True) -> Audited:
    """Replays and compares everything; without `execute` all of it is verified by hashes and signatures, and no state
    is held in memory. Raises LedgerDiffers for the first block that does not fit, GenesisInvalid."""
    async with History.open(engine, founded.genesis.channel) as history:
        return await audit_history(history, founded, execute=execute)


async def audit_history(history: History, founded: Founded, *, execute: bool = True) -> Audited:
    """As `audit`, in the transaction of that history."""
    started = time.perf_counter()
    replay = Replay(founded)
    await replay.check_genesis(history)
    finality = await Finality.read(history, founded)
    finality.passed(0, replay.machine.head.size, replay.machine.head.root)
    erased = {int(row["log_index"]) for row in await history.rows(tables.erasures)}
    hashes: Hashes | None = None
    async for stored in history.blocks():
        if execute and hashes is None and not any(row["log_index"] in erased for row in stored.transactions):
            await replay.check_block(stored, history)
            head = replay.machine.head
            finality.passed(head.height, head.size, head.root)
            continue
        hashes = hashes or await Hashes.after(replay, founded, erased, history)
        await hashes.check_block(stored, history)
        finality.passed(hashes.height, hashes.size, hashes.root)
    records = await (hashes or replay).check_records(history)
    height = hashes.height if hashes else replay.machine.head.height
    await _check_counts(history, replay, height, hashes.erased if hashes else 0)
    finality.require_passed()
    size = hashes.size if hashes else replay.machine.head.size
    re_executed = replay.executed
    return Audited(
        channel=founded.genesis.channel,
        height=height,
        transactions=replay.counts["transactions"],
        re_executed=re_executed,
        hash_verified=replay.counts["transactions"] - re_executed,
        erased=hashes.erased if hashes else 0,
        size=size,
        records=records,
        state_root=(hashes.state_root if hashes else replay.machine.cache.tree.root).hex(),
        checkpoint=replay.published.checkpoint.decode(),
        final_size=finality.size,
        seconds=round(time.perf_counter() - started, 3),
    )


async def _check_counts(history: History, replay: Replay, height: int, erased: int) -> None:
    """Rows that belong to no block. Raises LedgerDiffers."""
    expected = replay.counts | {"checkpoints": replay.published.checkpoints, "erasures": erased}
    for name, count in expected.items():
        stored = await history.count(getattr(tables, name))
        if stored != count:
            raise LedgerDiffers(height, f"table {name}: {stored} rows instead of {count}")
    await replay.published.check_rows(height, history)
