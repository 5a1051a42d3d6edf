"""Transactions refused before they were ordered: the operator's notebook, bounded, written now and then."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

from ledger.errors import StoreUnavailable
from ledger.store.store import RefusalRow, Store

KEPT: Final = 1_000
_EVERY_S: Final = 0.5


class Refusals:
    """One channel's. What a crash loses are the rows of the last half second."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rows: list[RefusalRow] = []

    def add(self, row: RefusalRow) -> None:
        """Remember it; beyond KEPT the oldest are dropped."""
        self._rows.append(row)
        del self._rows[:-KEPT]

    async def newest(self, limit: int) -> list[dict[str, Any]]:
        """Newest first."""
        await self.flush()
        return await self._store.refusals(limit)

    async def run(self) -> None:
        """Writes them down, for ever."""
        while True:
            await asyncio.sleep(_EVERY_S)
            with contextlib.suppress(StoreUnavailable):
                await self.flush()

    async def flush(self) -> None:
        """Write them down now. Raises StoreUnavailable, and keeps them then."""
        rows, self._rows = self._rows, []
        if rows:
            try:
                await self._store.add_refusals(rows, KEPT)
            except StoreUnavailable:
                self._rows = [*rows, *self._rows][-KEPT:]
                raise
