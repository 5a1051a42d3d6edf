"""Transactions between their arrival and their answer: bounded, each id once, however often it is sent.

add ─▶ waiting ─ take ──────▶ in flight ─ resolve ─▶ the futures of all who asked
          ▲──────────── put_back ───┘                        ▲
          │────── hand_over ──▶ forwarded ── resolve ────────┘      to the proposer, and kept until seen applied
          ▲──────────── recall ─────┘
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from ledger.errors import QueueFull
from ledger.ordering.transactions import Parsed


class TransactionResult(msgspec.Struct, frozen=True, gc=False):
    """status: committed (executed), refused (code says why; height None if it was never ordered) or unknown (send the
    same transaction again, or ask for its id). index: its leaf in the log. facts: tagged objects. id None: the bytes
    are not a transaction. detail: why it is unknown."""

    id: str | None
    status: str
    code: str
    height: int | None = None
    index: int | None = None
    facts: Sequence[Any] = ()
    detail: str = ""


Answer = asyncio.Future[TransactionResult]


@dataclass(slots=True, eq=False)
class Ticket:
    """A transaction with the future of its result; `since_s`: when it came, in the loop's time; `told`: another member
    was sent it, or somebody else asked for it too, so that it may not be forgotten on behalf of one of them."""

    parsed: Parsed
    answer: Answer
    since_s: float
    told: bool = False


class Pool:
    """Not for several event loops. `arrived` is set while transactions wait."""

    def __init__(self, transactions_max: int) -> None:
        self._max = transactions_max
        self._waiting: OrderedDict[str, Ticket] = OrderedDict()
        self._in_flight: dict[str, Ticket] = {}
        self._forwarded: dict[str, tuple[Ticket, float]] = {}
        self._target = 0
        self.arrived = asyncio.Event()
        self._reached = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._in_flight) + len(self._forwarded)

    def add(self, transactions: Iterable[Parsed]) -> list[Answer]:
        """The future of each; one sent before and not yet answered has one already. Raises QueueFull, taking none."""
        wanted = list(transactions)
        new = {parsed.id for parsed in wanted if self._find(parsed.id) is None}
        if len(self) + len(new) > self._max:
            raise QueueFull(f"{len(self)} transactions wait already: nothing was taken, send them again")
        loop = asyncio.get_running_loop()
        answers = []
        for parsed in wanted:
            ticket = self._find(parsed.id)
            if ticket is None:
                ticket = self._waiting[parsed.id] = Ticket(parsed, loop.create_future(), loop.time())
            else:
                ticket.told = True  # who asked first may have been answered "unknown", and relies on it
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
        taken = self._oldest(bytes_max, count_max)
        self._in_flight |= {ticket.parsed.id: ticket for ticket in taken}
        return taken

    def hand_over(self, bytes_max: int, count_max: int) -> list[Ticket]:
        """The oldest that fit into a request (one at least), to be sent to the proposer; they count as forwarded."""
        taken = self._oldest(bytes_max, count_max)
        now_s = asyncio.get_running_loop().time()
        for ticket in taken:
            ticket.told = True
        self._forwarded |= {ticket.parsed.id: (ticket, now_s) for ticket in taken}
        return taken

    def recall(self, before_s: float | None = None, only: Iterable[Ticket] | None = None) -> int:
        """What was forwarded before this time of the loop (None: ever) waits again, before the rest; how many."""
        wanted = self._forwarded.keys() if only is None else {ticket.parsed.id for ticket in only}
        late = [
            key for key, (_, at_s) in self._forwarded.items() if key in wanted and (before_s is None or at_s < before_s)
        ]
        for key in reversed(late):
            self._waiting[key], _ = self._forwarded.pop(key)
            self._waiting.move_to_end(key, last=False)
        self._signal()
        return len(late)

    def withdraw(self, ids: Iterable[str]) -> set[str]:
        """Forget them if all wait here and nobody was told of any: they are certainly not ordered. Their futures are
        cancelled. Else none is forgotten: they are answered "unknown" together, and what is so answered is kept."""
        wanted = set(ids)
        gone = {key for key in wanted if key in self._waiting and not self._waiting[key].told}
        if gone != wanted:
            return set()
        for key in gone:
            self._waiting.pop(key).answer.cancel()
        self._signal()
        return gone

    def put_back(self, contents: Iterable[bytes]) -> None:
        """Those in flight with these bytes wait again, before the rest."""
        wanted = set(contents)
        back = [key for key, ticket in self._in_flight.items() if ticket.parsed.content in wanted]
        for transaction_id in reversed(back):
            self._waiting[transaction_id] = self._in_flight.pop(transaction_id)
            self._waiting.move_to_end(transaction_id, last=False)
        self._signal()

    def forget(self, before_s: float) -> int:
        """Answer "unknown" to those that came before this time of the loop and still wait: the proposer takes them
        not; how many. Their senders were told so long ago and send them again if they want them."""
        old = [ticket.parsed.id for ticket in self._waiting.values() if ticket.told and ticket.since_s < before_s]
        for key in old:
            self.resolve(TransactionResult(key, "unknown", "unknown"))
        return len(old)

    def in_flight(self) -> Mapping[str, Ticket]:
        """What was taken and not answered."""
        return dict(self._in_flight)

    def awaits(self, key: str) -> bool:
        """Does anybody wait for the result of this id?"""
        return self._find(key) is not None

    def holds(self, parsed: Parsed) -> bool:
        """Are these very bytes here?"""
        ticket = self._find(parsed.id)
        return ticket is not None and ticket.parsed.content == parsed.content

    def by_content(self) -> dict[bytes, Parsed]:
        """Transactions on their way, by their bytes."""
        forwarded = (ticket for ticket, _ in self._forwarded.values())
        return {ticket.parsed.content: ticket.parsed for ticket in (*self._in_flight.values(), *forwarded)}

    def resolve(self, result: TransactionResult) -> None:
        """Answer everybody who asked for this id."""
        key = result.id or ""
        forwarded, _ = self._forwarded.pop(key, (None, 0.0))
        ticket = self._in_flight.pop(key, None) or self._waiting.pop(key, None) or forwarded
        if ticket is not None and not ticket.answer.done():
            ticket.answer.set_result(result)
        if not self._waiting:
            self.arrived.clear()

    def close(self, error: Exception | None = None) -> None:
        """Answer everybody: with the error, or that the outcome is unknown."""
        forwarded = [ticket for ticket, _ in self._forwarded.values()]
        for ticket in [*self._in_flight.values(), *self._waiting.values(), *forwarded]:
            if ticket.answer.done():
                continue
            if error is not None:
                ticket.answer.set_exception(error)
                ticket.answer.exception()  # nobody may be waiting any more
            else:
                ticket.answer.set_result(TransactionResult(ticket.parsed.id, "unknown", "unknown"))
        self._in_flight.clear()
        self._waiting.clear()
        self._forwarded.clear()
        self.arrived.clear()

    def _find(self, key: str) -> Ticket | None:
        found = self._in_flight.get(key) or self._waiting.get(key)
        if found is None and (forwarded := self._forwarded.get(key)) is not None:
            found, _ = forwarded
        return found

    def _oldest(self, bytes_max: int, count_max: int) -> list[Ticket]:
        taken: list[Ticket] = []
        size = 0
        while self._waiting and len(taken) < count_max:
            ticket = next(iter(self._waiting.values()))
            size += len(ticket.parsed.content)
            if taken and size > bytes_max:
                break
            self._waiting.popitem(last=False)
            taken.append(ticket)
        self._signal()
        return taken

    def _signal(self) -> None:
        if self._waiting:
            self.arrived.set()
        else:
            self.arrived.clear()
        if self._target and len(self._waiting) >= self._target:
            self._reached.set()
