"""The audit: executes everything again from the genesis, in memory, and compares it with every stored row.

    genesis ─▶ block 1 ─▶ ... ─▶ block h           for each block, in this order: its header and proposer, its
               compare    compare compare          transactions against what was ordered, its execution, every row it
                                     │             wrote, its tiles, its signed checkpoint
                                     └─▶ records, counts of rows

It raises for the first block that does not fit, naming the transaction and what differs, and changes nothing. It runs
beside a serving replica, on one snapshot. The refusals table is the operator's notebook and not part of the ledger.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts import rules
from contracts.core.codec import digest, encode
from contracts.core.envelope import Header, Transaction
from contracts.core.errors import CodecError
from ledger.errors import Diverged, GenesisInvalid
from ledger.founding import Founded
from ledger.genesis import check_contracts, members
from ledger.log.checkpoint import checkpoint_text
from ledger.log.tiles import HASH_BYTES
from ledger.machine import BlockRefused, Executed, Head, Machine
from ledger.ordering.block import Block, BlockInvalid, read_header
from ledger.ordering.signatures import Verdicts
from ledger.ordering.transactions import Parsed, parse
from ledger.store import tables
from ledger.store.history import History, Row, StoredBlock
from ledger.store.memory import MemorySource
from ledger.store.state import CheckedTree, StateCache
from ledger.verify import VerificationError, canonical
from ledger.verify.merkle import EMPTY_ROOT
from ledger.verify.policy import NO_QUORUM, Policy, parse_policy, verify_checkpoint
from ledger.verify.state import bucket_of, key_hash

_TABLES: Final = ("entries", "transactions", "bodies", "facts", "fact_parties", "checkpoints")


@dataclass(frozen=True, slots=True)
class Audited:
    """What was executed again and found equal. `checkpoint`: the newest signed one."""

    channel: str
    height: int
    transactions: int
    size: int
    records: int
    state_root: str
    checkpoint: str
    seconds: float


class LedgerDiffers(Diverged):
    """The first difference: `height` of the block (0: the genesis), `transaction_id` where it is of one, `what`."""

    def __init__(self, height: int, what: str, transaction_id: str | None = None) -> None:
        self.height = height
        self.what = what
        self.transaction_id = transaction_id
        where = f"block {height}" if transaction_id is None else f"block {height}, transaction {transaction_id}"
        super().__init__(f"{where} does not fit: {what}")


async def audit(engine: AsyncEngine, founded: Founded) -> Audited:
    """Replays and compares everything. Raises LedgerDiffers for the first block that does not fit, GenesisInvalid."""
    started = time.perf_counter()
    async with History.open(engine, founded.genesis.channel) as history:
        replay = _Replay(founded)
        await replay.check_genesis(history)
        async for stored in history.blocks():
            await replay.check_block(stored, history)
        await replay.check_records(history)
        await replay.check_counts(history)
    head = replay.machine.head
    return Audited(
        channel=founded.genesis.channel,
        height=head.height,
        transactions=replay.counts["transactions"],
        size=head.size,
        records=len(replay.source.rows),
        state_root=replay.machine.cache.tree.root.hex(),
        checkpoint=replay.checkpoint.decode(),
        seconds=round(time.perf_counter() - started, 3),
    )


class _Replay:
    """The ledger as it must be, one block after the other."""

    def __init__(self, founded: Founded) -> None:
        check_contracts(founded)
        self._founded = founded
        self._genesis = encode(founded.genesis)
        policy = parse_policy(founded.policy)
        self._policy = Policy(policy.logs, policy.witnesses, (), NO_QUORUM)  # one's own checkpoint: one signature
        self.source = MemorySource()
        cache = StateCache(CheckedTree())
        writes = rules.genesis(founded.genesis)
        plan = cache.plan(writes, self.source)
        self.source.write(writes, plan.buckets)
        cache.accept(writes, plan)
        previous = bytes.fromhex(digest(self._genesis))
        self.machine = Machine(
            channel=founded.genesis.channel,
            members=members(founded.policy),
            contracts_root=founded.genesis.contracts_root,
            head=Head(0, founded.genesis.created_ms, previous, 0, EMPTY_ROOT, {}, None),
            cache=cache,
            verdicts=Verdicts(),
        )
        self.checkpoint = b""
        self.counts = dict.fromkeys(_TABLES, 0)
        self._written = dict.fromkeys(writes, (0, -1))
        self._ids: dict[int, str] = {}
        self._tiles: dict[tuple[int, int], int] = {}

    async def check_genesis(self, history: History) -> None:
        rows = await history.rows(tables.meta)
        if len(rows) != 1:
            raise GenesisInvalid(f"the database holds no ledger {self._founded.genesis.channel}")
        if rows[0]["genesis"] != self._genesis or rows[0]["policy"] != self._founded.policy:
            raise LedgerDiffers(0, "table meta: genesis or policy is not that of the data folder")
        notes = await history.rows(tables.checkpoints, tables.checkpoints.c.height == 0)
        self._check_checkpoint(0, notes)

    async def check_block(self, stored: StoredBlock, history: History) -> None:
        head, row = self.machine.head, stored.block
        height = head.height + 1
        if row["height"] != height:
            raise LedgerDiffers(height, "table blocks: the row is missing")
        if row["first_index"] != head.size or row["size"] != head.size + len(stored.entries):
            raise LedgerDiffers(height, "tables blocks, entries: the entries do not follow those of the block before")
        transactions = self._transactions(height, stored)
        if _summary(stored).get("order_revision") != row["order_revision"]:
            raise LedgerDiffers(height, "tables blocks, entries: order_revision is not that of the summary entry")
        try:
            header = read_header(row["header"])
            block = Block(
                header=header,
                header_bytes=row["header"],
                signature=row["signature"],
                contents=tuple(parsed.content for parsed in transactions),
            )
            self.machine.check(block)
            executed = self.machine.execute(block, row["order_revision"], transactions, self.source)
        except (BlockInvalid, BlockRefused) as error:
            raise LedgerDiffers(height, f"table blocks: {error}") from error
        self._compare(height, stored, executed)
        await self._check_tiles(executed, history)
        self._check_checkpoint(height, stored.checkpoints, executed.head)
        self.source.accept(executed)
        self.machine.accept(executed)
        self._written |= {at: (height, index) for at, index in executed.written_by.items()}
        self._ids |= {transaction.log_index: transaction.parsed.id for transaction in executed.transactions}

    async def check_records(self, history: History) -> None:
        """The stored state; a difference is named by the block that wrote the record last."""
        found: list[tuple[int, int, str]] = []
        missing = dict(self._written) | dict.fromkeys(self._written.keys() - self.source.rows.keys(), (-1, -1))
        async for row in history.records():
            at = (row["kind"], row["key"])
            body = self.source.rows.get(at)
            if body is None:
                found.append((row["height"], -1, f"table records: {at[0]}/{at[1]} should not exist"))
                continue
            height, index = missing.pop(at)
            hashed = key_hash(*at)
            expected = {"height": height, "body": body, "bucket": bucket_of(hashed), "key_hash": hashed}
            expected["value_hash"] = sha256(body).digest()
            for name in (name for name, value in expected.items() if row[name] != value):
                found.append((height, index, f"table records: {at[0]}/{at[1]} differs in {name}"))
        for (kind, key), (height, index) in missing.items():
            if height >= 0:
                found.append((height, index, f"table records: {kind}/{key} is missing"))
        if found:
            height, index, what = min(found)
            raise LedgerDiffers(height, what, self._ids.get(index))

    async def check_counts(self, history: History) -> None:
        """Rows that belong to no block."""
        expected = {getattr(tables, name): count for name, count in self.counts.items()}
        expected[tables.tiles] = len(self._tiles)
        for table, count in expected.items():
            stored = await history.count(table)
            if stored != count:
                raise LedgerDiffers(self.machine.head.height, f"table {table.name}: {stored} rows instead of {count}")
        for row in await history.rows(tables.tiles):
            if len(row["data"]) != self._tiles.get((row["level"], row["number"])):
                raise LedgerDiffers(
                    self.machine.head.height, f"table tiles: {row['level']}/{row['number']} is too long"
                )

    def _transactions(self, height: int, stored: StoredBlock) -> list[Parsed]:
        """What was ordered, put together again from entries and bodies."""
        entries = {row["log_index"]: row["data"] for row in stored.entries}
        transactions = []
        for row in stored.transactions:
            index = row["log_index"]
            body = stored.bodies.get(index)
            if body is None:
                raise LedgerDiffers(height, "table bodies: salt and command are missing", row["id"])
            try:
                parsed = parse(_content(entries.get(index, b""), body))
            except (CodecError, VerificationError, msgspec.ValidationError, KeyError, ValueError) as error:
                raise LedgerDiffers(height, f"table entries or bodies: {error}", row["id"]) from error
            if (parsed.content_hash, parsed.id) != (row["content_hash"], row["id"]):
                what = "the entry, its body or its row is not what was ordered"
                raise LedgerDiffers(height, f"tables entries, bodies, transactions: {what}", row["id"])
            transactions.append(parsed)
        return transactions

    def _compare(self, height: int, stored: StoredBlock, executed: Executed) -> None:
        expected = _expected(executed)
        ids = {row.log_index: row.parsed.id for row in executed.transactions}
        for name, rows in expected.items():
            found: Iterable[Row] = stored.bodies.values() if name == "bodies" else getattr(stored, name)
            self.counts[name] += len(rows)
            _same(height, name, list(found), rows, ids)
        head, row = executed.head, stored.block
        columns = {
            "time_ms": head.time_ms,
            "tx_count": len(executed.transactions),
            "size": head.size,
            "state_root": executed.plan.root,
            "summary_hash": head.previous,
        }
        for name, value in columns.items():
            if row[name] != value:
                raise LedgerDiffers(height, f"table blocks: {name} differs")

    async def _check_tiles(self, executed: Executed, history: History) -> None:
        stored = await history.tiles(list(executed.tiles))
        ids = {row.log_index: row.parsed.id for row in executed.transactions}
        for tile, data in executed.tiles.items():
            row = stored.get(tile, b"")
            if row[: len(data)] != data:
                at = next((n for n in range(0, len(data), HASH_BYTES) if row[n : n + 32] != data[n : n + 32]), 0)
                index = tile.number * 256 + at // HASH_BYTES if tile.level == 0 else -1
                what = f"table tiles: hash {at // HASH_BYTES} of {tile.level}/{tile.number} differs"
                raise LedgerDiffers(executed.head.height, what, ids.get(index))
            self._tiles[tile.level, tile.number] = len(data)

    def _check_checkpoint(self, height: int, rows: Sequence[Row], head: Head | None = None) -> None:
        self.counts["checkpoints"] += 1
        head = head or self.machine.head
        if len(rows) != 1 or rows[0]["size"] != head.size:
            raise LedgerDiffers(height, "table checkpoints: not one checkpoint of this block")
        if rows[0]["note"] == checkpoint_text(self._founded.genesis.origin, head.size, head.root).encode():
            return  # not signed: below what the member had signed before its database was restored
        try:
            checkpoint = verify_checkpoint(rows[0]["note"], self._policy, strict=True).checkpoint
        except VerificationError as error:
            raise LedgerDiffers(height, f"table checkpoints: {error}") from error
        if (checkpoint.size, checkpoint.root) != (head.size, head.root):
            raise LedgerDiffers(height, "table checkpoints: another tree was signed")
        self.checkpoint = rows[0]["note"]


def _summary(stored: StoredBlock) -> dict[str, Any]:
    try:
        return canonical.decode_object(stored.entries[-1]["data"]) if stored.entries else {}
    except VerificationError:
        return {}


def _content(entry: bytes, body: Row) -> bytes:
    opened = canonical.decode_object(entry)
    header = msgspec.convert(opened["header"], Header)
    transaction = Transaction(
        header=header, signature=opened["signature"], salt=body["salt"].hex(), body=body["body"].decode()
    )
    return encode(transaction)


def _expected(executed: Executed) -> dict[str, list[dict[str, Any]]]:
    """The rows a block must have in each table but those compared apart."""
    height, time_ms = executed.head.height, executed.head.time_ms
    entries = [
        {"log_index": executed.first_index + offset, "data": data} for offset, data in enumerate(executed.entries)
    ]
    transactions = [
        {
            "log_index": row.log_index,
            "id": row.parsed.id,
            "sender": row.parsed.header.sender,
            "nonce": row.parsed.header.nonce,
            "contract": row.parsed.header.contract,
            "command": row.parsed.header.command,
            "code": row.code,
            "registered": row.registered,
            "receipt": row.receipt,
            "content_hash": row.parsed.content_hash,
        }
        for row in executed.transactions
    ]
    bodies = [
        {"log_index": row.log_index, "salt": row.parsed.salt, "body": row.parsed.body} for row in executed.transactions
    ]
    facts = [
        {
            "log_index": row.log_index,
            "ordinal": row.ordinal,
            "time_ms": time_ms,
            "transaction_id": row.transaction_id,
            "subject": row.subject,
            "parties": list(row.parties),
            "body": row.body,
        }
        for row in executed.facts
    ]
    concerned = [
        {"party": party, "height": height, "log_index": row.log_index, "ordinal": row.ordinal}
        for row in executed.facts
        for party in row.parties
    ]
    return {
        "entries": entries,
        "transactions": transactions,
        "bodies": bodies,
        "facts": facts,
        "fact_parties": sorted(concerned, key=lambda row: (row["party"], row["log_index"], row["ordinal"])),
    }


def _same(
    height: int, name: str, stored: Sequence[Row], expected: Sequence[Mapping[str, Any]], ids: Mapping[int, str]
) -> None:
    for found, wanted in zip(stored, expected, strict=False):
        for column, value in wanted.items():
            if found[column] != value:
                what = f"table {name}: {column} of leaf {wanted['log_index']} differs"
                raise LedgerDiffers(height, what, ids.get(wanted["log_index"]))
    if len(stored) != len(expected):
        raise LedgerDiffers(height, f"table {name}: {len(stored)} rows instead of {len(expected)}")
