"""An order that sees sealed bytes alone, whichever order is below.

replica ── propose(block) ─▶ could a former member open it? ─no─▶ seal ─▶ orderer       watch ─▶ unseal ─▶ replica
                                     └yes─▶ gives the lease away until the newest key is there
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Final

from ledger.channels.errors import ChannelKeyInvalid, ChannelKeyMissing
from ledger.channels.sealing.audience import Audience
from ledger.channels.sealing.blocks import seal, unseal
from ledger.channels.sealing.keys import ChannelKeys
from ledger.errors import Diverged, OrderingUnavailable, StoreUnavailable
from ledger.ordering.orderer import Fenced, Ordered, Orderer, Proposed, Unknown
from runtime.logs import get_logger

_LOOK_S: Final = 0.5

_log = get_logger("ledger.channels")


class SealedOrderer:
    """An Orderer over another one, which sees sealed bytes alone. `watch` raises SealBroken. Where a key is missing it
    waits for the file that holds it, and says so by `check`: a file that comes late stops nobody for good.

    Where the newest key of this member could be opened by who has left, it gives the lease to another and does not run
    until the file is there. `audience`: whom to ask; None until the replica is there, which it is before it runs."""

    def __init__(self, orderer: Orderer, keys: ChannelKeys) -> None:
        self._orderer = orderer
        self._keys = keys
        self._missing: str | None = None
        self._attempted: tuple[int, bytes, bytes] | None = None
        self.audience: Audience | None = None
        self._runs = True
        self._held: str | None = None
        self._waiting: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        return self._orderer.name

    @property
    def leads(self) -> bool:
        return self._orderer.leads

    @property
    def proposer(self) -> str | None:
        return self._orderer.proposer

    async def changed(self) -> None:
        await self._orderer.changed()

    async def start(self, height: int, *, runs: bool = True) -> None:
        self._runs = runs
        await self._orderer.start(height, runs=runs and self._held is None)

    async def stop(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        await self._orderer.stop()

    async def check(self) -> None:
        if self._missing is not None:
            raise OrderingUnavailable(self._missing)
        if self._held is not None and self._orderer.proposer is None:
            raise OrderingUnavailable(f"nobody orders blocks at the moment, and {self._held}")
        await self._orderer.check()

    async def propose(self, height: int, data: bytes) -> Proposed:
        if not self._is_retry(height, data) and (held := await self._stale(height)) is not None:
            await self._hand_over(height, held)
            return Fenced(self._orderer.proposer)
        sealed = self._sealed(height, data)
        self._attempted = (height, data, sealed)
        try:
            outcome = await self._orderer.propose(height, sealed)
        except OrderingUnavailable:  # it certainly is not ordered
            self._attempted = None
            raise
        if not isinstance(outcome, Unknown):
            self._attempted = None
        return outcome

    def _sealed(self, height: int, data: bytes) -> bytes:
        """As before while the outcome is unknown: an order knows its attempts by their bytes, whichever keys came
        since."""
        if self._attempted is not None and self._is_retry(height, data):
            return self._attempted[2]
        self._refreshed()
        try:
            return seal(self._keys, height, data)
        except ChannelKeyMissing as missing:
            raise OrderingUnavailable(str(missing)) from missing

    def _is_retry(self, height: int, data: bytes) -> bool:
        return self._attempted is not None and self._attempted[:2] == (height, data)

    async def _stale(self, height: int) -> str | None:
        """Why this member must not seal the block, None where it may. Raises OrderingUnavailable."""
        self._refreshed()
        try:
            outsiders = [] if self.audience is None else await self.audience.outsiders(self._keys.file, height)
        except StoreUnavailable as error:
            raise OrderingUnavailable(str(error)) from error
        if not outsiders:
            return None
        channel = self._keys.file.channel
        return (
            f"this member does not order blocks of channel {channel}: the newest key it has, "
            f"{self._keys.at(height).key_id}, is also known to {', '.join(outsiders)}, no member any more. Bring the "
            f"newest channel-keys.json from another member; where none has it, make it at one: `dr-ledger channels key "
            f"{channel}`"
        )

    async def _hand_over(self, height: int, held: str) -> None:
        if self._held is None:
            _log.error("held back", channel=self._keys.file.channel, reason=held)
        self._held = held
        await self._orderer.start(height - 1, runs=False)
        if self._waiting is None:
            self._waiting = asyncio.create_task(self._run_again(height))

    async def _run_again(self, height: int) -> None:
        """Once the file with the key is there."""
        while True:
            await asyncio.sleep(_LOOK_S)
            try:
                if await self._stale(height) is None:
                    self._held = None
                    await self._orderer.start(height - 1, runs=self._runs)
                    break
            except OrderingUnavailable as error:
                _log.warning("waiting for the order", channel=self._keys.file.channel, error=str(error))
            except Diverged:  # it runs no more
                return
        _log.info("no longer held back", channel=self._keys.file.channel)
        self._waiting = None

    async def watch(self, from_height: int) -> AsyncIterator[Ordered]:
        watching: Any = self._orderer.watch(from_height)
        async with aclosing(watching):
            async for ordered in watching:
                yield Ordered(ordered.height, await self._opened(ordered), ordered.revision)

    async def tip(self) -> int:
        return await self._orderer.tip()

    async def first(self) -> int:
        return await self._orderer.first()

    async def trim(self, below: int) -> None:
        await self._orderer.trim(below)

    def state(self) -> dict[str, Any]:
        return {**self._orderer.state(), "sealed": True, "held": self._held}

    def _refreshed(self) -> bool:
        """Was there a newer file? One that cannot be used, perhaps because it is being copied, leaves what is known."""
        try:
            return self._keys.refresh()
        except ChannelKeyInvalid as invalid:
            _log.warning("the new channel keys are not used", reason=str(invalid))
            return False

    async def _opened(self, ordered: Ordered) -> bytes:
        while True:
            try:
                opened = unseal(self._keys, ordered.height, ordered.data)
            except ChannelKeyMissing as missing:
                if self._refreshed():  # a file with a further epoch was brought
                    continue
                if self._missing is None:
                    _log.warning("waiting for the key of a channel", height=ordered.height, reason=str(missing))
                self._missing = str(missing)
                await asyncio.sleep(_LOOK_S)
            else:
                self._missing = None
                return opened
