"""What other channels and dishonest members signed, judged purely: hashes here, signatures by `Context.verify`.

    fact ─ receipt ─ transaction entry ─┐
                        block summary ──┴─ leaves of a log ─ root ─ checkpoint text ─ cosignatures

The formats are those of ledger/log/DESIGN.md (RFC 6962 trees, C2SP checkpoints and cosignatures). Nothing is parsed
from text here: a command carries the parts, and this module writes the bytes that were hashed or signed. Every size is
bounded before anything is hashed; what does not fit is a Refusal(proof_invalid).
"""

import hashlib
from typing import Annotated, Final, Literal

import msgspec

from contracts.core.codec import encode
from contracts.core.envelope import Header
from contracts.core.errors import Refusal
from contracts.core.units import Count, Hash, Id, SignatureHex, TimeMs

PATH_MAX: Final = 63
FACT_BYTES_MAX: Final = 4_096

Path = Annotated[tuple[Hash, ...], msgspec.Meta(max_length=PATH_MAX)]
LongPath = Annotated[tuple[Hash, ...], msgspec.Meta(max_length=2 * PATH_MAX)]

_LOG_KEY: Final = 1
_COSIGNER_KEY: Final = 4


class Receipt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a transaction came to: result code, number and root of its facts, hash of what it wrote."""

    code: Id
    facts: Count
    facts_root: Hash
    writes: Hash


class BlockSummary(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The last entry of a block."""

    kind: Literal["block"]
    channel: Id
    height: Count
    previous: Hash
    time_ms: TimeMs
    tx_count: Count
    first_index: Count
    state_root: Hash
    receipts_root: Hash
    contracts_root: Hash
    validator_set: Hash
    order_revision: Count


class FactProof(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One fact of a transaction of another channel, under that channel's checkpoint of `size` leaves.

    `fact`: its canonical JSON text; `fact_path` leads from it to the receipt's root, `path` from the entry at `index`
    to the checkpoint's. (A proof file and its opening hold the same: ledger.channels.proofs makes one of the other.)"""

    size: Count
    index: Count
    path: Path
    header: Header
    signature: SignatureHex
    receipt: Receipt
    fact_index: Count
    fact_salt: Hash
    fact_path: Path
    fact: Annotated[str, msgspec.Meta(max_length=FACT_BYTES_MAX)]


def entry_root(proof: FactProof) -> str:
    """The root that the proof leads to, after everything below the entry was checked. Raises Refusal."""
    salted = bytes.fromhex(proof.fact_salt) + proof.fact.encode("utf-8", "surrogatepass")
    facts_root = inclusion_root(leaf_hash(salted), proof.fact_index, proof.receipt.facts, proof.fact_path)
    if facts_root != proof.receipt.facts_root:
        raise Refusal("proof_invalid", "the fact is not under the receipt's root")
    entry = {
        "kind": "transaction",
        "channel": proof.header.channel,
        "header": proof.header,
        "signature": proof.signature,
        "receipt": hashlib.sha256(encode(proof.receipt)).hexdigest(),
    }
    return inclusion_root(leaf_hash(encode(entry)), proof.index, proof.size, proof.path)


def summary_root(summary: BlockSummary, size: int, path: tuple[str, ...]) -> str:
    """The root of the tree of `size` leaves whose last one is this block summary. Raises Refusal."""
    return inclusion_root(leaf_hash(encode(summary)), size - 1, size, path)


def leaf_hash(entry: bytes) -> bytes:
    """SHA-256(0x00 || entry)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def inclusion_root(leaf: bytes, index: int, size: int, path: tuple[str, ...]) -> str:
    """Root of the tree of `size` leaves in which `path` leads up from `leaf` at `index` (RFC 9162, 2.1.3.2). Raises
    Refusal where the path has not the length that such a tree demands."""
    if not 0 <= index < size:
        raise Refusal("proof_invalid", f"index {index} is not in a tree of {size} leaves")
    node, last, computed = index, size - 1, leaf
    for sibling in map(bytes.fromhex, path):
        if last == 0:
            raise Refusal("proof_invalid", "the inclusion proof is too long")
        if node & 1 or node == last:
            computed = _node_hash(sibling, computed)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            computed = _node_hash(computed, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise Refusal("proof_invalid", "the inclusion proof is too short")
    return computed.hex()


def prefix_roots(old_size: int, new_size: int, path: tuple[str, ...]) -> tuple[str, str]:
    """Roots at `old_size` and at `new_size` of the tree that the path is of (RFC 9162, 2.1.4.2), 0 < old < new.

    As in the RFC, but the first hash is always given, also where the old size is a power of two: so the path names both
    roots by itself. Where the second is a tree somebody signed, the first is the only root that its first `old_size`
    leaves have: whoever signed another one contradicts himself. Raises Refusal."""
    if not 0 < old_size < new_size or not path:
        raise Refusal("proof_invalid", f"no path from {old_size} to {new_size} leaves")
    node, last = old_size - 1, new_size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old = new = bytes.fromhex(path[0])
    for sibling in map(bytes.fromhex, path[1:]):
        if last == 0:
            raise Refusal("proof_invalid", "the consistency proof is too long")
        if node & 1 or node == last:
            old, new = _node_hash(sibling, old), _node_hash(sibling, new)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            new = _node_hash(new, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise Refusal("proof_invalid", "the consistency proof is too short")
    return old.hex(), new.hex()


def checkpoint_text(origin: str, size: int, root: str) -> str:
    """The text of a checkpoint: origin, size and root, a line each."""
    return f"{origin}\n{size}\n{base64_text(bytes.fromhex(root))}\n"


def cosigned_bytes(origin: str, size: int, root: str, time_s: int) -> bytes:
    """What a member cosigns (c2sp.org/tlog-cosignature v1)."""
    return f"cosignature/v1\ntime {time_s}\n{checkpoint_text(origin, size, root)}".encode()


def log_signed_bytes(origin: str, size: int, root: str) -> bytes:
    """What a member's log key signs (c2sp.org/tlog-checkpoint)."""
    return checkpoint_text(origin, size, root).encode()


def log_key(vkey: str, origin: str) -> str:
    """`ed25519:<hex>` of a log's verifier key, whose name is the origin. Raises Refusal(verifier_key_invalid)."""
    return _public_key(vkey, origin, _LOG_KEY)


def cosigner_key(vkey: str, name: str) -> str:
    """`ed25519:<hex>` of a member's cosigning key under its own name. Raises Refusal(verifier_key_invalid)."""
    return _public_key(vkey, name, _COSIGNER_KEY)


def base64_text(data: bytes) -> str:
    """RFC 4648 section 4, with padding."""
    text: str = msgspec.to_builtins(data)
    return text


def _public_key(vkey: str, name: str, kind: int) -> str:
    prefix, _, rest = vkey.partition("+")
    key_id, _, encoded = rest.partition("+")
    try:
        raw = msgspec.convert(encoded, bytes)
    except msgspec.ValidationError:
        raise Refusal("verifier_key_invalid", vkey) from None
    known = hashlib.sha256(name.encode() + b"\n" + raw).hexdigest()[:8]
    if (prefix, key_id, base64_text(raw), raw[:1], len(raw)) != (name, known, encoded, bytes((kind,)), 33):
        raise Refusal("verifier_key_invalid", vkey)
    return f"ed25519:{raw[1:].hex()}"


def _node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()
