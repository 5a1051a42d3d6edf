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

import hmac
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ledger.channels.errors import SealBroken
from ledger.channels.sealing.keys import KEY_ID_BYTES, ChannelKeys

MAGIC: Final = b"GPSB\x01"
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
OVERHEAD_BYTES: Final = len(MAGIC) + KEY_ID_BYTES + NONCE_BYTES + TAG_BYTES
_CONTEXT: Final = b"gridpact/seal/v1\0"


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
