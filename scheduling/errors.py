"""Why a schedule cannot be worked out.

ScheduleError
|-- InvalidHome    values of a home or device that contradict each other or are no energy, power, price or time
|-- InvalidNode    limits or members of a node nobody could keep
|-- SolverFailed   the solver's process ended before it had answered, or answered nonsense
"""

from __future__ import annotations


class ScheduleError(Exception):
    """Root of the package's errors. A demand that cannot be met is no error: the schedule says what is short."""


class InvalidHome(ScheduleError):
    """The message names the home or device, the value, and what would be right."""


class InvalidNode(ScheduleError):
    """The message names the node, the value, and what would be right."""


class SolverFailed(ScheduleError):
    """The solver was killed, could not be started, or left no answer; the message says which."""
