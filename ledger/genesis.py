"""Height 0, and the way back to a committed height: founding the database and loading it are separate acts.

`create` refuses if anything exists. `load` believes nothing it reads: it checks that the genesis is ours, that the last
block, its summary entry, the tree's edge and the signed checkpoint fit each other, and that the records give the state
root of the summary. So it covers a torn restore, edited rows of the state, another database, another genesis, other
contracts. The blocks below the last are checked by the audit.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

from contracts import rules
from contracts.core.codec import digest, encode
from ledger.errors import Diverged, GenesisInvalid
from ledger.founding import Founded, contracts_root
from ledger.log import merkle
from ledger.machine import Head
from ledger.ordering.signatures import CheckpointSigner
from ledger.store.state import CheckedTree, StateCache
from ledger.store.store import Founding, RecordRow, Store, Stored
from ledger.verify import VerificationError, canonical
from ledger.verify.merkle import EMPTY_ROOT
from ledger.verify.policy import NO_QUORUM, Policy, parse_policy, verify_checkpoint
from ledger.verify.state import bucket_of, key_hash

MARKER: Final = "signed"
"""File in the data folder: this member has signed checkpoints of this genesis, so an empty database is a lost one."""

_BUCKET_BYTES_KEPT: Final = 64 * 1024 * 1024


class Loaded(NamedTuple):
    """A verified height: where the log stands, the state's tree and caches, the newest checkpoint."""

    head: Head
    cache: StateCache
    checkpoint: bytes


def members(policy: bytes) -> dict[str, str]:
    """Name -> public key text of the members that cosign by this policy."""
    return {key.name: f"ed25519:{key.public.hex()}" for _, key in parse_policy(policy).witnesses}


async def create(store: Store, founded: Founded, signer: CheckpointSigner, time_s: int, marker: Path | None) -> None:
    """Stores height 0. Raises GenesisExists, and GenesisInvalid where a database was lost."""
    genesis = encode(founded.genesis)
    if marker is not None and marker.exists():  # noqa: ASYNC240  # one file, once
        raise GenesisInvalid(
            f"the database is empty, but this member has signed checkpoints of this ledger ({marker} says so): "
            "restore the database; a new one would contradict what was signed"
        )
    records = rules.genesis(founded.genesis)
    note = signer.note(0, EMPTY_ROOT, time_s)
    await store.create(Founding(genesis=genesis, policy=founded.policy, records=records, checkpoint=note))
    mark(marker, genesis)


def mark(marker: Path | None, genesis: bytes) -> None:
    """Leaves the marker (again: a crash may have come between the database and the file)."""
    if marker is not None and not marker.exists():
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.write_text(digest(genesis) + "\n", encoding="ascii")


async def load(store: Store, founded: Founded) -> Loaded:
    """The newest height, verified. Raises GenesisInvalid, Diverged."""
    stored = await store.load()
    if stored.genesis != encode(founded.genesis) or stored.policy != founded.policy:
        raise GenesisInvalid("the database belongs to another genesis or policy than this data folder")
    check_contracts(founded)
    summary = _check_summary(stored)
    head = _head(stored, founded, summary)
    _check_checkpoint(stored, head)
    cache, next_due_ms = await _state(store)
    if summary is not None and cache.tree.root.hex() != summary["state_root"]:
        raise Diverged(f"the records do not give the state root of block {head.height}: run `dr-ledger verify`")
    if summary is None and cache.tree.root != genesis_root(founded):
        raise Diverged("the records are not those of the genesis: run `dr-ledger verify`")
    return Loaded(_with_due(head, next_due_ms), cache, stored.checkpoint)


def check_contracts(founded: Founded) -> None:
    """Raises GenesisInvalid if this program executes other contracts than the ledger was founded with."""
    if founded.genesis.contracts_root != contracts_root():
        raise GenesisInvalid(
            f"this ledger executes the contracts {founded.genesis.contracts_root[:16]}, this program has "
            f"{contracts_root()[:16]}: install the program it was founded with"
        )


def genesis_root(founded: Founded) -> bytes:
    """State root before block 1."""
    writes = rules.genesis(founded.genesis)
    return CheckedTree().plan(writes, _Empty()).root


def _check_summary(stored: Stored) -> Mapping[str, object] | None:
    block = stored.block
    if block is None:
        return None
    try:
        summary = canonical.decode_object(stored.summary or b"")
    except VerificationError:
        summary = {}
    expected = {
        "kind": "block", "height": block.height, "time_ms": block.time_ms, "tx_count": block.tx_count,
        "first_index": block.first_index, "state_root": block.state_root.hex(), "order_revision": block.order_revision,
    }  # fmt: skip
    if sha256(stored.summary or b"").digest() != block.summary_hash or expected.items() - summary.items():
        raise Diverged(f"the row of block {block.height} and its summary entry do not fit: run `dr-ledger verify`")
    return summary


def _head(stored: Stored, founded: Founded, summary: Mapping[str, object] | None) -> Head:
    block = stored.block
    if block is None or summary is None:
        return Head(0, founded.genesis.created_ms, bytes.fromhex(digest(stored.genesis)), 0, EMPTY_ROOT, {}, None)
    try:
        root = merkle.root(block.size, stored.edge)
    except (KeyError, ValueError):
        raise Diverged(f"the tree of block {block.height} is not complete: run `dr-ledger verify`") from None
    return Head(block.height, block.time_ms, block.summary_hash, block.size, root, stored.edge, None)


def _check_checkpoint(stored: Stored, head: Head) -> None:
    policy = parse_policy(stored.policy)
    own = Policy(policy.logs, policy.witnesses, (), NO_QUORUM)  # the others have not cosigned the newest one yet
    try:
        checkpoint = verify_checkpoint(stored.checkpoint, own).checkpoint
    except VerificationError as error:
        raise Diverged(f"the checkpoint of block {head.height} is not signed by us: {error}") from None
    if (checkpoint.size, checkpoint.root) != (head.size, head.root):
        raise Diverged(f"the checkpoint of block {head.height} is of another tree: run `dr-ledger verify`")


async def _state(store: Store) -> tuple[StateCache, int | None]:
    leaves_of: dict[int, list[bytes]] = {}
    due: list[int] = []
    async with aclosing(store.stream_records()) as parts:
        async for row in parts:
            hashed, value = _hashes(row)
            leaves_of.setdefault(bucket_of(hashed), []).append(hashed + value)
            if row.kind == "expiry":
                due.append(int(row.key.split("/")[0]))
    buckets = {bucket: b"".join(sorted(leaves)) for bucket, leaves in leaves_of.items()}
    cache = StateCache(CheckedTree(buckets.items()))
    empty = [bucket for bucket in range(1 << 16) if bucket not in buckets]
    if sum(map(len, buckets.values())) <= _BUCKET_BYTES_KEPT:
        cache.fill_buckets(buckets | dict.fromkeys(empty, b""))
    return cache, min(due, default=None)


def _hashes(row: RecordRow) -> tuple[bytes, bytes]:
    hashed, value = key_hash(row.kind, row.key), sha256(row.body).digest()
    if (row.bucket, row.key_hash, row.value_hash) != (bucket_of(hashed), hashed, value):
        raise Diverged(f"record {row.kind}/{row.key} was changed (block {row.height} wrote it): run `dr-ledger verify`")
    return hashed, value


def _with_due(head: Head, next_due_ms: int | None) -> Head:
    return Head(head.height, head.time_ms, head.previous, head.size, head.root, head.edge, next_due_ms)


class _Empty:
    def __getitem__(self, bucket: int) -> bytes:
        return b""
