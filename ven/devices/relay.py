"""A load behind a relay: on or off, nothing between."""

from __future__ import annotations

from ven.devices.base import Description
from ven.devices.constant_load import ConstantLoad
from ven.devices.control import Command, Kind
from ven.devices.errors import ControlError


class Relay(ConstantLoad):
    """Capabilities: Meter, Sheddable, Levelled, Reporting, Describing, Persistent.

    Any reduction opens the relay, so it may give more than was asked, never less than its rated power. A SIMPLE level
    opens it from `opens_at_level` on (1..3).
    """

    def __init__(
        self, device_id: str, rated_w: int, *, opens_at_level: int = 2, delay_s: int = 0, state: bytes | None = None
    ) -> None:
        if not 1 <= opens_at_level <= 3:
            raise ControlError(f"{device_id}: opens_at_level is {opens_at_level}; it must be 1 to 3")
        super().__init__(device_id, rated_w, delay_s=delay_s, state=state)
        self.opens_at_level = opens_at_level

    @property
    def max_shed_w(self) -> int:
        return self.rated_w

    def describe(self, at_ms: int) -> tuple[Description, ...]:
        return (Description(kind="relay", name=self.device_id, power_w=self.max_shed_w),)

    def power_under(self, command: Command) -> int:
        closed = command.kind is Kind.LEVEL and command.value < self.opens_at_level
        return self.rated_w if closed else 0
