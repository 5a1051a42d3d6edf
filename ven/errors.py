"""What can go wrong in a home agent.

GridpactError
└── VenError
    ├── NotEnrolled            the data folder holds no enrolment
    ├── EnrolmentRefused       the VTN does not take this invitation
    ├── StoreError             the agent's database cannot be used
    ├── VtnUnreachable         no answer, or one that is no OpenADR message: tried again
    │   └── ApprovalPending    the VTN's operator has not approved the enrolment yet
    ├── VtnRefused             the VTN answered with an OpenADR error code
    └── ProofRefused           a proof does not show what it was fetched for
"""

from __future__ import annotations

from runtime.errors import GridpactError


class VenError(GridpactError):
    """Base of the errors of a home agent."""


class NotEnrolled(VenError):
    """The data folder holds no enrolment: `dr-ven enrol` comes first."""

    exit_code = 3


class EnrolmentRefused(VenError):
    """The VTN refused the enrolment for good: another attempt with the same invitation will not help."""

    exit_code = 4


class StoreError(VenError):
    """The database is of a newer program, of another one, or damaged."""

    exit_code = 3


class VtnUnreachable(VenError):
    """The VTN did not answer with an OpenADR message."""

    exit_code = 5


class ApprovalPending(VtnUnreachable):
    """The VTN's operator has to approve this home first: the same command later goes on."""

    exit_code = 4


class VtnRefused(VenError):
    """The VTN answered `code` (an OpenADR response code)."""

    exit_code = 6

    def __init__(self, code: int, description: str) -> None:
        super().__init__(f"the VTN answered {code}: {description}")
        self.code = code


class ProofRefused(VenError):
    """A proof does not verify, or shows something else than what it was given for."""

    exit_code = 7
