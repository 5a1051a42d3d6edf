"""Errors of the VTN.

GridpactError (runtime.errors)
├── VtnError                 a request the VTN does not carry out; `code` is stable, the message is one sentence
│   ├── NotFound             no such program, event, VEN or invitation
│   ├── Conflict             it contradicts what is already recorded
│   ├── NotAllowed           the asker may not, or not yet
│   ├── InvalidInput         a value that cannot be right
│   └── LedgerRefused        the ledger refused a transaction; `ledger_code` is its code
└── ledger.client.LedgerError    the ledger gave no answer: what was sealed is kept and sent again
"""

from __future__ import annotations

from runtime.errors import GridpactError


class VtnError(GridpactError):
    """A request that is not carried out. `code` names the reason for programs, `status` is its HTTP status."""

    exit_code = 1
    status = 400

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class NotFound(VtnError):
    """There is no such thing."""

    status = 404


class Conflict(VtnError):
    """What is asked contradicts what is recorded."""

    status = 409


class NotAllowed(VtnError):
    """Who asks may not do this, or the state of things does not allow it."""

    status = 403


class InvalidInput(VtnError):
    """A value that cannot be right."""

    status = 422


class LedgerRefused(VtnError):
    """The ledger executed the transaction and said no."""

    status = 409

    def __init__(self, ledger_code: str, message: str) -> None:
        super().__init__("ledger_refused", message)
        self.ledger_code = ledger_code
