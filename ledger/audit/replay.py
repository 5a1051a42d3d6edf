"""Re-execution: the ledger as it must be, one block after the other from the genesis, compared with every row."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Any, Final

import msgspec

from contracts import rules
from contracts.core.codec import digest, encode
from contracts.core.envelope import Header, Transaction
from contracts.core.errors import CodecError
from ledger.audit.differences import LedgerDiffers, same, same_columns
from ledger.audit.published import Published
from ledger.errors import GenesisInvalid
from ledger.founding import Founded
from ledger.genesis import check_contracts, members
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
from ledger.verify.state import bucket_of, key_hash

TABLES: Final = ("entries", "transactions", "bodies", "facts", "fact_parties")


class Replay:
    """Executes; `counts`: rows each table must have in the end, `executed`: transactions so far."""

    def __init__(self, founded: Founded) -> None:
        check_contracts(founded)
        self._founded = founded
        self._genesis = encode(founded.genesis)
        self.published = Published(founded)
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
        self.counts = dict.fromkeys(TABLES, 0)
        self.executed = 0
        self._written = dict.fromkeys(writes, (0, -1))
        self._ids: dict[int, str] = {}

    async def check_genesis(self, history: History) -> None:
        """What was founded. Raises GenesisInvalid, LedgerDiffers."""
        rows = await history.rows(tables.meta)
        if len(rows) != 1:
            raise GenesisInvalid(f"the database holds no ledger {self._founded.genesis.channel}")
        if rows[0]["genesis"] != self._genesis or rows[0]["policy"] != self._founded.policy:
            raise LedgerDiffers(0, "table meta: genesis or policy is not that of the data folder")
        notes = await history.rows(tables.checkpoints, tables.checkpoints.c.height == 0)
        head = self.machine.head
        self.published.check_checkpoint(0, notes, head.size, head.root)

    async def check_block(self, stored: StoredBlock, history: History) -> None:
        """The next block, of which no body was erased. Raises LedgerDiffers."""
        head, row = self.machine.head, stored.block
        height = head.height + 1
        require_next(stored, height, head.size)
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
        ids = {row.log_index: row.parsed.id for row in executed.transactions}
        await self.published.check_tiles(height, executed.tiles, history, ids)
        self.published.check_checkpoint(height, stored.checkpoints, executed.head.size, executed.head.root)
        self.source.accept(executed)
        self.machine.accept(executed)
        self._written |= {at: (height, index) for at, index in executed.written_by.items()}
        self._ids |= ids
        self.executed += len(transactions)

    async def check_records(self, history: History) -> int:
        """How many records there are; a difference is named by the block that wrote the record last. Raises
        LedgerDiffers."""
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
        return len(self.source.rows)

    def _transactions(self, height: int, stored: StoredBlock) -> list[Parsed]:
        """What was ordered, put together again from entries and bodies."""
        entries = {row["log_index"]: row["data"] for row in stored.entries}
        transactions = []
        for row in stored.transactions:
            index = row["log_index"]
            transactions.append(reassembled(height, row, entries.get(index, b""), stored.bodies.get(index)))
        return transactions

    def _compare(self, height: int, stored: StoredBlock, executed: Executed) -> None:
        expected = _expected(executed)
        ids = {row.log_index: row.parsed.id for row in executed.transactions}
        for name, rows in expected.items():
            found: Iterable[Row] = stored.bodies.values() if name == "bodies" else getattr(stored, name)
            self.counts[name] += len(rows)
            same(height, name, list(found), rows, ids)
        head = executed.head
        columns = {
            "time_ms": head.time_ms,
            "tx_count": len(executed.transactions),
            "size": head.size,
            "state_root": executed.plan.root,
            "summary_hash": head.previous,
        }
        same_columns(height, "blocks", stored.block, columns)


def require_next(stored: StoredBlock, height: int, size: int) -> None:
    """The block row follows the one before. Raises LedgerDiffers."""
    row = stored.block
    if row["height"] != height:
        raise LedgerDiffers(height, "table blocks: the row is missing")
    if row["first_index"] != size or row["size"] != size + len(stored.entries):
        raise LedgerDiffers(height, "tables blocks, entries: the entries do not follow those of the block before")


def reassembled(height: int, row: Row, entry: bytes, body: Row | None) -> Parsed:
    """The transaction as it was ordered, from its entry and its body. Raises LedgerDiffers."""
    if body is None:
        raise LedgerDiffers(height, "table bodies: salt and command are missing, and were not erased", row["id"])
    try:
        parsed = parse(_content(entry, body))
    except (CodecError, VerificationError, msgspec.ValidationError, KeyError, ValueError) as error:
        raise LedgerDiffers(height, f"table entries or bodies: {error}", row["id"]) from error
    if (parsed.content_hash, parsed.id) != (row["content_hash"], row["id"]):
        what = "the entry, its body or its row is not what was ordered"
        raise LedgerDiffers(height, f"tables entries, bodies, transactions: {what}", row["id"])
    return parsed


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
