"""What came of each contract this home accepted: its own record, written once when the contract is over.

It is kept apart from what the ledger settled: it is there without one, says what the home itself had said it could do,
and by which device.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from ven.home.store import Contract, ContractState
from ven.home.store.database import Database

_BINDING = tuple(state for state in ContractState if state.binding)


class Ended(StrEnum):
    """How it ended; only what was delivered teaches anything."""

    DELIVERED = "delivered"
    OPTED_OUT = "opted_out"  # the owner's decision, in the middle of it
    RELEASED = "released"  # its event was taken back
    NO_READING = "no_reading"  # the meter was not heard


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One contract. Wh over all its intervals: claimed_wh is what the home is rated for in them, asked_wh what its
    devices were told to withhold (the obligation and the home's margin), delivered_wh the baseline it signed less its
    meter; noise_wh: the standard deviation by which that baseline errs on days without event. kind: the device that did
    it, "" where several did."""

    contract_id: str
    start_ms: int
    end_ms: int
    ended: Ended
    obligation_wh: int
    claimed_wh: int = 0
    asked_wh: int = 0
    delivered_wh: int | None = None
    noise_wh: int = 0
    kind: str = ""


class Outcomes:
    """Outcomes by contract, in a home's store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, outcome: Outcome) -> None:
        """Stores an outcome; one that is known stays."""
        self._database.run(
            "INSERT OR IGNORE INTO outcome VALUES (?, ?, ?)",
            (outcome.contract_id, outcome.start_ms, msgspec.json.encode(outcome)),
        )

    def all(self, last: int = -1) -> list[Outcome]:
        """In the order of time, the `last` ones (-1: all)."""
        rows = self._database.rows("SELECT body FROM outcome ORDER BY start_ms DESC, contract_id DESC LIMIT ?", (last,))
        return [msgspec.json.decode(body, type=Outcome) for (body,) in reversed(rows)]

    def missing(self, before_ms: int) -> list[str]:
        """Contracts this home was bound by that began before `before_ms` and have no outcome yet."""
        rows = self._database.rows(
            "SELECT contract_id FROM contract WHERE start_ms < ? AND state IN (SELECT value FROM json_each(?))"
            " AND NOT EXISTS (SELECT 1 FROM outcome WHERE outcome.contract_id = contract.contract_id)"
            " ORDER BY start_ms",
            (before_ms, msgspec.json.encode(_BINDING).decode()),
        )
        return [str(contract_id) for (contract_id,) in rows]

    def forget(self, before_ms: int) -> int:
        """Drops those of contracts that began before `before_ms`; returns how many."""
        return self._database.run("DELETE FROM outcome WHERE start_ms < ?", (before_ms,))


def starts_of(contract: Contract) -> list[int]:
    """Starts of the intervals of a contract."""
    terms = contract.terms
    return [terms.start_ms + n * terms.interval_s * 1000 for n in range(len(terms.obligation_wh))]
