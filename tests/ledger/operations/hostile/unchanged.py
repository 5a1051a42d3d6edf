"""Nothing was written: digests of the tables before and after."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from hashlib import sha256

from ledger.store import tables
from runtime.database import create_engine
from tests.ledger.replicas import execute


async def digests(url: str) -> dict[str, str]:
    """Of each table but the operator's notebook, which is there to keep what was refused."""
    engine = create_engine(url)
    found = {}
    for table in tables.metadata.sorted_tables:
        if table.name != "refusals":
            rows = await execute(engine, f"SELECT * FROM {table.name}")
            found[str(table.name)] = sha256(repr(sorted(map(repr, rows))).encode()).hexdigest()
    await engine.dispose()
    return found


@contextlib.asynccontextmanager
async def unchanged(url: str) -> AsyncIterator[None]:
    before = await digests(url)
    yield
    assert await digests(url) == before
