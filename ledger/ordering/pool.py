"""Transactions between their arrival and their answer: bounded, each id once, however often it is sent.

add ─▶ waiting ─ take ─▶ in flight ─ resolve ─▶ the futures of all who asked
          ▲──────────── put_back ───┘
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ledger.errors import QueueFull
from ledger.ordering.transactions import Parsed


@dataclass(frozen=True, slots=True)
class TransactionResult:
    """status: committed (executed), refused (code says why; height None if it was never ordered) or unknown (send the
    same transaction again, or ask for its id). index: its leaf in the log. facts: tagged objects. id None: the bytes
    are not a transaction."""

    id: str | None
    status: str
    code: str
    height: int | None = None
    index: int | None = None
    facts: Sequence[Any] = ()


Answer = asyncio.Future[TransactionResult]


@dataclass(frozen=True, slots=True)
class Ticket:
    """A transaction with the future of its result."""

    parsed: Parsed
    answer: Answer


class Pool:
    """Not for several event loops. `arrived` is set while transactions wait."""

    def __init__(self, transactions_max: int) -> None:
        self._max = transactions_max
        self._waiting: OrderedDict[str, Ticket] = OrderedDict()
        self._in_flight: dict[str, Ticket] = {}
        self._target = 0
        self.arrived = asyncio.Event()
        self._reached = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._in_flight)

    def add(self, transactions: Iterable[Parsed]) -> list[Answer]:
        """The future of each; one sent before and not yet answered has one already. Raises QueueFull, taking none."""
        wanted = list(transactions)
        new = {parsed.id for parsed in wanted} - self._waiting.keys() - self._in_flight.keys()
        if len(self) + len(new) > self._max:
            raise QueueFull(f"{len(self)} transactions wait already: nothing was taken, send them again")
        loop = asyncio.get_running_loop()
        answers = []
        for parsed in wanted:
            ticket = self._waiting.get(parsed.id) or self._in_flight.get(parsed.id)
            if ticket is None:
                ticket = self._waiting[parsed.id] = Ticket(parsed, loop.create_future())
            answers.append(ticket.answer)
        self._signal()
        return answers

    async def gather(self, count: int, seconds: float) -> None:
        """Wait until `count` transactions are there, at most so long: those who were answered together tend to ask
        again together, and one block for all of them costs little more than one for the first."""
        if len(self._waiting) >= count or seconds <= 0:
            return
        self._target = count
        self._reached.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._reached.wait()
        except TimeoutError:
            pass
        finally:
            self._target = 0

    def take(self, bytes_max: int, count_max: int) -> list[Ticket]:
        """The oldest that fit into a block (one at least); they are in flight from now on."""
        taken: list[Ticket] = []
        size = 0
        while self._waiting and len(taken) < count_max:
            ticket = next(iter(self._waiting.values()))
            size += len(ticket.parsed.content)
            if taken and size > bytes_max:
                break
            self._waiting.popitem(last=False)
            self._in_flight[ticket.parsed.id] = ticket
            taken.append(ticket)
        self._signal()
        return taken

    def put_back(self) -> None:
        """Everything in flight waits again, before the rest."""
        for transaction_id in reversed(self._in_flight):
            self._waiting[transaction_id] = self._in_flight[transaction_id]
            self._waiting.move_to_end(transaction_id, last=False)
        self._in_flight.clear()
        self._signal()

    def in_flight(self) -> Mapping[str, Ticket]:
        """What was taken and not answered."""
        return dict(self._in_flight)

    def by_content(self) -> dict[bytes, Parsed]:
        """Transactions in flight by their bytes."""
        return {ticket.parsed.content: ticket.parsed for ticket in self._in_flight.values()}

    def resolve(self, result: TransactionResult) -> None:
        """Answer everybody who asked for this id."""
        ticket = self._in_flight.pop(result.id or "", None) or self._waiting.pop(result.id or "", None)
        if ticket is not None and not ticket.answer.done():
            ticket.answer.set_result(result)
        if not self._waiting:
            self.arrived.clear()

    def close(self, error: Exception | None = None) -> None:
        """Answer everybody: with the error, or that the outcome is unknown."""
        for ticket in [*self._in_flight.values(), *self._waiting.values()]:
            if ticket.answer.done():
                continue
            if error is not None:
                ticket.answer.set_exception(error)
                ticket.answer.exception()  # nobody may be waiting any more
            else:
                ticket.answer.set_result(TransactionResult(ticket.parsed.id, "unknown", "unknown"))
        self._in_flight.clear()
        self._waiting.clear()
        self.arrived.clear()

    def _signal(self) -> None:
        if self._waiting:
            self.arrived.set()
        else:
            self.arrived.clear()
        if self._target and len(self._waiting) >= self._target:
            self._reached.set()
