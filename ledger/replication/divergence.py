"""Where two replicas of one log began to differ: the first block, in it the first transaction, and in what.

    summary hashes of two members          each summary chains the one before: once they differ they never agree again,
    block  1 2 3 4 5 6 7 8                 so the first difference is found by bisection, one block asked for a step
    ours   a b c d e f g h
    theirs a b c d E F G H                 in block 5, item by item: another transaction ............ order
                  └── found in 3 steps                           the same one, another receipt ...... result
                                           items equal, but the state root (an edited row) ......... state
                                           or anything else of the summary ......................... block

Nothing here does I/O: a `Side` is asked, and may be the own store, a peer's answers, or lists in a test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from itertools import zip_longest
from typing import Any, Protocol

from ledger.replication.peers import BlockReceipts, TransactionReceipt
from ledger.verify import VerificationError, canonical
from ledger.verify.opening import TRANSACTION_PREFIX

UNREADABLE = "unreadable"
"""The code shown for an entry that is no entry any more."""

_NOTHING = "nothing"


class Side(Protocol):
    """One replica of the two."""

    async def height(self) -> int:
        """Its last committed block."""

    async def receipts(self, height: int) -> BlockReceipts | None:
        """What it made of a block, None where it has not got it."""


class Kind(StrEnum):
    """In what two replicas differ."""

    ORDER = "order"
    RESULT = "result"
    STATE = "state"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first difference. `transaction`: its id, None where it is of the block or of its deadlines; `ours` and
    `theirs`: what differs, as text."""

    block: int
    transaction: str | None
    kind: Kind
    ours: str
    theirs: str

    def __str__(self) -> str:
        where = f"block {self.block}" + (f", transaction {self.transaction}" if self.transaction else "")
        return f"{where}: {_MEANING[self.kind]} (here {self.ours}, there {self.theirs})"


_MEANING = {
    Kind.ORDER: "another transaction was ordered",
    Kind.RESULT: "the same transaction has another result",
    Kind.STATE: "the same results on another state: a record was changed outside the ledger",
    Kind.BLOCK: "the summaries differ",
}


async def first_divergence(ours: Side, theirs: Side, *, agreed: int = 0) -> Divergence | None:
    """The first block in which the two differ, None where one is as the other as far as both have got.

    `agreed`: a height up to which they are known to be equal. Asks each side for about log2(height) blocks. It trusts
    the summaries: rows edited behind an unchanged summary are found by `first_difference` and by the audit.
    """
    low, high = agreed, min(await ours.height(), await theirs.height())
    if high <= low or _mark(await _block(ours, high)) == _mark(await _block(theirs, high)):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if _mark(await _block(ours, middle)) == _mark(await _block(theirs, middle)):
            low = middle
        else:
            high = middle
    return compare(await _block(ours, high), await _block(theirs, high))


async def first_difference(ours: Side, theirs: Side, *, first: int = 1, last: int | None = None) -> Divergence | None:
    """As `first_divergence`, but every block from `first` to `last` is compared in full."""
    top = min(await ours.height(), await theirs.height())
    for height in range(first, (top if last is None else min(last, top)) + 1):
        found = compare(await _block(ours, height), await _block(theirs, height))
        if found is not None:
            return found
    return None


def compare(ours: BlockReceipts, theirs: BlockReceipts) -> Divergence | None:
    """The first difference of one block."""
    height = ours.height
    for mine, other in zip_longest(ours.transactions, theirs.transactions):
        if mine is None or other is None or mine.id != other.id:
            shown = [_NOTHING if item is None else item.id or "a deadline" for item in (mine, other)]
            at = (mine or other).id or None
            return Divergence(height, at, Kind.ORDER, shown[0], shown[1])
        if mine != other:
            return Divergence(height, mine.id or None, Kind.RESULT, *_results(mine, other))
    if ours.state_root != theirs.state_root:
        return Divergence(height, None, Kind.STATE, ours.state_root, theirs.state_root)
    if ours.summary != theirs.summary:
        return Divergence(height, None, Kind.BLOCK, ours.summary, theirs.summary)
    return None


def block_receipts(height: int, entries: Sequence[bytes], receipts: Sequence[bytes]) -> BlockReceipts:
    """What a replica shows of a block: `entries` are all of its leaves in order, `receipts` the canonical receipts of
    its transactions in order. What was edited shows as it is now: ids are hashed again from the headers."""
    items, rest = [], list(receipts)
    for entry in entries[:-1]:
        opened = _opened(entry)
        if opened.get("kind") == "tick" and isinstance(opened.get("receipt"), dict):
            items.append(_item("", canonical.encode(opened["receipt"])))
        elif opened.get("kind") == "transaction" and isinstance(opened.get("header"), dict) and rest:
            signed = TRANSACTION_PREFIX + canonical.encode(opened["header"])
            items.append(_item(sha256(signed).hexdigest(), rest.pop(0)))
        else:
            items.append(TransactionReceipt(id="", code=UNREADABLE, writes="", receipt=sha256(entry).hexdigest()))
    last = entries[-1] if entries else b""
    return BlockReceipts(
        height=height,
        state_root=str(_opened(last).get("state_root", "")),
        summary=sha256(last).hexdigest(),
        transactions=tuple(items),
    )


def _item(transaction_id: str, receipt: bytes) -> TransactionReceipt:
    opened = _opened(receipt)
    return TransactionReceipt(
        id=transaction_id,
        code=str(opened.get("code", UNREADABLE)),
        writes=str(opened.get("writes", "")),
        receipt=sha256(receipt).hexdigest(),
    )


def _opened(data: bytes) -> dict[str, Any]:
    try:
        return canonical.decode_object(data)
    except VerificationError:
        return {}


def _results(mine: TransactionReceipt, other: TransactionReceipt) -> tuple[str, str]:
    """The coarsest thing that differs: code, write set, receipt."""
    for name in ("code", "writes"):
        if getattr(mine, name) != getattr(other, name):
            return f"{name} {getattr(mine, name)}", f"{name} {getattr(other, name)}"
    return f"receipt {mine.receipt}", f"receipt {other.receipt}"


def _mark(block: BlockReceipts) -> str:
    return block.summary or block.state_root


async def _block(side: Side, height: int) -> BlockReceipts:
    found = await side.receipts(height)
    if found is None:
        raise LookupError(f"block {height} is not there although a later one was told")
    return found
