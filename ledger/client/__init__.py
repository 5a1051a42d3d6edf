"""The way to a ledger for everybody else: seal and submit commands, read records, follow facts, fetch proofs.

    async with LedgerClient(url, key=key, party=party, clock=clock) as ledger:
        result = await ledger.submit(Issue(to=..., amount_minor=100, reference="..."))
        async for record in ledger.follow(result.cursor, parties=[party]):
            ...

Imports contracts, runtime and the verifier alone, so that a home needs no database driver.
"""

from ledger.client.answers import COMMITTED, REFUSED, START, UNKNOWN, FactRecord, ProofBundle, Result
from ledger.client.client import LedgerClient
from ledger.client.errors import AnswerInvalid, LedgerError, LedgerUnavailable, NotFinal, OutcomeUnknown, Refused
from ledger.client.parties import party_id

__all__ = [
    "COMMITTED",
    "REFUSED",
    "START",
    "UNKNOWN",
    "AnswerInvalid",
    "FactRecord",
    "LedgerClient",
    "LedgerError",
    "LedgerUnavailable",
    "NotFinal",
    "OutcomeUnknown",
    "ProofBundle",
    "Refused",
    "Result",
    "party_id",
]
