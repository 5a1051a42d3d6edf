"""Contracts with this home (SC2), as proposed on the ledger and as they went on."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from contracts.core.commands import Terms
from contracts.core.facts import DRCompleted
from ven.home.store.database import Database

_SELECT = (
    "SELECT contract_id, parent, payer, received_ms, terms, terms_digest, state, reason, outcome, payee, missing"
    " FROM contract"
)


class ContractState(StrEnum):
    """Where a contract stands for this home; the two `-ing` states wait for the ledger's answer."""

    PROPOSED = "proposed"
    ACCEPTING = "accepting"
    ACCEPTED = "accepted"
    REJECTING = "rejecting"
    REJECTED = "rejected"
    EXPIRED = "expired"
    FAILED = "failed"  # the ledger refused the acceptance
    SETTLED = "settled"
    COMPLETED = "completed"

    @property
    def binding(self) -> bool:
        """Accepted, and not undone: the home acts on it and its day is no like-day."""
        return self in (ContractState.ACCEPTED, ContractState.SETTLED, ContractState.COMPLETED)


_DONE = (ContractState.REJECTED, ContractState.EXPIRED, ContractState.FAILED, ContractState.COMPLETED)


class Contract(msgspec.Struct, frozen=True, kw_only=True):
    """A contract of the virtual node `payer` with this home, under its id `payee` ("": the only one it has).
    `missing`: intervals that were settled without a reading; `outcome` when it is completed."""

    contract_id: str
    parent: str
    payer: str
    received_ms: int
    terms: Terms
    terms_digest: str
    state: ContractState
    reason: str = ""
    outcome: DRCompleted | None = None
    payee: str = ""
    missing: int | None = None

    @property
    def end_ms(self) -> int:
        return self.terms.start_ms + len(self.terms.obligation_wh) * self.terms.interval_s * 1000


class Contracts:
    """Contracts by id."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def propose(self, contract: Contract) -> None:
        """Stores a proposal; one that is known keeps its state."""
        self._database.run(
            "INSERT OR IGNORE INTO contract"
            " (contract_id, parent, payer, event_id, start_ms, received_ms, terms, terms_digest, state, payee)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                contract.contract_id,
                contract.parent,
                contract.payer,
                contract.terms.dr_event_id,
                contract.terms.start_ms,
                contract.received_ms,
                msgspec.json.encode(contract.terms),
                contract.terms_digest,
                contract.state,
                contract.payee,
            ),
        )

    def move(self, contract_id: str, state: ContractState, reason: str = "") -> None:
        self._database.run(
            "UPDATE contract SET state = ?, reason = CASE WHEN ? = '' THEN reason ELSE ? END WHERE contract_id = ?",
            (state, reason, reason, contract_id),
        )

    def complete(self, contract_id: str, outcome: DRCompleted) -> None:
        self._database.run(
            "UPDATE contract SET state = ?, outcome = ? WHERE contract_id = ?",
            (ContractState.COMPLETED, msgspec.json.encode(outcome), contract_id),
        )

    def measured(self, contract_id: str, missing: int) -> None:
        """The contract was settled without a reading of `missing` intervals."""
        self._database.run("UPDATE contract SET missing = ? WHERE contract_id = ?", (missing, contract_id))

    def find(self, contract_id: str) -> Contract | None:
        row = self._database.row(f"{_SELECT} WHERE contract_id = ?", (contract_id,))
        return None if row is None else _contract(row)

    def of_event(self, event_id: str) -> list[Contract]:
        return self._select("event_id = ?", (event_id,))

    def in_state(self, *states: ContractState) -> list[Contract]:
        return self._select(f"state IN ({', '.join('?' * len(states))})", states)

    def all(self) -> list[Contract]:
        return self._select("1", ())

    def forget(self, before_ms: int) -> int:
        """Drops contracts that ended before `before_ms` and are done with; returns how many. Their proofs stay in the
        files beside the store."""
        done = [
            (each.contract_id,)
            for each in self._select("start_ms < ?", (before_ms,))
            if each.end_ms < before_ms and each.state in _DONE
        ]
        self._database.run_many("DELETE FROM proof WHERE contract_id = ?", done)
        self._database.run_many("DELETE FROM contract WHERE contract_id = ?", done)
        return len(done)

    def _select(self, condition: str, parameters: tuple[Any, ...]) -> list[Contract]:
        query = f"{_SELECT} WHERE {condition} ORDER BY start_ms, contract_id"
        return [_contract(row) for row in self._database.rows(query, parameters)]


def _contract(row: tuple[Any, ...]) -> Contract:
    return Contract(
        contract_id=row[0],
        parent=row[1],
        payer=row[2],
        received_ms=row[3],
        terms=msgspec.json.decode(row[4], type=Terms),
        terms_digest=row[5],
        state=ContractState(row[6]),
        reason=row[7],
        outcome=None if row[8] is None else msgspec.json.decode(row[8], type=DRCompleted),
        payee=row[9],
        missing=row[10],
    )
