"""A member's ledger, its backup and what is restored from it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.config import LedgerSettings
from ledger.operations.backup import BackedUp, backup, private_keys
from ledger.operations.restore import Restored, restore
from ledger.store import tables
from runtime.database import create_engine
from tests.builders import START_MS
from tests.ledger.replicas import a_proposal, a_replica, an_issue, execute, readings, transfers


@contextlib.asynccontextmanager
async def an_engine(url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(url)
    try:
        yield engine
    finally:
        await engine.dispose()


async def contents(url: str) -> dict[str, str]:
    """Digest of each table, rows in key order; what the database numbers itself is left out."""
    found = {}
    async with an_engine(url) as engine:
        for table in tables.metadata.sorted_tables:
            rows = await execute(engine, f"SELECT * FROM {table.name}")
            kept = [tuple(row)[1:] if table.name == "refusals" else tuple(row) for row in rows]
            found[table.name] = sha256(repr(sorted(map(repr, kept))).encode()).hexdigest()
    return found


async def a_filled_ledger(url: str, folder: Path) -> None:
    async with a_replica(url, folder) as ledger:
        await ledger.run(*a_proposal(), an_issue())
        await ledger.run(readings(500, 600))
        await ledger.run(*transfers(40))
        await ledger.submit(an_issue() + b" ")  # refused: kept for the operator


async def backed_up(url: str, folder: Path, file: Path, **options: Any) -> BackedUp:
    async with an_engine(url) as engine:
        options = {"plain": True} | options if not options.get("recipients") else options
        return await backup(engine, folder, file, created_ms=START_MS, **options)


def keys_of(folder: Path) -> list[Path]:
    return private_keys(LedgerSettings(data_dir=folder / "member"))


async def restored(url: str, folder: Path, file: Path, **options: Any) -> Restored:
    async with an_engine(url) as engine:
        return await restore(engine, folder, file, **options)
