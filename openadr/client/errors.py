"""What can go wrong between a VEN and its VTN.

GridpactError
├── VtnUnreachable     no answer, or one that is no OpenADR message: tried again
└── VtnRefused         the VTN answered with an OpenADR error code
"""

from __future__ import annotations

from runtime.errors import GridpactError


class VtnUnreachable(GridpactError):
    """The VTN did not answer with an OpenADR message."""

    exit_code = 5


class VtnRefused(GridpactError):
    """The VTN answered `code` (an OpenADR response code)."""

    exit_code = 6

    def __init__(self, code: int, description: str) -> None:
        super().__init__(f"the VTN answered {code}: {description}")
        self.code = code
