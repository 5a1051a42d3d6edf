"""Transactions on their way to the ledger: sealed and stored in the transaction of the change they belong to.

put(key) ──▶ pending ──▶ committed | refused        a key names one effect: put again, it is the same transaction
                ▲  │
                └──┘  no answer: sent again, after a restart too; sealed anew only when it expired unexecuted
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import RowMapping, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.core.codec import encode
from contracts.core.commands import COMMANDS, Command
from contracts.core.envelope import Transaction, transaction_id
from ledger.client import COMMITTED, REFUSED, LedgerClient, LedgerUnavailable, Result
from runtime.clock import Clock
from runtime.logs import get_logger
from vtn.errors import InvalidInput
from vtn.records.database import Database
from vtn.records.tables import ledger_cursor, ledger_outbox

PENDING = "pending"
_EXPIRED = "transaction_expired"
_BATCH = 100
_SEALS_AT_ONCE = 3

_log = get_logger("vtn.ledger_outbox")


class OutboxEntry(msgspec.Struct, frozen=True):
    """A transaction and what became of it. `status`: pending, committed, refused; `code` says why it was refused."""

    key: str
    sender: str
    transaction_id: str
    status: str
    code: str | None
    height: int | None
    index: int | None


class LedgerOutbox:
    """The outbox of one process. Each sender needs its client, which holds its key: `add_sender`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._clients: dict[str, LedgerClient] = {}

    def add_sender(self, client: LedgerClient) -> None:
        """Seal and send transactions of the client's party with this client."""
        if client.party is None:
            raise InvalidInput("sender_unknown", "a ledger client without a party cannot send")
        self._clients[client.party] = client

    async def put(self, connection: AsyncConnection, key: str, sender: str, command: Command) -> str:
        """Seal a command and store it with the caller's change. A key that is there keeps its transaction.

        Returns the transaction id. Raises InvalidInput for a sender without client.
        """
        transaction = self._client(sender).seal(command, nonce=_nonce(key, 1))
        identity = transaction_id(transaction.header)
        await connection.execute(
            insert(ledger_outbox)
            .values(
                key=key, sender=sender, transaction_id=identity, transaction=encode(transaction), attempt=1,
                status=PENDING, created_ms=self._clock.now_ms(),
            )
            .on_conflict_do_nothing(index_elements=["key"])
        )  # fmt: skip
        found = await connection.scalar(select(ledger_outbox.c.transaction_id).where(ledger_outbox.c.key == key))
        return str(found)

    async def submit(self, key: str, sender: str, command: Command) -> OutboxEntry:
        """`put` in a transaction of its own and `deliver` it: for callers without a change of their own."""
        async with self._database.transaction() as connection:
            await self.put(connection, key, sender, command)
        [entry] = await self.deliver([key])
        return entry

    async def deliver(self, keys: Sequence[str] | None = None) -> list[OutboxEntry]:
        """Send what is pending, of these keys or of all senders known here, in order; returns their entries.

        One that got no answer stays pending. Raises LedgerUnavailable if nothing got an answer.
        """
        while rows := await self._pending(keys):
            if not await self._send(rows):
                break
        return [] if keys is None else await self.entries(keys)

    async def retry(self, keys: Sequence[str]) -> None:
        """Seal refused transactions of these keys again, because what stood against them may be gone."""
        column = ledger_outbox.c
        query = select(ledger_outbox).where(column.key.in_(keys), column.status == REFUSED)
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).mappings().all()
        for row in rows:
            await self._seal_again(row, msgspec.json.decode(row["transaction"], type=Transaction))

    async def entries(self, keys: Sequence[str]) -> list[OutboxEntry]:
        """What became of these keys, in the order given; unknown keys are left out."""
        query = select(*(ledger_outbox.c[name] for name in OutboxEntry.__struct_fields__))
        async with self._database.reading() as connection:
            rows = await connection.execute(query.where(ledger_outbox.c.key.in_(keys)))
            found = {row.key: OutboxEntry(*row) for row in rows}
        return [found[key] for key in keys if key in found]

    async def cursor(self, reader: str) -> str | None:
        """How far `reader` has followed the ledger's facts."""
        async with self._database.reading() as connection:
            found = await connection.scalar(select(ledger_cursor.c.cursor).where(ledger_cursor.c.reader == reader))
        return None if found is None else str(found)

    def _client(self, sender: str) -> LedgerClient:
        if sender not in self._clients:
            raise InvalidInput("sender_unknown", f"there is no key of {sender} in this process")
        return self._clients[sender]

    async def _pending(self, keys: Sequence[str] | None) -> Sequence[RowMapping]:
        column = ledger_outbox.c
        query = select(ledger_outbox).where(column.status == PENDING).order_by(column.sequence).limit(_BATCH)
        query = query.where(column.sender.in_(self._clients)) if keys is None else query.where(column.key.in_(keys))
        async with self._database.reading() as connection:
            return (await connection.execute(query)).mappings().all()

    async def _send(self, rows: Sequence[RowMapping]) -> bool:
        """Send rows sender by sender; whether every one of them got further."""
        progress = True
        for sender in dict.fromkeys(row["sender"] for row in rows):
            mine = [row for row in rows if row["sender"] == sender]
            transactions = [msgspec.json.decode(row["transaction"], type=Transaction) for row in mine]
            results = await self._client(sender).send(transactions)
            for row, transaction, result in zip(mine, transactions, results, strict=True):
                progress &= await self._resolve(row, transaction, result)
        return progress

    async def _resolve(self, row: RowMapping, transaction: Transaction, result: Result) -> bool:
        if result.status == REFUSED and result.code == _EXPIRED:
            await self._seal_again(row, transaction)
            # clocks that disagree by more than a transaction's life must not make this spin
            return bool(row["attempt"] < _SEALS_AT_ONCE)
        if result.status not in (COMMITTED, REFUSED):
            return False
        values = {"status": result.status, "code": result.code, "height": result.height, "index": result.index}
        await self._update(row, **values, resolved_ms=self._clock.now_ms())
        _log.info("ledger answered", key=row["key"], status=result.status, code=result.code, height=result.height)
        return True

    async def _seal_again(self, row: RowMapping, transaction: Transaction) -> None:
        """It had no effect: the same command in a new envelope."""
        header = transaction.header
        command = msgspec.json.decode(transaction.body, type=COMMANDS[header.contract, header.command])
        attempt = row["attempt"] + 1
        fresh = self._client(row["sender"]).seal(command, nonce=_nonce(row["key"], attempt))
        identity = transaction_id(fresh.header)
        sealed = {"transaction": encode(fresh), "transaction_id": identity, "attempt": attempt}
        await self._update(row, **sealed, status=PENDING, code=None)

    async def _update(self, row: RowMapping, **values: object) -> None:
        # the attempt guards against a second worker that sealed again meanwhile
        condition = (ledger_outbox.c.key == row["key"]) & (ledger_outbox.c.attempt == row["attempt"])
        async with self._database.transaction() as connection:
            await connection.execute(update(ledger_outbox).where(condition).values(**values))


async def move_cursor(connection: AsyncConnection, reader: str, cursor: str) -> None:
    """Note, in the transaction that used them, that facts up to `cursor` are worked off."""
    statement = insert(ledger_cursor).values(reader=reader, cursor=cursor)
    await connection.execute(
        statement.on_conflict_do_update(index_elements=["reader"], set_={"cursor": statement.excluded.cursor})
    )


def _nonce(key: str, attempt: int) -> str:
    return key if attempt == 1 else f"{key}.{attempt}"


__all__ = ["PENDING", "LedgerOutbox", "LedgerUnavailable", "OutboxEntry", "move_cursor"]
