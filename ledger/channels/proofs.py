"""What one channel shows another: facts and checkpoints as commands carry them, made of openings and public tiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

import msgspec

from contracts.core.commands import AnchorCheckpoint, ChannelMember, Cosignature
from contracts.core.envelope import Header
from contracts.core.proofs import BlockSummary, FactProof
from ledger.errors import ReplicaError
from ledger.log import merkle
from ledger.log.tiles import TILE_WIDTH, TileId, decode_bundle, tile_width
from ledger.verify import VerificationError, canonical
from ledger.verify.note import COSIGNATURE_V1, VerifierKey, parse_checkpoint

_TIME_BYTES: Final = 8


class ShownInvalid(ReplicaError):
    """What a channel gave cannot be shown to another: a proof, an entry or a tile is not what it must be."""


class Log(Protocol):
    """A channel's public log, as a replica serves it."""

    async def checkpoint(self) -> bytes:
        """The newest final checkpoint. Raises NotFinalYet."""

    async def tile(self, level: int, number: int, width: int) -> bytes | None:
        """The first `width` hashes of a tile."""

    async def entries(self, number: int, width: int) -> bytes | None:
        """The first `width` entries of a bundle."""


async def fact_proof(log: Log, size: int, index: int, opening: bytes) -> FactProof:
    """The proof of a fact as BridgeMint and BridgeRelease carry it: of entry `index` under the checkpoint of `size`
    leaves, by an opening that holds the fact and its receipt. Raises ShownInvalid."""
    path = await _hashes(log, merkle.inclusion_ranges(index, size), size)
    try:
        opened = canonical.decode_object(opening)
        entry, fact = opened["entry"], opened["fact"]
        plain = {
            "size": size,
            "index": index,
            "path": path,
            "header": entry["header"],
            "signature": entry["signature"],
            "receipt": opened["receipt"],
            "fact_index": fact["index"],
            "fact_salt": fact["salt"],
            "fact_path": fact["path"],
            "fact": fact["body"],
        }
        return msgspec.convert(plain, FactProof)
    except (VerificationError, KeyError, TypeError, msgspec.ValidationError) as error:
        raise ShownInvalid(f"the opening shows no fact: {error!r}") from None


async def anchor_of(
    log: Log, channel: str, known_size: int, known: Sequence[ChannelMember], members: Sequence[ChannelMember]
) -> AnchorCheckpoint | None:
    """The command that anchors the log's newest final checkpoint where `known_size` leaves are anchored and `known`
    members are trusted; None where it has nothing new. `members`: those of the log now. Raises ShownInvalid,
    NotFinalYet."""
    note = parse_checkpoint(await log.checkpoint())
    size = note.size
    if size <= known_size:
        return None
    summary = await _entry(log, size - 1, size)
    try:
        named = msgspec.json.decode(summary, type=BlockSummary)
    except msgspec.MsgspecError as error:
        raise ShownInvalid(f"the last of {size} leaves is no block summary: {error}") from None
    ranges = [] if known_size == 0 else merkle.consistency_ranges(known_size, size)
    if known_size and known_size & (known_size - 1) == 0:
        ranges = [(0, known_size), *ranges]  # the contracts want the first hash in every case
    return AnchorCheckpoint(
        channel=channel,
        size=size,
        root=note.root.hex(),
        cosignatures=_cosignatures(note.signatures, [*known, *members]),
        summary=named,
        summary_path=tuple(await _hashes(log, merkle.inclusion_ranges(size - 1, size), size)),
        consistency=tuple(await _hashes(log, ranges, size)),
        members=tuple(members) if list(members) != list(known) else (),
    )


async def headers_between(log: Log, first: int, last: int) -> list[tuple[int, Header]]:
    """(index, header) of the transactions among the leaves from `first` to before `last`. Raises ShownInvalid."""
    found = []
    for number in range(first // TILE_WIDTH, -(-last // TILE_WIDTH)):
        for index, entry in enumerate(await _bundle(log, number, last), number * TILE_WIDTH):
            if first <= index < last and b'"kind":"transaction"' in entry:
                found.append((index, msgspec.json.decode(entry, type=_Headed).header))
    return found


class _Headed(msgspec.Struct, frozen=True):
    header: Header


def _cosignatures(lines: Sequence[Any], members: Sequence[ChannelMember]) -> tuple[Cosignature, ...]:
    ids = {}
    for member in members:
        raw = bytes.fromhex(member.key.partition(":")[2])
        ids[member.name, VerifierKey.create(member.name, COSIGNATURE_V1, raw).key_id] = member.name
    found = {}
    for line in lines:
        name = ids.get((line.name, line.key_id))
        if name is not None and len(line.signature) > _TIME_BYTES:
            found[name] = Cosignature(
                member=name,
                time_s=int.from_bytes(line.signature[:_TIME_BYTES], "big"),
                signature=line.signature[_TIME_BYTES:].hex(),
            )
    return tuple(found[name] for name in sorted(found))


async def _entry(log: Log, index: int, size: int) -> bytes:
    return (await _bundle(log, index // TILE_WIDTH, size))[index % TILE_WIDTH]


async def _bundle(log: Log, number: int, size: int) -> list[bytes]:
    width = min(TILE_WIDTH, size - number * TILE_WIDTH)
    data = await log.entries(number, width)
    bundle = [] if data is None else decode_bundle(data)
    if len(bundle) < width:
        raise ShownInvalid(f"the log of {size} leaves has no bundle {number} of {width} entries")
    return bundle


async def _hashes(log: Log, ranges: Sequence[tuple[int, int]], size: int) -> list[str]:
    tiles = {}
    for tile in merkle.range_tiles(ranges):
        data = await log.tile(tile.level, tile.number, tile_width(tile, size))
        if data is None:
            raise ShownInvalid(f"the log of {size} leaves has no tile {tile}")
        tiles[TileId(tile.level, tile.number)] = data
    return [item.hex() for item in merkle.prove(ranges, tiles)]
