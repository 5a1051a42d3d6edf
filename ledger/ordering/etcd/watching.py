"""The blocks of the order as they come: listed up to now, then watched, through reconnections and compaction.

    list from h ──▶ watch from the revision of the list ── connection lost ──▶ watch from the last revision
        ▲                                   └──────────── compacted ──▶ list again, and compare the last block seen

etcd lets whoever has write rights overwrite or delete; a block must therefore be created once, after the one before it,
and go only below the line. Anything else is OrderTampered.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Final

from ledger.errors import OrderingUnavailable, OrderTampered, OrderTrimmed
from ledger.ordering.etcd.client import Change, EtcdClient, KeyValue, get
from ledger.ordering.etcd.errors import Compacted, Unanswered
from ledger.ordering.etcd.window import Keys, line_of, number
from ledger.ordering.orderer import Ordered
from runtime.logs import get_logger

_log = get_logger("ledger.ordering.etcd")
_PAGE: Final = 8
_PAGE_DEADLINE_S: Final = 2.0
"""A page of the largest blocks has 11 MB."""
_RETRY_S: Final = 0.1
_REFUSED_RETRY_S: Final = 0.5


class Watching:
    """One watcher of a channel's blocks from `from_height` on."""

    def __init__(self, client: EtcdClient, keys: Keys, from_height: int, silence_s: float) -> None:
        self._client = client
        self._keys = keys
        self._from = self._next = from_height
        self._silence_s = silence_s
        self._line = 1
        self._last_revision = 0

    async def blocks(self) -> AsyncGenerator[Ordered, None]:
        """Without end. Raises OrderTrimmed, OrderTampered."""
        revision = 0
        while True:
            try:
                if not revision:
                    page, revision = await self._list()
                    for ordered in page:
                        yield ordered
                    continue
                async with contextlib.aclosing(
                    self._client.watch(*self._keys.channel, revision, self._silence_s)
                ) as batches:
                    async for batch in batches:
                        for ordered in self._taken(batch.changes):
                            yield ordered
                        revision = batch.revision + 1
            except Unanswered as failure:
                _log.debug("watching the order elsewhere", reason=str(failure))
                await asyncio.sleep(_RETRY_S)
            except Compacted:
                revision = 0
            except OrderingUnavailable as error:
                _log.debug("the order cannot be watched", error=str(error))
                await asyncio.sleep(_REFUSED_RETRY_S)

    async def _list(self) -> tuple[list[Ordered], int]:
        """The next blocks, and the revision to watch from once there are no more (0: list again)."""
        keys = self._keys
        answer = await self._client.read(
            get(keys.line),
            get(keys.block(self._next - 1), keys_only=True),
            get(keys.block(self._next), keys.blocks_end, limit=_PAGE),
            deadline_s=_PAGE_DEADLINE_S,
        )
        line, last, page = answer.found
        self._set_line(line_of(line))
        if self._next < self._line:
            raise OrderTrimmed(self._line)
        seen = self._last_revision if self._next - 1 >= self._line else 0
        if seen and (not last.kvs or last.kvs[0].create_revision != seen):
            raise OrderTampered(f"block {self._next - 1} of the order was deleted or replaced")
        return [
            self._accept(kv, number(kv.key[-16:], kv.key)) for kv in page.kvs
        ], 0 if page.more else answer.revision + 1

    def _taken(self, changes: tuple[Change, ...]) -> list[Ordered]:
        taken = []
        for change in changes:
            key = change.kv.key
            if key == self._keys.line:
                if change.deleted:
                    raise OrderTampered("the line of the order was deleted")
                self._set_line(number(change.kv.value, key))
                if self._line >= self._next and self._last_revision:  # all blocks up to the tip have been seen
                    raise OrderTampered(f"the line of the order went to {self._line}, past its end")
                if self._line > self._next:
                    raise OrderTrimmed(self._line)
                continue
            height = self._keys.height(key)
            if height is None:
                continue
            if change.deleted:
                if height >= self._line:
                    raise OrderTampered(f"block {height} of the order was deleted, the line being at {self._line}")
            elif height >= self._from:
                taken.append(self._accept(change.kv, height))
        return taken

    def _accept(self, kv: KeyValue, height: int) -> Ordered:
        if kv.version != 1 or kv.create_revision != kv.mod_revision:
            raise OrderTampered(f"block {height} of the order was overwritten at revision {kv.mod_revision}")
        if height < self._next:
            raise OrderTampered(f"block {height} of the order was created again at revision {kv.create_revision}")
        if height > self._next or kv.create_revision <= self._last_revision:
            raise OrderTampered(f"block {height} of the order is there before block {self._next}")
        self._next, self._last_revision = height + 1, kv.create_revision
        return Ordered(height, kv.value, kv.create_revision)

    def _set_line(self, line: int) -> None:
        if line < self._line:
            raise OrderTampered(f"the line of the order went back from {self._line} to {line}")
        self._line = line
