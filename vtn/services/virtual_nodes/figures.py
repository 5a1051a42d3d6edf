"""What a virtual node can do, does, and will do: capability, status with its balance, forecast, dispatch preview.

Of homes together, never of one: sums are shown of five homes or more (`vtn/auth/permissions`). What a home does by
itself is `profiles`, and shown to whom its consent names.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from contracts.core.units import MS_PER_S
from contracts.demand_response.contract import EngagementRecord
from vtn.aggregator.gateway import member_of
from vtn.aggregator.virtual_nodes.calling.seen import Preview
from vtn.aggregator.virtual_nodes.groups.balance import Absorbed, Balance, absorbed, balances
from vtn.aggregator.virtual_nodes.groups.records import Quality
from vtn.aggregator.virtual_nodes.members.candidacy import SILENT_AFTER_INTERVALS, flexibility
from vtn.aggregator.virtual_nodes.preview import PORTFOLIO, preview
from vtn.auth.permissions import AGGREGATED_HOMES_MIN, Access, Role, Subject, access
from vtn.errors import InvalidInput, NotAllowed
from vtn.services.vens import ENROLLED, Ven
from vtn.services.virtual_nodes.messages import (
    DERFunction,
    DERMonitorableParameter,
    EndDeviceGroup,
    group_of,
    power,
    schedule,
    stamp,
)
from vtn.services.virtual_nodes.operations import VirtualNodes

_MOVED = f"intervals before a move of fewer than {AGGREGATED_HOMES_MIN} homes are not shown: the sum would tell of them"


class Capability(msgspec.Struct, frozen=True, kw_only=True):
    """DERGroupCapability: the sum of what homes can do, as they and their devices said. down: less import."""

    group: EndDeviceGroup = msgspec.field(name="EndDeviceGroup")
    homes: int
    down_w: int
    up_w: int
    energy_wh: int
    duration_s: int
    rebound_wh: int


class BalanceLine(msgspec.Struct, frozen=True, kw_only=True):
    """An interval at the boundary of the virtual node: see `groups.balance`."""

    start_ms: int
    used_inside_wh: int
    import_wh: int
    export_wh: int


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """DERGroupStatus. silent: homes without a reading for four intervals; load_w: of the last interval that may be
    shown, None where there is none; balance: the last hours, own generation used inside before anything leaves."""

    group: EndDeviceGroup = msgspec.field(name="EndDeviceGroup")
    at_ms: int
    state: str
    homes: int
    connected: int
    silent: tuple[str, ...]
    in_event: int
    load_w: float | None
    load_ms: int | None
    balance: tuple[BalanceLine, ...]
    quality: Quality
    note: str = ""


class NodeDispatch(msgspec.Struct, frozen=True, kw_only=True):
    """DERGroupDispatch that is only looked at: whom it would call, and why."""

    group: EndDeviceGroup = msgspec.field(name="EndDeviceGroup")
    preview: Preview


class NodeAbsorption(msgspec.Struct, frozen=True, kw_only=True):
    """Who would take a surplus: what is left of it after inside use, its members first, then others of the feeder."""

    group: EndDeviceGroup = msgspec.field(name="EndDeviceGroup")
    start_ms: int
    interval_s: int
    balance: Balance
    asked: Absorbed


class Figures:
    """Figures of the virtual nodes of one program."""

    def __init__(self, nodes: VirtualNodes) -> None:
        self._nodes = nodes
        self._vtn = nodes.vtn
        self._program = nodes.program

    async def capability(self, name: str) -> Capability:
        """Raises NotFound."""
        row = await self._nodes.find(name)
        homes = await self._nodes.members(row)
        envelopes = [flexibility(member_of(ven)) for ven in homes]
        down, up = sum(each.down_w for each in envelopes), sum(each.up_w for each in envelopes)
        energy = sum(each.energy_wh for each in envelopes)
        parameters = (
            DERMonitorableParameter(flow_direction="reverse", y_unit_installed_max=down, y_unit_installed_min=0),
            DERMonitorableParameter(flow_direction="forward", y_unit_installed_max=up, y_unit_installed_min=0),
        )
        return Capability(
            group=group_of(row, function=DERFunction(), parameters=parameters),
            homes=len(homes),
            down_w=down,
            up_w=up,
            energy_wh=energy,
            duration_s=energy * 3600 // down if down else 0,
            rebound_wh=sum(each.energy_wh * each.rebound_percent // 100 for each in envelopes),
        )

    async def status(self, name: str, hours: int = 24) -> NodeStatus:
        """Raises NotFound, LedgerError."""
        row = await self._nodes.find(name)
        homes = await self._nodes.members(row)
        now_ms, step_ms = self._vtn.clock.now_ms(), self._program.terms.interval_s * MS_PER_S
        last = await self._vtn.telemetry.last_readings()
        late_ms = now_ms - SILENT_AFTER_INTERVALS * step_ms
        silent = tuple(sorted(ven.ven_name for ven in homes if last.get(ven.ven_id, 0) < late_ms))
        lines, note = await self.balance(row.name, homes, now_ms - hours * 3_600_000, now_ms)
        newest = max(lines, default=None)
        load = None if newest is None else power(lines[newest].net_wh, self._program.terms.interval_s)
        parameters = []
        if newest is not None and load is not None:
            curve = schedule(newest, self._program.terms.interval_s, [(load,)])
            parameters.append(DERMonitorableParameter(schedule=curve))
        return NodeStatus(
            group=group_of(row, parameters=parameters), at_ms=now_ms, state=row.state, homes=len(homes),
            connected=len(homes) - len(silent), silent=silent, in_event=await self._in_event(homes, now_ms),
            load_w=load, load_ms=newest, quality=row.quality, note=note,
            balance=tuple(
                BalanceLine(start_ms=at, used_inside_wh=b.used_inside_wh, import_wh=b.import_wh, export_wh=b.export_wh)
                for at, b in lines.items()
            ),
        )  # fmt: skip

    async def balance(
        self, name: str, homes: Sequence[Ven], first_ms: int, end_ms: int
    ) -> tuple[dict[int, Balance], str]:  # fmt: skip
        """Intervals at the boundary, and why there are none, where nobody may be shown them."""
        if reason := not_shown(len(homes)):
            return {}, reason
        step_ms = self._program.terms.interval_s * MS_PER_S
        members = {ven.ven_id for ven in homes}
        moved = await self._nodes.nodes.moved_since(name, first_ms)
        every = await self._vtn.telemetry.histories(sorted(members.union(*moved.values())), first_ms, end_ms)
        found = {ven_id: every[ven_id] for ven_id in members}
        lines = balances(found, AGGREGATED_HOMES_MIN)
        # An interval that runs, or that a part of the homes has reported, is no sum of the group.
        most = max((sum(at in each for each in found.values()) for at in lines), default=0)
        shown = {
            at: line
            for at, line in lines.items()
            if at + step_ms <= end_ms and 5 * sum(at in each for each in found.values()) >= 4 * most
        }
        told = {at: line for at, line in shown.items() if not _tells_of_few(at, moved, every)}
        return told, _MOVED if len(told) < len(shown) else ""

    async def dispatch(
        self, name: str, start_ms: int, target_wh: Sequence[int], probability: float | None = None
    ) -> NodeDispatch:
        """Whom it would call for a target. Nothing is sent. Raises InvalidInput, NotFound, LedgerError."""
        row = await self._nodes.find(name)
        seen = await preview(
            self._vtn, self._program, area=PORTFOLIO, start_ms=start_ms, target_wh=target_wh, probability=probability,
            virtual_node=row.name,
        )  # fmt: skip
        interval_s = self._program.terms.interval_s
        curve = schedule(
            start_ms, interval_s, [(power(wh, interval_s),) for wh in target_wh],
            confidence=round(100 * seen.asked_probability, 1),
        )  # fmt: skip
        parameters = [DERMonitorableParameter(flow_direction="reverse", schedule=curve)]
        return NodeDispatch(group=group_of(row, function=DERFunction(), parameters=parameters), preview=seen)

    async def absorption(self, name: str, start_ms: int) -> NodeAbsorption:
        """Who would take the surplus of an interval that is over, were it to come again: members before others of the
        feeder. Raises InvalidInput, NotFound, NotAllowed for too few homes."""
        row = await self._nodes.find(name)
        homes = await self._nodes.members(row)
        step_ms = self._program.terms.interval_s * MS_PER_S
        lines, reason = await self.balance(row.name, homes, start_ms, start_ms + step_ms)
        if reason:
            raise NotAllowed("group_too_small", reason)
        if start_ms not in lines:
            raise InvalidInput("interval_unknown", f"the homes of {row.name} have no readings at {stamp(start_ms)}")
        every = await self._vtn.vens.list(area=row.area, status=ENROLLED)
        others = [ven for ven in every if ven.virtual_node != row.name and ven.program == self._program.name]
        found = absorbed(lines[start_ms], self._can_add(homes), self._can_add(others))
        return NodeAbsorption(
            group=group_of(row), start_ms=start_ms, interval_s=step_ms // MS_PER_S, balance=lines[start_ms], asked=found
        )

    def _can_add(self, homes: Sequence[Ven]) -> list[tuple[str, int]]:
        """Homes with what they can add in an interval, those who can most first."""
        can = [
            (ven.ven_name, flexibility(member_of(ven)).up_w * self._program.terms.interval_s // 3600) for ven in homes
        ]
        return sorted(can, key=lambda each: (-each[1], each[0]))

    async def _in_event(self, homes: Sequence[Ven], now_ms: int) -> int:
        parties = {ven.party for ven in homes}
        acting = {
            device
            for key, engagement in await self._vtn.ledger.records(EngagementRecord)
            for device, start_ms in [key.split("/")[:2]]
            if device in parties and int(start_ms) <= now_ms < engagement.end_ms
        }
        return len(acting)


def _tells_of_few(at_ms: int, moved: Mapping[int, Collection[str]], readings: Mapping[str, Mapping[int, int]]) -> bool:
    """Would a sum of this interval, beside the one that was shown before a move, tell what few homes used?"""
    changed = (
        sum(at_ms in readings[each] for each in homes) for moved_ms, homes in moved.items() if moved_ms > at_ms
    )  # fmt: skip
    return any(0 < homes < AGGREGATED_HOMES_MIN for homes in changed)


def not_shown(homes: int, role: Role = Role.AGGREGATOR) -> str:
    """Why a sum of so many homes is not shown to a role; "" where it is."""
    if access(role, Subject.AGGREGATED_READINGS) is not Access.ALL:
        return f"{role.value} may see no readings"
    if homes < AGGREGATED_HOMES_MIN:
        return f"sums are shown of at least {AGGREGATED_HOMES_MIN} homes"
    return ""
