"""A simulated home: a real load and PV profile, a part of the load that can be shed, and an owner with limits.

Energy of a closed interval is computed from the profile and the commands when it is asked for, not from ticks: the same
at any speed of the clock, however often and in whatever order it is asked, and after a restart.

    meter = load - PV - shed + snapback          truth without control = load - PV
"""

from __future__ import annotations

import msgspec

from ven.devices.base import Description, Mode, Status
from ven.devices.control import Command, ControlLog, Kind, level_command, restore_command
from ven.devices.errors import ControlError, OutsideProfile
from ven.devices.home_spec import HomeSpec
from ven.devices.profile import WMS_PER_WH, Profile
from ven.devices.sessions import Session, sessions

_FELT_MINOR_PER_KWH = 2.5
"""What its people would ask for an hour without a kW of an appliance, for each level: an assumption as the others."""


class HouseholdState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All a home must remember. Sessions that are over and done with are kept as two sums only."""

    home_id: str
    commands: tuple[Command, ...] = ()
    settled_until_ms: int = 0
    settled_shed_wms: int = 0
    settled_returned_wms: int = 0


class Household:
    """Capabilities: Meter, Sheddable, Levelled, Reporting, Describing, Persistent; and the truth a real home cannot
    tell.

    `state` is what `state()` gave before a restart. Raises ControlError if it cannot be read or is of another home.
    Readings raise OutsideProfile for times the profile does not cover or that `forget` has dropped.
    """

    def __init__(self, profile: Profile, spec: HomeSpec, state: bytes | None = None) -> None:
        self.profile = profile
        self.spec = spec
        self._state = _stored(state, profile.home_id)
        self._log = ControlLog(spec.response_delay_s * 1000, self._state.commands)
        self._sessions = self._work_out()

    @property
    def max_shed_w(self) -> int:
        return self.spec.limits.max_shed_w

    def describe(self, at_ms: int) -> tuple[Description, ...]:
        """Each appliance at its share of the largest load there is; the energy that may be withheld from all is shared
        out alike."""
        limits, peak_w = self.spec.limits, max(self.profile.load_wh) * 3600 // self.profile.interval_s
        shares = sum(appliance.share_permille for appliance in self.spec.appliances)
        found = []
        for appliance in self.spec.appliances:
            power_w = peak_w * appliance.share_permille // 1000
            comfort_wh = limits.comfort_wh * appliance.share_permille // max(1, shares)
            found.append(
                Description(
                    kind=appliance.name,
                    power_w=power_w,
                    energy_wh=min(comfort_wh, power_w * limits.max_duration_s // 3600),
                    rebound_percent=appliance.snapback_permille // 10,
                    rebound_s=appliance.snapback_s,
                    comfort_minor=round(_FELT_MINOR_PER_KWH * appliance.level * power_w / 1000),
                )
            )
        return tuple(found)

    def shed(self, at_ms: int, reduction_w: int, until_ms: int) -> None:
        """Use `reduction_w` less, as far as the load of the moment and the owner's limits allow."""
        self._command(Command(at_ms, until_ms, Kind.REDUCE, reduction_w))

    def set_level(self, at_ms: int, level: int, until_ms: int) -> None:
        """SIMPLE 1: water heater; 2: plug loads as well; 3: air conditioning as well; 0 restores."""
        self._command(level_command(at_ms, level, until_ms))

    def restore(self, at_ms: int) -> None:
        self._command(restore_command(at_ms))

    def energy_wh(self, start_ms: int, end_ms: int) -> int:
        """The meter: whole Wh in [start_ms, end_ms), import > 0, export < 0; adjoining intervals add up exactly."""
        self._check_interval(start_ms, end_ms)
        return self._meter_wms(end_ms) // WMS_PER_WH - self._meter_wms(start_ms) // WMS_PER_WH

    def uncontrolled_wh(self, start_ms: int, end_ms: int) -> int:
        """Truth: what the meter would have read without any control, now or earlier."""
        self._check_interval(start_ms, end_ms)
        register = self.profile.net_register_wms
        return register(end_ms) // WMS_PER_WH - register(start_ms) // WMS_PER_WH

    def delivered_wh(self, start_ms: int, end_ms: int) -> int:
        """Truth: reduction minus snapback in the interval; negative while the home recovers."""
        return self.uncontrolled_wh(start_ms, end_ms) - self.energy_wh(start_ms, end_ms)

    def shed_wh(self, start_ms: int, end_ms: int) -> int:
        """Truth: energy withheld, before any of it comes back."""
        self._check_interval(start_ms, end_ms)
        return self._shed_wms(end_ms) // WMS_PER_WH - self._shed_wms(start_ms) // WMS_PER_WH

    def snapback_wh(self, start_ms: int, end_ms: int) -> int:
        """Truth: energy that came back."""
        self._check_interval(start_ms, end_ms)
        return self._returned_wms(end_ms) // WMS_PER_WH - self._returned_wms(start_ms) // WMS_PER_WH

    def power_w(self, at_ms: int) -> int:
        """Power at the meter at an instant, import > 0, to the watt."""
        status = self.status(at_ms)
        return self.profile.net_w(self.profile.index_at(at_ms)) - status.shed_w + status.snapback_w

    def status(self, at_ms: int) -> Status:
        shed_w = sum(session.shed_w(at_ms) for session in self._sessions)
        snapback_w = sum(session.snapback_w(at_ms, self.spec) for session in self._sessions)
        for session in self._sessions:
            if session.start_ms <= at_ms < session.end_ms:
                return Status(Mode.SHEDDING, shed_w, snapback_w, session.end_ms)
        asked = [session for session in self._sessions if session.start_ms <= at_ms < session.asked_until_ms]
        released_by = asked[-1].released_by if asked else None
        ends = [session.recovered_at_ms(self.spec) for session in self._sessions if session.end_ms <= at_ms]
        if ends and at_ms < max(ends):
            return Status(Mode.RECOVERING, shed_w, snapback_w, max(ends), released_by)
        return Status(Mode.NORMAL, shed_w, snapback_w, None, released_by)

    def state(self) -> bytes:
        """JSON to write to disk after each command; a few hundred bytes. The profile and the spec are not in it."""
        return msgspec.json.encode(msgspec.structs.replace(self._state, commands=self._log.commands))

    def forget(self, before_ms: int) -> None:
        """Drops sessions that can no longer matter at `before_ms`, so that years of events stay a small state.

        Readings of intervals that start before `before_ms` are refused from then on if anything was dropped; later ones
        do not change.
        """
        done = self._done_sessions(before_ms)
        if not done:
            return
        cut = done[-1].position + 1
        in_force = {window.position for window in self._log.windows()}
        commands = self._log.commands
        while cut < len(commands) and cut not in in_force and commands[cut].at_ms + self._log.delay_ms <= before_ms:
            cut += 1
        self._state = HouseholdState(
            home_id=self.profile.home_id,
            settled_until_ms=max(before_ms, self._state.settled_until_ms),
            settled_shed_wms=self._state.settled_shed_wms + sum(each.shed_wms(before_ms) for each in done),
            settled_returned_wms=self._state.settled_returned_wms
            + sum(each.returned_wms(before_ms, self.spec) for each in done),
        )
        self._log = ControlLog(self._log.delay_ms, commands[cut:])
        self._sessions = self._work_out()

    def _command(self, command: Command) -> None:
        if self._log.add(command):
            self._sessions = self._work_out()

    def _work_out(self) -> list[Session]:
        return sessions(self._log.windows(), self.profile, self.spec)

    def _done_sessions(self, before_ms: int) -> list[Session]:
        """The leading sessions whose whole group has ended, recovered and rested."""
        rest_ms = self.spec.limits.rest_s * 1000
        waiting = {
            session.group
            for session in self._sessions
            if max(session.recovered_at_ms(self.spec), session.end_ms + rest_ms, session.asked_until_ms) > before_ms
        }
        first_waiting = min(waiting, default=None)
        return [each for each in self._sessions if first_waiting is None or each.group < first_waiting]

    def _meter_wms(self, at_ms: int) -> int:
        return self.profile.net_register_wms(at_ms) - self._shed_wms(at_ms) + self._returned_wms(at_ms)

    def _shed_wms(self, at_ms: int) -> int:
        return self._state.settled_shed_wms + sum(session.shed_wms(at_ms) for session in self._sessions)

    def _returned_wms(self, at_ms: int) -> int:
        returned = sum(session.returned_wms(at_ms, self.spec) for session in self._sessions)
        return self._state.settled_returned_wms + returned

    def _check_interval(self, start_ms: int, end_ms: int) -> None:
        home_id = self.profile.home_id
        if end_ms < start_ms:
            raise ControlError(f"{home_id}: the interval [{start_ms}, {end_ms}) ends before it starts")
        if start_ms < self._state.settled_until_ms:
            raise OutsideProfile(f"{home_id}: control before {self._state.settled_until_ms} was forgotten")
        if start_ms < self.profile.start_ms or end_ms > self.profile.end_ms:
            profile = self.profile
            raise OutsideProfile(
                f"{home_id}: [{start_ms}, {end_ms}) is not within the profile [{profile.start_ms}, {profile.end_ms})"
            )


def _stored(state: bytes | None, home_id: str) -> HouseholdState:
    if state is None:
        return HouseholdState(home_id)
    try:
        stored = msgspec.json.decode(state, type=HouseholdState)
    except msgspec.MsgspecError as error:
        raise ControlError(f"{home_id}: the stored state cannot be read: {error}") from error
    if stored.home_id != home_id:
        raise ControlError(f"the stored state is of home {stored.home_id!r}, not of {home_id!r}")
    return stored
