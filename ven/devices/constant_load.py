"""A load of constant rated power behind one switch or dimmer: metering shared by the relay and the dimmer."""

from __future__ import annotations

from abc import ABC, abstractmethod

import msgspec

from ven.devices.base import Mode, Status
from ven.devices.control import Command, ControlLog, Kind, level_command, restore_command
from ven.devices.errors import ControlError
from ven.devices.profile import WMS_PER_WH


class LoadState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    device_id: str
    commands: tuple[Command, ...]


class ConstantLoad(ABC):
    """Uses `rated_w` while nothing is commanded; a subclass says how much under a command.

    Raises ControlError for a rating below 1 W or a stored state of another device.
    """

    def __init__(self, device_id: str, rated_w: int, *, delay_s: int = 0, state: bytes | None = None) -> None:
        if rated_w < 1 or delay_s < 0:
            raise ControlError(f"{device_id}: rated_w {rated_w} must be at least 1 and delay_s {delay_s} not negative")
        self.device_id = device_id
        self.rated_w = rated_w
        self._log = ControlLog(delay_s * 1000, self._stored(state))

    @abstractmethod
    def power_under(self, command: Command) -> int:
        """Power in W while a command is in force: 0 .. rated_w."""

    @property
    @abstractmethod
    def max_shed_w(self) -> int:
        """See ven.devices.base.Sheddable."""

    def energy_wh(self, start_ms: int, end_ms: int) -> int:
        if end_ms < start_ms:
            raise ControlError(f"{self.device_id}: the interval [{start_ms}, {end_ms}) ends before it starts")
        return self._register_wms(end_ms) // WMS_PER_WH - self._register_wms(start_ms) // WMS_PER_WH

    def power_w(self, at_ms: int) -> int:
        for window in self._log.windows():
            if window.start_ms <= at_ms < window.end_ms:
                return self.power_under(window.command)
        return self.rated_w

    def shed(self, at_ms: int, reduction_w: int, until_ms: int) -> None:
        self._log.add(Command(at_ms, until_ms, Kind.REDUCE, reduction_w))

    def set_level(self, at_ms: int, level: int, until_ms: int) -> None:
        self._log.add(level_command(at_ms, level, until_ms))

    def restore(self, at_ms: int) -> None:
        self._log.add(restore_command(at_ms))

    def status(self, at_ms: int) -> Status:
        shed_w = self.rated_w - self.power_w(at_ms)
        ends = [window.end_ms for window in self._log.windows() if window.start_ms <= at_ms < window.end_ms]
        return Status(Mode.SHEDDING if shed_w else Mode.NORMAL, shed_w, 0, ends[0] if shed_w else None)

    def state(self) -> bytes:
        return msgspec.json.encode(LoadState(self.device_id, self._log.commands))

    def _register_wms(self, at_ms: int) -> int:
        """Energy since 1970 in watt-milliseconds: one register, so that readings of any cut add up."""
        shed = sum(
            (self.rated_w - self.power_under(window.command)) * (min(at_ms, window.end_ms) - window.start_ms)
            for window in self._log.windows()
            if window.start_ms < at_ms
        )
        return self.rated_w * at_ms - shed

    def _stored(self, state: bytes | None) -> tuple[Command, ...]:
        if state is None:
            return ()
        try:
            stored = msgspec.json.decode(state, type=LoadState)
        except msgspec.MsgspecError as error:
            raise ControlError(f"{self.device_id}: the stored state cannot be read: {error}") from error
        if stored.device_id != self.device_id:
            raise ControlError(f"the stored state is of {stored.device_id!r}, not of {self.device_id!r}")
        return stored.commands
