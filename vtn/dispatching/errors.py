"""Why a dispatch cannot be worked out.

DispatchError
|-- InvalidFleet   arrays that contradict each other
|-- InvalidGoal    a target, probability or spread that no plan could be made for
"""

from __future__ import annotations


class DispatchError(Exception):
    """Root of the package's errors; the message names the value that was refused. A target that cannot be met is no
    error: the plan says what it lacks."""


class InvalidFleet(DispatchError):
    """Homes and options do not belong together, or hold values that are no energy, cost or probability."""


class InvalidGoal(DispatchError):
    """A goal nobody can aim at."""
