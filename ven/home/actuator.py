"""The device with its memory: what it is told is on the disk before anything else happens."""

from __future__ import annotations

from typing import Protocol

from runtime.logs import get_logger
from ven.devices.base import Levelled, Limitable, Meter, Persistent, Reporting, Sheddable, Storing
from ven.devices.errors import DeviceError
from ven.home.decision import Abilities, Action, Charge, Level, Limit, Reduce
from ven.home.store import Notes

DEVICE_NOTE = "device"

_log = get_logger("ven.home.actuator")


class HomeDevice(Meter, Sheddable, Levelled, Reporting, Persistent, Protocol):
    """What the agent needs of a device."""


class Actuator:
    """Tells a device what to do, and only when it is something else than before."""

    def __init__(self, device: HomeDevice, notes: Notes, home: str) -> None:
        self.device = device
        self._notes = notes
        self._home = home
        self._told: Action = None
        self._synchronised = False

    @property
    def abilities(self) -> Abilities:
        """What the device can do."""
        device = self.device
        return Abilities(
            max_shed_w=device.max_shed_w,
            rated_w=getattr(device, "rated_w", None),
            limits=isinstance(device, Limitable),
            storage_wh=device.storage_wh if isinstance(device, Storing) else None,
        )

    def apply(self, action: Action, now_ms: int) -> bool:
        """Makes the device follow `action` (None: restore); False if a device refused or does not answer.

        A repeated action costs nothing. After a restart the first one is always given: the device knows repeats."""
        if self._synchronised and action == self._told:
            return True
        told = self._told
        try:
            match action:
                case Reduce():
                    self.device.shed(now_ms, action.reduction_w, action.until_ms)
                case Level():
                    self.device.set_level(now_ms, action.level, action.until_ms)
                case Limit() if isinstance(self.device, Limitable):
                    self.device.limit(now_ms, action.power_w, action.until_ms)
                case Charge() if isinstance(self.device, Storing):
                    self.device.charge_to(now_ms, action.stored_wh, action.until_ms)
                case Limit() | Charge():
                    raise DeviceError(f"this device cannot follow {action!r}")
                case None:
                    self.device.restore(now_ms)
        except DeviceError as error:
            _log.warning("device did not follow", home=self._home, action=repr(action), error=str(error))
            return False
        self._told, self._synchronised = action, False  # until it is on the disk, a repetition is no repetition
        self._keep()
        if action != told:
            _log.info("device told", home=self._home, action=repr(action))
        self._synchronised = True
        return True

    def settle(self, before_ms: int) -> None:
        """Lets a simulated home drop control that no reading after `before_ms` needs."""
        forget = getattr(self.device, "forget", None)
        if forget is not None:
            forget(before_ms)
            self._keep()

    def _keep(self) -> None:
        state = self.device.state()
        if state != self._notes.read_bytes(DEVICE_NOTE):
            self._notes.write_bytes(DEVICE_NOTE, state)
