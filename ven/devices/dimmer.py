"""A load behind a dimmer: any power between its floor and its rating."""

from __future__ import annotations

from ven.devices.base import Description
from ven.devices.constant_load import ConstantLoad
from ven.devices.control import LEVEL_MAX, Command, Kind
from ven.devices.errors import ControlError


class Dimmer(ConstantLoad):
    """Capabilities: Meter, Sheddable, Levelled, Limitable, Reporting, Describing,
    Persistent.

    Never goes below `floor_w` (stairs stay lit). SIMPLE level n takes n thirds of what may be shed, rounded down.
    """

    def __init__(
        self, device_id: str, rated_w: int, *, floor_w: int = 0, delay_s: int = 0, state: bytes | None = None
    ) -> None:
        if not 0 <= floor_w <= rated_w:
            raise ControlError(f"{device_id}: floor_w is {floor_w}; it must lie between 0 and rated_w {rated_w}")
        super().__init__(device_id, rated_w, delay_s=delay_s, state=state)
        self.floor_w = floor_w

    @property
    def max_shed_w(self) -> int:
        return self.rated_w - self.floor_w

    def describe(self, at_ms: int) -> tuple[Description, ...]:
        """Dimmed light comes back at once, and nothing of what was saved with it."""
        return (
            Description(kind="dimmer", name=self.device_id, power_w=self.max_shed_w, rebound_percent=0, rebound_s=0),
        )

    def limit(self, at_ms: int, power_w: int, until_ms: int) -> None:
        self._log.add(Command(at_ms, until_ms, Kind.LIMIT, power_w))

    def power_under(self, command: Command) -> int:
        if command.kind is Kind.LIMIT:
            return min(self.rated_w, max(self.floor_w, command.value))
        wanted_w = self.max_shed_w * command.value // LEVEL_MAX if command.kind is Kind.LEVEL else command.value
        return self.rated_w - min(self.max_shed_w, wanted_w)
