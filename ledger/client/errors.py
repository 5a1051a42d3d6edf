"""Errors of the client.

LedgerError                 (a GridpactError)
├── Refused                 the ledger's answer is no; the same transaction would be refused again
├── LedgerUnavailable       no answer within the deadline; try later
│   └── OutcomeUnknown      sent, and perhaps executed: send the same transaction again
└── AnswerInvalid           the ledger answered something that is not an answer to what was asked
"""

from __future__ import annotations

from contracts.core.envelope import Transaction
from contracts.core.errors import CODES
from runtime.errors import GridpactError


class LedgerError(GridpactError):
    """Base of what the client raises."""

    exit_code = 5


class Refused(LedgerError):
    """A command was refused by a rule (`code` of contracts.core.errors.CODES), or a request by the interface
    (`code` is the problem's type). `detail` says more to people."""

    exit_code = 6

    def __init__(self, code: str, detail: str = "") -> None:
        self.code = code
        self.detail = detail or CODES.get(code, "")
        super().__init__(f"the ledger refused: {code}{f' ({self.detail})' if self.detail else ''}")


class LedgerUnavailable(LedgerError):
    """The ledger cannot be reached, or is busy, for longer than the client's deadline."""


class OutcomeUnknown(LedgerUnavailable):
    """`transaction` was sent and may be executed: sending it again gives its first result."""

    def __init__(self, transaction: Transaction, transaction_id: str) -> None:
        self.transaction = transaction
        self.transaction_id = transaction_id
        super().__init__(
            f"no result yet for transaction {transaction_id}: it may be executed; send the same transaction again"
        )


class AnswerInvalid(LedgerError):
    """The answer does not fit the question: another id, another form. The ledger or something before it is at fault."""
