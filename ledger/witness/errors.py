"""Errors of a witness, and of a log that asks one.

WitnessError               (a GridpactError)
├── WitnessExists          there is a witness already where one is to be made
├── WitnessInvalid         a witness's folder, or a list of logs or witnesses, cannot be used
├── CheckpointRefused      a checkpoint that is not cosigned; `status` is the HTTP status that says why
│   └── SizeConflict       another size was cosigned last: `known`
└── WitnessUnavailable     a witness does not answer, or not sensibly
"""

from __future__ import annotations

from runtime.errors import GridpactError


class WitnessError(GridpactError):
    """Base of the errors of witnesses."""

    exit_code = 7


class WitnessExists(WitnessError):
    """A witness is made once and never over another."""


class WitnessInvalid(WitnessError):
    """The message names the file and what to do."""


class CheckpointRefused(WitnessError):
    """Nothing was signed and nothing changed. `status`: 400 malformed, or an old size above the checkpoint's; 403 no
    valid signature by a key of the log; 404 unknown origin; 422 a consistency proof that does not hold."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class SizeConflict(CheckpointRefused):
    """409: the old size, or at an equal size the root, is not that of the checkpoint cosigned last: `known` leaves."""

    def __init__(self, known: int, message: str) -> None:
        super().__init__(409, message)
        self.known = known


class WitnessUnavailable(WitnessError):
    """Asking again later may help."""
