"""A block as it is ordered: a signed header and the transactions it puts in order.

    uint32be length || canonical header || signature[64] || (uint32be length || canonical transaction)*

The header is permanent. Salts and bodies of the transactions are erasable, so the header holds no hash of this file
but `content_root`: the tree hash (RFC 6962) over the SHA-256 of each transaction's canonical bytes, which stay when
the bytes are gone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final

import msgspec

from contracts.core.codec import decode, encode
from contracts.core.errors import CodecError
from contracts.core.units import Hash, Id, TimeMs
from ledger.log.entry import tree_root

BLOCK_CONTEXT: Final = b"gridpact/block/v1\0"
TRANSACTIONS_MAX: Final = 8_192
BLOCK_BYTES_MAX: Final = 1_400_000
"""etcd takes values of 1.5 MB at most."""

_SIGNATURE_BYTES: Final = 64
_LENGTH_BYTES: Final = 4


class BlockHeader(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """previous: hash of the summary entry before (block 1: digest of the genesis); proposer: name of a member."""

    channel: Id
    height: int
    previous: Hash
    time_ms: TimeMs
    proposer: str
    tx_count: int
    content_root: Hash


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """`header_bytes` and `header` are the same thing; `contents` are the canonical bytes of the transactions."""

    header: BlockHeader
    header_bytes: bytes
    signature: bytes
    contents: tuple[bytes, ...]


class BlockInvalid(ValueError):
    """Bytes in the order that are no block of ours."""


def make_block(
    *,
    channel: str,
    height: int,
    previous: bytes,
    time_ms: int,
    proposer: str,
    contents: Sequence[bytes],
    sign: Callable[[bytes], bytes],
) -> Block:
    """The signed block; `sign` is the proposer's cosigning key."""
    header = BlockHeader(
        channel=channel,
        height=height,
        previous=previous.hex(),
        time_ms=time_ms,
        proposer=proposer,
        tx_count=len(contents),
        content_root=content_root([sha256(content).digest() for content in contents]).hex(),
    )
    data = encode(header)
    return Block(header=header, header_bytes=data, signature=sign(BLOCK_CONTEXT + data), contents=tuple(contents))


def content_root(content_hashes: Sequence[bytes]) -> bytes:
    """Tree hash over the SHA-256 of each transaction's canonical bytes."""
    return tree_root(content_hashes)


def render_block(block: Block) -> bytes:
    """The bytes that are ordered."""
    parts = [_framed(block.header_bytes), block.signature, *map(_framed, block.contents)]
    return b"".join(parts)


def parse_block(data: bytes) -> Block:
    """Reads ordered bytes. The form alone is checked. Raises BlockInvalid."""
    if len(data) > BLOCK_BYTES_MAX:
        raise BlockInvalid(f"{len(data)} bytes, at most {BLOCK_BYTES_MAX} are ordered")
    header_bytes, at = _take(data, 0)
    signature = data[at : at + _SIGNATURE_BYTES]
    at += _SIGNATURE_BYTES
    contents = []
    while at < len(data):
        content, at = _take(data, at)
        contents.append(content)
    header = read_header(header_bytes)
    if len(signature) != _SIGNATURE_BYTES or header.tx_count != len(contents) or len(contents) > TRANSACTIONS_MAX:
        raise BlockInvalid("the block does not hold what its header says")
    return Block(header=header, header_bytes=header_bytes, signature=signature, contents=tuple(contents))


def read_header(data: bytes) -> BlockHeader:
    """The header of canonical bytes. Raises BlockInvalid."""
    try:
        return decode(data, BlockHeader)
    except CodecError as error:
        raise BlockInvalid(f"the header is not canonical: {error}") from None


def _framed(data: bytes) -> bytes:
    return len(data).to_bytes(_LENGTH_BYTES, "big") + data


def _take(data: bytes, at: int) -> tuple[bytes, int]:
    start = at + _LENGTH_BYTES
    end = start + int.from_bytes(data[at:start], "big")
    if start > len(data) or end > len(data):
        raise BlockInvalid("the block ends inside a part")
    return data[start:end], end
