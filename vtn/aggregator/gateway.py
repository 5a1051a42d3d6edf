"""The aggregator's ports on the VTN's services: members out of enrolments and telemetry, events out of dr_events."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping

from openadr.model import DrEvent
from vtn.aggregator.ports import Member
from vtn.errors import NotFound
from vtn.records.contacts import Contacts
from vtn.services.deliveries import OPTED_IN, OPTED_OUT
from vtn.services.dr_events import DrEvents
from vtn.services.opts import Opts
from vtn.services.programs import Program
from vtn.services.telemetry import Telemetry
from vtn.services.vens import ENROLLED, Ven, Vens

_OPT_OF_STATE = {OPTED_IN: "optIn", OPTED_OUT: "optOut"}
_ALL_TIME_MS = 2**53 - 1


def member_of(ven: Ven) -> Member:
    """An enrolled VEN with a ledger party as the aggregator sees it."""
    return Member(
        ven_id=ven.ven_id,
        ven_name=ven.ven_name,
        party=ven.party or "",
        area=ven.area,
        flexible_w=ven.resource.flexible_w,
        flexible_percent=ven.resource.flexible_percent,
        events_per_week_max=ven.resource.max_events_per_week,
        devices=ven.resource.devices,
        corrected_ms=ven.resource.corrected_ms,
    )


class EnrolledMembers:
    """`Members` of one program on its VENs, their telemetry and their opt schedules."""

    def __init__(self, vens: Vens, telemetry: Telemetry, opts: Opts, contacts: Contacts, program: Program) -> None:
        self._vens = vens
        self._telemetry = telemetry
        self._opts = opts
        self._contacts = contacts
        self._program = program

    async def of_group(self, group: str) -> list[Member]:
        """See ports.Members."""
        return [
            member_of(ven)
            for ven in await self._vens.list(virtual_node=group, status=ENROLLED)
            if ven.party is not None and ven.program == self._program.name
        ]

    async def readings(self, ven_ids: Collection[str], from_ms: int, to_ms: int) -> Mapping[str, dict[int, int]]:
        """See ports.Members."""
        return await self._telemetry.histories(list(ven_ids), from_ms, min(to_ms, _ALL_TIME_MS))

    async def unavailable(self, ven_ids: Collection[str], from_ms: int, to_ms: int) -> Mapping[str, str]:
        """See ports.Members."""
        return await self._opts.unavailable(list(ven_ids), from_ms, to_ms, market_context=self._program.market_context)

    async def unheard(self, ven_ids: Collection[str]) -> Mapping[str, bool]:
        """See ports.Members."""
        return await self._contacts.unheard(ven_ids)

    async def delays_ms(self, ven_ids: Collection[str], from_ms: int, to_ms: int) -> Mapping[str, int]:
        """See ports.Members."""
        return await self._telemetry.delays_ms(ven_ids, from_ms, to_ms)


class ProgramEvents:
    """`Events` of one program."""

    def __init__(self, dr_events: DrEvents, program: str) -> None:
        self._dr_events = dr_events
        self._program = program

    async def plan(self, event: DrEvent) -> None:
        """See ports.Events."""
        await self._dr_events.create(event, self._program)

    async def publish(self, event_id: str, ven_ids: Collection[str]) -> None:
        """See ports.Events."""
        await self._dr_events.publish(event_id, list(ven_ids))

    async def withdraw(self, event_id: str, ven_ids: Collection[str]) -> None:
        """See ports.Events."""
        with contextlib.suppress(NotFound):
            await self._dr_events.withdraw(event_id, list(ven_ids))

    async def cancel(self, event_id: str) -> None:
        """See ports.Events."""
        with contextlib.suppress(NotFound):
            await self._dr_events.cancel(event_id)

    async def opts(self, event_id: str) -> Mapping[str, str]:
        """See ports.Events."""
        deliveries = await self._dr_events.deliveries(event_id)
        return {
            each.ven_id: "withdrawn" if each.withdrawn else _OPT_OF_STATE[each.state]
            for each in deliveries
            if each.withdrawn or each.state in _OPT_OF_STATE
        }
