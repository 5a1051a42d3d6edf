"""Readings as somebody may see them: a home's own series to its owner and consented roles, sums to the others.

A sum is over everybody in an area or a virtual node, never over homes the asker picks: two sums that differ by one home
would show that home. An interval is shown where at least five homes have a reading for it.
"""

from __future__ import annotations

import msgspec

from vtn.auth.consent import Consents
from vtn.auth.permissions import AGGREGATED_HOMES_MIN, Access, Role, Subject, access
from vtn.errors import NotAllowed
from vtn.services.telemetry import Telemetry
from vtn.services.vens import ENROLLED, Vens


class Viewer(msgspec.Struct, frozen=True):
    """Who asks: in which role, and as which VEN (an owner)."""

    role: Role
    ven_id: str | None = None


class Series:
    """Readings of VENs, under the permission table."""

    def __init__(self, vens: Vens, telemetry: Telemetry, consents: Consents) -> None:
        self._vens = vens
        self._telemetry = telemetry
        self._consents = consents

    async def of_home(self, viewer: Viewer, ven_id: str, first_ms: int, end_ms: int) -> dict[int, int]:
        """Energy in Wh by interval start, first_ms <= start < end_ms. Raises NotAllowed."""
        await self.demand(viewer, ven_id)
        return await self._telemetry.history(ven_id, first_ms, end_ms)

    async def demand(self, viewer: Viewer, ven_id: str) -> None:
        """Raises NotAllowed unless the viewer may see the series of this home."""
        allowed = access(viewer.role, Subject.READINGS)
        if allowed is Access.ALL or (allowed is Access.OWN and viewer.ven_id == ven_id):
            return
        if allowed is Access.CONSENTED and await self._consents.consenting([ven_id], viewer.role):
            return
        raise NotAllowed("consent_missing", f"{viewer.role.value} may not see the readings of {ven_id}: no consent")

    async def of_group(
        self, viewer: Viewer, first_ms: int, end_ms: int, *, area: str | None = None, virtual_node: str | None = None
    ) -> dict[int, int]:
        """Summed energy in Wh by interval start, of everybody in an area or a virtual node.

        Raises NotAllowed for who may see nothing, and for a group of fewer than five homes.
        """
        if access(viewer.role, Subject.AGGREGATED_READINGS) is not Access.ALL:
            raise NotAllowed("role_not_allowed", f"{viewer.role.value} may see no readings")
        homes = [ven.ven_id for ven in await self._vens.list(area=area, virtual_node=virtual_node, status=ENROLLED)]
        if len(homes) < AGGREGATED_HOMES_MIN:
            raise NotAllowed("group_too_small", f"sums are shown of at least {AGGREGATED_HOMES_MIN} homes")
        found = await self._telemetry.histories(homes, first_ms, end_ms)
        sums: dict[int, list[int]] = {}
        for series in found.values():
            for start_ms, energy_wh in series.items():
                sums.setdefault(start_ms, []).append(energy_wh)
        return {start: sum(each) for start, each in sorted(sums.items()) if len(each) >= AGGREGATED_HOMES_MIN}
