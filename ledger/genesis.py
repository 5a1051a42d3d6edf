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
from typing import NamedTuple

from contracts import rules
from contracts.consortium import MemberRecord, Roster, roster
from contracts.core.codec import digest, encode, read
from ledger.errors import Diverged, GenesisInvalid
from ledger.founding import Founded, contracts_root, policy_of
from ledger.founding.keys import verifier_keys
from ledger.log import merkle
from ledger.log.checkpoint import checkpoint_text
from ledger.log.policy import parties_of
from ledger.machine import Head
from ledger.marker import Marker
from ledger.ordering.signatures import CheckpointSigner
from ledger.store.state import CheckedTree, StateCache
from ledger.store.store import FinalRow, Founding, RecordRow, Store, Stored
from ledger.verify import VerificationError, canonical
from ledger.verify.merkle import EMPTY_ROOT
from ledger.verify.policy import NO_QUORUM, Policy, parse_policy, verify_checkpoint
from ledger.verify.state import bucket_of, key_hash


class Loaded(NamedTuple):
    """A verified height: where the log stands, the state's tree and caches, this member's note of it (unsigned where it
    must not sign), the newest final checkpoint that was kept, who orders and cosigns the next block, and everybody the
    state names as a member of now or later."""

    head: Head
    cache: StateCache
    checkpoint: bytes
    final: FinalRow | None
    roster: Roster
    named: frozenset[str]


def members(policy: bytes) -> dict[str, str]:
    """Name -> public key text of the members that cosign by this policy."""
    return {key.name: f"ed25519:{key.public.hex()}" for key in parties_of(parse_policy(policy)).members}


async def create(
    store: Store, founded: Founded, signer: CheckpointSigner, time_s: int, marker: Marker, *, alone: bool
) -> None:
    """Stores height 0. Raises GenesisExists, and GenesisInvalid where a database was lost that nobody else has.

    A member among others that lost its database begins anew: it takes all blocks from them, and its marker keeps it
    from signing anything before it has passed what it signed."""
    if marker.exists and alone:
        raise GenesisInvalid(
            "the database is empty, but this member has signed checkpoints of this ledger: restore the database; "
            "a new one would contradict what was signed"
        )
    note = signer.note(0, EMPTY_ROOT, time_s)
    if marker.exists:
        note = checkpoint_text(founded.genesis.origin, 0, EMPTY_ROOT).encode()
    records, genesis = rules.genesis(founded.genesis), encode(founded.genesis)
    await store.create(Founding(genesis=genesis, policy=founded.policy, records=records, checkpoint=note))


async def load(store: Store, founded: Founded) -> Loaded:
    """The newest height, verified. Raises GenesisInvalid, Diverged."""
    stored = await store.load()
    if stored.genesis != encode(founded.genesis) or stored.policy != founded.policy:
        raise GenesisInvalid("the database belongs to another genesis or policy than this data folder")
    check_contracts(founded)
    summary = _check_summary(stored)
    head = _head(stored, founded, summary)
    _check_checkpoint(stored, head, founded)
    cache, next_due_ms, named = await _state(store)
    if summary is not None and cache.tree.root.hex() != summary["state_root"]:
        raise Diverged(f"the records do not give the state root of block {head.height}: run `dr-ledger verify`")
    if summary is None and cache.tree.root != genesis_root(founded):
        raise Diverged("the records are not those of the genesis: run `dr-ledger verify`")
    present, everybody = roster(named, head.height + 1), named.staying(head.height)
    final = _checked_final(stored, head, named, present)
    return Loaded(_with_due(head, next_due_ms), cache, stored.checkpoint, final, present, everybody)


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


def own_policy(founded: Founded) -> Policy:
    """By which this member's own notes are read: its two keys, whether the founders knew them or not."""
    log, cosigner = verifier_keys(founded.genesis.origin, founded.member, founded.log_key, founded.cosigner_key)
    return Policy((log,), ((founded.member, cosigner),), (), NO_QUORUM)


def _check_checkpoint(stored: Stored, head: Head, founded: Founded) -> None:
    if stored.checkpoint == checkpoint_text(founded.genesis.origin, head.size, head.root).encode():
        return  # nothing was signed: below what this member had signed before its database was restored
    try:
        checkpoint = verify_checkpoint(stored.checkpoint, own_policy(founded)).checkpoint
    except VerificationError as error:
        raise Diverged(f"the checkpoint of block {head.height} is not signed by us: {error}") from None
    if (checkpoint.size, checkpoint.root) != (head.size, head.root):
        raise Diverged(f"the checkpoint of block {head.height} is of another tree: run `dr-ledger verify`")


def _checked_final(stored: Stored, head: Head, named: _Members, present: Roster) -> FinalRow | None:
    """Kept so that a restart forgets nothing final; one that does not verify is forgotten, and made anew. The quorum
    may be one of the founders, of the members then, or of those of now."""
    final = stored.final
    if final is None or final.size > head.size:
        return None
    rosters = (roster(named, final.height), roster(named, final.height + 1), present)
    policies = [stored.policy, *(policy_of(each.members, like=stored.policy) for each in rosters if each.members)]
    for policy in dict.fromkeys(policies):
        try:
            checkpoint = verify_checkpoint(final.note, parse_policy(policy)).checkpoint
        except VerificationError:
            continue
        return final if checkpoint.size == final.size else None
    return None


async def _state(store: Store) -> tuple[StateCache, int | None, _Members]:
    named = _Members()
    leaves_of: dict[int, list[bytes]] = {}
    due: list[int] = []
    async with aclosing(store.stream_records()) as parts:
        async for row in parts:
            hashed, value = _hashes(row)
            leaves_of.setdefault(row.bucket, []).append(hashed + value)
            if row.kind == "expiry":
                due.append(int(row.key.split("/")[0]))
            elif row.kind == "member":
                named.rows[row.key] = row.body
    buckets = {bucket: b"".join(sorted(leaves)) for bucket, leaves in leaves_of.items()}
    cache = StateCache(CheckedTree(buckets.items()))
    cache.fill_buckets(buckets)
    return cache, min(due, default=None), named


def _hashes(row: RecordRow) -> tuple[bytes, bytes]:
    hashed, value = key_hash(row.kind, row.key), sha256(row.body).digest()
    if (row.bucket, row.key_hash, row.value_hash) != (bucket_of(hashed), hashed, value):
        raise Diverged(f"record {row.kind}/{row.key} was changed (block {row.height} wrote it): run `dr-ledger verify`")
    return hashed, value


def _with_due(head: Head, next_due_ms: int | None) -> Head:
    return Head(head.height, head.time_ms, head.previous, head.size, head.root, head.edge, next_due_ms)


class _Members:
    """The state as far as it names members."""

    def __init__(self) -> None:
        self.rows: dict[str, bytes] = {}

    def staying(self, height: int) -> frozenset[str]:
        """Who is a member after this height, or becomes one later."""
        records = [read(body, MemberRecord) for body in self.rows.values()]
        return frozenset(each.name for each in records if each.until_height is None or each.until_height > height + 1)

    def get(self, kind: str, key: str) -> bytes | None:
        return self.rows.get(key) if kind == "member" else None

    def scan(self, kind: str, first: str, last: str, limit: int) -> list[tuple[str, bytes]]:
        rows = self.rows if kind == "member" else {}
        return sorted((key, body) for key, body in rows.items() if first <= key < last)[:limit]


class _Empty:
    def __getitem__(self, bucket: int) -> bytes:
        return b""
