"""Proofs of what the ledger recorded for this home: wanted first, then fetched, verified and kept."""

from __future__ import annotations

import msgspec

from ven.home.store.database import Database

EVENT = "event"
PAYMENT = "payment"


class ProofWanted(msgspec.Struct, frozen=True, kw_only=True):
    """`kind`: "event" (the terms of the contract) or "payment" (its completion)."""

    contract_id: str
    kind: str
    transaction_id: str
    fact_index: int


class Proofs:
    """One proof a contract and kind."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def want(self, wanted: ProofWanted) -> None:
        self._database.run(
            "INSERT OR IGNORE INTO proof (contract_id, kind, transaction_id, fact_index) VALUES (?, ?, ?, ?)",
            (wanted.contract_id, wanted.kind, wanted.transaction_id, wanted.fact_index),
        )

    def wanted(self) -> list[ProofWanted]:
        rows = self._database.rows(
            "SELECT contract_id, kind, transaction_id, fact_index FROM proof WHERE proof IS NULL"
            " ORDER BY contract_id, kind"
        )
        return [ProofWanted(contract_id=row[0], kind=row[1], transaction_id=row[2], fact_index=row[3]) for row in rows]

    def keep(self, wanted: ProofWanted, proof: bytes, opening: bytes) -> None:
        self._database.run(
            "UPDATE proof SET proof = ?, opening = ? WHERE contract_id = ? AND kind = ?",
            (proof, opening, wanted.contract_id, wanted.kind),
        )

    def kept(self) -> list[tuple[str, str]]:
        """(contract_id, kind) of verified proofs."""
        rows = self._database.rows("SELECT contract_id, kind FROM proof WHERE proof IS NOT NULL ORDER BY 1, 2")
        return [(str(contract_id), str(kind)) for contract_id, kind in rows]
