"""The newest checkpoint that a quorum cosigned: it must be of a tree this log had."""

from __future__ import annotations

import msgspec

from contracts.consortium import MemberRecord
from contracts.consortium.membership import FormerMemberRecord
from contracts.core.codec import read
from ledger.audit.differences import LedgerDiffers
from ledger.founding import Founded
from ledger.store import tables
from ledger.store.history import History
from ledger.verify import VerificationError
from ledger.verify.note import Checkpoint, VerifierKey
from ledger.verify.policy import NO_QUORUM, Policy, parse_policy, verify_checkpoint


class Finality:
    """The stored final checkpoint, held against each size the log went through. How many had to sign it is a matter of
    the members at its height and not judged again; every line by a key of theirs, or of the founders, must verify."""

    def __init__(self, height: int, final: Checkpoint | None) -> None:
        self._height = height
        self._final = final
        self._passed = final is None

    @classmethod
    async def read(cls, history: History, founded: Founded) -> Finality:
        """Raises LedgerDiffers for a note that is none."""
        rows = await history.rows(tables.finality)
        if not rows:
            return cls(0, None)
        (row,) = rows
        try:
            note = verify_checkpoint(row["note"], await _everybody(history, founded)).checkpoint
        except (VerificationError, msgspec.MsgspecError) as error:
            raise LedgerDiffers(row["height"], f"table finality: {error}") from error
        if (note.origin, note.size) != (founded.genesis.origin, row["size"]):
            raise LedgerDiffers(row["height"], "table finality: the checkpoint is of another log or size")
        return cls(row["height"], note)

    @property
    def size(self) -> int:
        """Leaves under the final checkpoint, 0 for none."""
        return self._final.size if self._final else 0

    def passed(self, height: int, size: int, root: bytes) -> None:
        """The log was of this size after block `height`. Raises LedgerDiffers."""
        if self._final is None or size != self._final.size:
            return
        if root != self._final.root or height != self._height:
            raise LedgerDiffers(self._height, "table finality: another tree, or another block, was cosigned")
        self._passed = True

    def require_passed(self) -> None:
        """Raises LedgerDiffers for a size the log never had."""
        if not self._passed:
            raise LedgerDiffers(self._height, f"table finality: no block ends at {self.size} leaves")


async def _everybody(history: History, founded: Founded) -> Policy:
    """The keys of the founders, and of those who became members later: any of them signs as the log, too."""
    policy = parse_policy(founded.policy)
    logs, witnesses = {key.encode(): key for key in policy.logs}, {key.encode(): key for _, key in policy.witnesses}
    records = tables.records.c
    for row in await history.rows(tables.records, records.kind.in_((MemberRecord.KIND, FormerMemberRecord.KIND))):
        member = read(row["body"], MemberRecord if row["kind"] == MemberRecord.KIND else FormerMemberRecord)
        log, cosigner = VerifierKey.parse(member.log_vkey), VerifierKey.parse(member.cosigner_vkey)
        logs[log.encode()], witnesses[cosigner.encode()] = log, cosigner
    return Policy(tuple(logs.values()), tuple(witnesses.items()), (), NO_QUORUM)
