"""What a device can refuse.

DeviceError
|-- ProfileError     a profile file or value is not one this program can measure from
|-- OutsideProfile   the asked time is not covered by the home's profile
|-- ControlError     a command or a stored control state makes no sense
"""

from __future__ import annotations

from runtime.errors import GridpactError


class DeviceError(GridpactError):
    """Root of every refusal by a device; the message says what was wrong and with which value."""

    exit_code = 2


class ProfileError(DeviceError):
    """A profile is malformed: the message names the key and what it should be."""


class OutsideProfile(DeviceError):
    """Energy or power was asked for a time the profile does not cover."""


class ControlError(DeviceError):
    """A command is out of range or out of order, or a stored state cannot be resumed."""
