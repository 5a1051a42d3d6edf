"""From commands to watts: how a home answers what it was told, and how the energy comes back.

    asked        [==== reduce 1 kW ============================)
    shed_w       [~~~~~|~~~~~|~~~~~|~~~)                            one segment a profile interval, as the load allows
    limit                              ^ owner's duration or comfort reached: the session ends early
    snapback                           [\\\\\\\\____......)           linear decline, area = a share of what was shed

A session is one uninterrupted reduction. All is integer: watts, milliseconds, watt-milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ven.devices.control import LEVEL_MAX, Command, Kind, Window
from ven.devices.home_spec import HomeSpec
from ven.devices.profile import WMS_PER_WH, Profile


@dataclass(frozen=True)
class Segment:
    """A constant reduction over [start_ms, end_ms), by appliance."""

    start_ms: int
    end_ms: int
    shed_w: tuple[int, ...]


@dataclass
class Session:
    """One uninterrupted reduction; `group` counts the budgets of the owner's limits, `position` is the last command."""

    start_ms: int
    end_ms: int
    group: int
    position: int
    asked_until_ms: int
    segments: list[Segment] = field(default_factory=list)
    released_by: str | None = None

    def shed_w(self, at_ms: int) -> int:
        return sum(sum(part.shed_w) for part in self.segments if part.start_ms <= at_ms < part.end_ms)

    def shed_wms(self, at_ms: int) -> int:
        """Energy shed up to an instant."""
        return sum(
            sum(part.shed_w) * (min(at_ms, part.end_ms) - part.start_ms)
            for part in self.segments
            if part.start_ms < at_ms
        )

    def returned_wms(self, at_ms: int, spec: HomeSpec) -> int:
        """Energy that has come back up to an instant.

        Power falls linearly from 2 E / T to 0 over T, so of E the part 1 - (1 - t/T)^2 is back after t.
        """
        after_ms = at_ms - self.end_ms
        if after_ms <= 0:
            return 0
        return sum(
            owed - owed * max(0, span_ms - after_ms) ** 2 // span_ms**2 for owed, span_ms in self._owed(spec) if owed
        )

    def snapback_w(self, at_ms: int, spec: HomeSpec) -> int:
        """Power of the return at an instant, rounded down."""
        after_ms = at_ms - self.end_ms
        return sum(
            2 * owed * (span_ms - after_ms) // span_ms**2
            for owed, span_ms in self._owed(spec)
            if 0 <= after_ms < span_ms
        )

    def recovered_at_ms(self, spec: HomeSpec) -> int:
        """When all has come back; the session's end if nothing does."""
        return self.end_ms + max((span_ms for owed, span_ms in self._owed(spec) if owed), default=0)

    def _owed(self, spec: HomeSpec) -> list[tuple[int, int]]:
        """(energy to return in watt-milliseconds, time it takes in ms) of each appliance."""
        return [
            (
                sum(part.shed_w[place] * (part.end_ms - part.start_ms) for part in self.segments)
                * appliance.snapback_permille
                // 1000,
                appliance.snapback_s * 1000,
            )
            for place, appliance in enumerate(spec.appliances)
        ]


def sessions(windows: Sequence[Window], profile: Profile, spec: HomeSpec) -> list[Session]:
    """The sessions that result from commands in force, in the order of time; parts outside the profile are left out."""
    found: list[Session] = []
    budget = _Budget(spec)
    group = 0
    for window in windows:
        start_ms, end_ms = max(window.start_ms, profile.start_ms), min(window.end_ms, profile.end_ms)
        if start_ms >= end_ms:
            continue
        if not found or found[-1].end_ms != start_ms:
            if budget.last_ms is not None and start_ms - budget.last_ms >= spec.limits.rest_s * 1000:
                budget, group = _Budget(spec), group + 1
            found.append(Session(start_ms, start_ms, group, window.position, end_ms))
        found[-1].position, found[-1].asked_until_ms = window.position, end_ms
        _follow(found[-1], start_ms, end_ms, window.command, profile, budget)
    return found


class _Budget:
    """What is left of the owner's limits within one group of sessions."""

    def __init__(self, spec: HomeSpec) -> None:
        self.spec = spec
        self.used_ms = 0
        self.used_wms = 0
        self.last_ms: int | None = None  # end of the last reduction: rest counts from here

    def take(self, duration_ms: int, shed_w: int) -> tuple[int, str | None]:
        """(how long a reduction may go on, at most `duration_ms`; the limit that cuts it short), and books it."""
        limits = self.spec.limits
        allowed_ms, reason = duration_ms, None
        if limits.max_duration_s * 1000 - self.used_ms < allowed_ms:
            allowed_ms, reason = limits.max_duration_s * 1000 - self.used_ms, "max_duration"
        if shed_w and (limits.comfort_wh * WMS_PER_WH - self.used_wms) // shed_w < allowed_ms:
            allowed_ms, reason = (limits.comfort_wh * WMS_PER_WH - self.used_wms) // shed_w, "comfort"
        self.used_ms += allowed_ms
        self.used_wms += allowed_ms * shed_w
        return allowed_ms, reason


def _follow(session: Session, start_ms: int, end_ms: int, command: Command, profile: Profile, budget: _Budget) -> None:
    """Extends a session by one command in force, interval by interval, until it ends or a limit is reached."""
    while start_ms < end_ms:
        index = profile.index_at(start_ms)
        piece_end_ms = min(end_ms, profile.start_ms + (index + 1) * profile.interval_ms)
        shed_w = _wanted(command, profile.load_w(index), budget.spec)
        allowed_ms, session.released_by = budget.take(piece_end_ms - start_ms, sum(shed_w))
        if allowed_ms:
            session.segments.append(Segment(start_ms, start_ms + allowed_ms, shed_w))
            session.end_ms = budget.last_ms = start_ms + allowed_ms
        if session.released_by:
            return
        start_ms = piece_end_ms


def _wanted(command: Command, load_w: int, spec: HomeSpec) -> tuple[int, ...]:
    if command.kind is Kind.LEVEL:
        return spec.shed_w(load_w, spec.limits.max_shed_w, command.value)
    return spec.shed_w(load_w, command.value, LEVEL_MAX)
