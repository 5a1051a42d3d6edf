"""What a leaf of the log holds: transactions with the hash of their receipt, and one summary for each block.

A receipt commits to the facts a transaction produced by a Merkle tree of salted leaves, so that one fact can be shown
without the others and without the command.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from ledger.verify import canonical
from ledger.verify.merkle import EMPTY_ROOT, leaf_hash
from ledger.verify.opening import fact_salt

from . import merkle
from .tiles import MAX_ENTRY_BYTES


def transaction_entry(header: Mapping[str, Any], signature: bytes, receipt: bytes) -> bytes:
    """The canonical entry of a transaction. `receipt`: SHA-256 of the canonical receipt."""
    return _entry(
        {
            "kind": "transaction",
            "channel": header["channel"],
            "header": dict(header),
            "signature": signature.hex(),
            "receipt": receipt.hex(),
        }
    )


def block_entry(
    *,
    channel: str,
    height: int,
    previous: bytes,
    time_ms: int,
    tx_count: int,
    first_index: int,
    state_root: bytes,
    receipts_root: bytes,
    contracts_root: bytes,
    validator_set: str,
    order_revision: int,
) -> bytes:
    """The canonical summary entry that ends a block.

    `previous`: SHA-256 of the previous summary entry (block 1: digest of the genesis). `first_index`: log index of the
    block's first entry. `receipts_root`: RFC 6962 root over the canonical receipts of the block, in order.
    """
    return _entry(
        {
            "kind": "block",
            "channel": channel,
            "height": height,
            "previous": previous.hex(),
            "time_ms": time_ms,
            "tx_count": tx_count,
            "first_index": first_index,
            "state_root": state_root.hex(),
            "receipts_root": receipts_root.hex(),
            "contracts_root": contracts_root.hex(),
            "validator_set": validator_set,
            "order_revision": order_revision,
        }
    )


def receipt(code: str, facts: Sequence[bytes], transaction_salt: bytes, writes: bytes) -> bytes:
    """The canonical receipt: result code, number and root of the facts (canonical bytes each), write-set hash."""
    root = tree_root(_fact_leaves(facts, transaction_salt))
    return canonical.encode({"code": code, "facts": len(facts), "facts_root": root.hex(), "writes": writes.hex()})


def fact_part(facts: Sequence[bytes], transaction_salt: bytes, index: int) -> dict[str, Any]:
    """The `fact` member of an opening for fact `index` of a transaction."""
    appended = merkle.append(0, [leaf_hash(leaf) for leaf in _fact_leaves(facts, transaction_salt)], {})
    path = merkle.inclusion_proof(index, len(facts), appended.tiles)
    return {
        "index": index,
        "salt": fact_salt(transaction_salt, index).hex(),
        "path": [item.hex() for item in path],
        "body": facts[index].decode(),
    }


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """RFC 6962 tree hash over leaf data: the facts root, and the receipts root of a block."""
    row = [sha256(b"\x00" + leaf).digest() for leaf in leaves]
    while len(row) > 1:
        pairs = [sha256(b"\x01" + row[at] + row[at + 1]).digest() for at in range(0, len(row) - 1, 2)]
        row = pairs + row[-1:] if len(row) % 2 else pairs  # the odd one rises, as in RFC 6962
    return row[0] if row else EMPTY_ROOT


def digest(canonical_bytes: bytes) -> bytes:
    """SHA-256 of a canonical encoding: the receipt hash, the `previous` of the next block."""
    return sha256(canonical_bytes).digest()


def _fact_leaves(facts: Sequence[bytes], transaction_salt: bytes) -> list[bytes]:
    return [fact_salt(transaction_salt, index) + fact for index, fact in enumerate(facts)]


def _entry(value: dict[str, Any]) -> bytes:
    data = canonical.encode(value)
    if len(data) > MAX_ENTRY_BYTES:
        raise ValueError(f"an entry of {len(data)} bytes, at most {MAX_ENTRY_BYTES} fit")
    return data
