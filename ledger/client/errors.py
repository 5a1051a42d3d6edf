"""Errors of the client.

LedgerError                 (a GridpactError)
├── Refused                 the ledger's answer is no; the same transaction would be refused again
├── LedgerUnavailable       no answer within the deadline; try later
│   ├── OutcomeUnknown      sent, and perhaps executed: send the same transaction again
│   └── NotFinal            executed; the quorum has not cosigned it within the deadline
└── AnswerInvalid           the ledger answered something that is not an answer to what was asked
"""

from __future__ import annotations

from typing import Any

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


class NotFinal(LedgerUnavailable):
    """`transaction` is executed with `result`, and will be final when more members answer: ask for it again."""

    def __init__(self, transaction: Transaction, result: Any) -> None:
        self.transaction = transaction
        self.result = result
        super().__init__(
            f"transaction {result.id} is committed in block {result.height} and cosigned by {result.attested} members, "
            "which is no quorum yet"
        )


class AnswerInvalid(LedgerError):
    """The answer does not fit the question: another id, another form. The ledger or something before it is at fault."""
