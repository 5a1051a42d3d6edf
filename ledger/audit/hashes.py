"""What can be checked of blocks whose bodies were erased: everything that was signed or hashed.

    header ── proposer's signature, previous, content root over the hashes of what was ordered
    entries ─ canonical, in order, id of each header, sender's signature where the sender's key is known
    receipts  under the entries, under the summary's root; results and rows say what they say
    bodies    those still there: commitment, and the hash of what was ordered
    facts     of deadlines, and of transactions whose salt is there: under the receipt's root; none of the others
    records   in the end, against the state root of the last summary

Not checked: that a receipt is what the contracts make of the command, and so the state roots between.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from hashlib import sha256
from typing import Any

import msgspec

from contracts.core.envelope import Header, signing_bytes, transaction_id
from contracts.core.facts import AnyFact, parties, subject
from contracts.core.parties import Party
from ledger.audit.differences import LedgerDiffers, same, same_columns
from ledger.audit.replay import Replay, reassembled, require_next
from ledger.founding import Founded
from ledger.genesis import members
from ledger.log import entry as form
from ledger.log import merkle
from ledger.log.statetree import StateTree
from ledger.machine import DUPLICATE
from ledger.ordering.block import BLOCK_CONTEXT, BlockHeader, BlockInvalid, content_root, read_header
from ledger.store import tables
from ledger.store.history import History, Row, StoredBlock
from ledger.verify import VerificationError, canonical
from ledger.verify.merkle import leaf_hash
from ledger.verify.opening import fact_salt
from ledger.verify.state import bucket_of, key_hash
from runtime.keys import verify

OK = "ok"


class Hashes:
    """Goes on where the re-execution had to stop. `erased`: bodies that are gone."""

    def __init__(
        self,
        replay: Replay,
        founded: Founded,
        places: Set[int],
        proposers: Mapping[str, set[str]],
        keys: Mapping[str, str],
    ) -> None:
        head = replay.machine.head
        self._replay = replay
        self._channel = founded.genesis.channel
        self._contracts_root = founded.genesis.contracts_root
        self._places = places
        self._proposers = proposers
        self._keys = keys
        self._previous = head.previous
        self._time_ms = head.time_ms
        self._edge = head.edge
        self._ids: set[str] = set()
        self.height = head.height
        self.size = head.size
        self.root = head.root
        self.state_root = replay.machine.cache.tree.root
        self.erased = 0

    @classmethod
    async def after(cls, replay: Replay, founded: Founded, places: Set[int], history: History) -> Hashes:
        """From the replay's last block on. `places`: leaves whose bodies were erased. Keys are those the records hold
        now, which `check_records` checks."""
        of = tables.records.c
        proposers: dict[str, set[str]] = {name: {key} for name, key in members(founded.policy).items()}
        for row in await history.rows(tables.records, of.kind.in_(("member", "former_member"))):
            opened = _opened(row["body"])
            proposers.setdefault(str(opened.get("name")), set()).add(str(opened.get("key")))
        rows = await history.rows(tables.records, of.kind == Party.KIND)
        keys = {row["key"]: str(_opened(row["body"]).get("key")) for row in rows}
        return cls(replay, founded, places, proposers, keys)

    async def check_block(self, stored: StoredBlock, history: History) -> None:
        """The next block. Raises LedgerDiffers."""
        height, row = self.height + 1, stored.block
        require_next(stored, height, self.size)
        header = self._header(height, stored)
        receipts, facts = self._entries(height, stored)
        self._summary(height, stored, header, receipts)
        self._facts(height, stored, facts)
        leaves = [leaf_hash(entry["data"]) for entry in stored.entries]
        grown = merkle.append(self.size, leaves, self._edge)
        ids = {item["log_index"]: item["id"] for item in stored.transactions}
        await self._replay.published.check_tiles(height, grown.tiles, history, ids)
        self._replay.published.check_checkpoint(height, stored.checkpoints, grown.size, grown.root)
        for name in ("entries", "transactions", "bodies"):
            self._replay.counts[name] += len(getattr(stored, name))
        self.height, self.size, self.root, self._edge = height, grown.size, grown.root, grown.edge
        self._previous, self._time_ms = row["summary_hash"], row["time_ms"]
        self.state_root = row["state_root"]

    async def check_records(self, history: History) -> int:
        """How many there are; they must give the last state root. A record that does not fit its own hashes is named by
        the block that wrote it last. Raises LedgerDiffers."""
        leaves: dict[int, list[bytes]] = {}  # 64 bytes a record: bodies are not held
        found: list[tuple[int, str]] = []
        async for row in history.records():
            hashed, value = key_hash(row["kind"], row["key"]), sha256(row["body"]).digest()
            leaves.setdefault(bucket_of(hashed), []).append(hashed + value)
            expected = {"bucket": bucket_of(hashed), "key_hash": hashed, "value_hash": value}
            for name in (name for name, value in expected.items() if row[name] != value):
                found.append((row["height"], f"table records: {row['kind']}/{row['key']} differs in {name}"))
            if not 0 <= row["height"] <= self.height:
                found.append((self.height, f"table records: {row['kind']}/{row['key']} differs in height"))
        if found:
            raise LedgerDiffers(*min(found))
        buckets = {bucket: b"".join(sorted(each)) for bucket, each in leaves.items()}
        if StateTree(buckets.items()).root != self.state_root:
            raise LedgerDiffers(self.height, "table records: they do not give the state root of the last block")
        return sum(map(len, leaves.values()))

    def _header(self, height: int, stored: StoredBlock) -> BlockHeader:
        row = stored.block
        try:
            header = read_header(row["header"])
        except BlockInvalid as error:
            raise LedgerDiffers(height, f"table blocks: {error}") from error
        hashes = [item["content_hash"] for item in stored.transactions]
        expected = (self._channel, height, self._previous.hex(), len(hashes), content_root(hashes).hex())
        if (header.channel, header.height, header.previous, header.tx_count, header.content_root) != expected:
            raise LedgerDiffers(height, "tables blocks, transactions: the header is of another block")
        if header.time_ms <= self._time_ms:
            raise LedgerDiffers(height, "table blocks: it is not later than the one before")
        signed = BLOCK_CONTEXT + row["header"]
        if not any(verify(key, signed, row["signature"]) for key in self._proposers.get(header.proposer, ())):
            raise LedgerDiffers(height, "table blocks: not signed by a member")
        return header

    def _entries(self, height: int, stored: StoredBlock) -> tuple[list[bytes], dict[int, tuple[Row, bytes | None]]]:
        """The block's canonical receipts in order; and by leaf the receipt with the key of its fact salts, if it is
        known."""
        receipts: list[bytes] = []
        facts: dict[int, tuple[Row, bytes | None]] = {}
        rows = {item["log_index"]: item for item in stored.transactions}
        for offset, item in enumerate(stored.entries[:-1]):
            index = item["log_index"]
            opened = _opened(item["data"])
            row = rows.pop(index, None)
            if opened.get("channel") != self._channel or index != stored.block["first_index"] + offset:
                raise LedgerDiffers(height, f"table entries: leaf {index} is no entry of this channel")
            if row is None:
                receipt = self._tick(height, stored, opened, offset)
                facts[index] = (_opened(receipt), self._previous)
            else:
                receipt = row["receipt"]
                facts[index] = (_opened(receipt), self._transaction(height, row, item["data"], opened, stored))
            receipts.append(receipt)
        if rows:
            raise LedgerDiffers(
                height, "table transactions: a row that belongs to no entry", min(rows.items())[1]["id"]
            )
        return receipts, facts

    def _tick(self, height: int, stored: StoredBlock, opened: Mapping[str, Any], offset: int) -> bytes:
        expected = {"kind": "tick", "height": height, "time_ms": stored.block["time_ms"]}
        if offset or any(opened.get(name) != value for name, value in expected.items()):
            raise LedgerDiffers(height, "tables entries, transactions: a leaf that is no transaction")
        try:
            return canonical.encode(opened.get("receipt"))
        except VerificationError as error:
            raise LedgerDiffers(height, f"table entries: {error}") from error

    def _transaction(
        self, height: int, row: Row, entry: bytes, opened: Mapping[str, Any], stored: StoredBlock
    ) -> bytes | None:
        """Checks one transaction; its salt, None if it is erased."""
        try:
            header = msgspec.convert(opened["header"], Header)
            signature = bytes.fromhex(opened["signature"])
            receipt = canonical.decode_object(row["receipt"])
        except (KeyError, TypeError, ValueError, VerificationError) as error:
            raise LedgerDiffers(height, f"tables entries, transactions: {error}", row["id"]) from error
        expected = {
            "id": transaction_id(header),
            "sender": header.sender,
            "nonce": header.nonce,
            "contract": header.contract,
            "command": header.command,
            "code": receipt.get("code"),
        }
        for column, value in expected.items():
            if row[column] != value:
                raise LedgerDiffers(
                    height, f"table transactions: {column} of leaf {row['log_index']} differs", row["id"]
                )
        if sha256(row["receipt"]).hexdigest() != opened.get("receipt"):
            raise LedgerDiffers(height, "table transactions: the entry commits to another receipt", row["id"])
        key = self._keys.get(header.sender)
        if row["registered"]:
            before = self._replay.source.taken([row["id"]], []).ids
            if row["id"] in self._ids or before or row["code"] == DUPLICATE:
                raise LedgerDiffers(height, "table transactions: registered of an id that was taken", row["id"])
            self._ids.add(row["id"])
            if key is not None and not verify(key, signing_bytes(header), signature):
                raise LedgerDiffers(height, "table entries: not signed by its sender", row["id"])
        elif row["code"] == OK:
            raise LedgerDiffers(height, "table transactions: not registered although it was accepted", row["id"])
        body = stored.bodies.get(row["log_index"])
        if row["log_index"] in self._places:
            if body is not None:
                raise LedgerDiffers(height, "tables bodies, erasures: a body is there that was erased", row["id"])
            self.erased += 1
            return None
        return reassembled(height, row, entry, body).salt

    def _summary(self, height: int, stored: StoredBlock, header: BlockHeader, receipts: list[bytes]) -> None:
        row = stored.block
        if not stored.entries:
            raise LedgerDiffers(height, "table entries: the block has no summary")
        data = stored.entries[-1]["data"]
        summary = _opened(data)
        same_columns(height, "blocks", row, {
            "time_ms": header.time_ms,
            "tx_count": header.tx_count,
            "summary_hash": sha256(data).digest(),
        })  # fmt: skip
        expected = {
            "kind": "block",
            "channel": self._channel,
            "height": height,
            "previous": self._previous.hex(),
            "time_ms": header.time_ms,
            "tx_count": header.tx_count,
            "first_index": row["first_index"],
            "state_root": row["state_root"].hex(),
            "receipts_root": form.tree_root(receipts).hex(),
            "contracts_root": self._contracts_root,
            "order_revision": row["order_revision"],
        }
        for name, value in expected.items():
            if summary.get(name) != value:
                raise LedgerDiffers(height, f"tables blocks, entries, transactions: {name} of the summary differs")

    def _facts(self, height: int, stored: StoredBlock, receipts: Mapping[int, tuple[Row, bytes | None]]) -> None:
        time_ms = stored.block["time_ms"]
        ids = {row["log_index"]: row["id"] for row in stored.transactions}
        expected: list[dict[str, Any]] = []
        concerned: list[dict[str, Any]] = []
        for index, (receipt, salt) in sorted(receipts.items()):
            rows = [row for row in stored.facts if row["log_index"] == index]
            if len(rows) != (receipt.get("facts") if salt is not None else 0):
                raise LedgerDiffers(height, f"table facts: {len(rows)} rows at leaf {index}", ids.get(index))
            leaves = [fact_salt(salt, number) + row["body"] for number, row in enumerate(rows) if salt is not None]
            if salt is not None and form.tree_root(leaves).hex() != receipt.get("facts_root"):
                what = f"table facts: those of leaf {index} are not in its receipt"
                raise LedgerDiffers(height, what, ids.get(index))
            for ordinal, row in enumerate(rows):
                try:
                    fact = msgspec.json.decode(row["body"], type=AnyFact)
                except msgspec.DecodeError as error:
                    raise LedgerDiffers(
                        height, f"table facts: body at leaf {index}: {error}", ids.get(index)
                    ) from error
                concern = list(parties(fact))
                place = {"log_index": index, "ordinal": ordinal}
                about = {
                    "time_ms": time_ms,
                    "transaction_id": ids.get(index),
                    "subject": subject(fact),
                    "parties": concern,
                }
                expected.append(place | about)
                concerned += [{"party": party, "height": height, **place} for party in concern]
        concerned.sort(key=lambda row: (row["party"], row["log_index"], row["ordinal"]))
        same(height, "facts", stored.facts, expected, ids)
        same(height, "fact_parties", stored.fact_parties, concerned, ids)
        self._replay.counts["facts"] += len(expected)
        self._replay.counts["fact_parties"] += len(concerned)


def _opened(data: bytes) -> dict[str, Any]:
    try:
        return canonical.decode_object(data)
    except VerificationError:
        return {}
