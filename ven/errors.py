"""What can go wrong in a home agent.

GridpactError
└── VenError
    ├── NotEnrolled            the data folder holds no enrolment
    ├── EnrolmentRefused       the VTN does not take this invitation
    ├── StoreError             the agent's database cannot be used
    │   └── StoreFull          there is no room to write: tried again, with the device free
    ├── ApprovalPending        the VTN's operator has not approved the enrolment yet (a VtnUnreachable, too)
    ├── ClockWrong             this home's clock is not that of ledger and VTN: nothing is stamped by it
    └── ProofRefused           a proof does not show what it was fetched for

VtnUnreachable and VtnRefused are those of openadr.client.
"""

from __future__ import annotations

from openadr.client.errors import VtnRefused, VtnUnreachable
from runtime.errors import GridpactError

__all__ = [
    "ApprovalPending",
    "ClockWrong",
    "EnrolmentRefused",
    "NotEnrolled",
    "ProofRefused",
    "StoreError",
    "StoreFull",
    "VenError",
    "VtnRefused",
    "VtnUnreachable",
]


class VenError(GridpactError):
    """Base of the errors of a home agent."""


class NotEnrolled(VenError):
    """The data folder holds no enrolment: `dr-ven enrol` comes first."""

    exit_code = 3


class EnrolmentRefused(VenError):
    """The VTN refused the enrolment for good: another attempt with the same invitation will not help. `status`: of its
    answer, 0 where it gave none."""

    exit_code = 4

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


class StoreError(VenError):
    """The database is of a newer program, of another one, or damaged."""

    exit_code = 3


class ApprovalPending(VenError, VtnUnreachable):
    """The VTN's operator has to approve this home first: the same command later goes on."""

    exit_code = 4


class ProofRefused(VenError):
    """A proof does not verify, or shows something else than what it was given for."""

    exit_code = 7


class StoreFull(StoreError):
    """The disk has no room, or does not answer: nothing is promised that could not be written."""


class ClockWrong(VenError):
    """The clock differs from the ledger's or the VTN's by more than is tolerated."""
