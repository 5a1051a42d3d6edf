"""What a device was told, and which command is in force when.

    commands     A: reduce 500 W until 6           B: restore
    time      0        1        2        3        4        5        6
              |        A........|........|........B........|........|
    in force           |-delay->[== reduce 500 W =|-delay->[

A command takes effect `delay` after it is given, and ends at its own end or when the next one takes effect.

The log is all a simulated device has to remember: energy is computed from it for any closed interval, however late and
however often it is asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from ven.devices.errors import ControlError

LEVEL_MAX = 3


class Kind(StrEnum):
    REDUCE = "reduce"  # value: W less than without control
    LEVEL = "level"  # value: SIMPLE level 1..3
    LIMIT = "limit"  # value: W not to be exceeded
    RESTORE = "restore"  # value: 0


class Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One command: given at `at_ms`, in force at most until `until_ms`."""

    at_ms: int
    until_ms: int
    kind: Kind
    value: int


@dataclass(frozen=True)
class Window:
    """A command while it is in force, [start_ms, end_ms) not empty; `position` is its place in the log."""

    start_ms: int
    end_ms: int
    command: Command
    position: int


class ControlLog:
    """Commands in the order given."""

    def __init__(self, delay_ms: int, commands: tuple[Command, ...] = ()) -> None:
        self.delay_ms = delay_ms
        self.commands: tuple[Command, ...] = ()
        for command in commands:
            self.add(command)

    def add(self, command: Command) -> bool:
        """Adds a command; False if it repeats the one in force (as an agent does after a restart).

        Raises ControlError: a value out of range, an end not after the start, or a time before the last command.
        """
        _check(command)
        last = self.commands[-1] if self.commands else None
        if last and command.at_ms < last.at_ms:
            raise ControlError(f"a command for {command.at_ms} came after one for {last.at_ms}")
        if last and _repeats(command, last):
            return False
        if command.kind is Kind.RESTORE and (not last or last.kind is Kind.RESTORE):
            return False
        self.commands += (command,)
        return True

    def windows(self) -> list[Window]:
        """When each command is in force, in the order of time; restores and commands never in force have none."""
        found: list[Window] = []
        for position, command in enumerate(self.commands):
            start_ms, end_ms = command.at_ms + self.delay_ms, command.until_ms
            if position + 1 < len(self.commands):
                end_ms = min(end_ms, self.commands[position + 1].at_ms + self.delay_ms)
            if command.kind is not Kind.RESTORE and start_ms < end_ms:
                found.append(Window(start_ms, end_ms, command, position))
        return found


def level_command(at_ms: int, level: int, until_ms: int) -> Command:
    """SIMPLE level 0..3 as a command; 0 restores. Raises ControlError for any other level."""
    if level == 0:
        return restore_command(at_ms)
    return Command(at_ms, until_ms, Kind.LEVEL, level)


def restore_command(at_ms: int) -> Command:
    return Command(at_ms, at_ms, Kind.RESTORE, 0)


def _repeats(command: Command, last: Command) -> bool:
    return (command.kind, command.value, command.until_ms) == (last.kind, last.value, last.until_ms)


def _check(command: Command) -> None:
    kind, value = command.kind, command.value
    if kind is Kind.RESTORE:
        return
    if command.until_ms <= command.at_ms:
        raise ControlError(f"a command given at {command.at_ms} cannot end at {command.until_ms}")
    if kind is Kind.LEVEL and not 1 <= value <= LEVEL_MAX:
        raise ControlError(f"SIMPLE level is {value}; it must be 0 to {LEVEL_MAX}")
    if kind is Kind.REDUCE and value < 1:
        raise ControlError(f"reduction_w is {value}; it must be at least 1 (restore ends a reduction)")
    if kind is Kind.LIMIT and value < 0:
        raise ControlError(f"power_w is {value}; it must not be negative")
