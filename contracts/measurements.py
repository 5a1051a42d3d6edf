"""Measurements: a device's own readings, one record an interval, written once, forgotten when nothing needs them."""

from typing import ClassVar, Final

from contracts.core.commands import READINGS_MAX, ForgetReadings, RecordMeasurements, measurement_key
from contracts.core.errors import Refusal
from contracts.core.facts import Fact, MeasurementsRecorded, ReadingsForgotten
from contracts.core.parties import Party
from contracts.core.state import Record, State
from contracts.core.units import INTERVAL_S_MIN, MS_PER_S, IntervalS, Wh
from contracts.demand_response.contract import EngagementRecord

DAY_MS: Final = 86_400_000
KEPT_MS: Final = 120 * DAY_MS
"""Metering is awaited for 92 days at most, and a bill may be contested a month after."""

WINDOW_MS: Final = 10 * DAY_MS
"""How long before its start a contract may read (its adjustment window), generously."""


class Measurement(Record, frozen=True, kw_only=True):
    """Energy of one interval, import > 0, export < 0; the record's key is device/start."""

    KIND: ClassVar[str] = "measurement"
    interval_s: IntervalS
    energy_wh: Wh


def record(state: State, sender: Party, command: RecordMeasurements, time_ms: int) -> list[Fact]:
    """RecordMeasurements: only the device itself, only intervals that are over, never two values for one interval
    (the same value again changes nothing, so that a device may repeat itself)."""
    if sender.party != command.device:
        raise Refusal("not_party", command.device)
    if not 0 < len(command.energy_wh) <= READINGS_MAX:
        raise Refusal("limit_exceeded", f"{len(command.energy_wh)} readings")
    step = command.interval_s * MS_PER_S
    if command.interval_s % INTERVAL_S_MIN or command.start_ms % step:
        raise Refusal("interval_invalid", "no whole minutes, or start_ms is not a multiple of the interval")
    if command.start_ms + step * len(command.energy_wh) > time_ms:
        raise Refusal("measurement_future", str(command.start_ms))
    if command.start_ms < time_ms - KEPT_MS:
        raise Refusal("deadline_passed", "what was forgotten must not come back as something else")
    for position, energy_wh in enumerate(command.energy_wh):
        key = measurement_key(command.device, command.start_ms + position * step)
        new = Measurement(interval_s=command.interval_s, energy_wh=energy_wh)
        old = state.find(Measurement, key)
        if old is not None and old != new:
            raise Refusal("measurement_conflict", key)
        if old is None:
            state.put(key, new)
    return [
        MeasurementsRecorded(
            device=command.device,
            start_ms=command.start_ms,
            interval_s=command.interval_s,
            energy_wh=command.energy_wh,
        )
    ]


def forget(state: State, sender: Party, command: ForgetReadings, time_ms: int) -> list[Fact]:
    """ForgetReadings: readings no younger than `KEPT_MS`, and none that an open contract may still be settled by."""
    device = state.take(Party, command.device, "party_unknown")
    if sender.party not in (device.party, device.sponsor):
        raise Refusal("not_party", sender.party)
    if command.before_ms > time_ms - KEPT_MS:
        raise Refusal("too_early", str(command.before_ms))
    last = measurement_key(device.party, command.before_ms + WINDOW_MS)
    if state.rows(EngagementRecord, f"{device.party}/", last, 1):
        raise Refusal("device_engaged", device.party)
    first, behind = f"{device.party}/", measurement_key(device.party, command.before_ms)
    old = state.scan(Measurement.KIND, first, behind, READINGS_MAX)
    for key, _ in old:
        state.drop(Measurement, key)
    return [ReadingsForgotten(device=device.party, before_ms=command.before_ms, count=len(old))]


def readings(state: State, device: str, start_ms: int, interval_s: int, count: int) -> tuple[int | None, ...]:
    """`count` readings from `start_ms` on; None where the device recorded none of this interval length."""
    step = interval_s * MS_PER_S
    found = [state.find(Measurement, measurement_key(device, start_ms + n * step)) for n in range(count)]
    return tuple(None if row is None or row.interval_s != interval_s else row.energy_wh for row in found)
