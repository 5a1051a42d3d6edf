"""The part of the audit that needs no execution: tiles and signed checkpoints of a log that grows leaf by leaf."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ledger.audit.differences import LedgerDiffers
from ledger.founding import Founded
from ledger.genesis import own_policy
from ledger.log.checkpoint import checkpoint_text
from ledger.log.tiles import HASH_BYTES, TileId
from ledger.store import tables
from ledger.store.history import History, Row
from ledger.verify import VerificationError
from ledger.verify.policy import verify_checkpoint


class Published:
    """What is served of a log, held against the tree it must have."""

    def __init__(self, founded: Founded) -> None:
        self._origin = founded.genesis.origin
        self._policy = own_policy(founded)
        self.checkpoint = b""
        self.checkpoints = 0
        self._tiles: dict[tuple[int, int], int] = {}

    async def check_tiles(
        self, height: int, tiles: Mapping[TileId, bytes], history: History, ids: Mapping[int, str]
    ) -> None:
        """The tiles a block grew; `ids`: its transactions by leaf. Raises LedgerDiffers."""
        stored = await history.tiles(list(tiles))
        for tile, data in tiles.items():
            row = stored.get(tile, b"")
            if row[: len(data)] != data:
                at = next((n for n in range(0, len(data), HASH_BYTES) if row[n : n + 32] != data[n : n + 32]), 0)
                index = tile.number * 256 + at // HASH_BYTES if tile.level == 0 else -1
                what = f"table tiles: hash {at // HASH_BYTES} of {tile.level}/{tile.number} differs"
                raise LedgerDiffers(height, what, ids.get(index))
            self._tiles[tile.level, tile.number] = len(data)

    def check_checkpoint(self, height: int, rows: Sequence[Row], size: int, root: bytes) -> None:
        """The checkpoint of a block. Raises LedgerDiffers."""
        self.checkpoints += 1
        if len(rows) != 1 or rows[0]["size"] != size:
            raise LedgerDiffers(height, "table checkpoints: not one checkpoint of this block")
        if rows[0]["note"] == checkpoint_text(self._origin, size, root).encode():
            return  # not signed: below what the member had signed before its database was restored
        try:
            checkpoint = verify_checkpoint(rows[0]["note"], self._policy, strict=True).checkpoint
        except VerificationError as error:
            raise LedgerDiffers(height, f"table checkpoints: {error}") from error
        if (checkpoint.size, checkpoint.root) != (size, root):
            raise LedgerDiffers(height, "table checkpoints: another tree was signed")
        self.checkpoint = rows[0]["note"]

    async def check_rows(self, height: int, history: History) -> None:
        """Tiles too many and too long. Raises LedgerDiffers."""
        stored = await history.count(tables.tiles)
        if stored != len(self._tiles):
            raise LedgerDiffers(height, f"table tiles: {stored} rows instead of {len(self._tiles)}")
        for row in await history.rows(tables.tiles):
            if len(row["data"]) != self._tiles.get((row["level"], row["number"])):
                raise LedgerDiffers(height, f"table tiles: {row['level']}/{row['number']} is too long")
