"""A log in memory that tests grow, fork and sign: for witnesses, and for what brings logs to them."""

from __future__ import annotations

from collections.abc import Sequence

from ledger.log import merkle
from ledger.log.checkpoint import checkpoint_text, log_key, render_note, sign_checkpoint
from ledger.log.extension import write_extension
from ledger.verify.merkle import leaf_hash
from runtime.keys import PrivateKey
from tests.builders import a_key

ORIGIN = "ledger.example/grown"


def raw(key: PrivateKey) -> bytes:
    return bytes.fromhex(key.public.partition(":")[2])


class GrowingLog:
    """`word` makes another tree of the same origin; `keys` sign it, the first alone unless told otherwise."""

    def __init__(self, word: str = "entry", keys: Sequence[PrivateKey] = (), origin: str = ORIGIN) -> None:
        self.channel = "grown"
        self.origin = origin
        self.keys = list(keys) or [a_key(61)]
        self._leaves = [leaf_hash(f"{word} {number}".encode()) for number in range(600)]
        self._tiles = merkle.append(0, self._leaves, {}).tiles
        self.agreed = 0
        self.lines: list[bytes] = []

    def root(self, size: int) -> bytes:
        return merkle.append(0, self._leaves[:size], {}).root

    def text(self, size: int) -> str:
        return checkpoint_text(self.origin, size, self.root(size))

    def note(self, size: int, text: str | None = None, keys: Sequence[PrivateKey] = ()) -> bytes:
        text = text or self.text(size)
        lines = [sign_checkpoint(text, log_key(self.origin, raw(key)), key.sign) for key in keys or self.keys[:1]]
        return render_note(text, lines)

    def proof(self, old: int, new: int) -> list[bytes]:
        return list(merkle.consistency_proof(old, new, self._tiles))

    def request(self, old: int, new: int) -> bytes:
        """The body of add-checkpoint."""
        return write_extension(old, self.proof(old, new), self.note(new))

    # ---- as a replica: ledger.witness.feeding.Fed

    def agree(self, size: int) -> None:
        self.agreed = size

    def agreed_size(self) -> int:
        return self.agreed

    def agreed_note(self) -> bytes | None:
        return self.note(self.agreed, keys=self.keys) if self.agreed else None

    async def consistency(self, old_size: int, new_size: int) -> list[bytes]:
        return self.proof(old_size, new_size)

    def witnessed(self, note: bytes) -> None:
        self.lines.append(note)
