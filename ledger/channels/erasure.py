"""Erasing bodies by law: salt and command of old transactions, and the facts they left. The chain needs neither.

                        stays                                     goes
    entry               header, signature, receipt hash           salt, body
    transactions        id, sender, nonce, code, receipt          facts, and whom they concerned
    tiles, checkpoints  all
    records             all: the present state is no history

Without its salt a commitment says nothing about the body, and a receipt nothing about its facts. What is younger than
the time in which a settlement may be disputed is never erased, nor are changes of the members: they name nobody's data,
and a member that was away learns by them whom to believe. Each member erases for itself; a block of which nobody
has the bodies any more cannot be executed again, only checked by its hashes.

This deletes rows and has PostgreSQL forget them (VACUUM). The write-ahead log, replicas of the database and backups
keep them for as long as they are kept, and the order until its window has passed: DESIGN.md says how long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.errors import ReplicaError

DAY_MS: Final = 24 * 3_600_000
DISPUTE_DAYS: Final = 120
"""Metering is awaited for 92 days at most (contracts), and a bill may be contested a month after."""

_TOUCHED: Final = ("bodies", "facts", "fact_parties")

_BY_TIME: Final = """
SELECT b.log_index FROM bodies b
JOIN transactions t ON t.channel = b.channel AND t.log_index = b.log_index
JOIN blocks k ON k.channel = t.channel AND k.height = t.height
WHERE b.channel = :channel AND k.time_ms < :before_ms
AND t.command NOT IN ('ChangeMembership', 'ReportEquivocation')"""

_BY_ID: Final = """
SELECT t.log_index, t.id, k.time_ms, t.command FROM transactions t
JOIN blocks k ON k.channel = t.channel AND k.height = t.height
WHERE t.channel = :channel AND t.registered AND t.id = ANY(:ids)"""

_STEPS: Final = (
    "INSERT INTO erasures (channel, log_index, erased_ms) SELECT :channel, unnest(CAST(:places AS bigint[])), :wall_ms"
    " ON CONFLICT DO NOTHING",
    "DELETE FROM fact_parties WHERE channel = :channel AND log_index = ANY(:places)",
    "DELETE FROM facts WHERE channel = :channel AND log_index = ANY(:places)",
    "DELETE FROM bodies WHERE channel = :channel AND log_index = ANY(:places)",
)


class ErasureRefused(ReplicaError):
    """Nothing was erased: what was asked for is too young, or not there."""


@dataclass(frozen=True, slots=True)
class Erased:
    """How many transactions lost their bodies, and how many facts went with them."""

    channel: str
    transactions: int
    facts: int


async def erase_before(
    engine: AsyncEngine, channel: str, before_ms: int, *, now_ms: int, wall_ms: int, dispute_days: int = DISPUTE_DAYS
) -> Erased:
    """Everything in blocks before `before_ms` (domain clock, as `now_ms`). Raises ErasureRefused."""
    _check_age(before_ms, now_ms, dispute_days, "what is before it")
    async with engine.connect() as connection:
        rows = await connection.execute(text(_BY_TIME), {"channel": channel, "before_ms": before_ms})
        places = [row.log_index for row in rows]
    return await _erase(engine, channel, places, wall_ms)


async def erase_transactions(
    engine: AsyncEngine,
    channel: str,
    ids: Sequence[str],
    *,
    now_ms: int,
    wall_ms: int,
    dispute_days: int = DISPUTE_DAYS,
) -> Erased:
    """These transactions. Raises ErasureRefused if one is unknown or too young, and erases none then."""
    async with engine.connect() as connection:
        rows = (await connection.execute(text(_BY_ID), {"channel": channel, "ids": list(ids)})).all()
    unknown = sorted(set(ids) - {row.id for row in rows})
    if unknown:
        raise ErasureRefused(f"channel {channel} holds no transaction {unknown[0]}")
    for row in rows:
        if row.command in ("ChangeMembership", "ReportEquivocation"):
            raise ErasureRefused(f"transaction {row.id} changed the members: by it others learn whom to believe")
        _check_age(row.time_ms + 1, now_ms, dispute_days, f"transaction {row.id}")
    return await _erase(engine, channel, [row.log_index for row in rows], wall_ms)


def _check_age(before_ms: int, now_ms: int, dispute_days: int, what: str) -> None:
    if before_ms > now_ms - dispute_days * DAY_MS:
        raise ErasureRefused(
            f"{what} may still be disputed: nothing of the last {dispute_days} days is erased (--dispute-days)"
        )


async def _erase(engine: AsyncEngine, channel: str, places: Sequence[int], wall_ms: int) -> Erased:
    if not places:
        return Erased(channel, 0, 0)
    counts = []
    async with engine.begin() as connection:
        for statement in _STEPS:
            values = {"channel": channel, "places": list(places), "wall_ms": wall_ms}
            wanted = {name: value for name, value in values.items() if f":{name}" in statement}
            counts.append((await connection.execute(text(statement), wanted)).rowcount)
    async with engine.connect() as connection:
        free = await connection.execution_options(isolation_level="AUTOCOMMIT")
        for table in _TOUCHED:
            await free.execute(text(f"VACUUM {table}"))
    return Erased(channel, counts[3], counts[2])
