"""What a witness does with a checkpoint: check it, remember it, cosign it, in this order (c2sp.org/tlog-witness).

    request ─▶ form ─▶ origin known ─▶ signed by the log ─▶ old size is the last ─▶ consistent ─▶ durable ─▶ signed
               400        404              403                409 with the size         422

A cosignature says: at this time, the largest tree of this log that I have seen has this root, and all trees I have
signed before are prefixes of it. Extension lines are signed with the rest of the text and mean nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ledger.log.checkpoint import Sign, cosign_checkpoint, render_line
from ledger.verify import VerificationError, verify_consistency
from ledger.verify.evidence import parse_extension
from ledger.verify.merkle import EMPTY_ROOT
from ledger.verify.note import Checkpoint, VerifierKey, parse_checkpoint
from ledger.witness.errors import CheckpointRefused, SizeConflict
from ledger.witness.record import Cosigned, Record
from ledger.witness.trust import Logs

REQUEST_BYTES_MAX: Final = 256 << 10
"""A note with sixteen signatures of 5 kB, and 63 hashes."""


class Cosigner:
    """One witness key. `clock`: POSIX seconds now. Its methods block, and may be called from any thread."""

    def __init__(self, key: VerifierKey, sign: Sign, logs: Logs, record: Record, clock: Callable[[], int]) -> None:
        self.key = key
        self._sign = sign
        self._logs = logs
        self._record = record
        self._clock = clock

    def add_checkpoint(self, request: bytes) -> bytes:
        """The cosignature lines for the body of an add-checkpoint request. Raises CheckpointRefused."""
        old_size, hashes, note = _read(request)
        checkpoint = self._authentic(note)
        if old_size > checkpoint.size:
            raise CheckpointRefused(400, f"the old size {old_size} is above that of the checkpoint")

        def step(last: Cosigned | None) -> Cosigned:
            _require_consistent(last, old_size, checkpoint, hashes)
            time_s = max(self._clock(), 0 if last is None else last.time_s)  # a clock set back takes nothing back
            return Cosigned(checkpoint.origin, checkpoint.size, checkpoint.root, time_s, note)

        signed = self._record.advance(checkpoint.origin, step)
        return render_line(cosign_checkpoint(checkpoint.text, self.key, self._sign, signed.time_s)).encode()

    def logs(self) -> dict[str, Cosigned | None]:
        """By origin, for each log this witness is configured for: what it cosigned last."""
        last = {each.origin: each for each in self._record.logs()}
        return {origin: last.get(origin) for origin in sorted(self._logs)}

    def _authentic(self, note: bytes) -> Checkpoint:
        origin = note.partition(b"\n")[0].decode(errors="replace")
        if origin not in self._logs:
            raise CheckpointRefused(404, f"the log {origin[:200]!r} is none that this witness cosigns")
        try:
            checkpoint = parse_checkpoint(note)
        except VerificationError as error:
            raise CheckpointRefused(400, str(error)) from None
        keys = {(key.name, key.key_id): key for key in self._logs[origin]}
        known = [line for line in checkpoint.signatures if (line.name, line.key_id) in keys]
        try:
            for line in known:
                keys[line.name, line.key_id].verify(checkpoint.text, line.signature)
        except VerificationError as error:
            raise CheckpointRefused(403, str(error)) from None
        if not known:
            raise CheckpointRefused(403, f"no known key of {origin!r} signed")
        return checkpoint


def _read(request: bytes) -> tuple[int, tuple[bytes, ...], bytes]:
    try:
        return parse_extension(request)
    except VerificationError as error:
        raise CheckpointRefused(400, str(error)) from None


def _require_consistent(
    last: Cosigned | None, old_size: int, checkpoint: Checkpoint, hashes: tuple[bytes, ...]
) -> None:
    known_size, known_root = (0, EMPTY_ROOT) if last is None else (last.size, last.root)
    if old_size != known_size:
        raise SizeConflict(known_size, f"the checkpoint cosigned last has {known_size} leaves, not {old_size}")
    if checkpoint.size == known_size != 0 and checkpoint.root != known_root:
        raise SizeConflict(known_size, f"another tree of {known_size} leaves was cosigned: the log signed two")
    try:
        verify_consistency(old_size, checkpoint.size, hashes, known_root, checkpoint.root)
    except VerificationError as error:
        raise CheckpointRefused(422, str(error)) from None
