"""LedgerClient: seals commands with a party's key, sends them until their outcome is known, reads and follows."""

from __future__ import annotations

import contextlib
import secrets
import ssl as ssl_module
from collections.abc import AsyncGenerator, Collection, Sequence
from types import TracebackType
from typing import Any, Literal, Self, TypeVar
from urllib.parse import quote

import aiohttp

from contracts.core.codec import encode
from contracts.core.commands import CONTRACT_OF, Command
from contracts.core.envelope import Transaction, seal, transaction_id
from contracts.core.state import Record
from ledger.client.answers import (
    INDEX_MAX,
    ORDINAL_MAX,
    START,
    UNKNOWN,
    FactRecord,
    FactsAnswer,
    ProofAnswer,
    ProofBundle,
    RecordAnswer,
    RecordsAnswer,
    Result,
    ResultsAnswer,
    place,
    read_answer,
    read_record,
    read_result,
)
from ledger.client.errors import AnswerInvalid, LedgerUnavailable, NotFinal, OutcomeUnknown
from ledger.client.transport import Attempts, Transport
from runtime.clock import Clock
from runtime.errors import KeyFileError
from runtime.keys import PrivateKey
from runtime.logs import get_logger

R = TypeVar("R", bound=Record)
Wait = Literal["committed", "final"]
Read = Literal["local", "leader"]

BATCH_MAX = 128
BATCH_BYTES_MAX = 1024 * 1024
PAGE_MAX = 500
#: more parties than this are filtered here instead of in the address of the request
FILTER_PARTIES_MAX = 64
_VALID_S = 3600.0

_log = get_logger("ledger.client")


class LedgerClient:
    """One party's way to one channel of a ledger, used in one event loop; `close` it or use `async with`.

    Without `key` and `party` it only reads; a restricted channel it reads with the key of a party or member alone, and
    signs for that by itself. clock: the domain clock (validity of transactions). deadline_s: how long
    one call tries again, in seconds of wall time. Every method may raise LedgerUnavailable (try later) and
    AnswerInvalid; the constructor InsecureAddress for plain HTTP off loopback.
    """

    def __init__(
        self,
        url: str,
        *,
        channel: str = "main",
        key: PrivateKey | None = None,
        party: str | None = None,
        clock: Clock,
        session: aiohttp.ClientSession | None = None,
        ssl: ssl_module.SSLContext | None = None,
        deadline_s: float = 30.0,
    ) -> None:
        self.url = url
        self.channel = channel
        self.party = party
        self.key = key
        self._clock = clock
        self._deadline_s = deadline_s
        self._transport = Transport(url, channel, session=session, ssl=ssl, deadline_s=deadline_s, key=key)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections (not a session that was given)."""
        await self._transport.close()

    # ---- sending

    async def submit(
        self,
        command: Command,
        *,
        nonce: str | None = None,
        not_after_ms: int | None = None,
        wait: Wait = "committed",
    ) -> Result:
        """Seals a command, sends it until its outcome is known, and returns it committed; with wait="final", once the
        quorum of the policy has cosigned it.

        Raises Refused(code), OutcomeUnknown (with the transaction, to be sent again), NotFinal (it is committed, and
        was not final within the deadline), LedgerUnavailable."""
        transaction = self.seal(command, nonce=nonce, not_after_ms=not_after_ms)
        [result] = await self.send([transaction], wait=wait)
        if not result.known:
            raise OutcomeUnknown(transaction, result.id)
        if wait == "final" and result.check() and not result.final:
            raise NotFinal(transaction, result)
        return result.check()

    async def submit_many(self, commands: Sequence[Command], *, wait: Wait = "committed") -> list[Result]:
        """Seals and sends several commands, in order; see `send` for results and errors."""
        return await self.send([self.seal(command) for command in commands], wait=wait)

    def seal(self, command: Command, *, nonce: str | None = None, not_after_ms: int | None = None) -> Transaction:
        """The signed transaction of a command; keep it before sending it, and it may be sent for ever.

        nonce: the message id (random if None). not_after_ms: domain time until which it may be executed (an hour, and
        twice this client's deadline, from now). Raises KeyFileError without a key, CodecError for values that have no
        canonical form."""
        if self.key is None or self.party is None:
            raise KeyFileError("this ledger client only reads: give it a party and the party's private key")
        if not_after_ms is None:
            not_after_ms = self._clock.now_ms() + int(1000 * (_VALID_S + 2 * self._deadline_s * self._clock.speed))
        return seal(
            command,
            channel=self.channel,
            contract=CONTRACT_OF[type(command)],
            sender=self.party,
            nonce=nonce or secrets.token_hex(16),
            not_after_ms=not_after_ms,
            salt=secrets.token_bytes(32),
            sign=self.key.sign,
        )

    async def send(self, transactions: Sequence[Transaction], *, wait: Wait = "committed") -> list[Result]:
        """Sends sealed transactions until each has an outcome (with wait="final": a final one) or the deadline passes:
        one result each, in order.

        A refused one has status "refused" and does not disturb the others; one without an answer in time has status
        "unknown". Raises LedgerUnavailable only if no transaction got an answer."""
        ids = [transaction_id(transaction.header) for transaction in transactions]
        results: dict[str, Result] = {}
        pending = dict(zip(ids, transactions, strict=True))
        attempts = self._transport.attempts()
        while pending:
            failure = LedgerUnavailable("the ledger has not finished in time")
            for batch in _batches(pending):
                try:
                    results.update(await self._post(batch, wait))
                except LedgerUnavailable as error:
                    failure = error
                    break
            pending = {key: item for key, item in pending.items() if not _done(results.get(key), wait)}
            if not pending:
                break
            try:
                await attempts.wait(failure)
            except LedgerUnavailable:
                if not results:
                    raise
                break
        return [results.get(key) or Result(id=key, status=UNKNOWN) for key in ids]

    # ---- reading

    async def transaction(self, transaction_id: str, *, read: Read = "local") -> Result | None:
        """What became of a transaction; None if the ledger does not know it. read="leader": as of everything that was
        ordered before the call, at the price of asking a majority; "local": as far as the replica asked is."""
        path = f"transactions/{quote(transaction_id, safe='')}"
        data = await self._transport.get(path, _level(read), missing=True)
        return None if data is None else read_result(read_answer(data, dict[str, Any]), transaction_id)

    async def record(self, kind: type[R], key: str, *, read: Read = "local") -> R | None:
        """One record of the state, as its contracts Struct (ContractRecord, NeedRecord, Account, Party, ...)."""
        path = f"records/{kind.KIND}/{quote(key, safe='/')}"
        data = await self._transport.get(path, _level(read), missing=True)
        if data is None:
            return None
        answer = read_answer(data, RecordAnswer)
        if (answer.kind, answer.key) != (kind.KIND, key):
            raise AnswerInvalid(f"the ledger answered record {answer.kind}/{answer.key}, asked was {kind.KIND}/{key}")
        return read_record(answer, kind)

    async def records(self, kind: type[R], prefix: str = "") -> list[tuple[str, R]]:
        """All records of a kind whose key begins with `prefix`, as (key, Struct), in key order."""
        found: list[tuple[str, R]] = []
        after = ""
        while True:
            params = [("prefix", prefix), ("after", after), ("limit", str(PAGE_MAX))]
            page = read_answer(await self._read(f"records/{kind.KIND}", params), RecordsAnswer)
            found += [(item.key, read_record(item, kind)) for item in page.records]
            if page.next_after is None:
                return found
            if page.next_after <= after:
                raise AnswerInvalid("the ledger's pages of records do not advance")
            after = page.next_after

    async def facts(
        self,
        after: str = START,
        *,
        party: str | None = None,
        contract: str | None = None,
        limit: int = PAGE_MAX,
    ) -> list[FactRecord]:
        """Up to `limit` facts behind a cursor, oldest first: of one party, of one contract or need, or all."""
        params = [("after", after), ("limit", str(limit)), *_filter([party] if party else (), contract)]
        return list(read_answer(await self._read("facts", params), FactsAnswer).facts)

    async def follow(
        self, after: str = START, *, parties: Collection[str] = (), contract: str | None = None
    ) -> AsyncGenerator[FactRecord, None]:
        """Every fact behind a cursor, and then each as it happens, for ever: in order, none left out, none twice.

        parties: facts that concern any of them (all facts if empty). A broken connection is made anew from the last
        cursor, for as long as it takes; keep `record.cursor` to continue after a restart. Raises Refused."""
        wanted = frozenset(parties)
        params = _filter(sorted(wanted) if len(wanted) <= FILTER_PARTIES_MAX else (), contract)
        cursor, attempts, told = after, Attempts(), False
        place(after)
        while True:
            try:
                async with contextlib.aclosing(self._transport.events("facts", params, cursor)) as events:
                    async for event in events:
                        attempts.again()
                        told = False
                        if not event.data:
                            cursor = max(cursor, event.id, key=place)
                            continue
                        record = read_answer(event.data, FactRecord)
                        if place(record.cursor) <= place(cursor):
                            continue
                        cursor = record.cursor
                        if not wanted or not wanted.isdisjoint(record.parties):
                            yield record
                failure = LedgerUnavailable("the ledger ended the stream of facts")
            except LedgerUnavailable as error:
                failure = error
            if not told:
                _log.info("following facts again", cursor=cursor, reason=str(failure))
                told = True
            await attempts.wait(failure)

    async def tip(self) -> str:
        """The cursor behind every fact the ledger holds now: `follow(await ledger.tip())` gives new ones only."""
        return f"{(await self.status())['height']}.{INDEX_MAX}.{ORDINAL_MAX}"

    async def proof(self, transaction_id: str, fact_index: int | None = None) -> ProofBundle:
        """Proof and opening of a transaction (and one of its facts), to be checked by ledger.verify.verify_proof. Waits
        until it is final.

        Raises Refused("not-found") where there is no such transaction or fact."""
        return await self._proof(quote(transaction_id, safe=""), _fact(fact_index))

    async def proof_at(self, index: int, fact_index: int | None = None) -> ProofBundle:
        """As `proof`, of the entry at a leaf of the log: a deadline that fell due has no transaction id. Raises
        Refused("not-found")."""
        return await self._proof(f"at/{index}", _fact(fact_index))

    async def record_proof(self, kind: type[Record], key: str, *, read: Read = "local") -> ProofBundle:
        """Proof of a record as it is now, or that there is none (ledger.verify.verify_proof, for accounts
        verify_balance). Waits until the block that is newest now is final."""
        return await self._proof(f"records/{kind.KIND}/{quote(key, safe='/')}", _level(read))

    async def policy(self) -> bytes:
        """The policy file (tlog-policy): whom to believe. Fetch it once, from somebody you trust, and keep it."""
        return await self._read("policy")

    async def checkpoint(self) -> bytes:
        """The newest signed checkpoint (C2SP tlog-checkpoint)."""
        return await self._read("checkpoint")

    async def status(self) -> dict[str, Any]:
        """height, size (leaves), time_ms of the last block, members, orderer, proposer, queue."""
        return read_answer(await self._read("status"), dict[str, Any])

    async def refusals(self, limit: int = 100) -> list[dict[str, Any]]:
        """Transactions this replica refused before they were ordered (bad signature, bad form), newest first."""
        answer = read_answer(await self._read("refusals", [("limit", str(limit))]), dict[str, list[dict[str, Any]]])
        return answer.get("refusals", [])

    async def _post(self, batch: dict[str, Transaction], wait: Wait) -> dict[str, Result]:
        params = [] if wait == "committed" else [("wait", wait)]
        data = b'{"transactions":[' + b",".join(encode(item) for item in batch.values()) + b"]}"
        body = await self._transport.request("POST", "transactions", params=params, data=data)
        answer = read_answer(body, ResultsAnswer)
        if len(answer.results) != len(batch):
            raise AnswerInvalid(f"the ledger gave {len(answer.results)} results for {len(batch)} transactions")
        return {key: read_result(value, key) for key, value in zip(batch, answer.results, strict=True)}

    async def _proof(self, path: str, params: Sequence[tuple[str, str]]) -> ProofBundle:
        answer = read_answer(await self._read(f"proofs/{path}", params), ProofAnswer)
        return ProofBundle(proof=answer.proof.encode(), opening=answer.opening.encode())

    async def _read(self, path: str, params: Sequence[tuple[str, str]] = ()) -> bytes:
        data = await self._transport.get(path, params)
        assert data is not None
        return data


def _level(read: Read) -> list[tuple[str, str]]:
    return [] if read == "local" else [("read", read)]


def _fact(index: int | None) -> list[tuple[str, str]]:
    return [] if index is None else [("fact", str(index))]


def _done(result: Result | None, wait: Wait) -> bool:
    """Is there nothing more to wait for? What was refused before it was ordered never becomes final."""
    if result is None or not result.known:
        return False
    return wait == "committed" or result.final or result.index is None


def _filter(parties: Collection[str], contract: str | None) -> list[tuple[str, str]]:
    return [("party", party) for party in parties] + ([("contract", contract)] if contract else [])


def _batches(pending: dict[str, Transaction]) -> list[dict[str, Transaction]]:
    """Batches in order, each within the limits of one request."""
    batches: list[dict[str, Transaction]] = []
    held = BATCH_BYTES_MAX
    for key, transaction in pending.items():
        size = 2 * len(transaction.body) + 1024  # the body travels as a JSON string, its quotation marks escaped
        if held + size > BATCH_BYTES_MAX or len(batches[-1]) >= BATCH_MAX:
            batches.append({})
            held = 0
        batches[-1][key] = transaction
        held += size
    return batches
