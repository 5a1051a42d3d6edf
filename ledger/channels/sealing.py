"""Blocks of a restricted channel, sealed for its members before they enter the order, which others store too.

    sealed block = "GPSB" || 0x01 || key id[8] || nonce[12] || AES-256-GCM(block)[n+16]
    associated   = "gridpact/seal/v1" || 0x00 || channel || 0x00 || uint64be height || key id
    nonce        = HMAC-SHA256(nonce key, uint64be height || block)[:12]

The nonce follows from the block: a retry proposes the same bytes (an order compares them), and no two blocks share one
but by a collision of 96 bits. An epoch that arrives while the outcome of a block is unknown seals the next one. Height
and channel are authenticated, so nobody with write rights to the order can show a block in another place. What an
outsider sees: heights, times, and sizes of blocks.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import lru_cache
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ledger.channels.errors import ChannelKeyInvalid, ChannelKeyMissing, SealBroken
from ledger.channels.keys import KEY_ID_BYTES, ChannelKeys
from ledger.errors import OrderingUnavailable
from ledger.ordering.orderer import Ordered, Orderer, Proposed, Unknown
from runtime.logs import get_logger

MAGIC: Final = b"GPSB\x01"
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
OVERHEAD_BYTES: Final = len(MAGIC) + KEY_ID_BYTES + NONCE_BYTES + TAG_BYTES
_CONTEXT: Final = b"gridpact/seal/v1\0"
_LOOK_S: Final = 0.5

_log = get_logger("ledger.channels")


class SealedOrderer:
    """An Orderer over another one, which sees sealed bytes alone. `watch` raises SealBroken. Where a key is missing it
    waits for the file that holds it, and says so by `check`: a file that comes late stops nobody for good."""

    def __init__(self, orderer: Orderer, keys: ChannelKeys) -> None:
        self._orderer = orderer
        self._keys = keys
        self._missing: str | None = None
        self._attempted: tuple[int, bytes, bytes] | None = None

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
        await self._orderer.start(height, runs=runs)

    async def stop(self) -> None:
        await self._orderer.stop()

    async def check(self) -> None:
        if self._missing is not None:
            raise OrderingUnavailable(self._missing)
        await self._orderer.check()

    async def propose(self, height: int, data: bytes) -> Proposed:
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
        if self._attempted is not None and self._attempted[:2] == (height, data):
            return self._attempted[2]
        self._refreshed()
        try:
            return seal(self._keys, height, data)
        except ChannelKeyMissing as missing:
            raise OrderingUnavailable(str(missing)) from missing

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
        return {**self._orderer.state(), "sealed": True}

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


def seal(keys: ChannelKeys, height: int, data: bytes) -> bytes:
    """The bytes that enter the order. The same block at the same height gives the same bytes. Raises
    ChannelKeyMissing."""
    epoch = keys.at(height)
    encryption_key, nonce_key = _derived(keys.secret(epoch))
    key_id = bytes.fromhex(epoch.key_id)
    nonce = hmac.digest(nonce_key, height.to_bytes(8, "big") + data, "sha256")[:NONCE_BYTES]
    sealed = AESGCM(encryption_key).encrypt(nonce, data, _associated(keys, height, key_id))
    return MAGIC + key_id + nonce + sealed


def unseal(keys: ChannelKeys, height: int, data: bytes) -> bytes:
    """The block. Raises SealBroken, ChannelKeyMissing."""
    start = len(MAGIC) + KEY_ID_BYTES
    if not data.startswith(MAGIC) or len(data) < OVERHEAD_BYTES:
        raise SealBroken(f"block {height} of the restricted channel {keys.file.channel} is not sealed")
    key_id, nonce = data[len(MAGIC) : start], data[start : start + NONCE_BYTES]
    encryption_key, _ = _derived(keys.secret(keys.by_id(key_id.hex())))
    try:
        return AESGCM(encryption_key).decrypt(nonce, data[start + NONCE_BYTES :], _associated(keys, height, key_id))
    except InvalidTag:
        raise SealBroken(
            f"block {height} of channel {keys.file.channel} does not open with the key {key_id.hex()} it names: it was "
            "changed in the order, or sealed for another height or channel"
        ) from None


def _associated(keys: ChannelKeys, height: int, key_id: bytes) -> bytes:
    return _CONTEXT + keys.file.channel.encode() + b"\0" + height.to_bytes(8, "big") + key_id


@lru_cache(maxsize=64)
def _derived(secret: bytes) -> tuple[bytes, bytes]:
    material = HKDF(algorithm=SHA256(), length=64, salt=None, info=_CONTEXT + b"keys").derive(secret)
    return material[:32], material[32:]
