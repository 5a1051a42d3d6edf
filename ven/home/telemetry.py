"""Readings: each interval is read once when it is over, stored, and owed to whoever asked for it."""

from __future__ import annotations

from collections.abc import Callable

from runtime.logs import get_logger
from ven.devices.errors import DeviceError
from ven.home.actuator import Actuator
from ven.home.store import Store

MS_PER_DAY = 86_400_000
UNTIL_NOTE = "metered_until"
_BATCH = 2_000  # readings in one transaction: the first start may import months

_log = get_logger("ven.home.telemetry")
Closed = Callable[[int, int], None]


class Telemetry:
    """Closes intervals of one meter. `closed(start_ms, energy_wh)` hears of each interval that ended while running."""

    def __init__(
        self,
        actuator: Actuator,
        store: Store,
        *,
        home: str,
        interval_s: int,
        delay_s: int,
        history_days: int,
        closed: Closed | None = None,
    ) -> None:
        self._actuator = actuator
        self._store = store
        self._home = home
        self._step_ms = interval_s * 1000
        self._delay_ms = delay_s * 1000
        self._history_ms = history_days * MS_PER_DAY
        self._closed = closed

    def next_ms(self, now_ms: int) -> int:
        """When the next interval can be read."""
        return ((now_ms - self._delay_ms) // self._step_ms + 1) * self._step_ms + self._delay_ms

    def close(self, now_ms: int) -> list[int]:
        """Reads and stores every interval that is over; returns the starts of those that gave a reading.

        Intervals missed while the agent was away are read now: the meter keeps them. One it cannot give stays a gap."""
        until_ms = (now_ms - self._delay_ms) // self._step_ms * self._step_ms
        known_ms = self._store.notes.read(UNTIL_NOTE, int)
        first_ms = (until_ms - self._history_ms) // self._step_ms * self._step_ms if known_ms is None else known_ms
        found: list[int] = []
        while first_ms < until_ms:
            last_ms = min(until_ms, first_ms + _BATCH * self._step_ms)
            found += self._close(first_ms, last_ms, live=known_ms is not None)
            first_ms = last_ms
        if known_ms is None and not found:
            self._store.notes.write(UNTIL_NOTE, until_ms)
        return found

    def withdraw(self, from_ms: int | None) -> int:
        """Takes back the readings since `from_ms` (None: all) that the ledger was not given, to be read again; how
        many."""
        with self._store.transaction():
            if from_ms is None:
                found = self._store.meter.withdraw(0)
                self._store.notes.drop(UNTIL_NOTE)  # as at the first start, by a clock that is right
            else:
                from_ms = from_ms // self._step_ms * self._step_ms
                found = self._store.meter.withdraw(from_ms)
                if (self._store.notes.read(UNTIL_NOTE, int) or 0) > from_ms:
                    self._store.notes.write(UNTIL_NOTE, from_ms)
        if found:
            _log.warning("readings withdrawn", home=self._home, intervals=len(found), first_ms=found[0])
        return len(found)

    def _close(self, first_ms: int, until_ms: int, *, live: bool) -> list[int]:
        readings: list[tuple[int, int]] = []
        refused: list[tuple[int, str]] = []
        for start_ms in range(first_ms, until_ms, self._step_ms):
            try:
                readings.append((start_ms, self._actuator.device.energy_wh(start_ms, start_ms + self._step_ms)))
            except DeviceError as error:
                refused.append((start_ms, str(error)))
        starts_ms = [start_ms for start_ms, _ in readings]
        if live and self._closed is not None:
            # before the store: an interval told twice can be recognised, one never told is lost
            for start_ms, energy_wh in readings:
                self._closed(start_ms, energy_wh)
        with self._store.transaction():
            self._store.meter.add(self._step_ms // 1000, readings)
            self._store.reports.owe(starts_ms)
            self._store.notes.write(UNTIL_NOTE, until_ms)
        if refused and live:
            _log.warning(
                "no reading", home=self._home, intervals=len(refused), first_ms=refused[0][0], why=refused[0][1]
            )
        # a day of control stays known: what is withdrawn can be read again
        self._actuator.settle(until_ms - MS_PER_DAY)
        return starts_ms
